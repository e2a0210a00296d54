"""The compiled CPU backend: sweeps over a sliced-ELL layout in edge-local form (see ``sliced.hpp``).

Every result has the same bits for any number of threads; `torch.get_num_threads` says how many work.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gabp.kernels.cpu import extension
from gabp.kernels.types import FixedPoint

name = "cpu"

# Looked at only when a kernel is called: the module can be imported where the extension is missing.
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
    heard: int | None = None  # which half of the messages is heard, once damping has paired the halves


@dataclass
class JointState:
    """Precision and potential messages of one solve. Each panel carries its own precision messages."""

    layout: Layout
    columns: int
    panels: list[tuple[Panel, Panel]]
    invalid_node: int | None
    sweep: int = 0


def layout(start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor) -> Layout:
    """Arrange a symmetric model, given as slots, for sweeping."""
    threads = torch.get_num_threads()
    node, slice_start, chunk, segment, segment_row, row_segment = _cpu.plan_layout(start, threads)
    slots = int(segment[-1])
    plan = Layout(
        start=start,
        node=node,
        slice_start=slice_start,
        column=torch.empty(slots, dtype=torch.int32),
        chunk=chunk,
        segment=segment,
        segment_row=segment_row,
        row_segment=row_segment,
        weight=weight.new_empty(slots),
        diagonal=diagonal,
    )
    _cpu.fill_layout(plan.arrays, node, start, source, weight, plan.column, plan.weight, threads)
    padded = _to_positions(plan, diagonal[:, None], 0, 1, diagonal.dtype, filler=1.0)
    return replace(plan, diagonal=padded.view(-1))


def in_dtype(layout: Layout, dtype: torch.dtype) -> Layout:
    """The same arrangement with its numbers rounded to ``dtype``."""
    return replace(layout, weight=layout.weight.to(dtype), diagonal=layout.diagonal.to(dtype))


def residual(layout: Layout, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``b - A x`` and the norms of its columns, in float64."""
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
    """Flood the precision messages until they rest; see `gabp.kernels.types.Kernels`."""
    threads = torch.get_num_threads()
    dtype = layout.weight.dtype
    if tolerance is None:
        tolerance = 8 * torch.finfo(dtype).eps
    panel, invalid = _start_precisions(layout, scale)
    sweep, change = 0, float("inf")
    if invalid < 0 or not must_be_positive:
        sweep, change, invalid = _cpu.precision_sweeps(
            layout.arrays,
            layout.node,
            layout.weight,
            layout.diagonal,
            panel.belief,
            panel.message,
            sweep,
            limit,
            tolerance,
            must_be_positive,
            threads,
        )
    belief = panel.belief[sweep % 2]
    converged = invalid < 0 and change <= tolerance
    root = coefficient = belief.new_empty(0)
    if invalid < 0:
        root = belief.sqrt()
        coefficient = torch.empty_like(panel.message[0])
        _cpu.coefficients(layout.arrays, layout.weight, root, panel.message[sweep % 2], coefficient, threads)
    return FixedPoint(
        converged=converged,
        sweeps=sweep,
        change=change,
        invalid_node=invalid if invalid >= 0 else None,
        belief=_to_nodes(layout, [(0, belief.view(-1, 1))], 1).view(-1).to(dtype),
        coefficient=coefficient,
        root=root,
    )


def precision_messages(layout: Layout, fixed: FixedPoint) -> Tensor:
    """The messages ``P = -J g^2 / (1 - g^2)`` at the fixed point, in slot order."""
    g = fixed.coefficient.new_empty(int(layout.start[-1]))
    _cpu.to_row_slots(layout.arrays, layout.node, layout.start, fixed.coefficient, g, torch.get_num_threads())
    square = g.square_()
    message = torch.repeat_interleave(fixed.belief, layout.start.diff(), output_size=len(g))
    return message.mul_(square).div_(square.sub_(1))


