"""Precision messages: they depend on A alone, so they are settled once and serve every right-hand side."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.types import FixedPoint, Kernels
from gabp.system import System

Start = Literal["zero", "constant"]
STARTS = ("zero", "constant")


@dataclass(frozen=True, eq=False)
class Precisions:
    """The outcome of the precision iteration on a symmetric model.

    Attributes
    ----------
    system : System
    fixed : FixedPoint
        In the order of the backend's own layout.
    """

    system: System
    fixed: FixedPoint

    @property
    def kernels(self) -> Kernels:
        return dispatch.choose(self.system.device, self.system.dtype)

    @property
    def belief(self) -> Tensor:
        """``J_i = A_ii + Σ_k P_{k→i}``, shape (n,); the Bethe variances are ``1 / J_i``."""
        return self.fixed.belief

    @property
    def sweeps(self) -> int:
        return self.fixed.sweeps

    @property
    def settled(self) -> bool:
        """Whether the messages stopped changing to rounding, at valid precisions."""
        return self.fixed.converged

    @property
    def invalid_node(self) -> int | None:
        """A node whose belief is not a positive precision: the iteration has failed there."""
        return self.fixed.invalid_node

    @cached_property
    def message(self) -> Tensor:
        """``P_{k→i}`` in the slot of the message that ``i`` hears from ``k``, shape (m,)."""
        return self.kernels.precision_messages(self.system.layout, self.fixed)

    @cached_property
    def cavity(self) -> Tensor:
        """``P_{k\\i}``, the precision of each message's sender without the receiver's own message, shape (m,)."""
        graph = self.system.graph
        return self.belief[graph.source.long()] - self.message[graph.reverse]


def settle_precisions(
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
        2001), which may pass through nonpositive cavities and recover.
    scaling : Tensor, shape (n,), optional
        A ``d > 0`` with ``(D - |O|) d > 0``: the constant start becomes ``-|A_ij| d_i / d_j``, which keeps
        every cavity positive.
    limit : int
        Sweeps to spend at most.
    """
    kernels: Any = dispatch.choose(system.device, system.dtype)
    fixed = kernels.precision_fixed_point(
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
        The precision messages are invalid, or did not settle: the model has no Bethe variances.
    """
    precisions = settle_precisions(system)
    if not precisions.settled:
        place = "" if precisions.invalid_node is None else f" at node {precisions.invalid_node}"
        raise ArithmeticError(f"the precision messages have no valid fixed point{place} (see gabp.check)")
    return 1 / precisions.belief
