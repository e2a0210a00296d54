"""What a step on a hierarchy costs a GPU, counted by going through its motions: kernels, and the bytes they move.

Each array that a kernel touches is counted once, padding included. Of a vector that is gathered, that is each number
at most once, as it stays in the second-level cache where it fits.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gabp.kernels.torch.multigrid_cycle import BACKWARD, FORWARD, PARTS, SUBSTITUTE
from gabp.kernels.torch.multigrid_levels import Level
from gabp.kernels.torch.sliced_rows import LANES, Part, SlicedRows

_COLUMN = 4
_WIDE = 8


class Cost(NamedTuple):
    """Kernels launched, none of which waits for the host, and bytes moved."""

    launches: int
    bytes_moved: int

    def seconds(self, bandwidth: float, gap: float) -> float:
        """The time at so many bytes per second, with ``gap`` seconds between one kernel and the next."""
        return self.bytes_moved / bandwidth + self.launches * gap


class CycleCost:
    """Stands in for `gabp.kernels.torch.multigrid_cycle` and its twin in Triton; does nothing but count."""

    def __init__(self) -> None:
        self.launches, self.bytes_moved = 0, 0
        self._widths = cache(_widths)

    @property
    def total(self) -> Cost:
        return Cost(self.launches, self.bytes_moved)

    def relax(self, level: Level, stage: int, first: int, last: int, b: Tensor, x: Tensor) -> None:
        # b, x before where it is read, and x after; an inverse pivot, and what it exceeds the diagonal by
        vectors, numbers = {FORWARD: (2, 1), BACKWARD: (3, 2), SUBSTITUTE: (2, 1)}[stage]
        self._launch(last - first, vectors * _row_bytes(x) + numbers * level.diagonal.itemsize)
        slots = self._slots(level.rows, PARTS[stage], first, last)
        self._read(slots, level.rows.value, x, level.n - (last - first))  # a colour has no neighbours in itself

    def restrict(self, rows: SlicedRows, x: Tensor, b: Tensor) -> None:
        self._launch(rows.rows, _row_bytes(b), rows)
        self._read(rows.slots, rows.value, x, len(x))

    def prolong(self, cluster: Tensor, c: Tensor, d: Tensor | None, scalars: Tensor | None, x: Tensor) -> None:
        self._launch(len(x), cluster.itemsize + 2 * _row_bytes(x))
        self.bytes_moved += min(len(x), len(c)) * _row_bytes(c) * (1 if d is None else 2)

    def eliminate(self, inverse: Tensor, b: Tensor, x: Tensor) -> None:
        self.launches += 3  # to float64, the product, and back
        self.bytes_moved += inverse.nbytes + len(x) * 2 * (_row_bytes(x) + 2 * _WIDE * x.shape[1])

    def image(self, level: Level, x: Tensor, out: Tensor | None, u: Tensor, v: Tensor | None, partials: Tensor) -> None:
        self._launch(level.n, level.diagonal.itemsize + 2 * _row_bytes(x), level.rows)
        self._read(level.rows.slots, level.rows.value, x, level.n)
        self.bytes_moved += partials.nbytes

    def subtract(self, x: Tensor, y: Tensor, scalars: Tensor) -> None:
        self._launch(len(x), 3 * _row_bytes(x))

    def overlap(self, z: Tensor, q: Tensor, partials: Tensor) -> None:
        self._launch(len(z), _row_bytes(z) + _row_bytes(q))

    def advance_direction(
        self,
        level: Level,
        value: Tensor,
        diagonal: Tensor,
        z: Tensor,
        d: Tensor,
        q: Tensor,
        r: Tensor,
        scalars: Tensor,
        partials: Tensor,
    ) -> None:
        self._launch(level.n, diagonal.itemsize + 2 * _row_bytes(d) + 2 * _row_bytes(q) + _row_bytes(r), level.rows)
        self._read(level.rows.slots, value, z, level.n)
        self.bytes_moved += partials.nbytes

    def step(
        self,
        y: Tensor,
        r: Tensor,
        d: Tensor,
        q: Tensor,
        unit: Tensor | None,
        b: Tensor,
        scalars: Tensor,
        partials: Tensor,
    ) -> None:
        self._launch(len(y), 6 * _row_bytes(y) + _row_bytes(b) + (0 if unit is None else unit.itemsize))

    def finish_first(self, partials: Tensor, scalars: Tensor) -> None:
        self.launches += 1
        self.bytes_moved += partials.nbytes

    finish_second = finish_overlap = finish_direction = finish_step = finish_first

    def _launch(self, rows: int, bytes_per_row: int, with_long_rows: SlicedRows | None = None) -> None:
        """A kernel over so many rows, and one more where some of them are long."""
        self.launches += 1 if with_long_rows is None else 1 + (len(with_long_rows.long_row) > 0)
        self.bytes_moved += rows * bytes_per_row

    def _read(self, slots: int, value: Tensor, x: Tensor, sources: int) -> None:
        """So many slots, and what they gather from ``x``, where no more than ``sources`` rows are wanted."""
        self.bytes_moved += slots * (_COLUMN + value.itemsize) + min(slots, sources) * _row_bytes(x)

    def _slots(self, rows: SlicedRows, part: Part, first: int, last: int) -> int:
        """Places for entries in a part of the rows ``first:last``."""
        width, long_width, long_row = self._widths(rows)
        lane = torch.arange(len(width)) * LANES
        live = (torch.clamp(lane + LANES, max=last) - torch.clamp(lane, min=first)).clamp(min=0)
        long = (long_row >= first) & (long_row < last)
        chosen = slice(*part)
        return int((width[:, chosen].sum(1) * live).sum() + long_width[long, chosen].sum())


def _widths(rows: SlicedRows) -> tuple[Tensor, Tensor, Tensor]:
    """Places of a row, low and high, in each slice and of each long row; and which these are."""
    width = torch.div(rows.bounds.cpu().diff(), LANES, rounding_mode="floor").view(-1, 2)
    return width, rows.long_bounds.cpu().diff().view(-1, 2), rows.long_row.cpu()


def _row_bytes(x: Tensor) -> int:
    """Bytes of a row of ``x``."""
    return x.itemsize * x.shape[1]
