"""Sweeps of the means at the precision fixed point, in edge-local form, and the residual (see ``programs.py``).

What a row's node sent over an edge is recomputed from what it heard one sweep earlier, so that a slot never needs the
slot of the reverse edge, only the beliefs of its source.
"""

import triton.language as tl

from gabp.kernels.cuda.launch import kernel, node_vector, row, scalar, slot, source_vector, tile
from gabp.kernels.cuda.programs import (
    JOINED,
    LONG,
    PANEL_VARIANTS,
    STOPPED,
    TILES,
    find_long_row,
    find_tile,
    store_sums,
    warps_of,
)


@kernel(
    TILES
    | {
        "column": slot("I"),
        "coefficient": slot("T"),
        "unary": row("T", columns=True),
        "belief": source_vector("T", columns=True),
        "other": row("T", columns=True, moves=2),
        "message": slot("T", columns=True, moves=2),
        "partial": tile("fp64"),
    },
    variants=PANEL_VARIANTS,
    warps=warps_of,
)
def mean_sweep(
    tile_start, tile_row, tile_base, first, column, coefficient, unary, belief, other, message, partial,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``m <- g (g (m - h_i) - h_k)``, ``h_i <- b_i + sum m``: beliefs ``other`` of sweep t-1 become those of t+1.

    With ``other`` the same as ``belief`` and the tiles of one colour, it is a phase of the sequential schedule: ``h_i``
    is then what the node last sent from, and every neighbour has sent exactly once since.
    """
    at, begin, end, position, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    here = position * K + c
    own = tl.load(other + here)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        g = tl.load(coefficient + e + lane)
        source = (base + tl.load(column + e + lane)).to(tl.int64)
        place = (e + lane) * K + c
        heard = g * (g * (tl.load(message + place) - own) - tl.load(belief + source * K + c))
        tl.store(message + place, heard)
        total += heard
    store_sums(is_slice, other, here, total, partial, at, K)


@kernel(
    LONG
    | {
        "partial": tile("fp64"),
        "unary": row("T", columns=True),
        "sums": row("T", columns=True),
        "control": tile("i64"),
    },
    variants=JOINED,
    warps=warps_of,
)
def finish_sums(
    long_tile, long_row, first, partial, unary, sums, control, K: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """``sums_i <- unary_i + partial sums`` of the long rows."""
    if tl.load(control + STOPPED) != 0:
        return
    position, total = find_long_row(long_tile, long_row, first, partial, K, BLOCK)
    here = position * K + tl.arange(0, K)[None, :]
    tl.store(sums + here, (tl.load(unary + here).to(tl.float64) + total).to(sums.dtype.element_ty))


@kernel(
    TILES
    | {
        "column": slot("I"),
        "coefficient": slot("T"),
        "unary": row("T", columns=True),
        "belief": source_vector("T", columns=True),
        "other": row("T", columns=True),
        "heard": slot("T", columns=True, moves=2),
        "sent": slot("T", columns=True, moves=2),
        "damping": tile("T"),
        "partial": tile("fp64"),
    },
    variants=PANEL_VARIANTS,
    warps=warps_of,
)
def damped_sweep(
    tile_start, tile_row, tile_base, first, column, coefficient, unary, belief, other, heard, sent, damping, partial,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """A mean sweep that keeps a share of the old messages; both directions of an edge are kept in the slot."""
    at, begin, end, position, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    here = position * K + c
    own = tl.load(belief + here)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    keep = tl.load(damping)
    for e in range(begin, end, ROWS):
        fresh = (1.0 - keep) * tl.load(coefficient + e + lane)
        source = (base + tl.load(column + e + lane)).to(tl.int64)
        place = (e + lane) * K + c
        old_heard, old_sent = tl.load(heard + place), tl.load(sent + place)
        new = keep * old_heard - fresh * (tl.load(belief + source * K + c) - old_sent)
        tl.store(heard + place, new)
        tl.store(sent + place, keep * old_sent - fresh * (own - old_heard))
        total += new
    store_sums(is_slice, other, here, total, partial, at, K)


@kernel(
    TILES
    | {
        "coefficient": slot("T"),
        "belief": row("T", columns=True),
        "message": slot("T", columns=True, moves=2),
    },
    variants=PANEL_VARIANTS,
    warps=warps_of,
)
def reverse_messages(
    tile_start, tile_row, tile_base, first, coefficient, belief, message, K: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """``m <- g (m - h_i)``: what was heard at sweep t-1 becomes what was sent at t."""
    _at, begin, end, position, _is_slice, _base = find_tile(tile_start, tile_row, tile_base, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    own = tl.load(belief + position * K + c)
    for e in range(begin, end, ROWS):
        place = (e + lane) * K + c
        tl.store(message + place, tl.load(coefficient + e + lane) * (tl.load(message + place) - own))


@kernel(
    TILES
    | {
        "tile_behind": tile("i32"),
        "column": slot("I"),
        "coefficient": slot("T"),
        "unary": row("T", columns=True),
        "belief": source_vector("T", columns=True),
        "message": slot("T", columns=True),
        "sums": row("T", columns=True),
        "partial": tile("fp64"),
    },
    variants=PANEL_VARIANTS,
    warps=warps_of,
)
def newest_sums(
    tile_start, tile_row, tile_base, first, tile_behind, column, coefficient, unary, belief, message, sums, partial,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Beliefs between two sequential sweeps: neighbours of later colours have sent since the row's node last heard."""
    at, begin, end, position, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, ROWS)
    behind = tl.load(tile_behind + at)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    here = position * K + c
    own = tl.load(belief + here)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        g = tl.load(coefficient + e + lane)
        source = base + tl.load(column + e + lane)
        old = tl.load(message + (e + lane) * K + c)
        new = g * (g * (old - own) - tl.load(belief + source.to(tl.int64) * K + c))
        total += tl.where(source >= behind, new, old)
    store_sums(is_slice, sums, here, total, partial, at, K)


