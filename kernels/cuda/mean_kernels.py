"""Sweeps of the means at the precision fixed point, in edge-local form, and the residual.

The message that a row's node sent over an edge is recomputed from the one it received one sweep earlier, so that a
directed edge never needs the slot of its reverse, only the belief of its source. ``received`` messages are those to
the row, ``sent`` ones those from it, both in the slot of the edge to the row.
"""

import functools

import triton.language as tl

from gabp.kernels.cuda.control import STOPPED
from gabp.kernels.cuda.launch import kernel, node_vector, row, scalar, slot, source_vector, tile
from gabp.kernels.cuda.sliced_ell import (
    LONG_ROWS,
    LONG_VARIANTS,
    PANEL_VARIANTS,
    TILES,
    find_edges,
    find_slots,
    find_tile,
    store_sums,
    sum_long_row,
    warps_of,
)

_COEFFICIENTS = {
    "column": slot("I"),
    "coefficient": slot("T"),
    "unary": row("T", columns=True),
    "belief": source_vector("T", columns=True),
}
_sweep = functools.partial(kernel, variants=PANEL_VARIANTS, warps=warps_of)
_long_rows = functools.partial(kernel, variants=LONG_VARIANTS, warps=warps_of)


@_sweep(
    TILES
    | _COEFFICIENTS
    | {
        "other": row("T", columns=True, moves=2),
        "message": slot("T", columns=True, moves=2),
        "partial": tile("fp64"),
    }
)
def mean_sweep(
    tile_start, tile_row, tile_base, first, column, coefficient, unary, belief, other, message, partial,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``m <- g (g (m - h_i) - h_k)``, ``h_i <- b_i + sum m``: beliefs ``other`` of sweep t-1 become those of t+1.

    With ``other`` the same as ``belief`` and the tiles of one colour, it is a phase of the sequential schedule: ``h_i``
    is then the belief that the node last sent from, and every neighbour has sent exactly once since.
    """
    at, begin, end, _row, here, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, K, ROWS)
    own = tl.load(other + here)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        edge, place, _source, there = find_edges(column, base, e, K, ROWS)
        g = tl.load(coefficient + edge)
        new = g * (g * (tl.load(message + place) - own) - tl.load(belief + there))
        tl.store(message + place, new)
        total += new
    store_sums(is_slice, other, here, total, partial, at, K)


@_long_rows(
    LONG_ROWS
    | {
        "partial": tile("fp64"),
        "unary": row("T", columns=True),
        "sums": row("T", columns=True),
        "control": tile("i64"),
    }
)
def finish_sums(
    long_tile, long_row, first, partial, unary, sums, control, K: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """``sums_i <- unary_i + partial sums`` of the long rows."""
    if tl.load(control + STOPPED) != 0:
        return
    _row, here, total = sum_long_row(long_tile, long_row, first, partial, K, BLOCK)
    tl.store(sums + here, (tl.load(unary + here).to(tl.float64) + total).to(sums.dtype.element_ty))


@_sweep(
    TILES
    | _COEFFICIENTS
    | {
        "other": row("T", columns=True),
        "received": slot("T", columns=True, moves=2),
        "sent": slot("T", columns=True, moves=2),
        "damping": tile("T"),
        "partial": tile("fp64"),
    }
)
def damped_sweep(
    tile_start, tile_row, tile_base, first, column, coefficient, unary, belief, other, received, sent, damping,
    partial, K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """A mean sweep that keeps a share of the old messages; both directions of an edge are stored in the slot."""
    at, begin, end, _row, here, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, K, ROWS)
    own = tl.load(belief + here)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    keep = tl.load(damping)
    for e in range(begin, end, ROWS):
        edge, place, _source, there = find_edges(column, base, e, K, ROWS)
        fresh = (1.0 - keep) * tl.load(coefficient + edge)
        old_received, old_sent = tl.load(received + place), tl.load(sent + place)
        new = keep * old_received - fresh * (tl.load(belief + there) - old_sent)
        tl.store(received + place, new)
        tl.store(sent + place, keep * old_sent - fresh * (own - old_received))
        total += new
    store_sums(is_slice, other, here, total, partial, at, K)


@_sweep(
    TILES
    | {
        "coefficient": slot("T"),
        "belief": row("T", columns=True),
        "message": slot("T", columns=True, moves=2),
    }
)
def reverse_messages(
    tile_start, tile_row, tile_base, first, coefficient, belief, message, K: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """``m <- g (m - h_i)``: the messages received at sweep t-1 become those sent at t."""
    _at, begin, end, _row, here, _slice, _base = find_tile(tile_start, tile_row, tile_base, first, K, ROWS)
    own = tl.load(belief + here)
    for e in range(begin, end, ROWS):
        edge, place = find_slots(e, K, ROWS)
        tl.store(message + place, tl.load(coefficient + edge) * (tl.load(message + place) - own))


@_sweep(
    TILES
    | {"tile_end": tile("i32")}
    | _COEFFICIENTS
    | {
        "message": slot("T", columns=True),
        "sums": row("T", columns=True),
        "partial": tile("fp64"),
    }
)
def newest_sums(
    tile_start, tile_row, tile_base, first, tile_end, column, coefficient, unary, belief, message, sums, partial,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Beliefs between two sequential sweeps: neighbours of later colours have sent since the row's node last sent."""
    at, begin, end, _row, here, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, K, ROWS)
    last = tl.load(tile_end + at)
    own = tl.load(belief + here)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        edge, place, source, there = find_edges(column, base, e, K, ROWS)
        g, old = tl.load(coefficient + edge), tl.load(message + place)
        new = g * (g * (old - own) - tl.load(belief + there))
        total += tl.where(source >= last, new, old)
    store_sums(is_slice, sums, here, total, partial, at, K)


