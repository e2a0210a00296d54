"""The flooding schedule, compiled: sweeps over a sliced-ELL layout in edge-local form (see ``sliced.hpp``).

Every result is bitwise identical for any number of threads, of which there are `torch.get_num_threads`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gabp.kernels.cpu import extension
from gabp.kernels.fixed_point import (
    Progress,
    StoppingRule,
    default_tolerance,
    find_fixed_point,
    start_from_zero,
)
from gabp.kernels.types import FixedPoint

# Read only when a kernel is called: the module can be imported where the extension is missing.
_cpu: Any = extension

_PANELS = (8, 4, 2, 1)


@dataclass(frozen=True)
class Layout:
    """A symmetric model in position order (see ``sliced.hpp``): plain tensors, immutable, picklable."""

    start: Tensor
    node: Tensor
    slice_start: Tensor
    column: Tensor
    chunk: Tensor
    segment: Tensor
    segment_row: Tensor
    row_segment: Tensor
    weight: Tensor
    diagonal: Tensor

    @property
    def n(self) -> int:
        return len(self.start) - 1

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        return (self.slice_start, self.column, self.chunk, self.segment, self.segment_row, self.row_segment)


@dataclass
class Panel:
    """Right-hand sides ``offset : offset + width``, which travel together."""

    offset: int
    width: int
    unary: Tensor
    belief: Tensor
    message: Tensor


@dataclass
class MeanState:
    """Potential messages of one solve. Not to be shared between threads."""

    layout: Layout
    coefficient: Tensor
    root: Tensor
    columns: int
    panels: list[Panel]
    sweep: int = 0
    received: int | None = None  # which half of the messages was received, once damping has paired the halves


@dataclass
class JointState:
    """Precision and potential messages of one solve. Each panel carries its own precision messages."""

    layout: Layout
    columns: int
    panels: list[tuple[Panel, Panel]]
    invalid_node: int | None
    sweep: int = 0


def layout(start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor) -> Layout:
    """See `gabp.kernels.types.MessageKernels`."""
    threads = torch.get_num_threads()
    node, slice_start, chunk, segment, segment_row, row_segment = _cpu.plan_layout(start, threads)
    padded_edges = int(segment[-1])
    plan = Layout(
        start=start,
        node=node,
        slice_start=slice_start,
        column=torch.empty(padded_edges, dtype=torch.int32),
        chunk=chunk,
        segment=segment,
        segment_row=segment_row,
        row_segment=row_segment,
        weight=weight.new_empty(padded_edges),
        diagonal=diagonal,
    )
    _cpu.fill_layout(plan.arrays, node, start, source, weight, plan.column, plan.weight, threads)
    padded = _to_positions(plan, diagonal[:, None], 0, 1, diagonal.dtype, filler=1.0)
    return replace(plan, diagonal=padded.view(-1))


def in_dtype(layout: Layout, dtype: torch.dtype) -> Layout:
    """See `gabp.kernels.types.MessageKernels`."""
    return replace(layout, weight=layout.weight.to(dtype), diagonal=layout.diagonal.to(dtype))


def residual(layout: Layout, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.types.MessageKernels`."""
    x, b = x.double().contiguous(), b.double().contiguous()
    if len(layout.node):
        x = _to_positions(layout, x, 0, x.shape[1], torch.float64)
    r = torch.empty_like(b)
    norms = b.new_empty(b.shape[1])
    _cpu.residual(layout.arrays, layout.node, layout.weight, layout.diagonal, x, b, r, norms, torch.get_num_threads())
    return r, norms


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
    flooding = _Flooding(layout, *_start_precisions(layout, scale))
    return find_fixed_point(flooding, StoppingRule(limit, tolerance, must_be_positive))


