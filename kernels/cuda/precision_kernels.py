"""Sweeps of the precisions, alone and with the potentials, in edge-local form (see ``mean_kernels.py``)."""

import functools

import triton
import triton.language as tl

from gabp.kernels.cuda.control import CHANGE, INVALID, NONE, STOPPED, SWEEPS, WORST_CHANGE, WORST_INVALID
from gabp.kernels.cuda.launch import kernel, row, scalar, slot, source_vector, tile
from gabp.kernels.cuda.sliced_ell import (
    BLOCK,
    LONG_ROWS,
    PANEL_VARIANTS,
    SINGLE,
    TILES,
    divide,
    find_edges,
    find_tile,
    store_sums,
    sum_long_row,
    warps_of,
)

_WEIGHTS = {"column": slot("I"), "weight": slot("T")}
_OWN = {"node": row("i32"), "diagonal": row("T")}
_sweep = functools.partial(kernel, variants=SINGLE, warps=warps_of)


@triton.jit
def _update_precision(weight, own, belief, message):
    """The new precision message, and the ratios -A_ik / P_{i\\k} one sweep ago and -A_ik / P_{k\\i} now.

    The cavities of padding are beliefs, which may pass through zero.
    """
    padding = weight == 0
    ratio_out = divide(-weight, tl.where(padding, 1.0, own - message).to(weight.dtype))
    ratio_in = divide(-weight, tl.where(padding, 1.0, belief - weight * ratio_out).to(weight.dtype))
    return weight * ratio_in, ratio_out, ratio_in


@triton.jit
def _report(control, new, old, diagonal, node):
    """Report to the control the change of the beliefs in two sweeps, relative to the diagonal, and invalid nodes."""
    change = tl.abs(new.to(tl.float64) - old.to(tl.float64)) / diagonal.to(tl.float64)
    bits = tl.max(tl.max(tl.where(change > 0, change, 0.0), 1), 0).to(tl.int64, bitcast=True)
    invalid = tl.min(tl.min(tl.where(new > 0, NONE, node), 1), 0).to(tl.int64)
    # a number that is not negative orders as its bits do; most programs have nothing to report
    if bits > tl.load(control + WORST_CHANGE):
        tl.atomic_max(control + WORST_CHANGE, bits)
    if invalid < NONE:
        tl.atomic_min(control + WORST_INVALID, invalid)


@_sweep(
    TILES
    | _WEIGHTS
    | {
        "scale": source_vector("T"),
        "diagonal": row("T"),
        "belief": row("T"),
        "message": slot("T"),
        "partial": tile("fp64"),
    }
)
def start_precisions(
    tile_start, tile_row, tile_base, first, column, weight, scale, diagonal, belief, message, partial,
    ROWS: tl.constexpr,
):  # fmt: skip
    """``P <- -|A_ik| d_k / d_i`` and the beliefs that follow."""
    at, begin, end, row, _here, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, 1, ROWS)
    own = tl.load(scale + row)
    total = tl.load(diagonal + row, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        edge, _place, source, _there = find_edges(column, base, e, 1, ROWS)
        new = -tl.abs(tl.load(weight + edge)) * divide(tl.load(scale + source), own)
        tl.store(message + edge, new)
        total += new
    store_sums(is_slice, belief, row, total, partial, at, 1)


@_sweep(
    TILES
    | _WEIGHTS
    | _OWN
    | {
        "belief": source_vector("T"),
        "other": row("T", moves=2),
        "message": slot("T", moves=2),
        "partial": tile("fp64"),
        "control": tile("i64"),
    }
)
def precision_sweep(
    tile_start, tile_row, tile_base, first, column, weight, node, diagonal, belief, other, message, partial, control,
    ROWS: tl.constexpr,
):  # fmt: skip
    """``P_{k->i} <- -A_ik^2 / P_{k\\i}`` and the beliefs that follow, in place over those of sweep t-1."""
    if tl.load(control + STOPPED) != 0:
        return
    at, begin, end, row, _here, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, 1, ROWS)
    own = tl.load(other + row)
    unary = tl.load(diagonal + row)
    total = tl.where(is_slice, unary, 0.0).to(own.dtype)
    for e in range(begin, end, ROWS):
        edge, _place, source, _there = find_edges(column, base, e, 1, ROWS)
        new, _, _ = _update_precision(tl.load(weight + edge), own, tl.load(belief + source), tl.load(message + edge))
        tl.store(message + edge, new)
        total += new
    if is_slice:
        _report(control, total, own, unary, tl.load(node + row))
    store_sums(is_slice, other, row, total, partial, at, 1)


