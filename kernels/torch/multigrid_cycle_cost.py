"""Cost of an iteration on a hierarchy for a GPU: kernels launched and bytes moved, counted without running them.

Each array that a kernel touches is counted once, padding included. Of a vector that is gathered, each number is counted
at most once, as it stays in the second-level cache where it fits.
"""

import inspect
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor

from gabp.kernels.torch import multigrid_cycle
from gabp.kernels.torch.multigrid_cycle import BACKWARD, FORWARD, PARTS, SUBSTITUTE
from gabp.kernels.torch.sliced_ell import Parts, SlicedEll

_WIDE = 8


class Cost(NamedTuple):
    """Kernels launched, none of which waits for the host, and bytes moved."""

    launches: int
    bytes_moved: int

    def seconds(self, bandwidth: float, gap: float) -> float:
        """The time at so many bytes per second, with ``gap`` seconds between one kernel and the next."""
        return self.bytes_moved / bandwidth + self.launches * gap


class _Accesses(NamedTuple):
    """What an operation of `multigrid_cycle` moves; names are its arguments or attributes of these, some perhaps None.

    Attributes
    ----------
    reads, writes : tuple of str
        Arrays that each row touches at its own place.
    gathers : tuple of str
        Vectors read where ``indices`` or the columns of ``matrix`` point.
    matrix, value : str
        A `SlicedEll`, and its values if they are not its own.
    indices : str
        One row for each row.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    gathers: tuple[str, ...] = ()
    matrix: str = ""
    value: str = ""
    indices: str = ""


_FINISH = _Accesses(reads=("partials",))
_OPERATIONS = {
    "restrict": _Accesses(writes=("b",), gathers=("x",), matrix="rows"),
    "prolong": _Accesses(reads=("x",), writes=("x",), gathers=("c", "d"), indices="aggregate"),
    "image": _Accesses(("level.diagonal", "u", "v"), ("out", "partials"), ("x",), "level.rows"),
    "subtract": _Accesses(("x", "y"), ("x",)),
    "finish_first": _FINISH,
    "finish_second": _FINISH,
    "overlap": _Accesses(("cg.z", "cg.q")),
    "finish_overlap": _FINISH,
    "advance_direction": _Accesses(
        ("diagonal", "cg.d", "cg.q", "cg.r"), ("cg.d", "cg.q", "cg.partials"), ("cg.z",), "level.rows", "value"
    ),
    "finish_direction": _FINISH,
    "step": _Accesses(("cg.y", "cg.r", "cg.d", "cg.q", "cg.unit"), ("cg.y", "cg.r", "cg.b")),
    "finish_step": _FINISH,
}
_RELAX = {
    FORWARD: _Accesses(("b", "level.inverse_pivot"), ("x",), ("x",), "level.rows"),
    BACKWARD: _Accesses(("b", "x", "level.inverse_pivot", "level.excess"), ("x",), ("x",), "level.rows"),
    SUBSTITUTE: _Accesses(("x", "level.inverse_pivot"), ("x",), ("x",), "level.rows"),
}


class CycleCost:
    """Takes the place of `gabp.kernels.torch.multigrid_cycle`, and counts its calls instead of computing."""

    def __init__(self) -> None:
        self.launches, self.bytes_moved = 0, 0
        self._lengths = cache(_lengths)

    @property
    def total(self) -> Cost:
        return Cost(self.launches, self.bytes_moved)

    def eliminate(self, inverse: Tensor, b: Tensor, x: Tensor) -> None:
        """Three of torch's own kernels: to float64, the product, and back."""
        self.launches += 3
        self.bytes_moved += inverse.nbytes + len(x) * 2 * (_row_bytes(x) + 2 * _WIDE * x.shape[1])

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name != "relax" and name not in _OPERATIONS:
            raise AttributeError(name)
        signature = inspect.signature(getattr(multigrid_cycle, name))
        return lambda *arguments: self._count(name, SimpleNamespace(**signature.bind(*arguments).arguments))

    def _count(self, name: str, arguments: SimpleNamespace) -> None:
        def of(names: tuple[str, ...]) -> list[Tensor]:
            return [array for name in names if (array := attrgetter(name)(arguments)) is not None]

        self.launches += 1
        colour = name == "relax"
        accesses = _RELAX[arguments.stage] if colour else _OPERATIONS[name]
        rows = slice(arguments.first, arguments.last) if colour else slice(None)
        self.bytes_moved += sum(array[rows].nbytes for array in of(accesses.reads + accesses.writes))
        fetches, others = 0, 0
        if accesses.matrix:
            matrix: SlicedEll = attrgetter(accesses.matrix)(arguments)
            value = attrgetter(accesses.value)(arguments) if accesses.value else matrix.value
            if colour:  # its rows are no neighbours of each other
                others = arguments.last - arguments.first
                fetches = self._slots(matrix, PARTS[arguments.stage], arguments.first, arguments.last)
            else:
                self.launches += len(matrix.long_row) > 0
                fetches = matrix.slots
            self.bytes_moved += fetches * (matrix.column.itemsize + value.itemsize)
        elif accesses.indices:
            indices = attrgetter(accesses.indices)(arguments)
            fetches = len(indices)
            self.bytes_moved += indices.nbytes
        self.bytes_moved += sum(min(fetches, len(x) - others) * _row_bytes(x) for x in of(accesses.gathers))

    def _slots(self, matrix: SlicedEll, parts: Parts, first: int, last: int) -> int:
        """Slots of some parts of the rows ``first:last``."""
        width, long_length, long_row = self._lengths(matrix)
        lane = torch.arange(len(width)) * matrix.height
        live = (torch.clamp(lane + matrix.height, max=last) - torch.clamp(lane, min=first)).clamp(min=0)
        long = (long_row >= first) & (long_row < last)
        chosen = slice(*parts)
        return int((width[:, chosen].sum(1) * live).sum() + long_length[long, chosen].sum())


def _lengths(matrix: SlicedEll) -> tuple[Tensor, Tensor, Tensor]:
    """Slots of a row, by parts, in each slice and of each long row; and which rows these are."""
    length = matrix.tile_start.cpu().diff().view(-1, matrix.parts)
    width = torch.div(length[: matrix.slices], matrix.height, rounding_mode="floor")
    return width, length[matrix.slices :], matrix.long_row.cpu()


def _row_bytes(x: Tensor) -> int:
    """Bytes of a row of ``x``."""
    return x.itemsize * x.shape[1]
