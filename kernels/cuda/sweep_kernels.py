"""The message equations in edge-local form, in Triton (see ``tiles.py`` for the layout they run over).

What a row's node sent over an edge is recomputed from what it heard one sweep earlier, so that a slot never needs the
slot of the reverse edge, only the beliefs of its source. A program works on one tile: its ``ROWS`` lanes are either the
rows of a slice, or share the slots of a long row, whose sums are left in ``partial`` and joined by a ``finish`` kernel.
``K`` right-hand sides travel together; a vector has the shape (positions, K), messages have (slots, K).

Sweeps that may have to stop carry a ``control``: see `judge`. Once it says stop, they leave everything as it is, so
that the host can issue many before it looks.
"""

import triton
import triton.language as tl

from gabp.kernels.cuda.launch import Constants, kernel, node_vector, row, scalar, slot, source_vector, tile

ROWS = 64  # of a slice: two warps, so that as many programs as an SM can hold fill it
PANELS = (8, 4, 2, 1)  # right-hand sides that travel together
_BLOCK = 32  # partial sums that are joined at a time

# The entries of a control.
STOPPED, SWEEPS, INVALID, CHANGE, _WORST_INVALID, _WORST_CHANGE = (tl.constexpr(i) for i in range(6))
NONE = tl.constexpr(2**31 - 1)  # no node

_SINGLE = ({"ROWS": ROWS},)
_PANELS = tuple({"K": k, "ROWS": ROWS} for k in PANELS)
_JOINED = tuple({"K": k, "BLOCK": _BLOCK} for k in PANELS)
_TILES = {"tile_start": tile("i64"), "tile_row": tile("i32"), "first": scalar("i32")}
_LONG = {"long_tile": tile("i32"), "long_row": tile("i32"), "first": scalar("i32")}


def _warps(constants: Constants) -> int:
    """One or two numbers for each thread."""
    return max(2, constants.get("K", 1)) if "ROWS" in constants else 1


@triton.jit
def _tile(tile_start, tile_row, first, ROWS: tl.constexpr):
    """A program's tile, its first slot and the one behind its last, whether it is a slice, where each lane's row is."""
    at = first + tl.program_id(0)
    begin, end = tl.load(tile_start + at), tl.load(tile_start + at + 1)
    code = tl.load(tile_row + at)
    lane = tl.arange(0, ROWS)[:, None]
    return at, begin, end, code >= 0, tl.where(code >= 0, code + lane, -1 - code).to(tl.int64)


@triton.jit
def _long_row(long_tile, long_row, first, partial, K: tl.constexpr, BLOCK: tl.constexpr):
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
def _store(is_slice, sums, here, total, partial, at, K: tl.constexpr):
    """A slice's sums to their rows, a long row's to its partial sums."""
    if is_slice:
        tl.store(sums + here, total)
    else:
        tl.store(partial + at.to(tl.int64) * K + tl.arange(0, K), tl.sum(total.to(tl.float64), 0))


@triton.jit
def _divide(a, b):
    """Rounded to nearest in float32 too, where ``/`` is not."""
    if a.dtype == tl.float32:
        return tl.div_rn(a, b)
    else:
        return a / b


# --- Means at the precision fixed point: one coefficient per slot ---


