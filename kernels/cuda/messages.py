"""The flooding schedule in Triton, over the layout of ``message_layout.py``.

No host synchronisation inside a sweep: mean sweeps are never checked, and sweeps of precisions carry a control on the
device that stops them, which the host reads now and then. Everything runs where its tensors are, in torch's current
stream.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gabp.kernels.cuda import mean_kernels, precision_kernels
from gabp.kernels.cuda.control import CHANGE, INVALID, NONE, STOPPED, SWEEPS, make_control
from gabp.kernels.cuda.message_layout import MessageLayout, arrange
from gabp.kernels.cuda.panels import (
    Panel,
    finish_sums,
    in_node_order,
    long_rows,
    make_panels,
    make_partial,
    split,
    sweep_means,
    tiles,
)
from gabp.kernels.cuda.sliced_ell import BLOCK, ROWS
from gabp.kernels.fixed_point import (
    Progress,
    StoppingRule,
    default_tolerance,
    find_fixed_point,
    start_from_zero,
)
from gabp.kernels.types import FixedPoint

_FIRST_CHECK = 8  # sweeps of precisions before the first convergence check; the next comes after as many again
_LONGEST_WAIT = 256
_NEVER = -1.0  # no change is that small


@dataclass
class MeanState:
    """Potential messages of one solve."""

    layout: MessageLayout
    coefficient: Tensor
    root: Tensor
    panels: list[Panel]
    control: Tensor  # never stops
    sweep: int = 0
    received: int | None = None  # the half of the received messages, once damping has made the other those sent


@dataclass
class PrecisionState:
    """Precision messages: halves as in a panel, and the control that may stop them."""

    belief: Tensor
    message: Tensor
    partial: Tensor
    control: Tensor
    tolerance: Tensor

    def progress(self) -> Progress:
        """As recorded on the device, for which it waits."""
        control = self.control.cpu()
        invalid = int(control[INVALID.value])
        change = control.view(torch.float64)[CHANGE.value]
        return Progress(int(control[SWEEPS.value]), float(change), None if invalid == NONE.value else invalid)


@dataclass
class JointState:
    """Precision and potential messages of one solve. Each panel carries its own precision messages."""

    layout: MessageLayout
    panels: list[tuple[PrecisionState, Panel]]
    invalid_node: int | None
    sweep: int = 0


def layout(start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor) -> MessageLayout:
    """See `gabp.kernels.types.MessageKernels`."""
    return arrange(start, source, weight, diagonal)


def in_dtype(layout: MessageLayout, dtype: torch.dtype) -> MessageLayout:
    """See `gabp.kernels.types.MessageKernels`."""
    return replace(layout, matrix=layout.matrix.astype(dtype), diagonal=layout.diagonal.to(dtype))


def residual(layout: MessageLayout, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.types.MessageKernels`."""
    x, b = x.double(), b.double().contiguous()
    r = torch.zeros_like(b)
    (phase,) = layout.phases
    for offset, width in split(b.shape[1]):
        placed = layout.to_positions(x[:, offset : offset + width])
        partial = make_partial(layout, width)
        mean_kernels.residual_sweep(
            *tiles(layout, phase), layout.column, layout.matrix.value, layout.node, layout.diagonal,
            placed, b, r, partial, b.shape[1], offset, K=width, ROWS=ROWS,
        )  # fmt: skip
        mean_kernels.finish_residual(
            *long_rows(layout, phase), partial, layout.node, layout.diagonal, placed, b, r,
            b.shape[1], offset, K=width, BLOCK=BLOCK,
        )  # fmt: skip
    return r, torch.linalg.vector_norm(r, dim=0)


def precision_fixed_point(
    layout: MessageLayout,
    scale: Tensor | None = None,
    *,
    limit: int,
    tolerance: float | None = None,
    must_be_positive: bool = True,
) -> FixedPoint:
    """See `gabp.kernels.types.MessageKernels`."""
    if tolerance is None:
        tolerance = default_tolerance(layout.matrix.value.dtype)
    flooding = _Flooding(layout, *_start_precisions(layout, scale, tolerance))
    return find_fixed_point(flooding, StoppingRule(limit, tolerance, must_be_positive))


