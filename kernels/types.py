"""What every backend's kernels return, and the set of functions each backend offers."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class FixedPoint:
    """Where the precision messages came to rest, or why they did not.

    Attributes
    ----------
    converged
        Whether every belief is positive and rests to rounding.
    sweeps
        Flooding sweeps done.
    change
        Largest change of a belief over the last two sweeps, relative to the diagonal.
    invalid_node
        Smallest node whose belief precision is not positive after the last sweep, else None.
    belief
        ``(n,)`` the belief precisions ``J`` after the last sweep, in node order.
    coefficient
        One number per slot, from which the backend computes mean messages (in its own order); empty
        where not converged.
    root
        ``sqrt(J)`` in the backend's own order; empty where not converged.
    """

    converged: bool
    sweeps: int
    change: float
    invalid_node: int | None
    belief: Tensor
    coefficient: Tensor
    root: Tensor


class Kernels(Protocol):
    """The function set of a backend. Layouts and states are opaque: only their own backend reads them.

    Tensors in node order are ``(n,)`` or ``(n, k)``, tensors in slot order ``(m,)``: see
    `gabp.kernels.reference` for slots and for the equations.
    """

    name: str  # as in `gabp.backends`

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

        ``must_be_positive`` stops at the first sweep that meets a nonpositive belief. From zero, that is a
        definitive failure and comes no later than the first nonpositive cavity.
        """

    def precision_messages(self, layout: Any, fixed: FixedPoint) -> Tensor:
        """The messages ``P_{k->i}`` at the fixed point, in slot order ``(m,)``."""

    def mean_state(self, layout: Any, fixed: FixedPoint, b: Tensor, dtype: torch.dtype | None = None) -> Any:
        """Zero potential messages for the right-hand sides ``b`` ``(n, k)``, kept in ``dtype``."""

    def mean_sweeps(self, state: Any, count: int, damping: float = 0.0) -> None:
        """``count`` flooding sweeps; each keeps the share ``damping`` of the old messages."""

    def mean_estimate(self, state: Any) -> Tensor:
        """The means so far, ``(n, k)`` float64."""

    def joint_state(self, layout: Any, b: Tensor, scale: Tensor | None = None) -> Any:
        """Precision messages at their start (as in `precision_fixed_point`) and zero potential messages."""

    def joint_sweeps(self, state: Any, count: int, must_be_positive: bool = True) -> tuple[int, int | None]:
        """Sweep both kinds of messages; the sweeps done and, if it stopped early, the node to blame."""

    def joint_estimate(self, state: Any) -> tuple[Tensor, Tensor]:
        """Means ``(n, k)`` and belief precisions ``(n,)`` so far, float64; 0 where the precision is 0."""
