"""How kernels in Triton traverse the sliced layout of `gabp.kernels.torch.sliced_ell`.

``K`` right-hand sides travel together: a vector has the shape (rows, K), an array of messages (slots, K). There are two
traversals, after the two modes of padding:

- One tile for each program, unmasked (`find_tile`, `find_edges`): every slot is read and written, as messages are.
  The ``ROWS`` lanes are the rows of a slice, or share a piece of a long row, whose sum a second kernel completes.
- Any range of rows, masked (`find_rows`, `multiply_rows`): a program takes several slices of several parts, or one long
  row as a whole, as products and sweeps of a level do.
"""

import triton
import triton.language as tl

from gabp.kernels.cuda.launch import Constants, scalar, tile
from gabp.kernels.torch.sliced_ell import PANELS

ROWS = 64  # of a slice of messages: two warps, so that as many programs as an SM can hold fill it
BLOCK = 32  # partial sums of a long row that are added at a time

SINGLE = ({"ROWS": ROWS},)
PANEL_VARIANTS = tuple({"K": k, "ROWS": ROWS} for k in PANELS)
LONG_VARIANTS = tuple({"K": k, "BLOCK": BLOCK} for k in PANELS)
TILES = {"tile_start": tile("i64"), "tile_row": tile("i32"), "tile_base": tile("i32"), "first": scalar("i32")}
LONG_ROWS = {"long_tile": tile("i32"), "long_row": tile("i32"), "first": scalar("i32")}


def warps_of(constants: Constants) -> int:
    """One or two numbers for each thread."""
    return max(2, constants.get("K", 1)) if "ROWS" in constants else 1


# --- One tile for each program, unmasked ---


@triton.jit
def find_tile(tile_start, tile_row, tile_base, first, K: tl.constexpr, ROWS: tl.constexpr):
    """A program's tile.

    Its number and its slots; the row of each lane and the places of its K numbers; whether it is a slice; and the row
    that its columns count from.
    """
    at = first + tl.program_id(0)
    begin, end = tl.load(tile_start + at), tl.load(tile_start + at + 1)
    code = tl.load(tile_row + at)
    row = tl.where(code >= 0, code + tl.arange(0, ROWS)[:, None], -1 - code).to(tl.int64)
    return at, begin, end, row, row * K + tl.arange(0, K)[None, :], code >= 0, tl.load(tile_base + at)


@triton.jit
def find_slots(begin, K: tl.constexpr, ROWS: tl.constexpr):
    """One slot for each lane, and the places of its K messages."""
    slot = begin + tl.arange(0, ROWS)[:, None]
    return slot, slot * K + tl.arange(0, K)[None, :]


@triton.jit
def find_edges(column, base, begin, K: tl.constexpr, ROWS: tl.constexpr):
    """One slot for each lane and the places of its K messages; the row that it points at and those of its K numbers."""
    slot, place = find_slots(begin, K, ROWS)
    source = base + tl.load(column + slot)
    return slot, place, source, source.to(tl.int64) * K + tl.arange(0, K)[None, :]


@triton.jit
def store_sums(is_slice, sums, here, total, partial, at, K: tl.constexpr):
    """Store the sums of a slice in their rows, that of a piece of a long row in ``partial``."""
    if is_slice:
        tl.store(sums + here, total)
    else:
        tl.store(partial + at.to(tl.int64) * K + tl.arange(0, K), tl.sum(total.to(tl.float64), 0))


@triton.jit
def sum_long_row(long_tile, long_row, first, partial, K: tl.constexpr, BLOCK: tl.constexpr):
    """A program's long row, the places of its K numbers, and the sum of its pieces, always in the same order."""
    at = first + tl.program_id(0)
    begin, end = tl.load(long_tile + 2 * at), tl.load(long_tile + 2 * at + 1)
    lane = tl.arange(0, BLOCK)[:, None]
    column = tl.arange(0, K)[None, :]
    total = tl.zeros((BLOCK, K), tl.float64)
    for t in range(begin, end, BLOCK):
        total += tl.load(partial + (t + lane).to(tl.int64) * K + column, mask=t + lane < end, other=0.0)
    row = tl.load(long_row + at + tl.zeros((1, 1), tl.int32)).to(tl.int64)
    return row, row * K + column, tl.sum(total, 0)[None, :]


# --- Any range of rows, masked ---


@triton.jit
def find_rows(first, last, block, K: tl.constexpr, HEIGHT: tl.constexpr, ROWS: tl.constexpr):
    """The rows of a block, which begins with a slice, those within ``first:last``, and the places of their K numbers.

    Returns the rows and their mask, shape (ROWS,), and the places (ROWS, K) and their mask (ROWS, 1).
    """
    rows = (block * ROWS + tl.arange(0, ROWS)).to(tl.int64) + first // HEIGHT * HEIGHT
    live = (rows >= first) & (rows < last)
    return rows, live, rows[:, None] * K + tl.arange(0, K)[None, :], live[:, None]


@triton.jit
def multiply_rows(
    tile_start, tile_row, column, value, x, first, last, block, TYPE: tl.constexpr, K: tl.constexpr,
    PARTS: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr, LONG: tl.constexpr, HEIGHT: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """Rows of a block as `find_rows` returns them, and ``Σ A_ik x_k`` over the parts ``LOW:HIGH`` of each, in ``TYPE``.

    ``LONG``: the block is one long row, whose only tile is ``first + block``; all lanes work on it.
    """
    c = tl.arange(0, K)[None, :]
    total = tl.zeros((ROWS, K), TYPE)
    if LONG:
        rows = (-1 - tl.load(tile_row + first + block + tl.zeros((1,), tl.int32))).to(tl.int64)
        live = rows >= 0
        here, meant = rows[:, None] * K + c, live[:, None]
        part = PARTS * (first + block)
        begin, end = tl.load(tile_start + part + LOW), tl.load(tile_start + part + HIGH)
        for e in range(begin, end, ROWS):
            slot = e + tl.arange(0, ROWS)
            source = tl.load(column + slot, mask=slot < end, other=0).to(tl.int64)
            coupling = tl.load(value + slot, mask=slot < end, other=0.0).to(TYPE)
            gathered = tl.load(x + source[:, None] * K + c, mask=(slot < end)[:, None], other=0.0)
            total += coupling[:, None] * gathered.to(TYPE)
        total = tl.sum(total, 0)[None, :]
    else:
        rows, live, here, meant = find_rows(first, last, block, K, HEIGHT, ROWS)
        part = PARTS * (rows // HEIGHT)
        begin = tl.load(tile_start + part + LOW, mask=live, other=0)
        width = ((tl.load(tile_start + part + HIGH, mask=live, other=0) - begin) // HEIGHT).to(tl.int32)
        slot = begin + rows % HEIGHT
        for j in range(0, tl.max(width, 0)):
            source = tl.load(column + slot, mask=j < width, other=-1)
            coupling = tl.load(value + slot, mask=j < width, other=0.0).to(TYPE)
            there = (source >= 0)[:, None]  # padding must not meet a NaN
            gathered = tl.load(x + source.to(tl.int64)[:, None] * K + c, mask=there, other=0.0)
            total += coupling[:, None] * gathered.to(TYPE)
            slot += HEIGHT
    return rows, live, here, meant, total


# --- Numbers ---


@triton.jit
def divide(a, b):
    """Rounded to nearest in float32 too, where ``/`` is not."""
    if a.dtype == tl.float32:
        return tl.div_rn(a, b)
    else:
        return a / b