@dataclass(frozen=True)
class _Flooding:
    """See `gabp.kernels.fixed_point.Flooding`."""

    layout: MessageLayout
    precisions: PrecisionState
    invalid_at_start: int | None

    def advance(self, progress: Progress, rule: StoppingRule) -> Progress:
        done = progress.sweeps
        count = min(max(_FIRST_CHECK, done), _LONGEST_WAIT, rule.limit - done)
        for t in range(done, done + count):
            _precision_sweep(self.layout, self.precisions, t, rule.must_be_positive)
        return self.precisions.progress()

    def beliefs(self, sweeps: int) -> Tensor:
        return self.precisions.belief[sweeps % 2][self.layout.position]

    def coefficients(self, sweeps: int) -> tuple[Tensor, Tensor]:
        layout = self.layout
        root = self.precisions.belief[sweeps % 2].sqrt()
        coefficient = self.precisions.message[sweeps % 2].clone()
        (phase,) = layout.phases
        precision_kernels.coefficients(
            *tiles(layout, phase), layout.column, layout.matrix.value, root, coefficient, ROWS=ROWS
        )
        return coefficient, root


def precision_messages(layout: MessageLayout, fixed: FixedPoint) -> Tensor:
    """``P = -J g^2 / (1 - g^2)``; see `gabp.kernels.types.MessageKernels`."""
    g = fixed.coefficient[layout.slot_of_edges()]
    belief = torch.repeat_interleave(fixed.belief, layout.start.diff(), output_size=len(g))
    return -belief * g * g / (1 - g * g)


def mean_state(layout: MessageLayout, fixed: FixedPoint, b: Tensor, dtype: torch.dtype | None = None) -> MeanState:
    """See `gabp.kernels.types.MessageKernels`."""
    coefficient = fixed.coefficient.to(dtype or layout.matrix.value.dtype)
    root = fixed.root.to(coefficient.dtype)
    unary = (layout.to_positions(b.double()) / root.double()[:, None]).to(coefficient.dtype)
    return MeanState(layout, coefficient, root, make_panels(layout, unary), make_control(layout.node.device))


def mean_sweeps(state: MeanState, count: int, damping: float = 0.0) -> None:
    """See `gabp.kernels.types.MessageKernels`."""
    if damping != 0.0 and state.received is None:
        state.received = _reverse_older_half(state)
    sweeps = range(state.sweep, state.sweep + count)
    if state.received is None:
        (phase,) = state.layout.phases
        for panel in state.panels:
            for t in sweeps:
                sweep_means(state.layout, phase, state.coefficient, panel, t % 2, (t + 1) % 2, state.control)
    else:
        keep = torch.full((1,), damping, dtype=state.root.dtype, device=state.root.device)
        for panel in state.panels:
            for t in sweeps:
                _damped_sweep(state, state.received, panel, t, keep)
    state.sweep += count


def mean_estimate(state: MeanState) -> Tensor:
    """See `gabp.kernels.types.MessageKernels`."""
    root = state.root[state.layout.position]
    return (
        in_node_order(state.layout, [panel.belief[state.sweep % 2] for panel in state.panels]).double()
        / root.double()[:, None]
    )


def joint_state(layout: MessageLayout, b: Tensor, scale: Tensor | None = None) -> JointState:
    """See `gabp.kernels.types.MessageKernels`."""
    panels = []
    invalid = None
    for panel in make_panels(layout, layout.to_positions(b.to(layout.matrix.value.dtype))):
        precisions, invalid = _start_precisions(layout, scale, _NEVER)
        panels.append((precisions, panel))
    return JointState(layout, panels, invalid)


def joint_sweeps(state: JointState, count: int, must_be_positive: bool = True) -> tuple[int, int | None]:
    """See `gabp.kernels.types.MessageKernels`."""
    if count == 0 or (must_be_positive and state.invalid_node is not None):
        return 0, state.invalid_node
    for precisions, panel in state.panels:
        precisions.control[STOPPED.value].zero_()
        for t in range(state.sweep, state.sweep + count):
            _joint_sweep(state.layout, precisions, panel, t, must_be_positive)
    stop, _, state.invalid_node = state.panels[0][0].progress()
    done, state.sweep = stop - state.sweep, stop
    return done, state.invalid_node