@kernel(
    _TILES
    | {
        "column": slot("i32"),
        "coefficient": slot("T"),
        "unary": row("T", columns=True),
        "belief": source_vector("T", columns=True),
        "other": row("T", columns=True, moves=2),
        "message": slot("T", columns=True, moves=2),
        "partial": tile("fp64"),
    },
    variants=_PANELS,
    warps=_warps,
)
def mean_sweep(
    tile_start, tile_row, first, column, coefficient, unary, belief, other, message, partial,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``m <- g (g (m - h_i) - h_k)``, ``h_i <- b_i + sum m``: beliefs ``other`` of sweep t-1 become those of t+1.

    With ``other`` the same as ``belief`` and the tiles of one colour, it is a phase of the sequential schedule: ``h_i``
    is then what the node last sent from, and every neighbour has sent exactly once since.
    """
    at, begin, end, is_slice, position = _tile(tile_start, tile_row, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    here = position * K + c
    own = tl.load(other + here)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        g = tl.load(coefficient + e + lane)
        source = tl.load(column + e + lane).to(tl.int64)
        place = (e + lane) * K + c
        heard = g * (g * (tl.load(message + place) - own) - tl.load(belief + source * K + c))
        tl.store(message + place, heard)
        total += heard
    _store(is_slice, other, here, total, partial, at, K)


@kernel(
    _LONG
    | {
        "partial": tile("fp64"),
        "unary": row("T", columns=True),
        "sums": row("T", columns=True),
        "control": tile("i64"),
    },
    variants=_JOINED,
    warps=_warps,
)
def finish_sums(
    long_tile, long_row, first, partial, unary, sums, control, K: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """``sums_i <- unary_i + partial sums`` of the long rows."""
    if tl.load(control + STOPPED) != 0:
        return
    position, total = _long_row(long_tile, long_row, first, partial, K, BLOCK)
    here = position * K + tl.arange(0, K)[None, :]
    tl.store(sums + here, (tl.load(unary + here).to(tl.float64) + total).to(sums.dtype.element_ty))


@kernel(
    _TILES
    | {
        "column": slot("i32"),
        "coefficient": slot("T"),
        "unary": row("T", columns=True),
        "belief": source_vector("T", columns=True),
        "other": row("T", columns=True),
        "heard": slot("T", columns=True, moves=2),
        "sent": slot("T", columns=True, moves=2),
        "damping": tile("T"),
        "partial": tile("fp64"),
    },
    variants=_PANELS,
    warps=_warps,
)
def damped_sweep(
    tile_start, tile_row, first, column, coefficient, unary, belief, other, heard, sent, damping, partial,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """A mean sweep that keeps a share of the old messages; both directions of an edge are kept in the slot."""
    at, begin, end, is_slice, position = _tile(tile_start, tile_row, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    here = position * K + c
    own = tl.load(belief + here)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    keep = tl.load(damping)
    for e in range(begin, end, ROWS):
        fresh = (1.0 - keep) * tl.load(coefficient + e + lane)
        source = tl.load(column + e + lane).to(tl.int64)
        place = (e + lane) * K + c
        old_heard, old_sent = tl.load(heard + place), tl.load(sent + place)
        new = keep * old_heard - fresh * (tl.load(belief + source * K + c) - old_sent)
        tl.store(heard + place, new)
        tl.store(sent + place, keep * old_sent - fresh * (own - old_heard))
        total += new
    _store(is_slice, other, here, total, partial, at, K)


@kernel(
    _TILES
    | {
        "coefficient": slot("T"),
        "belief": row("T", columns=True),
        "message": slot("T", columns=True, moves=2),
    },
    variants=_PANELS,
    warps=_warps,
)
def reverse_messages(
    tile_start, tile_row, first, coefficient, belief, message, K: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """``m <- g (m - h_i)``: what was heard at sweep t-1 becomes what was sent at t."""
    _at, begin, end, _is_slice, position = _tile(tile_start, tile_row, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    own = tl.load(belief + position * K + c)
    for e in range(begin, end, ROWS):
        place = (e + lane) * K + c
        tl.store(message + place, tl.load(coefficient + e + lane) * (tl.load(message + place) - own))


@kernel(
    _TILES
    | {
        "tile_behind": tile("i32"),
        "column": slot("i32"),
        "coefficient": slot("T"),
        "unary": row("T", columns=True),
        "belief": source_vector("T", columns=True),
        "message": slot("T", columns=True),
        "sums": row("T", columns=True),
        "partial": tile("fp64"),
    },
    variants=_PANELS,
    warps=_warps,
)
def newest_sums(
    tile_start, tile_row, first, tile_behind, column, coefficient, unary, belief, message, sums, partial,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Beliefs between two sequential sweeps: neighbours of later colours have sent since the row's node last heard."""
    at, begin, end, is_slice, position = _tile(tile_start, tile_row, first, ROWS)
    behind = tl.load(tile_behind + at)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    here = position * K + c
    own = tl.load(belief + here)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        g = tl.load(coefficient + e + lane)
        source = tl.load(column + e + lane)
        old = tl.load(message + (e + lane) * K + c)
        new = g * (g * (old - own) - tl.load(belief + source.to(tl.int64) * K + c))
        total += tl.where(source >= behind, new, old)
    _store(is_slice, sums, here, total, partial, at, K)


# --- Precisions, alone and with the potentials ---


@triton.jit
def _update_precision(weight, own, belief, message):
    """The new precision message, and the ratios -A_ik / P_{i\\k} one sweep ago and -A_ik / P_{k\\i} now.

    The cavities of padding are beliefs, which may pass through zero.
    """
    padding = weight == 0
    ratio_out = _divide(-weight, tl.where(padding, 1.0, own - message).to(weight.dtype))
    ratio_in = _divide(-weight, tl.where(padding, 1.0, belief - weight * ratio_out).to(weight.dtype))
    return weight * ratio_in, ratio_out, ratio_in


@triton.jit
def _report(control, new, old, diagonal, node):
    """Tell the control how far beliefs moved in two sweeps, relative to the diagonal, and which is not positive."""
    change = tl.abs(new.to(tl.float64) - old.to(tl.float64)) / diagonal.to(tl.float64)
    bits = tl.max(tl.max(tl.where(change > 0, change, 0.0), 1), 0).to(tl.int64, bitcast=True)
    invalid = tl.min(tl.min(tl.where(new > 0, NONE, node), 1), 0).to(tl.int64)
    # a number that is not negative orders as its bits do; most programs see that there is nothing to tell
    if bits > tl.load(control + _WORST_CHANGE):
        tl.atomic_max(control + _WORST_CHANGE, bits)
    if invalid < NONE:
        tl.atomic_min(control + _WORST_INVALID, invalid)


@kernel(
    _TILES
    | {
        "column": slot("i32"),
        "weight": slot("T"),
        "scale": source_vector("T"),
        "diagonal": row("T"),
        "belief": row("T"),
        "message": slot("T"),
        "partial": tile("fp64"),
    },
    variants=_SINGLE,
    warps=_warps,
)
def start_precisions(
    tile_start, tile_row, first, column, weight, scale, diagonal, belief, message, partial, ROWS: tl.constexpr
):  # fmt: skip
    """``P <- -|A_ik| d_k / d_i`` and the beliefs that follow."""
    at, begin, end, is_slice, position = _tile(tile_start, tile_row, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    own = tl.load(scale + position)
    total = tl.load(diagonal + position, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        source = tl.load(column + e + lane)
        new = -tl.abs(tl.load(weight + e + lane)) * _divide(tl.load(scale + source), own)
        tl.store(message + e + lane, new)
        total += new
    _store(is_slice, belief, position, total, partial, at, 1)


@kernel(
    _TILES
    | {
        "column": slot("i32"),
        "weight": slot("T"),
        "node": row("i32"),
        "diagonal": row("T"),
        "belief": source_vector("T"),
        "other": row("T", moves=2),
        "message": slot("T", moves=2),
        "partial": tile("fp64"),
        "control": tile("i64"),
    },
    variants=_SINGLE,
    warps=_warps,
)
def precision_sweep(
    tile_start, tile_row, first, column, weight, node, diagonal, belief, other, message, partial, control,
    ROWS: tl.constexpr,
):  # fmt: skip
    """``P_{k->i} <- -A_ik^2 / P_{k\\i}`` and the beliefs that follow, in place over those of sweep t-1."""
    if tl.load(control + STOPPED) != 0:
        return
    at, begin, end, is_slice, position = _tile(tile_start, tile_row, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    own = tl.load(other + position)
    unary = tl.load(diagonal + position)
    total = tl.where(is_slice, unary, 0.0).to(own.dtype)
    for e in range(begin, end, ROWS):
        k = tl.load(column + e + lane)
        new, _, _ = _update_precision(tl.load(weight + e + lane), own, tl.load(belief + k), tl.load(message + e + lane))
        tl.store(message + e + lane, new)
        total += new
    if is_slice:
        _report(control, total, own, unary, tl.load(node + position))
    _store(is_slice, other, position, total, partial, at, 1)


@kernel(
    _LONG
    | {
        "partial": tile("fp64"),
        "node": row("i32"),
        "diagonal": row("T"),
        "belief": row("T", moves=2),
        "control": tile("i64"),
    },
    variants=({"BLOCK": _BLOCK},),
    warps=_warps,
)
def finish_precisions(
    long_tile, long_row, first, partial, node, diagonal, belief, control, BLOCK: tl.constexpr
):  # fmt: skip
    """The beliefs of the long rows, and their report."""
    if tl.load(control + STOPPED) != 0:
        return
    position, total = _long_row(long_tile, long_row, first, partial, 1, BLOCK)
    old, unary = tl.load(belief + position), tl.load(diagonal + position)
    new = (unary.to(tl.float64) + total).to(old.dtype)
    _report(control, new, old, unary, tl.load(node + position))
    tl.store(belief + position, new)


@kernel(
    _TILES
    | {
        "column": slot("i32"),
        "weight": slot("T"),
        "node": row("i32"),
        "diagonal": row("T"),
        "precision": source_vector("T"),
        "other_precision": row("T", moves=2),
        "precision_message": slot("T", moves=2),
        "precision_partial": tile("fp64"),
        "control": tile("i64"),
        "unary": row("T", columns=True),
        "belief": source_vector("T", columns=True),
        "other": row("T", columns=True, moves=2),
        "message": slot("T", columns=True, moves=2),
        "partial": tile("fp64"),
    },
    variants=_PANELS,
    warps=_warps,
    registers=80,  # with four columns and more; each thread has then twice the bytes under way
)
def joint_sweep(
    tile_start, tile_row, first, column, weight, node, diagonal, precision, other_precision, precision_message,
    precision_partial, control, unary, belief, other, message, partial, K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Precision and potential messages together: ``h_{k->i} <- -A_ik h_{k\\i} / P_{k\\i}``."""
    if tl.load(control + STOPPED) != 0:
        return
    at, begin, end, is_slice, position = _tile(tile_start, tile_row, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    here = position * K + c
    own_precision = tl.load(other_precision + position)
    own = tl.load(other + here)
    total_precision = tl.load(diagonal + position, mask=is_slice, other=0.0)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        source = tl.load(column + e + lane).to(tl.int64)
        new_precision, ratio_out, ratio_in = _update_precision(
            tl.load(weight + e + lane),
            own_precision,
            tl.load(precision + source),
            tl.load(precision_message + e + lane),
        )
        tl.store(precision_message + e + lane, new_precision)
        total_precision += new_precision
        place = (e + lane) * K + c
        sent = ratio_out * (own - tl.load(message + place))
        new = ratio_in * (tl.load(belief + source * K + c) - sent)
        tl.store(message + place, new)
        total += new
    if is_slice:
        _report(control, total_precision, own_precision, tl.load(diagonal + position), tl.load(node + position))
    _store(is_slice, other_precision, position, total_precision, precision_partial, at, 1)
    _store(is_slice, other, here, total, partial, at, K)


@kernel(
    {
        "control": tile("i64"),
        "tolerance": tile("fp64"),
        "must_be_positive": scalar("i32"),
    },
    variants=({},),
    warps=_warps,
)
def judge(control, tolerance, must_be_positive):
    """After a sweep: count it, note what the rows reported, and say whether the next may run.

    A control holds, as int64: whether to stop, sweeps done, the smallest node whose belief is not positive (or NONE)
    and the bits of the largest change after the last of them, and the same two as the rows of a sweep report them.
    """
    if tl.load(control + STOPPED) != 0:
        return
    invalid, bits = tl.load(control + _WORST_INVALID), tl.load(control + _WORST_CHANGE)
    tl.store(control + SWEEPS, tl.load(control + SWEEPS) + 1)
    tl.store(control + INVALID, invalid)
    tl.store(control + CHANGE, bits)
    tl.store(control + _WORST_INVALID, NONE)
    tl.store(control + _WORST_CHANGE, 0)
    rests = (bits.to(tl.float64, bitcast=True) <= tl.load(tolerance)) & (invalid == NONE)
    failed = (must_be_positive != 0) & (invalid != NONE)
    tl.store(control + STOPPED, (rests | failed).to(tl.int64))


@kernel(
    _TILES
    | {
        "column": slot("i32"),
        "weight": slot("T"),
        "root": source_vector("T"),
        "message": slot("T", moves=2),
    },
    variants=_SINGLE,
    warps=_warps,
)
def coefficients(
    tile_start, tile_row, first, column, weight, root, message, ROWS: tl.constexpr
):  # fmt: skip
    """``g = A_ik sqrt(J_i / J_k) / (J_i - P_{k->i})`` in the place of ``P``; ``root`` holds ``sqrt(J)``."""
    _at, begin, end, _is_slice, position = _tile(tile_start, tile_row, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    own = tl.load(root + position)
    for e in range(begin, end, ROWS):
        cavity = own * own - tl.load(message + e + lane)
        source = tl.load(column + e + lane)
        g = _divide(tl.load(weight + e + lane) * own, tl.load(root + source) * cavity)
        tl.store(message + e + lane, g)


# --- Residual, in float64 whatever the messages are ---


@kernel(
    _TILES
    | {
        "column": slot("i32"),
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
    variants=_PANELS,
    warps=_warps,
)
def residual_sweep(
    tile_start, tile_row, first, column, weight, node, diagonal, x, b, r, partial, stride, offset,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``r = b - A x``: x in the order of the rows, b and r in that of the nodes, columns ``offset`` and on."""
    at, begin, end, is_slice, position = _tile(tile_start, tile_row, first, ROWS)
    lane = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, K)[None, :]
    at_node = tl.load(node + position, mask=is_slice, other=-1).to(tl.int64)
    there = at_node * stride + offset + c
    own = tl.load(diagonal + position).to(tl.float64) * tl.load(x + position * K + c)
    total = tl.where(at_node >= 0, tl.load(b + there, mask=at_node >= 0, other=0.0) - own, 0.0)
    for e in range(begin, end, ROWS):
        source = tl.load(column + e + lane).to(tl.int64)
        total -= tl.load(weight + e + lane).to(tl.float64) * tl.load(x + source * K + c)
    if is_slice:
        tl.store(r + there, total, mask=at_node >= 0)
    else:
        tl.store(partial + at.to(tl.int64) * K + tl.arange(0, K), tl.sum(total, 0))


@kernel(
    _LONG
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
    variants=_JOINED,
    warps=_warps,
)
def finish_residual(
    long_tile, long_row, first, partial, node, diagonal, x, b, r, stride, offset, K: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The residual of the long rows."""
    position, total = _long_row(long_tile, long_row, first, partial, K, BLOCK)
    c = tl.arange(0, K)[None, :]
    there = tl.load(node + position).to(tl.int64) * stride + offset + c
    own = tl.load(diagonal + position).to(tl.float64) * tl.load(x + position * K + c)
    tl.store(r + there, tl.load(b + there) - own + total)