# --- Residual, in float64 whatever the messages are ---

_RIGHT_HAND_SIDES = {
    "b": node_vector("fp64", columns=True),
    "r": node_vector("fp64", columns=True),
}
_COLUMNS = {"stride": scalar("i64"), "offset": scalar("i64")}


@_sweep(
    TILES
    | {
        "column": slot("I"),
        "weight": slot("T"),
        "node": row("i32"),
        "diagonal": row("T"),
        "x": source_vector("fp64", columns=True),
    }
    | _RIGHT_HAND_SIDES
    | {"partial": tile("fp64")}
    | _COLUMNS,
    registers=lambda constants: 40 if constants["K"] > 1 else 32,
    capped=lambda constants: constants["K"] > 1,
)
def residual_sweep(
    tile_start, tile_row, tile_base, first, column, weight, node, diagonal, x, b, r, partial, stride, offset,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``r = b - A x``: x in the order of the rows, b and r in that of the nodes, columns ``offset`` and on."""
    at, begin, end, row, here, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, K, ROWS)
    at_node = tl.load(node + row, mask=is_slice, other=-1).to(tl.int64)
    there = at_node * stride + offset + tl.arange(0, K)[None, :]
    own = tl.load(diagonal + row).to(tl.float64) * tl.load(x + here)
    total = tl.where(at_node >= 0, tl.load(b + there, mask=at_node >= 0, other=0.0) - own, 0.0)
    for e in range(begin, end, ROWS):
        edge, _place, _source, gathered = find_edges(column, base, e, K, ROWS)
        total -= tl.load(weight + edge).to(tl.float64) * tl.load(x + gathered)
    if is_slice:
        tl.store(r + there, total, mask=at_node >= 0)
    else:
        tl.store(partial + at.to(tl.int64) * K + tl.arange(0, K), tl.sum(total, 0))


@_long_rows(
    LONG_ROWS
    | {
        "partial": tile("fp64"),
        "node": row("i32"),
        "diagonal": row("T"),
        "x": row("fp64", columns=True),
    }
    | _RIGHT_HAND_SIDES
    | _COLUMNS
)
def finish_residual(
    long_tile, long_row, first, partial, node, diagonal, x, b, r, stride, offset, K: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The residual of the long rows."""
    row, here, total = sum_long_row(long_tile, long_row, first, partial, K, BLOCK)
    there = tl.load(node + row).to(tl.int64) * stride + offset + tl.arange(0, K)[None, :]
    own = tl.load(diagonal + row).to(tl.float64) * tl.load(x + here)
    tl.store(r + there, tl.load(b + there) - own + total)
