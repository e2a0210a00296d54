"""What the sweeps in Triton share: the tiles that their programs work on (see ``tiles.py``), and their variants.

A program works on one tile: its ``ROWS`` lanes are either the rows of a slice, or share the slots of a long row, whose
sums are left in ``partial`` and joined by a ``finish`` kernel. ``K`` right-hand sides travel together; a vector has the
shape (positions, K), messages have (slots, K).

Sweeps that may have to stop carry a ``control``. Once it says stop, they leave everything as it is, so that the host
can issue many before it looks.
"""

import triton
import triton.language as tl

from gabp.kernels.cuda.launch import Constants, scalar, tile

ROWS = 64  # of a slice: two warps, so that as many programs as an SM can hold fill it
PANELS = (8, 4, 2, 1)  # right-hand sides that travel together
BLOCK = 32  # partial sums that are joined at a time

# The entries of a control: see `gabp.kernels.cuda.precision_kernels.judge`.
STOPPED, SWEEPS, INVALID, CHANGE, WORST_INVALID, WORST_CHANGE = (tl.constexpr(i) for i in range(6))
NONE = tl.constexpr(2**31 - 1)  # no node

SINGLE = ({"ROWS": ROWS},)
PANEL_VARIANTS = tuple({"K": k, "ROWS": ROWS} for k in PANELS)
JOINED = tuple({"K": k, "BLOCK": BLOCK} for k in PANELS)
TILES = {"tile_start": tile("i64"), "tile_row": tile("i32"), "tile_base": tile("i32"), "first": scalar("i32")}
LONG = {"long_tile": tile("i32"), "long_row": tile("i32"), "first": scalar("i32")}


def warps_of(constants: Constants) -> int:
    """One or two numbers for each thread."""
    return max(2, constants.get("K", 1)) if "ROWS" in constants else 1


@triton.jit
def find_tile(tile_start, tile_row, tile_base, first, ROWS: tl.constexpr):
    """A program's tile: its slots, where each lane's row is, whether it is a slice, what its columns count from."""
    at = first + tl.program_id(0)
    begin, end = tl.load(tile_start + at), tl.load(tile_start + at + 1)
    code = tl.load(tile_row + at)
    lane = tl.arange(0, ROWS)[:, None]
    position = tl.where(code >= 0, code + lane, -1 - code).to(tl.int64)
    return at, begin, end, position, code >= 0, tl.load(tile_base + at)


@triton.jit
def find_long_row(long_tile, long_row, first, partial, K: tl.constexpr, BLOCK: tl.constexpr):
    """Where a program's long row is, and the sum of what its tiles left, always in the same order."""
    at = first + tl.program_id(0)
    begin, end = tl.load(long_tile + 2 * at), tl.load(long_tile + 2 * at + 1)
    lane = tl.arange(0, BLOCK)[:, None]
    column = tl.arange(0, K)[None, :]
    total = tl.zeros((BLOCK, K), tl.float64)
    for t in range(begin, end, BLOCK):
        total += tl.load(partial + (t + lane).to(tl.int64) * K + column, mask=t + lane < end, other=0.0)
    return tl.load(long_row + at + tl.zeros((1, 1), tl.int32)).to(tl.int64), tl.sum(total, 0)[None, :]


@triton.jit
def store_sums(is_slice, sums, here, total, partial, at, K: tl.constexpr):
    """A slice's sums to their rows, a long row's to its partial sums."""
    if is_slice:
        tl.store(sums + here, total)
    else:
        tl.store(partial + at.to(tl.int64) * K + tl.arange(0, K), tl.sum(total.to(tl.float64), 0))


@triton.jit
def divide(a, b):
    """Rounded to nearest in float32 too, where ``/`` is not."""
    if a.dtype == tl.float32:
        return tl.div_rn(a, b)
    else:
        return a / b
