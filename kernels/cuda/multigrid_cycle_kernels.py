"""The operations of `gabp.kernels.torch.multigrid_cycle` in Triton, on matrices in sliced ELLPACK storage.

A program works on a block of ``ROWS`` rows, four slices, a lane each, or on one long row (``LONG``). Edge-sized arrays
are streamed in their own order, only node vectors are gathered. A kernel that sums takes many blocks with each program
and stores one partial sum per program and quantity in ``partials`` (programs, 3, K); a ``finish`` kernel of a single
program adds them up, always in the same order, and turns them into step lengths in ``scalars`` (_, K).
"""

import functools

import triton
import triton.language as tl

from gabp.kernels.cuda.launch import Constants, kernel, row, scalar, slot, source_vector, tile
from gabp.kernels.cuda.sliced_ell import find_rows, multiply_rows
from gabp.kernels.torch import multigrid_cycle, multigrid_levels
from gabp.kernels.torch.sliced_ell import PANELS

ROWS = multigrid_levels.PROGRAM_ROWS
CHUNK = 256  # nonzeros of a long row that are taken at once
_PARTIALS_AT_ONCE = 128  # numbers
_HEIGHT = tl.constexpr(multigrid_levels.SLICE_HEIGHT)
_PARTS = tl.constexpr(2)  # of a level's rows
_SUMS = tl.constexpr(multigrid_cycle.SUMS)

_FORWARD, _BACKWARD = tl.constexpr(multigrid_cycle.FORWARD), tl.constexpr(multigrid_cycle.BACKWARD)
_SUBSTITUTE = tl.constexpr(multigrid_cycle.SUBSTITUTE)
_BETA, _ALPHA = tl.constexpr(multigrid_cycle.BETA), tl.constexpr(multigrid_cycle.ALPHA)
_ENERGY, _SQUARE = tl.constexpr(multigrid_cycle.ENERGY), tl.constexpr(multigrid_cycle.SQUARE)
_TARGET, _NOISE = tl.constexpr(multigrid_cycle.TARGET), tl.constexpr(multigrid_cycle.NOISE)
_FAILURE = tl.constexpr(multigrid_cycle.FAILURE)
_FIRST_ENERGY, _FIRST_MATCH = tl.constexpr(multigrid_cycle.FIRST_ENERGY), tl.constexpr(multigrid_cycle.FIRST_MATCH)
_FIRST_STEP = tl.constexpr(multigrid_cycle.FIRST_STEP)
_ALONG_FIRST, _ALONG_SECOND = tl.constexpr(multigrid_cycle.ALONG_FIRST), tl.constexpr(multigrid_cycle.ALONG_SECOND)
_NOT_POSITIVE_DEFINITE = tl.constexpr(multigrid_cycle.NOT_POSITIVE_DEFINITE)
_BREAKDOWN = tl.constexpr(multigrid_cycle.BREAKDOWN)
_PARALLEL = tl.constexpr(multigrid_cycle.PARALLEL)


def _variants(**flags: tuple[int, ...]) -> tuple[Constants, ...]:
    """Every combination of a panel's width with the flags."""
    combinations: list[dict[str, int]] = [{"K": k} for k in PANELS]
    for name, values in flags.items():
        combinations = [{**known, name: value} for known in combinations for value in values]
    return tuple(combinations)


def _over_rows(**flags: tuple[int, ...]) -> tuple[Constants, ...]:
    return tuple({**variant, "ROWS": ROWS} for variant in _variants(**flags))


def _over_nonzeros(**flags: tuple[int, ...]) -> tuple[Constants, ...]:
    return tuple({**v, "ROWS": CHUNK if v["LONG"] else ROWS} for v in _variants(**flags, LONG=(0, 1)))


_MATRIX = {
    "tile_start": tile("i64"),
    "tile_row": tile("i32"),
    "column": slot("i32"),
    "value": slot("T"),
}
_LAST = {"last": scalar("i32")}
_RANGE = {"first": scalar("i32")} | _LAST


