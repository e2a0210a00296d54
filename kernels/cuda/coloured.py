"""The sequential schedule in the order of colours: the nodes of one colour send at once, from the newest messages.

Between two turns of a node each of its neighbours sends exactly once. The neighbour's message depends on the one that
the node sent it at its own last turn, which is recomputed. That is flooding's edge-local form, with the beliefs that
nodes last sent from in the place of those of the sweep before: a phase is a mean sweep over one colour, in place.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels.cuda.control import make_control
from gabp.kernels.cuda.mean_kernels import newest_sums
from gabp.kernels.cuda.message_layout import MessageLayout, arrange
from gabp.kernels.cuda.panels import Panel, finish_sums, in_node_order, make_panels, sweep_means, tiles
from gabp.kernels.cuda.sliced_ell import ROWS


@dataclass
class ColouredState:
    """Potential messages of one solve; of each panel's two halves only half 1 is used, in place."""

    layout: MessageLayout
    panels: list[Panel]
    control: Tensor  # never stops


def coloured_layout(
    start: Tensor, source: Tensor, weight: Tensor, belief: Tensor, message: Tensor, colour: Tensor
) -> MessageLayout:
    """The coefficients at the precision fixed point, colour by colour; they take the place of the weights.

    Parameters
    ----------
    start, source, weight : Tensor
        The directed edges, as in `gabp.kernels.types.MessageKernels.layout`.
    belief : Tensor, shape (n,)
        ``J``; its root takes the place of the diagonal.
    message : Tensor, shape (m,)
        ``P_{k->i}``.
    colour : Tensor, int64, shape (n,)
        0, 1, ...; no two neighbours share one.
    """
    root = belief.sqrt()
    own = torch.repeat_interleave(root, start.diff(), output_size=len(source))
    coefficient = weight * own / (root[source.long()] * (own * own - message))
    return arrange(start, source, coefficient, root, colour)


def coloured_state(layout: MessageLayout, b: Tensor) -> ColouredState:
    """Zero messages for the right-hand sides ``b`` (n, k)."""
    unary = layout.to_positions(b.double()) / layout.diagonal.double()[:, None]
    panels = make_panels(layout, unary.to(layout.matrix.value.dtype))
    return ColouredState(layout, panels, make_control(layout.node.device))


def coloured_sweeps(state: ColouredState, count: int) -> None:
    """``count`` sweeps, in each of which every node sends once."""
    layout = state.layout
    for panel in state.panels:
        for _ in range(count):
            for phase in layout.phases:
                sweep_means(layout, phase, layout.matrix.value, panel, 1, 1, state.control)


def coloured_estimate(state: ColouredState) -> Tensor:
    """The means so far, ``(n, k)`` float64."""
    layout = state.layout
    for panel in state.panels:
        for phase in layout.phases:
            newest_sums(
                *tiles(layout, phase), layout.tile_end, layout.column, layout.matrix.value, panel.unary,
                panel.belief[1], panel.message[1], panel.belief[0], panel.partial, K=panel.width, ROWS=ROWS,
            )  # fmt: skip
            finish_sums(layout, phase, panel, panel.belief[0], state.control)
    total = in_node_order(layout, [panel.belief[0] for panel in state.panels]).double()
    return total / layout.diagonal[layout.position].double()[:, None]