@kernel(
    LONG_ROWS
    | {"partial": tile("fp64")}
    | _OWN
    | {
        "belief": row("T", moves=2),
        "control": tile("i64"),
    },
    variants=({"BLOCK": BLOCK},),
    warps=warps_of,
)
def finish_precisions(
    long_tile, long_row, first, partial, node, diagonal, belief, control, BLOCK: tl.constexpr
):  # fmt: skip
    """The beliefs of the long rows, and their report."""
    if tl.load(control + STOPPED) != 0:
        return
    row, _here, total = sum_long_row(long_tile, long_row, first, partial, 1, BLOCK)
    old, unary = tl.load(belief + row), tl.load(diagonal + row)
    new = (unary.to(tl.float64) + total).to(old.dtype)
    _report(control, new, old, unary, tl.load(node + row))
    tl.store(belief + row, new)


@kernel(
    TILES
    | _WEIGHTS
    | _OWN
    | {
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
    variants=PANEL_VARIANTS,
    warps=warps_of,
    registers=lambda constants: 96 if constants["K"] > 1 else 64,  # each thread then has twice the bytes in flight
    capped=lambda constants: constants["K"] > 1,
)
def joint_sweep(
    tile_start, tile_row, tile_base, first, column, weight, node, diagonal, precision, other_precision,
    precision_message, precision_partial, control, unary, belief, other, message, partial,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Precision and potential messages together: ``h_{k->i} <- -A_ik h_{k\\i} / P_{k\\i}``."""
    if tl.load(control + STOPPED) != 0:
        return
    at, begin, end, row, here, is_slice, base = find_tile(tile_start, tile_row, tile_base, first, K, ROWS)
    own_precision = tl.load(other_precision + row)
    own = tl.load(other + here)
    total_precision = tl.load(diagonal + row, mask=is_slice, other=0.0)
    total = tl.load(unary + here, mask=is_slice, other=0.0)
    for e in range(begin, end, ROWS):
        edge, place, source, there = find_edges(column, base, e, K, ROWS)
        new_precision, ratio_out, ratio_in = _update_precision(
            tl.load(weight + edge), own_precision, tl.load(precision + source), tl.load(precision_message + edge)
        )
        tl.store(precision_message + edge, new_precision)
        total_precision += new_precision
        sent = ratio_out * (own - tl.load(message + place))
        new = ratio_in * (tl.load(belief + there) - sent)
        tl.store(message + place, new)
        total += new
    if is_slice:
        _report(control, total_precision, own_precision, tl.load(diagonal + row), tl.load(node + row))
    store_sums(is_slice, other_precision, row, total_precision, precision_partial, at, 1)
    store_sums(is_slice, other, here, total, partial, at, K)


@kernel(
    {
        "control": tile("i64"),
        "tolerance": tile("fp64"),
        "must_be_positive": scalar("i32"),
    },
    variants=({},),
    warps=warps_of,
)
def update_control(control, tolerance, must_be_positive):
    """After a sweep: count it, keep what its rows reported, and stop at the fixed point or at an invalid belief."""
    if tl.load(control + STOPPED) != 0:
        return
    invalid, bits = tl.load(control + WORST_INVALID), tl.load(control + WORST_CHANGE)
    tl.store(control + SWEEPS, tl.load(control + SWEEPS) + 1)
    tl.store(control + INVALID, invalid)
    tl.store(control + CHANGE, bits)
    tl.store(control + WORST_INVALID, NONE)
    tl.store(control + WORST_CHANGE, 0)
    converged = (bits.to(tl.float64, bitcast=True) <= tl.load(tolerance)) & (invalid == NONE)
    failed = (must_be_positive != 0) & (invalid != NONE)
    tl.store(control + STOPPED, (converged | failed).to(tl.int64))


@_sweep(TILES | _WEIGHTS | {"root": source_vector("T"), "message": slot("T", moves=2)})
def coefficients(
    tile_start, tile_row, tile_base, first, column, weight, root, message, ROWS: tl.constexpr
):  # fmt: skip
    """``g = A_ik sqrt(J_i / J_k) / (J_i - P_{k->i})`` in the place of ``P``; ``root`` is ``sqrt(J)``."""
    _at, begin, end, row, _here, _slice, base = find_tile(tile_start, tile_row, tile_base, first, 1, ROWS)
    own = tl.load(root + row)
    for e in range(begin, end, ROWS):
        edge, _place, source, _there = find_edges(column, base, e, 1, ROWS)
        cavity = own * own - tl.load(message + edge)
        g = divide(tl.load(weight + edge) * own, tl.load(root + source) * cavity)
        tl.store(message + edge, g)
