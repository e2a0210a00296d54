"""What a backend is: the kernels of one device, by concern, and what they return."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Backend:
    """The kernels for one device, a module for each concern.

    Attributes
    ----------
    name : str
        As in `gabp.backends`.
    messages : MessageKernels
        The flooding schedule.
    sequential : module
        One node after another: ``sequential_potentials``, ``root_trees``, ``tree_...``, ``directed_...`` and
        ``block_...`` of `gabp.kernels.reference`.
    coloured : module or None
        The sequential schedule in the order of colours, fused: `gabp.kernels.cuda.coloured`.
    rows : module
        Compressed rows and norms: the functions of `gabp.kernels.torch.rows`.
    bounds : module
        Passes of convergence proofs, on numpy arrays: the functions of `gabp.kernels.torch.bounds`.
    factor : module
        ``Symbolic`` and ``Factor`` of `gabp.kernels.torch.factor`.
    hierarchy : module or None
        Compiled aggregation multigrid: ``Hierarchy``, ``BlockHierarchy`` and ``ConjugateGradients``.
    multigrid_cycle : module
        A multigrid cycle by tensors: the functions of `gabp.kernels.torch.multigrid_cycle`.
    markov_blankets, distance_colouring : module
        The functions of the modules of these names in `gabp.kernels.torch`.
    bayes_tree : module
        ``BayesTree`` of `gabp.kernels.torch.bayes_tree`.
    cameras, poses, normal_equations, factor_messages : module
        Factors of a nonlinear model: the functions of the modules of these names in `gabp.kernels.torch`.
    """

    name: str
    messages: "MessageKernels"
    sequential: ModuleType
    coloured: ModuleType | None
    rows: ModuleType
    bounds: ModuleType
    factor: ModuleType
    hierarchy: ModuleType | None
    multigrid_cycle: ModuleType
    markov_blankets: ModuleType
    distance_colouring: ModuleType
    bayes_tree: ModuleType
    cameras: ModuleType
    poses: ModuleType
    normal_equations: ModuleType
    factor_messages: ModuleType

    @property
    def compiled(self) -> bool:
        """Whether it is the compiled backend of the CPU."""
        return self.hierarchy is not None


@dataclass(frozen=True)
class FixedPoint:
    """The fixed point of the precision messages, or the last iterate where there is none.

    Attributes
    ----------
    converged
        Whether every belief is positive and has stopped changing to rounding.
    sweeps
        Flooding sweeps done.
    change
        Largest change of a belief over the last two sweeps, relative to the diagonal.
    invalid_node
        Smallest node whose belief precision is not positive after the last sweep, else None.
    belief
        ``(n,)`` the belief precisions ``J`` after the last sweep, in node order.
    coefficient
        One number per directed edge, from which the backend computes mean messages (in its own order); empty
        where a belief is not positive.
    root
        ``sqrt(J)`` in the backend's own order; empty where a belief is not positive.
    """

    converged: bool
    sweeps: int
    change: float
    invalid_node: int | None
    belief: Tensor
    coefficient: Tensor
    root: Tensor


class MessageKernels(Protocol):
    """The flooding schedule on one backend. Layouts and states are opaque: only their own backend reads them.

    Tensors in node order are ``(n,)`` or ``(n, k)``, tensors in edge order ``(m,)``: see
    `gabp.kernels.reference` for directed edges and for the equations.
    """

    def layout(self, start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor) -> Any:
        """Arrange a symmetric model for sweeping, in ``weight``'s dtype."""

    def in_dtype(self, layout: Any, dtype: torch.dtype) -> Any:
        """The same arrangement with its numbers rounded to ``dtype``."""

    def residual(self, layout: Any, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """``b - A x`` ``(n, k)`` and its columns' norms ``(k,)``, evaluated in float64."""

    def precision_fixed_point(
        self,
        layout: Any,
        scale: Tensor | None = None,
        *,
        limit: int,
        tolerance: float | None = None,
        must_be_positive: bool = True,
    ) -> FixedPoint:
        """Flood precision messages from zero, or from ``-|A_ij| d_i / d_j`` where ``scale`` gives ``d``.

        The iteration stops at a relative change of ``tolerance``, by default 8 units of rounding, or after ``limit``
        sweeps. ``must_be_positive`` stops it at the first sweep that meets a nonpositive belief. From zero, that is
        a definite failure and comes no later than the first nonpositive cavity.
        """

    def precision_messages(self, layout: Any, fixed: FixedPoint) -> Tensor:
        """The messages ``P_{k->i}`` at the fixed point, in edge order ``(m,)``."""

    def mean_state(self, layout: Any, fixed: FixedPoint, b: Tensor, dtype: torch.dtype | None = None) -> Any:
        """Zero potential messages for the right-hand sides ``b`` ``(n, k)``, in ``dtype`` (default: the layout's)."""

    def mean_sweeps(self, state: Any, count: int, damping: float = 0.0) -> None:
        """``count`` flooding sweeps; each keeps the share ``damping`` of the old messages."""

    def mean_estimate(self, state: Any) -> Tensor:
        """The means so far, ``(n, k)`` float64."""

    def joint_state(self, layout: Any, b: Tensor, scale: Tensor | None = None) -> Any:
        """Precision messages at their start (as in `precision_fixed_point`) and zero potential messages."""

    def joint_sweeps(self, state: Any, count: int, must_be_positive: bool = True) -> tuple[int, int | None]:
        """Sweep both kinds of messages; the sweeps done and the first invalid node, at which it may have stopped."""

    def joint_estimate(self, state: Any) -> tuple[Tensor, Tensor]:
        """Means ``(n, k)`` and belief precisions ``(n,)`` so far, float64; 0 where the precision is 0."""
