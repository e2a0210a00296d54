"""Blocks of right-hand sides, and the launches that move them over the tiles of one phase."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels.cuda import mean_kernels as kernels
from gabp.kernels.cuda.message_layout import MessageLayout, Phase
from gabp.kernels.cuda.sliced_ell import BLOCK, ROWS
from gabp.kernels.torch.sliced_ell import PANELS


@dataclass
class Panel:
    """Right-hand sides ``offset : offset + width``.

    Attributes
    ----------
    unary : Tensor, shape (positions, width)
    belief : Tensor, shape (2, positions, width)
    message : Tensor, shape (2, slots, width)
        Two halves of sweeps with even and with odd numbers; belief 0 is ``unary``, all else zero.
    partial : Tensor, float64, shape (tiles, width)
        Sums of the pieces of long rows.
    """

    offset: int
    width: int
    unary: Tensor
    belief: Tensor
    message: Tensor
    partial: Tensor


def make_panels(layout: MessageLayout, unary: Tensor) -> list[Panel]:
    """The panels of ``unary`` (positions, k)."""
    panels = []
    for offset, width in split(unary.shape[1]):
        own = unary[:, offset : offset + width].contiguous()
        belief = torch.stack((own, torch.zeros_like(own)))
        message = own.new_zeros((2, layout.slots, width))
        panels.append(Panel(offset, width, own, belief, message, make_partial(layout, width)))
    return panels


def split(columns: int) -> Iterator[tuple[int, int]]:
    """Offsets and widths of the panels of so many columns."""
    offset = 0
    while offset < columns:
        width = next(w for w in PANELS if w <= columns - offset)
        yield offset, width
        offset += width


def make_partial(layout: MessageLayout, width: int) -> Tensor:
    """Room for the sums of the pieces of long rows."""
    return torch.zeros((layout.matrix.tiles, width), dtype=torch.float64, device=layout.node.device)


def in_node_order(layout: MessageLayout, parts: list[Tensor]) -> Tensor:
    """(n, k) from the panels' (positions, width)."""
    return torch.cat(parts, 1)[layout.position]


def tiles(layout: MessageLayout, phase: Phase) -> tuple[int, Tensor, Tensor, Tensor, int]:
    """The first arguments of a launch over the tiles of a phase."""
    matrix = layout.matrix
    assert matrix.tile_base is not None
    return phase.tiles, matrix.tile_start, matrix.tile_row, matrix.tile_base, phase.first_tile


def long_rows(layout: MessageLayout, phase: Phase) -> tuple[int, Tensor, Tensor, int]:
    """The first arguments of a launch over the long rows of a phase."""
    return phase.long_rows, layout.matrix.long_tile, layout.matrix.long_row, phase.first_long


def sweep_means(
    layout: MessageLayout, phase: Phase, coefficient: Tensor, panel: Panel, now: int, new: int, control: Tensor
) -> None:
    """One mean sweep from the half ``now`` over the half ``new``; see `gabp.kernels.cuda.mean_kernels.mean_sweep`."""
    other = panel.belief[new]
    kernels.mean_sweep(
        *tiles(layout, phase), layout.column, coefficient, panel.unary, panel.belief[now], other,
        panel.message[new], panel.partial, K=panel.width, ROWS=ROWS,
    )  # fmt: skip
    finish_sums(layout, phase, panel, other, control)


def finish_sums(layout: MessageLayout, phase: Phase, panel: Panel, sums: Tensor, control: Tensor) -> None:
    """The sums of the long rows."""
    kernels.finish_sums(
        *long_rows(layout, phase), panel.partial, panel.unary, sums, control, K=panel.width, BLOCK=BLOCK
    )