def mean_state(layout: Layout, fixed: FixedPoint, b: Tensor, dtype: torch.dtype | None = None) -> MeanState:
    """Zero potential messages for the right-hand sides ``b``, kept in ``dtype`` (default: the layout's)."""
    coefficient = fixed.coefficient.to(dtype or layout.weight.dtype)
    root = fixed.root.to(coefficient.dtype)
    panels = [
        _panel(layout, _to_positions(layout, b, offset, width, coefficient.dtype, divisor=root), offset)
        for offset, width in _split(b.shape[1])
    ]
    return MeanState(layout, coefficient, root, b.shape[1], panels)


def mean_sweeps(state: MeanState, count: int, damping: float = 0.0) -> None:
    """``count`` flooding sweeps of the potential messages at the precision fixed point."""
    threads = torch.get_num_threads()
    arrays, g, t = state.layout.arrays, state.coefficient, state.sweep
    if damping != 0.0 and state.heard is None:
        _pair(state, threads)
    for panel in state.panels:
        if state.heard is None:
            _cpu.mean_sweeps(arrays, g, panel.unary, panel.belief, panel.message, t, count, threads)
        else:
            _cpu.damped_sweeps(
                arrays,
                g,
                panel.unary,
                panel.belief,
                panel.message,
                state.heard,
                t,
                count,
                damping,
                threads,
            )
    state.sweep += count


def mean_estimate(state: MeanState) -> Tensor:
    """The means so far, ``(n, k)`` float64."""
    half = state.sweep % 2
    parts = [(panel.offset, panel.belief[half].view(-1, panel.width)) for panel in state.panels]
    return _to_nodes(state.layout, parts, state.columns, divisor=state.root)


def joint_state(layout: Layout, b: Tensor, scale: Tensor | None = None) -> JointState:
    """Precision messages at their start and zero potential messages for the right-hand sides ``b``."""
    panels = []
    invalid = -1
    for offset, width in _split(b.shape[1]):
        precision, invalid = _start_precisions(layout, scale)
        potential = _panel(layout, _to_positions(layout, b, offset, width, layout.weight.dtype), offset)
        potential.message.zero_()
        panels.append((precision, potential))
    return JointState(layout, b.shape[1], panels, invalid if invalid >= 0 else None)


def joint_sweeps(state: JointState, count: int, must_be_positive: bool = True) -> tuple[int, int | None]:
    """``count`` flooding sweeps of precision and potential messages; stops at an invalid belief if asked to."""
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
    """Means ``(n, k)`` and belief precisions ``(n,)`` so far, float64."""
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


def _start_precisions(layout: Layout, scale: Tensor | None) -> tuple[Panel, int]:
    """Half 0 holds the messages at the start; half 1 is such that they are also what was sent then."""
    diagonal = layout.diagonal
    belief = torch.stack((diagonal, torch.zeros_like(diagonal)))
    message = diagonal.new_empty((2, len(layout.column)))
    panel = Panel(0, 1, diagonal, belief, message)
    if scale is None:
        message[0] = 0.0
        message[1] = -torch.inf  # an infinite cavity sends zero
        positive = bool((diagonal > 0).all())
        return panel, -1 if positive else _first_nonpositive(layout)
    d = _to_positions(layout, scale[:, None], 0, 1, diagonal.dtype, filler=1.0).view(-1)
    invalid = _cpu.start_precisions(
        layout.arrays, layout.node, layout.weight, diagonal, d, belief, message, torch.get_num_threads()
    )
    belief[1] = 0.0
    return panel, invalid


def _first_nonpositive(layout: Layout) -> int:
    diagonal = _to_nodes(layout, [(0, layout.diagonal.view(-1, 1))], 1).view(-1)
    return int((~(diagonal > 0)).nonzero()[0])


def _pair(state: MeanState, threads: int) -> None:
    """From two sweeps of heard messages to the messages heard and sent now, which damping needs."""
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
    state.heard = t % 2


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