def joint_estimate(state: JointState) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.types.MessageKernels`."""
    half = state.sweep % 2
    belief = state.panels[0][0].belief[half][state.layout.position].double()
    total = in_node_order(state.layout, [panel.belief[half] for _, panel in state.panels]).double()
    return torch.where(belief[:, None] == 0, 0.0, total / belief[:, None]), belief


def _start_precisions(
    layout: MessageLayout, scale: Tensor | None, tolerance: float
) -> tuple[PrecisionState, int | None]:
    """The precision messages at their start, and the smallest node whose belief is not positive there."""
    diagonal = layout.diagonal
    belief, message = start_from_zero(diagonal, layout.slots)
    partial, control = make_partial(layout, 1), make_control(layout.node.device)
    if scale is not None:
        d = layout.to_positions(scale.to(diagonal.dtype), filler=1.0)
        (phase,) = layout.phases
        precision_kernels.start_precisions(
            *tiles(layout, phase), layout.column, layout.matrix.value, d, diagonal, belief[0], message[0],
            partial, ROWS=ROWS,
        )  # fmt: skip
        rows = long_rows(layout, phase)
        mean_kernels.finish_sums(*rows, partial, diagonal, belief[0], control, K=1, BLOCK=BLOCK)
        message[1] = message[0]
    limit = torch.tensor([tolerance], dtype=torch.float64, device=diagonal.device)
    bad = (~(belief[0][layout.position] > 0)).nonzero()
    return PrecisionState(belief, message, partial, control, limit), int(bad[0]) if len(bad) else None


def _precision_sweep(layout: MessageLayout, p: PrecisionState, t: int, must_be_positive: bool) -> None:
    (phase,) = layout.phases
    new = (t + 1) % 2
    precision_kernels.precision_sweep(
        *tiles(layout, phase), layout.column, layout.matrix.value, layout.node, layout.diagonal, p.belief[t % 2],
        p.belief[new], p.message[new], p.partial, p.control, ROWS=ROWS,
    )  # fmt: skip
    _finish_precisions(layout, p, new, must_be_positive)


def _joint_sweep(layout: MessageLayout, p: PrecisionState, panel: Panel, t: int, must_be_positive: bool) -> None:
    (phase,) = layout.phases
    new = (t + 1) % 2
    precision_kernels.joint_sweep(
        *tiles(layout, phase), layout.column, layout.matrix.value, layout.node, layout.diagonal, p.belief[t % 2],
        p.belief[new], p.message[new], p.partial, p.control, panel.unary, panel.belief[t % 2], panel.belief[new],
        panel.message[new], panel.partial, K=panel.width, ROWS=ROWS,
    )  # fmt: skip
    finish_sums(layout, phase, panel, panel.belief[new], p.control)
    _finish_precisions(layout, p, new, must_be_positive)


def _finish_precisions(layout: MessageLayout, p: PrecisionState, new: int, must_be_positive: bool) -> None:
    (phase,) = layout.phases
    precision_kernels.finish_precisions(
        *long_rows(layout, phase), p.partial, layout.node, layout.diagonal, p.belief[new], p.control, BLOCK=BLOCK
    )
    precision_kernels.update_control(1, p.control, p.tolerance, int(must_be_positive))


def _damped_sweep(state: MeanState, received: int, panel: Panel, t: int, damping: Tensor) -> None:
    layout = state.layout
    (phase,) = layout.phases
    other = panel.belief[(t + 1) % 2]
    mean_kernels.damped_sweep(
        *tiles(layout, phase), layout.column, state.coefficient, panel.unary, panel.belief[t % 2], other,
        panel.message[received], panel.message[1 - received], damping, panel.partial, K=panel.width, ROWS=ROWS,
    )  # fmt: skip
    finish_sums(layout, phase, panel, other, state.control)


def _reverse_older_half(state: MeanState) -> int:
    """Replace the messages received one sweep ago by those sent now, which damping needs; the half received now."""
    layout, t = state.layout, state.sweep
    (phase,) = layout.phases
    for panel in state.panels:
        mean_kernels.reverse_messages(
            *tiles(layout, phase), state.coefficient, panel.belief[(t + 1) % 2], panel.message[(t + 1) % 2],
            K=panel.width, ROWS=ROWS,
        )  # fmt: skip
    return t % 2