@dataclass(frozen=True)
class _Flooding:
    """See `gabp.kernels.fixed_point.Flooding`."""

    layout: Layout
    panel: Panel
    invalid_at_start: int | None

    def advance(self, progress: Progress, rule: StoppingRule) -> Progress:
        layout, panel = self.layout, self.panel
        sweeps, change, invalid = _cpu.precision_sweeps(
            layout.arrays,
            layout.node,
            layout.weight,
            layout.diagonal,
            panel.belief,
            panel.message,
            progress.sweeps,
            *rule,
            torch.get_num_threads(),
        )
        return Progress(sweeps, change, invalid if invalid >= 0 else None)

    def beliefs(self, sweeps: int) -> Tensor:
        belief = self.panel.belief[sweeps % 2]
        return _to_nodes(self.layout, [(0, belief.view(-1, 1))], 1).view(-1).to(belief.dtype)

    def coefficients(self, sweeps: int) -> tuple[Tensor, Tensor]:
        layout, message = self.layout, self.panel.message[sweeps % 2]
        root = self.panel.belief[sweeps % 2].sqrt()
        coefficient = torch.empty_like(message)
        _cpu.coefficients(layout.arrays, layout.weight, root, message, coefficient, torch.get_num_threads())
        return coefficient, root


def precision_messages(layout: Layout, fixed: FixedPoint) -> Tensor:
    """``P = -J g^2 / (1 - g^2)``; see `gabp.kernels.types.MessageKernels`."""
    g = fixed.coefficient.new_empty(int(layout.start[-1]))
    _cpu.to_row_slots(layout.arrays, layout.node, layout.start, fixed.coefficient, g, torch.get_num_threads())
    square = g.square_()
    message = torch.repeat_interleave(fixed.belief, layout.start.diff(), output_size=len(g))
    return message.mul_(square).div_(square.sub_(1))


def mean_state(layout: Layout, fixed: FixedPoint, b: Tensor, dtype: torch.dtype | None = None) -> MeanState:
    """See `gabp.kernels.types.MessageKernels`."""
    coefficient = fixed.coefficient.to(dtype or layout.weight.dtype)
    root = fixed.root.to(coefficient.dtype)
    panels = [
        _panel(layout, _to_positions(layout, b, offset, width, coefficient.dtype, divisor=root), offset)
        for offset, width in _split(b.shape[1])
    ]
    return MeanState(layout, coefficient, root, b.shape[1], panels)


def mean_sweeps(state: MeanState, count: int, damping: float = 0.0) -> None:
    """See `gabp.kernels.types.MessageKernels`."""
    threads = torch.get_num_threads()
    arrays, g, t = state.layout.arrays, state.coefficient, state.sweep
    if damping != 0.0 and state.received is None:
        _pair(state, threads)
    for panel in state.panels:
        if state.received is None:
            _cpu.mean_sweeps(arrays, g, panel.unary, panel.belief, panel.message, t, count, threads)
        else:
            _cpu.damped_sweeps(
                arrays,
                g,
                panel.unary,
                panel.belief,
                panel.message,
                state.received,
                t,
                count,
                damping,
                threads,
            )
    state.sweep += count


def mean_estimate(state: MeanState) -> Tensor:
    """See `gabp.kernels.types.MessageKernels`."""
    half = state.sweep % 2
    parts = [(panel.offset, panel.belief[half].view(-1, panel.width)) for panel in state.panels]
    return _to_nodes(state.layout, parts, state.columns, divisor=state.root)


def joint_state(layout: Layout, b: Tensor, scale: Tensor | None = None) -> JointState:
    """See `gabp.kernels.types.MessageKernels`."""
    panels = []
    invalid = None
    for offset, width in _split(b.shape[1]):
        precision, invalid = _start_precisions(layout, scale)
        potential = _panel(layout, _to_positions(layout, b, offset, width, layout.weight.dtype), offset)
        potential.message.zero_()
        panels.append((precision, potential))
    return JointState(layout, b.shape[1], panels, invalid)