def _warps(constants: Constants) -> int:
    """A lane for each row of a block, and for wide panels one for two numbers of it."""
    return max(4, (1 if constants.get("LONG") else 2) * constants["K"]) if "ROWS" in constants else 4


def _registers(constants: Constants) -> int:
    """More for long rows: their programs are too few to fill the device."""
    return 104 if constants["LONG"] else 64


_kernel = functools.partial(kernel, warps=_warps)
_summing = functools.partial(_kernel, registers=_registers, capped=lambda constants: True)
_finish = _kernel(
    {"partials": tile("fp64"), "scalars": tile("fp64"), "programs": scalar("i32")},
    variants=tuple({"K": k, "BLOCK": _PARTIALS_AT_ONCE // k} for k in PANELS),
)


@triton.jit
def _store_partial_sum(partials, quantity: tl.constexpr, total, K: tl.constexpr):
    """Store the program's sum of one quantity, from its lanes' (_, K)."""
    tl.store(partials + (tl.program_id(0) * _SUMS + quantity) * K + tl.arange(0, K), tl.sum(total, 0))


@triton.jit
def _total(partials, quantity: tl.constexpr, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """The sum of one quantity over all programs."""
    c = tl.arange(0, K)[None, :]
    total = tl.zeros((BLOCK, K), tl.float64)
    for p in range(0, programs, BLOCK):
        at = p + tl.arange(0, BLOCK)[:, None]
        total += tl.load(partials + (at * _SUMS + quantity) * K + c, mask=at < programs, other=0.0)
    return tl.sum(total, 0)


@triton.jit
def _ratio(x, y):
    """``x / y``, or 0 where ``y`` is not positive."""
    return tl.where(y > 0, x / tl.where(y > 0, y, 1.0), 0.0)


# --- The cycle ---


@_kernel(
    {
        **_MATRIX,
        "inverse_pivot": row("T"),
        "excess": row("T"),
        "b": row("T", columns=True),
        "x": source_vector("T", columns=True),
        **_RANGE,
    },
    variants=_over_nonzeros(STAGE=(multigrid_cycle.FORWARD, multigrid_cycle.BACKWARD, multigrid_cycle.SUBSTITUTE)),
)
def relax(
    tile_start, tile_row, column, value, inverse_pivot, excess, b, x, first, last,
    K: tl.constexpr, STAGE: tl.constexpr, LONG: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Half an elimination sweep over the rows of one colour, in place.

    See `gabp.kernels.torch.multigrid_cycle.relax`.
    """
    LOW: tl.constexpr = 1 if STAGE == _SUBSTITUTE else 0
    HIGH: tl.constexpr = 1 if STAGE == _FORWARD else 2
    TYPE: tl.constexpr = x.dtype.element_ty
    rows, live, here, meant, total = multiply_rows(
        tile_start, tile_row, column, value, x, first, last, tl.program_id(0), TYPE, K,
        _PARTS, LOW, HIGH, LONG, _HEIGHT, ROWS,
    )  # fmt: skip
    inverse = tl.load(inverse_pivot + rows, mask=live, other=0.0)[:, None]
    if STAGE == _FORWARD:
        new = (tl.load(b + here, mask=meant, other=0.0) - total) * inverse
    elif STAGE == _BACKWARD:
        own = tl.load(excess + rows, mask=live, other=0.0)[:, None] * tl.load(x + here, mask=meant, other=0.0)
        new = (tl.load(b + here, mask=meant, other=0.0) + own - total) * inverse
    else:
        new = tl.load(x + here, mask=meant, other=0.0) - total * inverse
    tl.store(x + here, new, mask=meant)


@_kernel(
    _MATRIX | {"x": source_vector("T", columns=True), "b": row("T", columns=True)} | _RANGE, variants=_over_nonzeros()
)
def restrict(
    tile_start, tile_row, column, value, x, b, first, last, K: tl.constexpr, LONG: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """``b = M x``, the coarse residual; the sums of the long rows are those of the second launch."""
    _rows, _live, here, meant, total = multiply_rows(
        tile_start, tile_row, column, value, x, first, last, tl.program_id(0), x.dtype.element_ty, K,
        1, 0, 1, LONG, _HEIGHT, ROWS,
    )  # fmt: skip
    tl.store(b + here, total, mask=meant)


@_kernel(
    {
        "aggregate": row("i32"),
        "c": source_vector("T", columns=True),
        "d": source_vector("T", columns=True),
        "scalars": tile("fp64"),
        "x": row("T", columns=True, moves=2),
        **_LAST,
    },
    variants=_over_rows(TWO=(0, 1)),
)
def prolong(aggregate, c, d, scalars, x, last, K: tl.constexpr, TWO: tl.constexpr, ROWS: tl.constexpr):
    """``x += P (α c + β d)``, or ``x += P c``."""
    rows, live, here, _meant = find_rows(0, last, tl.program_id(0), K, _HEIGHT, ROWS)
    column = tl.arange(0, K)[None, :]
    into = tl.load(aggregate + rows, mask=live, other=-1)
    there = (into >= 0)[:, None]
    coarse = into.to(tl.int64)[:, None] * K + column
    step = tl.load(c + coarse, mask=there, other=0.0)
    if TWO:
        along_first = tl.load(scalars + _ALONG_FIRST * K + column)
        along_second = tl.load(scalars + _ALONG_SECOND * K + column)
        both = along_first * step.to(tl.float64) + along_second * tl.load(d + coarse, mask=there, other=0.0)
        step = both.to(step.dtype)
    tl.store(x + here, tl.load(x + here, mask=there, other=0.0) + step, mask=there)


@_summing(
    {
        **_MATRIX,
        "diagonal": row("T"),
        "x": source_vector("T", columns=True),
        "out": row("T", columns=True),
        "u": row("T", columns=True),
        "v": row("T", columns=True),
        "partials": tile("fp64"),
        **_RANGE,
    },
    variants=tuple(v for v in _over_nonzeros(STORE=(0, 1), SECOND=(0, 1)) if v["STORE"] != v["SECOND"]),
)
def image(
    tile_start, tile_row, column, value, diagonal, x, out, u, v, partials, first, last,
    K: tl.constexpr, STORE: tl.constexpr, SECOND: tl.constexpr, LONG: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``out = A x`` (STORE), with ``x·Ax``, ``x·u`` and ``x·v`` (SECOND)."""
    LANES: tl.constexpr = 1 if LONG else ROWS
    energy = tl.zeros((LANES, K), tl.float64)
    match = tl.zeros((LANES, K), tl.float64)
    coupling = tl.zeros((LANES, K), tl.float64)
    blocks = tl.num_programs(0) if LONG else tl.cdiv(last, ROWS)
    begin = first if LONG else 0
    for t in range(tl.program_id(0), blocks, tl.num_programs(0)):
        rows, live, here, meant, total = multiply_rows(
            tile_start, tile_row, column, value, x, begin, last, t, x.dtype.element_ty, K,
            _PARTS, 0, _PARTS, LONG, _HEIGHT, ROWS,
        )  # fmt: skip
        own = tl.load(x + here, mask=meant, other=0.0)
        total += tl.load(diagonal + rows, mask=live, other=0.0)[:, None] * own
        if STORE:
            tl.store(out + here, total, mask=meant)
        wide = own.to(tl.float64)
        energy += wide * total.to(tl.float64)
        match += wide * tl.load(u + here, mask=meant, other=0.0).to(tl.float64)
        if SECOND:
            coupling += wide * tl.load(v + here, mask=meant, other=0.0).to(tl.float64)
    _store_partial_sum(partials, 0, energy, K)
    _store_partial_sum(partials, 1, match, K)
    if SECOND:
        _store_partial_sum(partials, 2, coupling, K)


@_kernel(
    {"x": row("T", columns=True, moves=2), "y": row("T", columns=True), "scalars": tile("fp64")} | _LAST,
    variants=_over_rows(),
)
def subtract(x, y, scalars, last, K: tl.constexpr, ROWS: tl.constexpr):
    """``x -= α y``."""
    _rows, _live, here, meant = find_rows(0, last, tl.program_id(0), K, _HEIGHT, ROWS)
    left = tl.load(x + here, mask=meant, other=0.0)
    step = tl.load(scalars + _FIRST_STEP * K + tl.arange(0, K)[None, :]) * tl.load(y + here, mask=meant, other=0.0)
    tl.store(x + here, left - step.to(left.dtype), mask=meant)


@_finish
def finish_first(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """The step along the first coarse direction."""
    energy, match = _total(partials, 0, programs, K, BLOCK), _total(partials, 1, programs, K, BLOCK)
    c = tl.arange(0, K)
    tl.store(scalars + _FIRST_ENERGY * K + c, energy)
    tl.store(scalars + _FIRST_MATCH * K + c, match)
    tl.store(scalars + _FIRST_STEP * K + c, _ratio(match, energy))


@_finish
def finish_second(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """The steps along both coarse directions (Notay 2010, algorithm 3.2)."""
    energy, match = _total(partials, 0, programs, K, BLOCK), _total(partials, 1, programs, K, BLOCK)
    coupling = _total(partials, 2, programs, K, BLOCK)
    c = tl.arange(0, K)
    first_energy = tl.load(scalars + _FIRST_ENERGY * K + c)
    rest = energy - coupling * _ratio(coupling, first_energy)
    step = _ratio(match, tl.where(rest > energy * _PARALLEL, rest, 0.0))
    tl.store(scalars + _ALONG_SECOND * K + c, step)
    along = _ratio(tl.load(scalars + _FIRST_MATCH * K + c) - coupling * step, first_energy)
    tl.store(scalars + _ALONG_FIRST * K + c, along)


# --- The conjugate gradients that it preconditions ---


@_kernel(
    {"z": row("fp32", columns=True), "q": row("fp64", columns=True), "partials": tile("fp64")} | _LAST,
    variants=_over_rows(),
)
def overlap(z, q, partials, last, K: tl.constexpr, ROWS: tl.constexpr):
    """``z·q``."""
    total = tl.zeros((ROWS, K), tl.float64)
    for t in range(tl.program_id(0), tl.cdiv(last, ROWS), tl.num_programs(0)):
        _rows, _live, here, meant = find_rows(0, last, t, K, _HEIGHT, ROWS)
        own = tl.load(z + here, mask=meant, other=0.0).to(tl.float64)
        total += own * tl.load(q + here, mask=meant, other=0.0)
    _store_partial_sum(partials, 0, total, K)


@_finish
def finish_overlap(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """``β``."""
    c = tl.arange(0, K)
    total = _total(partials, 0, programs, K, BLOCK)
    tl.store(scalars + _BETA * K + c, -_ratio(total, tl.load(scalars + _ENERGY * K + c)))


@_summing(
    {
        **_MATRIX,
        "diagonal": row("fp64"),
        "z": source_vector("fp32", columns=True),
        "d": row("fp64", columns=True, moves=2),
        "q": row("fp64", columns=True, moves=2),
        "r": row("fp64", columns=True),
        "scalars": tile("fp64"),
        "partials": tile("fp64"),
        **_RANGE,
    },
    variants=_over_nonzeros(),
)
def advance_direction(
    tile_start, tile_row, column, value, diagonal, z, d, q, r, scalars, partials, first, last,
    K: tl.constexpr, LONG: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``d = z + β d`` and ``q = A z + β q``, with ``d·q``, ``d·r`` and ``d·d``; failed columns stay as they are."""
    c = tl.arange(0, K)[None, :]
    beta = tl.load(scalars + _BETA * K + c)
    failed = tl.load(scalars + _FAILURE * K + c) != 0
    LANES: tl.constexpr = 1 if LONG else ROWS
    energy = tl.zeros((LANES, K), tl.float64)
    match = tl.zeros((LANES, K), tl.float64)
    square = tl.zeros((LANES, K), tl.float64)
    blocks = tl.num_programs(0) if LONG else tl.cdiv(last, ROWS)
    begin = first if LONG else 0
    for t in range(tl.program_id(0), blocks, tl.num_programs(0)):
        rows, live, here, meant, total = multiply_rows(
            tile_start, tile_row, column, value, z, begin, last, t, tl.float64, K,
            _PARTS, 0, _PARTS, LONG, _HEIGHT, ROWS,
        )  # fmt: skip
        own = tl.load(z + here, mask=meant, other=0.0).to(tl.float64)
        image = tl.load(diagonal + rows, mask=live, other=0.0)[:, None] * own + total
        old, old_image = tl.load(d + here, mask=meant, other=0.0), tl.load(q + here, mask=meant, other=0.0)
        new = tl.where(failed, old, own + beta * old)
        new_image = tl.where(failed, old_image, image + beta * old_image)
        tl.store(d + here, new, mask=meant)
        tl.store(q + here, new_image, mask=meant)
        energy += new * new_image
        match += new * tl.load(r + here, mask=meant, other=0.0)
        square += new * new
    _store_partial_sum(partials, 0, energy, K)
    _store_partial_sum(partials, 1, match, K)
    _store_partial_sum(partials, 2, square, K)


@_finish
def finish_direction(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """The step along the direction, or a failure: see `gabp.kernels.torch.multigrid_cycle.finish_direction`."""
    energy, match = _total(partials, 0, programs, K, BLOCK), _total(partials, 1, programs, K, BLOCK)
    square = _total(partials, 2, programs, K, BLOCK)
    c = tl.arange(0, K)
    before = tl.load(scalars + _FAILURE * K + c)
    active = (tl.load(scalars + _SQUARE * K + c) > tl.load(scalars + _TARGET * K + c)) & (before == 0)
    threshold = tl.load(scalars + _NOISE * K + c) * square
    flat = active & (square > 0) & ((energy > threshold) == 0)
    failure = tl.where(energy < -threshold, _NOT_POSITIVE_DEFINITE, _BREAKDOWN)
    tl.store(scalars + _ALPHA * K + c, tl.where(active, _ratio(match, energy), 0.0))
    tl.store(scalars + _ENERGY * K + c, energy)
    tl.store(scalars + _FAILURE * K + c, tl.where(flat, failure, before))


@_kernel(
    {
        "y": row("fp64", columns=True, moves=2),
        "r": row("fp64", columns=True, moves=2),
        "d": row("fp64", columns=True),
        "q": row("fp64", columns=True),
        "unit": row("fp64"),
        "b": row("fp32", columns=True),
        "scalars": tile("fp64"),
        "partials": tile("fp64"),
        **_LAST,
    },
    variants=_over_rows(SCALED=(0, 1)),
)
def step(
    y, r, d, q, unit, b, scalars, partials, last, K: tl.constexpr, SCALED: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """``y += α d``, ``r -= α q``, ``b`` = ``r`` in the cycle's precision, and the sum of ``(r unit)²``."""
    c = tl.arange(0, K)[None, :]
    alpha = tl.load(scalars + _ALPHA * K + c)
    total = tl.zeros((ROWS, K), tl.float64)
    for t in range(tl.program_id(0), tl.cdiv(last, ROWS), tl.num_programs(0)):
        rows, live, here, meant = find_rows(0, last, t, K, _HEIGHT, ROWS)
        tl.store(
            y + here,
            tl.load(y + here, mask=meant, other=0.0) + alpha * tl.load(d + here, mask=meant, other=0.0),
            mask=meant,
        )
        left = tl.load(r + here, mask=meant, other=0.0) - alpha * tl.load(q + here, mask=meant, other=0.0)
        tl.store(r + here, left, mask=meant)
        tl.store(b + here, left.to(b.dtype.element_ty), mask=meant)
        if SCALED:
            left *= tl.load(unit + rows, mask=live, other=0.0)[:, None]
        total += left * left
    _store_partial_sum(partials, 0, total, K)


@_finish
def finish_step(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """The squared norms of the residuals."""
    tl.store(scalars + _SQUARE * K + tl.arange(0, K), _total(partials, 0, programs, K, BLOCK))
