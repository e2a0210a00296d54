"""The Triton backend: the function set of `gabp.kernels.types.Kernels` over the layout of ``tiles.py``.

No host synchronisation inside a sweep: mean sweeps never look, and sweeps of precisions carry a control on the device
that stops them, at which the host looks now and then. Everything runs where its tensors are, in torch's current stream.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gabp.kernels.cuda import sweep_kernels as kernels
from gabp.kernels.cuda.sweep_kernels import PANELS, ROWS
from gabp.kernels.cuda.tiles import Layout, Phase, arrange
from gabp.kernels.types import FixedPoint

name = "cuda"

_FIRST_LOOK = 8  # sweeps of precisions; every further look waits for as many as are done
_LONGEST_WAIT = 256
_JOINED = kernels.finish_sums.variants[0]["BLOCK"]
_NEVER = -1.0  # no change is that small


@dataclass
class Panel:
    """Right-hand sides ``offset : offset + width``, which travel together; two interleaved halves of each buffer."""

    offset: int
    width: int
    unary: Tensor
    belief: Tensor
    message: Tensor
    partial: Tensor


@dataclass
class MeanState:
    """Potential messages of one solve."""

    layout: Layout
    coefficient: Tensor
    root: Tensor
    columns: int
    panels: list[Panel]
    sweep: int = 0
    heard: int | None = None  # which half of the messages is heard, once damping has paired the halves
    damping: dict[float, Tensor] = field(default_factory=dict)  # on the device


@dataclass
class Precisions:
    """Precision messages under way: halves as in a panel, and the control that may stop them."""

    belief: Tensor
    message: Tensor
    partial: Tensor
    control: Tensor
    tolerance: Tensor

    def look(self) -> tuple[int, int | None, float]:
        """Sweeps done, the smallest node whose belief is not positive, and the largest change; waits for the device."""
        control = self.control.cpu()
        invalid = int(control[kernels.INVALID.value])
        change = control.view(torch.float64)[kernels.CHANGE.value]
        return int(control[kernels.SWEEPS.value]), None if invalid == kernels.NONE.value else invalid, float(change)


@dataclass
class JointState:
    """Precision and potential messages of one solve. Each panel carries its own precision messages."""

    layout: Layout
    columns: int
    panels: list[tuple[Precisions, Panel]]
    invalid_node: int | None
    sweep: int = 0


def layout(start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor) -> Layout:
    """Arrange a symmetric model, given as slots, for sweeping."""
    return arrange(start, source, weight, diagonal)


def residual(layout: Layout, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``b - A x`` and the norms of its columns, in float64."""
    x, b = x.double(), b.double().contiguous()
    r = torch.zeros_like(b)
    (phase,) = layout.phases
    for offset, width in _split(b.shape[1]):
        placed = layout.to_positions(x[:, offset : offset + width])
        partial = _partial(layout, width)
        kernels.residual_sweep(
            *_tiles(layout, phase), layout.column, layout.weight, layout.node, layout.diagonal, placed, b, r, partial,
            b.shape[1], offset, K=width, ROWS=ROWS,
        )  # fmt: skip
        kernels.finish_residual(
            *_long_rows(layout, phase), partial, layout.node, layout.diagonal, placed, b, r,
            b.shape[1], offset, K=width, BLOCK=_JOINED,
        )  # fmt: skip
    return r, torch.linalg.vector_norm(r, dim=0)