def joint_sweeps(state: JointState, count: int, must_be_positive: bool = True) -> tuple[int, int | None]:
    """See `gabp.kernels.types.MessageKernels`."""
    if must_be_positive and state.invalid_node is not None:
        return 0, state.invalid_node
    threads = torch.get_num_threads()
    arrays = state.layout.arrays
    stop, invalid = state.sweep, -1
    for precision, potential in state.panels:
        stop, invalid = _cpu.joint_sweeps(
            arrays,
            state.layout.node,
            state.layout.weight,
            state.layout.diagonal,
            precision.belief,
            precision.message,
            potential.unary,
            potential.belief,
            potential.message,
            state.sweep,
            count,
            must_be_positive,
            threads,
        )
    done = stop - state.sweep
    state.sweep = stop
    state.invalid_node = invalid if invalid >= 0 else None
    return done, state.invalid_node


def joint_estimate(state: JointState) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.types.MessageKernels`."""
    half = state.sweep % 2
    parts = [(h.offset, h.belief[half].view(-1, h.width)) for _, h in state.panels]
    belief = state.panels[0][0].belief[half]
    mean = _to_nodes(state.layout, parts, state.columns, divisor=belief)
    return mean, _to_nodes(state.layout, [(0, belief.view(-1, 1))], 1).view(-1)


def _split(columns: int) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset < columns:
        width = next(w for w in _PANELS if w <= columns - offset)
        yield offset, width
        offset += width


def _panel(layout: Layout, unary: Tensor, offset: int) -> Panel:
    # Messages stay uninitialised: the first sweep of each half writes them without reading.
    width = unary.shape[1]
    belief = torch.stack((unary.view(-1), torch.zeros_like(unary).view(-1)))
    message = unary.new_empty((2, len(layout.column) * width))
    return Panel(offset, width, unary, belief, message)


def _start_precisions(layout: Layout, scale: Tensor | None) -> tuple[Panel, int | None]:
    """The precision messages at their start, and the smallest node whose belief is not positive there."""
    diagonal = layout.diagonal
    belief, message = start_from_zero(diagonal, len(layout.column))
    panel = Panel(0, 1, diagonal, belief, message)
    if scale is None:
        return panel, None if bool((diagonal > 0).all()) else _first_nonpositive(layout)
    d = _to_positions(layout, scale[:, None], 0, 1, diagonal.dtype, filler=1.0).view(-1)
    invalid = _cpu.start_precisions(
        layout.arrays, layout.node, layout.weight, diagonal, d, belief, message, torch.get_num_threads()
    )
    belief[1] = 0.0
    return panel, invalid if invalid >= 0 else None


def _first_nonpositive(layout: Layout) -> int:
    diagonal = _to_nodes(layout, [(0, layout.diagonal.view(-1, 1))], 1).view(-1)
    return int((~(diagonal > 0)).nonzero()[0])


def _pair(state: MeanState, threads: int) -> None:
    """From the messages received in two sweeps to those received and sent in the last one, which damping needs."""
    t = state.sweep
    for panel in state.panels:
        if t == 0:
            panel.message.zero_()
            continue
        if t == 1:
            panel.message[0] = 0.0
        _cpu.reverse_messages(
            state.layout.arrays, state.coefficient, panel.belief, panel.message, t, panel.width, threads
        )
    state.received = t % 2


def _to_positions(
    layout: Layout,
    values: Tensor,
    offset: int,
    width: int,
    dtype: torch.dtype,
    divisor: Tensor | None = None,
    filler: float = 0.0,
) -> Tensor:
    positions = 8 * (len(layout.slice_start) - 1) + len(layout.row_segment) - 1
    out = torch.empty((positions, width), dtype=dtype)
    if divisor is None:
        divisor = torch.empty(0, dtype=dtype)
    threads = torch.get_num_threads()
    _cpu.to_positions(layout.node, values.double().contiguous(), offset, divisor, out, filler, threads)
    return out


def _to_nodes(layout: Layout, parts: list[tuple[int, Tensor]], columns: int, divisor: Tensor | None = None) -> Tensor:
    out = torch.empty((layout.n, columns), dtype=torch.float64)
    for offset, values in parts:
        over = values.new_empty(0) if divisor is None else divisor
        _cpu.to_nodes(layout.node, values, over, out, offset, torch.get_num_threads())
    return out
