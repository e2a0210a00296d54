"""The flooding schedule in tensor operations: each sweep by the literal equations.

Runs on any device and in any floating dtype. It is the ground truth that the fast backends are tested
against, and the fallback where none of them can run.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gabp.kernels import reference
from gabp.kernels.fixed_point import Progress, StoppingRule, default_tolerance, find_fixed_point
from gabp.kernels.torch.offsets import destinations
from gabp.kernels.torch.rows import reverse_edges
from gabp.kernels.types import FixedPoint


@dataclass(frozen=True)
class Layout:
    """The directed edges of a symmetric model (see `gabp.kernels.reference`) with their ends and reverses."""

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
    """See `gabp.kernels.types.MessageKernels`."""
    return Layout(source.long(), destinations(start), reverse_edges(start, source), weight, diagonal)


def in_dtype(layout: Layout, dtype: torch.dtype) -> Layout:
    """See `gabp.kernels.types.MessageKernels`."""
    return replace(layout, weight=layout.weight.to(dtype), diagonal=layout.diagonal.to(dtype))


def residual(layout: Layout, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.types.MessageKernels`."""
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
    """See `gabp.kernels.types.MessageKernels`."""
    if tolerance is None:
        tolerance = default_tolerance(layout.weight.dtype)
    return find_fixed_point(_Flooding(layout, scale), StoppingRule(limit, tolerance, must_be_positive))


class _Flooding:
    """See `gabp.kernels.fixed_point.Flooding`."""

    def __init__(self, layout: Layout, scale: Tensor | None) -> None:
        self._layout = layout
        self._precision = _start_precisions(layout, scale)
        self._belief = _belief(layout, self._precision)
        self._before = torch.zeros_like(self._belief)
        self.invalid_at_start = _first_nonpositive(self._belief)

    def advance(self, progress: Progress, rule: StoppingRule) -> Progress:
        self._precision, _ = _flood_precisions(self._layout, self._precision)
        belief = _belief(self._layout, self._precision)
        change = float(((belief - self._before).abs() / self._layout.diagonal).double().max())
        self._before, self._belief = self._belief, belief
        return Progress(progress.sweeps + 1, change, _first_nonpositive(belief))

    def beliefs(self, sweeps: int) -> Tensor:
        return self._belief

    def coefficients(self, sweeps: int) -> tuple[Tensor, Tensor]:
        cavity = self._belief[self._layout.source] - self._precision[self._layout.reverse]
        return cavity, self._belief.sqrt()


def precision_messages(layout: Layout, fixed: FixedPoint) -> Tensor:
    """``P_{k->i} = -A_ik^2 / P_{k\\i}``; see `gabp.kernels.types.MessageKernels`."""
    return -(layout.weight**2) / fixed.coefficient


def mean_state(layout: Layout, fixed: FixedPoint, b: Tensor, dtype: torch.dtype | None = None) -> MeanState:
    """See `gabp.kernels.types.MessageKernels`."""
    b = b.to(dtype or layout.weight.dtype)
    potential = b.new_zeros((len(layout.source), b.shape[1]))
    return MeanState(layout, fixed.coefficient.to(b.dtype), fixed.belief, b, potential)


def mean_sweeps(state: MeanState, count: int, damping: float = 0.0) -> None:
    """See `gabp.kernels.types.MessageKernels`."""
    edges = state.layout
    for _ in range(count):
        new = reference.flood_potentials(
            state.b,
            edges.weight.to(state.b.dtype),
            edges.source,
            edges.destination,
            edges.reverse,
            state.cavity,
            state.potential,
        )
        state.potential = damping * state.potential + (1 - damping) * new if damping else new


def mean_estimate(state: MeanState) -> Tensor:
    """See `gabp.kernels.types.MessageKernels`."""
    total = state.b + reference.gather_messages(state.potential, state.layout.destination, len(state.b))
    return total.double() / state.belief_precision.double()[:, None]


def joint_state(layout: Layout, b: Tensor, scale: Tensor | None = None) -> JointState:
    """See `gabp.kernels.types.MessageKernels`."""
    b = b.to(layout.weight.dtype)
    precision = _start_precisions(layout, scale)
    potential = b.new_zeros((len(layout.source), b.shape[1]))
    return JointState(layout, b, precision, potential, _first_nonpositive(_belief(layout, precision)))


def joint_sweeps(state: JointState, count: int, must_be_positive: bool = True) -> tuple[int, int | None]:
    """See `gabp.kernels.types.MessageKernels`."""
    edges = state.layout
    for done in range(count):
        if must_be_positive and state.invalid_node is not None:
            return done, state.invalid_node
        precision, cavity = _flood_precisions(edges, state.precision)
        state.potential = reference.flood_potentials(
            state.b, edges.weight, edges.source, edges.destination, edges.reverse, cavity, state.potential
        )
        state.precision = precision
        state.invalid_node = _first_nonpositive(_belief(edges, precision))
    return count, state.invalid_node


def joint_estimate(state: JointState) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.types.MessageKernels`."""
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