# --- Residual, in float64 whatever the messages are ---


@kernel(
    TILES
    | {
        "column": slot("I"),
        "weight": slot("T"),
        "node": row("i32"),
        "diagonal": row("T"),
        "x": source_vector("fp64", columns=True),
        "b": node_vector("fp64", columns=True),
        "r": node_vector("fp64", columns=True),
        "partial": tile("fp64"),
        "stride": scalar("i64"),
        "offset": scalar("i64"),
    },
    variants=PANEL_VARIANTS,
    warps=warps_of,
    registers=lambda constants: 40 if constants["K"] > 1 else 32,
    capped=lambda constants: constants["K"] > 1,
)
def residual_sweep(
    tile_start, tile_row, tile_base, first, column, weight, node, diagonal, x, b, r, partial, stride, offset,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``r = b - A x``: x in the order of the rows, b and r in that of the nodes, columns ``offset`` and on."""
    at, begin, end, position, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    at_node = tl.load(node + position, mask=is_slice, other=-1).to(tl.int64)
    there = at_node * stride + offset + c
    own = tl.load(diagonal + position).to(tl.float64) * tl.load(x + position * K + c)
    total = tl.where(at_node >= 0, tl.load(b + there, mask=at_node >= 0, other=0.0) - own, 0.0)
    for e in range(begin, end, ROWS):
        source = (base + tl.load(column + e + lane)).to(tl.int64)
        total -= tl.load(weight + e + lane).to(tl.float64) * tl.load(x + source * K + c)
    if is_slice:
        tl.store(r + there, total, mask=at_node >= 0)
    else:
        tl.store(partial + at.to(tl.int64) * K + tl.arange(0, K), tl.sum(total, 0))


@kernel(
    LONG
    | {
        "partial": tile("fp64"),
        "node": row("i32"),
        "diagonal": row("T"),
        "x": row("fp64", columns=True),
        "b": node_vector("fp64", columns=True),
        "r": node_vector("fp64", columns=True),
        "stride": scalar("i64"),
        "offset": scalar("i64"),
    },
    variants=JOINED,
    warps=warps_of,
)
def finish_residual(
    long_tile, long_row, first, partial, node, diagonal, x, b, r, stride, offset, K: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The residual of the long rows."""
    position, total = find_long_row(long_tile, long_row, first, partial, K, BLOCK)
    c = tl.arange(0, K)[None, :]
    there = tl.load(node + position).to(tl.int64) * stride + offset + c
    own = tl.load(diagonal + position).to(tl.float64) * tl.load(x + position * K + c)
    tl.store(r + there, tl.load(b + there) - own + total)
