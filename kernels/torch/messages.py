"""The torch backend: the function set of `gabp.kernels.types.Kernels`, each sweep by the literal equations.

Runs on any device and in any floating dtype. It is the ground truth that the fast backends are tested
against, and what remains where none of them can run.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gabp.kernels import reference
from gabp.kernels.types import FixedPoint

name = "torch"


@dataclass(frozen=True)
class Layout:
    """The slots of a symmetric model (see `gabp.kernels.reference`) with explicit reverse slots."""

    source: Tensor
    destination: Tensor
    reverse: Tensor
    weight: Tensor
    diagonal: Tensor


@dataclass
class MeanState:
    layout: Layout
    cavity: Tensor
    belief_precision: Tensor
    b: Tensor
    potential: Tensor


@dataclass
class JointState:
    layout: Layout
    b: Tensor
    precision: Tensor
    potential: Tensor
    invalid_node: int | None


def layout(start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor) -> Layout:
    """Expand the slots and find each one's reverse."""
    n = len(diagonal)
    destination = torch.repeat_interleave(torch.arange(n, device=start.device), start.diff())
    by_source = torch.argsort(source.long() * n + destination)
    reverse = torch.empty_like(by_source)
    reverse[by_source] = torch.arange(len(source), device=start.device)
    return Layout(source.long(), destination, reverse, weight, diagonal)


def in_dtype(layout: Layout, dtype: torch.dtype) -> Layout:
    """The same arrangement with its numbers rounded to ``dtype``."""
    return replace(layout, weight=layout.weight.to(dtype), diagonal=layout.diagonal.to(dtype))


def residual(layout: Layout, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``b - A x`` and the norms of its columns, in float64."""
    product = reference.multiply(layout.diagonal, layout.weight, layout.source, layout.destination, x.double())
    r = b.double() - product
    return r, torch.linalg.vector_norm(r, dim=0)


def precision_fixed_point(
    layout: Layout,
    scale: Tensor | None = None,
    *,
    limit: int,
    tolerance: float | None = None,
    must_be_positive: bool = True,
) -> FixedPoint:
    """Flood the precision messages until they rest; see `gabp.kernels.types.Kernels`."""
    if tolerance is None:
        tolerance = 8 * torch.finfo(layout.weight.dtype).eps
    precision = _start_precisions(layout, scale)
    belief = _belief(layout, precision)
    before = torch.zeros_like(belief)
    invalid = _first_nonpositive(belief)
    sweep, change = 0, float("inf")
    while sweep < limit and not (change <= tolerance and invalid is None):
        if must_be_positive and invalid is not None:
            break
        precision, _ = _flood_precisions(layout, precision)
        before, two_before = belief, before
        belief = _belief(layout, precision)
        invalid = _first_nonpositive(belief)
        change = float(((belief - two_before).abs() / layout.diagonal).double().max())
        sweep += 1
    converged = invalid is None and change <= tolerance
    empty = belief.new_empty(0)
    return FixedPoint(
        converged=converged,
        sweeps=sweep,
        change=change,
        invalid_node=invalid,
        belief=belief,
        coefficient=(belief[layout.source] - precision[layout.reverse]) if invalid is None else empty,
        root=belief.sqrt() if invalid is None else empty,
    )


def precision_messages(layout: Layout, fixed: FixedPoint) -> Tensor:
    """The messages ``P_{k->i} = -A_ik^2 / P_{k\\i}`` at the fixed point, in slot order."""
    return -(layout.weight**2) / fixed.coefficient


def mean_state(layout: Layout, fixed: FixedPoint, b: Tensor, dtype: torch.dtype | None = None) -> MeanState:
    """Zero potential messages for the right-hand sides ``b``, kept in ``dtype`` (default: the layout's)."""
    b = b.to(dtype or layout.weight.dtype)
    potential = b.new_zeros((len(layout.source), b.shape[1]))
    return MeanState(layout, fixed.coefficient.to(b.dtype), fixed.belief, b, potential)


def mean_sweeps(state: MeanState, count: int, damping: float = 0.0) -> None:
    """``count`` flooding sweeps of the potential messages at the precision fixed point."""
    slots = state.layout
    for _ in range(count):
        new = reference.flood_potentials(
            state.b,
            slots.weight.to(state.b.dtype),
            slots.source,
            slots.destination,
            slots.reverse,
            state.cavity,
            state.potential,
        )
        state.potential = damping * state.potential + (1 - damping) * new if damping else new


def mean_estimate(state: MeanState) -> Tensor:
    """The means so far, ``(n, k)`` float64."""
    total = state.b + reference.gather_messages(state.potential, state.layout.destination, len(state.b))
    return total.double() / state.belief_precision.double()[:, None]


def joint_state(layout: Layout, b: Tensor, scale: Tensor | None = None) -> JointState:
    """Precision messages at their start and zero potential messages for the right-hand sides ``b``."""
    b = b.to(layout.weight.dtype)
    precision = _start_precisions(layout, scale)
    potential = b.new_zeros((len(layout.source), b.shape[1]))
    return JointState(layout, b, precision, potential, _first_nonpositive(_belief(layout, precision)))


def joint_sweeps(state: JointState, count: int, must_be_positive: bool = True) -> tuple[int, int | None]:
    """``count`` flooding sweeps of precision and potential messages; stops at an invalid belief if asked to."""
    slots = state.layout
    for done in range(count):
        if must_be_positive and state.invalid_node is not None:
            return done, state.invalid_node
        precision, cavity = _flood_precisions(slots, state.precision)
        state.potential = reference.flood_potentials(
            state.b, slots.weight, slots.source, slots.destination, slots.reverse, cavity, state.potential
        )
        state.precision = precision
        state.invalid_node = _first_nonpositive(_belief(slots, precision))
    return count, state.invalid_node


def joint_estimate(state: JointState) -> tuple[Tensor, Tensor]:
    """Means ``(n, k)`` and belief precisions ``(n,)`` so far, float64; 0 where the precision is 0."""
    belief = _belief(state.layout, state.precision).double()
    total = state.b + reference.gather_messages(state.potential, state.layout.destination, len(state.b))
    mean = torch.where(belief[:, None] == 0, 0.0, total.double() / belief[:, None])
    return mean, belief


def _start_precisions(layout: Layout, scale: Tensor | None) -> Tensor:
    if scale is None:
        return torch.zeros_like(layout.weight)
    d = scale.to(layout.weight.dtype)
    return -layout.weight.abs() * d[layout.source] / d[layout.destination]


def _flood_precisions(layout: Layout, precision: Tensor) -> tuple[Tensor, Tensor]:
    return reference.flood_precisions(
        layout.diagonal, layout.weight, layout.source, layout.destination, layout.reverse, precision
    )


def _belief(layout: Layout, precision: Tensor) -> Tensor:
    return layout.diagonal + reference.gather_messages(precision, layout.destination, len(layout.diagonal))


def _first_nonpositive(belief: Tensor) -> int | None:
    invalid = ~(belief > 0)
    return int(invalid.nonzero()[0]) if bool(invalid.any()) else None
