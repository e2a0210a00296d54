"""The fixed point of the precision messages, which depends on A alone: solved once for every right-hand side."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.types import FixedPoint, MessageKernels
from gabp.system import System

Start = Literal["zero", "constant"]
STARTS = ("zero", "constant")


@dataclass(frozen=True, eq=False)
class Precisions:
    """The fixed point of the precision messages of a symmetric model, or the last iterate where there is none.

    Attributes
    ----------
    system : System
    fixed : FixedPoint
        In the order of the backend's own layout.
    """

    system: System
    fixed: FixedPoint

    @property
    def kernels(self) -> MessageKernels:
        return dispatch.backend(self.system.device, self.system.dtype).messages

    @property
    def belief(self) -> Tensor:
        """``J_i = A_ii + Σ_k P_{k→i}``, shape (n,); the Bethe variances are ``1 / J_i``."""
        return self.fixed.belief

    @property
    def sweeps(self) -> int:
        return self.fixed.sweeps

    @property
    def converged(self) -> bool:
        """Whether the beliefs are positive and have stopped changing to rounding."""
        return self.fixed.converged

    @property
    def invalid_node(self) -> int | None:
        """The smallest node whose belief precision is not positive."""
        return self.fixed.invalid_node

    @cached_property
    def message(self) -> Tensor:
        """``P_{k→i}`` of each edge, shape (m,)."""
        return self.kernels.precision_messages(self.system.layout, self.fixed)

    @cached_property
    def cavity(self) -> Tensor:
        """``P_{k\\i}`` of each edge ``k → i``, shape (m,)."""
        graph = self.system.graph
        return self.belief[graph.source.long()] - self.message[graph.reverse]


def solve_precision_fixed_point(
    system: System, *, start: Start = "zero", scaling: Tensor | None = None, limit: int = 100_000
) -> Precisions:
    """Flood the precision messages to their fixed point.

    Parameters
    ----------
    system : System
        Symmetric.
    start : {"zero", "constant"}
        ``P = 0``, from which the messages decrease monotonically and a nonpositive belief is a definite
        failure; or the constant-message start ``P_{i→j} = -|A_ij|`` of Weiss and Freeman (Neural Computation
        2001), which may meet nonpositive cavities on the way to positive ones.
    scaling : Tensor, shape (n,), optional
        A ``d > 0`` with ``(D - |O|) d > 0``: the constant start becomes ``-|A_ij| d_i / d_j``, which keeps
        every cavity positive.
    limit : int
        The most sweeps to do.
    """
    fixed = dispatch.backend(system.device, system.dtype).messages.precision_fixed_point(
        system.layout,
        starting_scale(system, start, scaling),
        limit=limit,
        must_be_positive=start == "zero" or scaling is not None,
    )
    return Precisions(system, fixed)


def starting_scale(system: System, start: Start, scaling: Tensor | None = None) -> Tensor | None:
    """The ``d`` of the start ``-|A_ij| d_i / d_j``, or None for the start from zero."""
    if start == "zero" and scaling is None:
        return None
    return torch.ones(system.n, dtype=torch.float64, device=system.device) if scaling is None else scaling


def bethe_variances(system: System) -> Tensor:
    """The Bethe variances ``1 / J_i``, shape (n,): exact on a forest, an approximation elsewhere.

    Raises
    ------
    ArithmeticError
        The precision messages are invalid, or do not converge: the model has no Bethe variances.
    """
    precisions = solve_precision_fixed_point(system)
    if not precisions.converged:
        place = "" if precisions.invalid_node is None else f" at node {precisions.invalid_node}"
        raise ArithmeticError(f"the precision messages have no valid fixed point{place} (see gabp.check)")
    return 1 / precisions.belief
