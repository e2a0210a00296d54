"""The steps of `gabp.kernels.torch.multigrid_cycle` in Triton, over the layout of `gabp.kernels.torch.sliced_rows`.

A program works on a tile of ``ROWS`` rows, four slices, a lane each; or, of a long row, all lanes on that one
(``LONG``). Edge-sized arrays are streamed in their own order, only node vectors are gathered. ``K`` right-hand sides
travel together; a vector has the shape (rows, K). A kernel that sums walks through many tiles with each program, leaves
one partial sum per program and quantity in ``partials`` (programs, 3, K), and a ``finish`` kernel of a single program
adds them up, always in the same order, and turns them into step lengths in ``scalars`` (_, K).
"""

import triton
import triton.language as tl

from gabp.kernels.cuda.launch import Constants, kernel, row, scalar, slot, source_vector, tile
from gabp.kernels.torch import multigrid_cycle, sliced_rows

ROWS = sliced_rows.TILE
CHUNK = 256  # entries of a long row that are taken at once
_JOINED_NUMBERS = 128  # that are joined at once
_LANES = tl.constexpr(sliced_rows.LANES)
_SUMS = tl.constexpr(3)  # quantities that a program has room for in the partial sums

_FORWARD, _BACKWARD = tl.constexpr(multigrid_cycle.FORWARD), tl.constexpr(multigrid_cycle.BACKWARD)
_SUBSTITUTE = tl.constexpr(multigrid_cycle.SUBSTITUTE)
_BETA, _ALPHA, _ENERGY = (
    tl.constexpr(multigrid_cycle.BETA),
    tl.constexpr(multigrid_cycle.ALPHA),
    tl.constexpr(multigrid_cycle.ENERGY),
)
_SQUARE, _TARGET, _NOISE = (
    tl.constexpr(multigrid_cycle.SQUARE),
    tl.constexpr(multigrid_cycle.TARGET),
    tl.constexpr(multigrid_cycle.NOISE),
)
_FAILURE = tl.constexpr(multigrid_cycle.FAILURE)
_FIRST_ENERGY, _FIRST_MATCH = tl.constexpr(multigrid_cycle.FIRST_ENERGY), tl.constexpr(multigrid_cycle.FIRST_MATCH)
_FIRST_STEP = tl.constexpr(multigrid_cycle.FIRST_STEP)
_ALONG_FIRST, _ALONG_SECOND = tl.constexpr(multigrid_cycle.ALONG_FIRST), tl.constexpr(multigrid_cycle.ALONG_SECOND)
_NOT_POSITIVE_DEFINITE, _BREAKDOWN = (
    tl.constexpr(multigrid_cycle.NOT_POSITIVE_DEFINITE),
    tl.constexpr(multigrid_cycle.BREAKDOWN),
)
_PARALLEL = tl.constexpr(multigrid_cycle.PARALLEL)


def _variants(**flags: tuple[int, ...]) -> tuple[Constants, ...]:
    """Every combination of a panel's width with the flags."""
    combinations: list[dict[str, int]] = [{"K": k} for k in multigrid_cycle.PANELS]
    for name, values in flags.items():
        combinations = [{**known, name: value} for known in combinations for value in values]
    return tuple(combinations)


def _with_rows(**flags: tuple[int, ...]) -> tuple[Constants, ...]:
    return tuple({**variant, "ROWS": ROWS} for variant in _variants(**flags))


def _over_edges(**flags: tuple[int, ...]) -> tuple[Constants, ...]:
    return tuple({**v, "ROWS": CHUNK if v["LONG"] else ROWS} for v in _variants(**flags, LONG=(0, 1)))


_JOINED = tuple({"K": k, "BLOCK": _JOINED_NUMBERS // k} for k in multigrid_cycle.PANELS)
_MATRIX = {
    "bounds": tile("i64"),
    "long_row": tile("i64"),
    "column": slot("i32"),
    "value": slot("T"),
}

_FINISH = {"partials": tile("fp64"), "scalars": tile("fp64"), "programs": scalar("i32")}


def _warps(constants: Constants) -> int:
    """A lane for each row of a tile, and for wide panels one for two numbers of it."""
    return max(4, (1 if constants.get("LONG") else 2) * constants["K"]) if "ROWS" in constants else 4


def _registers(constants: Constants) -> int:
    """More for long rows: their programs are too few to fill the device."""
    return 104 if constants["LONG"] else 64


@triton.jit
def _tile_rows(first, behind, tile, ROWS: tl.constexpr):
    """The rows of a tile, the first of which is the first of a slice, and which of them are meant."""
    rows = (tile * ROWS + tl.arange(0, ROWS)).to(tl.int64) + first // _LANES * _LANES
    return rows, (rows >= first) & (rows < behind)


@triton.jit
def _couplings(
    bounds, long_row, column, value, x, first, behind, tile,
    LOW: tl.constexpr, HIGH: tl.constexpr, TYPE: tl.constexpr, K: tl.constexpr, LONG: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """Rows of a tile, which of them are meant, and their sums ``Σ A_ik x_k`` over a part of each, in ``TYPE``."""
    c = tl.arange(0, K)[None, :]
    total = tl.zeros((ROWS, K), TYPE)
    if LONG:
        rows = tl.load(long_row + first + tile + tl.zeros((1,), tl.int32))
        live = rows >= 0
        begin, end = tl.load(bounds + 2 * (first + tile) + LOW), tl.load(bounds + 2 * (first + tile) + HIGH)
        for e in range(begin, end, ROWS):
            at = e + tl.arange(0, ROWS)
            source = tl.load(column + at, mask=at < end, other=0).to(tl.int64)
            coupling = tl.load(value + at, mask=at < end, other=0.0).to(TYPE)
            heard = tl.load(x + source[:, None] * K + c, mask=(at < end)[:, None], other=0.0)
            total += coupling[:, None] * heard.to(TYPE)
        total = tl.sum(total, 0)[None, :]
    else:
        rows, live = _tile_rows(first, behind, tile, ROWS)
        half = 2 * (rows // _LANES)
        begin = tl.load(bounds + half + LOW, mask=live, other=0)
        width = ((tl.load(bounds + half + HIGH, mask=live, other=0) - begin) // _LANES).to(tl.int32)
        at = begin + rows % _LANES
        for j in range(0, tl.max(width, 0)):
            source = tl.load(column + at, mask=j < width, other=-1)
            coupling = tl.load(value + at, mask=j < width, other=0.0).to(TYPE)
            there = (source >= 0)[:, None]  # padding must not meet a NaN
            heard = tl.load(x + source.to(tl.int64)[:, None] * K + c, mask=there, other=0.0)
            total += coupling[:, None] * heard.to(TYPE)
            at += _LANES
    return rows, live, total


@triton.jit
def _leave(partials, quantity: tl.constexpr, total, K: tl.constexpr):
    """The program's sum of one quantity, from its lanes' (_, K)."""
    tl.store(partials + (tl.program_id(0) * _SUMS + quantity) * K + tl.arange(0, K), tl.sum(total, 0))


@triton.jit
def _join(partials, quantity: tl.constexpr, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """All programs' sums of one quantity."""
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


@kernel(
    {
        **_MATRIX,
        "inverse_pivot": row("T"),
        "excess": row("T"),
        "b": row("T", columns=True),
        "x": source_vector("T", columns=True),
        "first": scalar("i32"),
        "behind": scalar("i32"),
    },
    variants=_over_edges(STAGE=(multigrid_cycle.FORWARD, multigrid_cycle.BACKWARD, multigrid_cycle.SUBSTITUTE)),
    warps=_warps,
)
def relax(
    bounds, long_row, column, value, inverse_pivot, excess, b, x, first, behind,
    K: tl.constexpr, STAGE: tl.constexpr, LONG: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Half an elimination sweep over the rows of one colour, in place; see `torch.multigrid_cycle.relax`."""
    LOW: tl.constexpr = 1 if STAGE == _SUBSTITUTE else 0
    HIGH: tl.constexpr = 1 if STAGE == _FORWARD else 2
    TYPE: tl.constexpr = x.dtype.element_ty
    rows, live, heard = _couplings(
        bounds, long_row, column, value, x, first, behind, tl.program_id(0), LOW, HIGH, TYPE, K, LONG, ROWS
    )
    here = rows[:, None] * K + tl.arange(0, K)[None, :]
    meant = live[:, None]
    inverse = tl.load(inverse_pivot + rows, mask=live, other=0.0)[:, None]
    if STAGE == _FORWARD:
        new = (tl.load(b + here, mask=meant, other=0.0) - heard) * inverse
    elif STAGE == _BACKWARD:
        own = tl.load(excess + rows, mask=live, other=0.0)[:, None] * tl.load(x + here, mask=meant, other=0.0)
        new = (tl.load(b + here, mask=meant, other=0.0) + own - heard) * inverse
    else:
        new = tl.load(x + here, mask=meant, other=0.0) - heard * inverse
    tl.store(x + here, new, mask=meant)


@kernel(
    {
        **_MATRIX,
        "x": source_vector("T", columns=True),
        "b": row("T", columns=True),
        "first": scalar("i32"),
        "behind": scalar("i32"),
    },
    variants=_over_edges(),
    warps=_warps,
)
def restrict(
    bounds, long_row, column, value, x, b, first, behind, K: tl.constexpr, LONG: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """``b = M x``, the coarse residual; rows that are long are left to the launch for these."""
    rows, live, total = _couplings(
        bounds, long_row, column, value, x, first, behind, tl.program_id(0), 0, 2, x.dtype.element_ty, K, LONG, ROWS
    )
    tl.store(b + rows[:, None] * K + tl.arange(0, K)[None, :], total, mask=live[:, None])


@kernel(
    {
        "cluster": row("i32"),
        "c": source_vector("T", columns=True),
        "d": source_vector("T", columns=True),
        "scalars": tile("fp64"),
        "x": row("T", columns=True, moves=2),
        "behind": scalar("i32"),
    },
    variants=_with_rows(TWO=(0, 1)),
    warps=_warps,
)
def prolong(cluster, c, d, scalars, x, behind, K: tl.constexpr, TWO: tl.constexpr, ROWS: tl.constexpr):
    """``x += P (α c + β d)``, or ``x += P c``."""
    rows, live = _tile_rows(0, behind, tl.program_id(0), ROWS)
    column = tl.arange(0, K)[None, :]
    into = tl.load(cluster + rows, mask=live, other=-1)
    there = (into >= 0)[:, None]
    coarse = into.to(tl.int64)[:, None] * K + column
    step = tl.load(c + coarse, mask=there, other=0.0)
    if TWO:
        along_first = tl.load(scalars + _ALONG_FIRST * K + column)
        along_second = tl.load(scalars + _ALONG_SECOND * K + column)
        both = along_first * step.to(tl.float64) + along_second * tl.load(d + coarse, mask=there, other=0.0)
        step = both.to(step.dtype)
    here = rows[:, None] * K + column
    tl.store(x + here, tl.load(x + here, mask=there, other=0.0) + step, mask=there)


@kernel(
    {
        **_MATRIX,
        "diagonal": row("T"),
        "x": source_vector("T", columns=True),
        "out": row("T", columns=True),
        "u": row("T", columns=True),
        "v": row("T", columns=True),
        "partials": tile("fp64"),
        "behind": scalar("i32"),
    },
    variants=tuple(v for v in _over_edges(STORE=(0, 1), SECOND=(0, 1)) if v["STORE"] != v["SECOND"]),
    warps=_warps,
    registers=_registers,
    capped=lambda constants: True,
)
def image(
    bounds, long_row, column, value, diagonal, x, out, u, v, partials, behind,
    K: tl.constexpr, STORE: tl.constexpr, SECOND: tl.constexpr, LONG: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``out = A x`` where it is wanted, with ``x·Ax``, ``x·u`` and, where it is wanted, ``x·v``."""
    TILE: tl.constexpr = 1 if LONG else ROWS
    energy = tl.zeros((TILE, K), tl.float64)
    match = tl.zeros((TILE, K), tl.float64)
    coupling = tl.zeros((TILE, K), tl.float64)
    tiles = tl.num_programs(0) if LONG else tl.cdiv(behind, ROWS)
    for t in range(tl.program_id(0), tiles, tl.num_programs(0)):
        rows, live, heard = _couplings(
            bounds, long_row, column, value, x, 0, behind, t, 0, 2, x.dtype.element_ty, K, LONG, ROWS
        )
        here, meant = rows[:, None] * K + tl.arange(0, K)[None, :], live[:, None]
        own = tl.load(x + here, mask=meant, other=0.0)
        heard += tl.load(diagonal + rows, mask=live, other=0.0)[:, None] * own
        if STORE:
            tl.store(out + here, heard, mask=meant)
        wide = own.to(tl.float64)
        energy += wide * heard.to(tl.float64)
        match += wide * tl.load(u + here, mask=meant, other=0.0).to(tl.float64)
        if SECOND:
            coupling += wide * tl.load(v + here, mask=meant, other=0.0).to(tl.float64)
    _leave(partials, 0, energy, K)
    _leave(partials, 1, match, K)
    if SECOND:
        _leave(partials, 2, coupling, K)


@kernel(
    {
        "x": row("T", columns=True, moves=2),
        "y": row("T", columns=True),
        "scalars": tile("fp64"),
        "behind": scalar("i32"),
    },
    variants=_with_rows(),
    warps=_warps,
)
def subtract(x, y, scalars, behind, K: tl.constexpr, ROWS: tl.constexpr):
    """``x -= α y``."""
    rows, live = _tile_rows(0, behind, tl.program_id(0), ROWS)
    column = tl.arange(0, K)[None, :]
    here, meant = rows[:, None] * K + column, live[:, None]
    left = tl.load(x + here, mask=meant, other=0.0)
    step = tl.load(scalars + _FIRST_STEP * K + column) * tl.load(y + here, mask=meant, other=0.0)
    tl.store(x + here, left - step.to(left.dtype), mask=meant)


@kernel(_FINISH, variants=_JOINED, warps=_warps)
def finish_first(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """The step along the first coarse direction."""
    energy, match = _join(partials, 0, programs, K, BLOCK), _join(partials, 1, programs, K, BLOCK)
    c = tl.arange(0, K)
    tl.store(scalars + _FIRST_ENERGY * K + c, energy)
    tl.store(scalars + _FIRST_MATCH * K + c, match)
    tl.store(scalars + _FIRST_STEP * K + c, _ratio(match, energy))


@kernel(_FINISH, variants=_JOINED, warps=_warps)
def finish_second(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """The steps along both coarse directions (Notay 2010, algorithm 3.2)."""
    energy, match = _join(partials, 0, programs, K, BLOCK), _join(partials, 1, programs, K, BLOCK)
    coupling = _join(partials, 2, programs, K, BLOCK)
    c = tl.arange(0, K)
    first_energy = tl.load(scalars + _FIRST_ENERGY * K + c)
    rest = energy - coupling * _ratio(coupling, first_energy)
    step = _ratio(match, tl.where(rest > energy * _PARALLEL, rest, 0.0))
    tl.store(scalars + _ALONG_SECOND * K + c, step)
    along = _ratio(tl.load(scalars + _FIRST_MATCH * K + c) - coupling * step, first_energy)
    tl.store(scalars + _ALONG_FIRST * K + c, along)


# --- Conjugate gradients around it ---


@kernel(
    {
        "z": row("fp32", columns=True),
        "q": row("fp64", columns=True),
        "partials": tile("fp64"),
        "behind": scalar("i32"),
    },
    variants=_with_rows(),
    warps=_warps,
)
def overlap(z, q, partials, behind, K: tl.constexpr, ROWS: tl.constexpr):
    """``z·q``."""
    total = tl.zeros((ROWS, K), tl.float64)
    for t in range(tl.program_id(0), tl.cdiv(behind, ROWS), tl.num_programs(0)):
        rows, live = _tile_rows(0, behind, t, ROWS)
        here, meant = rows[:, None] * K + tl.arange(0, K)[None, :], live[:, None]
        own = tl.load(z + here, mask=meant, other=0.0).to(tl.float64)
        total += own * tl.load(q + here, mask=meant, other=0.0)
    _leave(partials, 0, total, K)


@kernel(_FINISH, variants=_JOINED, warps=_warps)
def finish_overlap(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """``β``."""
    c = tl.arange(0, K)
    total = _join(partials, 0, programs, K, BLOCK)
    tl.store(scalars + _BETA * K + c, -_ratio(total, tl.load(scalars + _ENERGY * K + c)))


@kernel(
    {
        **_MATRIX,
        "diagonal": row("fp64"),
        "z": source_vector("fp32", columns=True),
        "d": row("fp64", columns=True, moves=2),
        "q": row("fp64", columns=True, moves=2),
        "r": row("fp64", columns=True),
        "scalars": tile("fp64"),
        "partials": tile("fp64"),
        "behind": scalar("i32"),
    },
    variants=_over_edges(),
    warps=_warps,
    registers=_registers,
    capped=lambda constants: True,
)
def advance_direction(
    bounds, long_row, column, value, diagonal, z, d, q, r, scalars, partials, behind,
    K: tl.constexpr, LONG: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """``d = z + β d`` and ``q = A z + β q``, with ``d·q``, ``d·r`` and ``d·d``; failed columns stay as they are."""
    c = tl.arange(0, K)[None, :]
    beta = tl.load(scalars + _BETA * K + c)
    failed = tl.load(scalars + _FAILURE * K + c) != 0
    TILE: tl.constexpr = 1 if LONG else ROWS
    energy = tl.zeros((TILE, K), tl.float64)
    match = tl.zeros((TILE, K), tl.float64)
    square = tl.zeros((TILE, K), tl.float64)
    tiles = tl.num_programs(0) if LONG else tl.cdiv(behind, ROWS)
    for t in range(tl.program_id(0), tiles, tl.num_programs(0)):
        rows, live, heard = _couplings(
            bounds, long_row, column, value, z, 0, behind, t, 0, 2, tl.float64, K, LONG, ROWS
        )
        here, meant = rows[:, None] * K + c, live[:, None]
        own = tl.load(z + here, mask=meant, other=0.0).to(tl.float64)
        image = tl.load(diagonal + rows, mask=live, other=0.0)[:, None] * own + heard
        old, old_image = tl.load(d + here, mask=meant, other=0.0), tl.load(q + here, mask=meant, other=0.0)
        new = tl.where(failed, old, own + beta * old)
        new_image = tl.where(failed, old_image, image + beta * old_image)
        tl.store(d + here, new, mask=meant)
        tl.store(q + here, new_image, mask=meant)
        energy += new * new_image
        match += new * tl.load(r + here, mask=meant, other=0.0)
        square += new * new
    _leave(partials, 0, energy, K)
    _leave(partials, 1, match, K)
    _leave(partials, 2, square, K)


@kernel(_FINISH, variants=_JOINED, warps=_warps)
def finish_direction(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """The step along the direction, or a failure: see `gabp.kernels.torch.multigrid_cycle.finish_direction`."""
    energy, match = _join(partials, 0, programs, K, BLOCK), _join(partials, 1, programs, K, BLOCK)
    square = _join(partials, 2, programs, K, BLOCK)
    c = tl.arange(0, K)
    before = tl.load(scalars + _FAILURE * K + c)
    active = (tl.load(scalars + _SQUARE * K + c) > tl.load(scalars + _TARGET * K + c)) & (before == 0)
    threshold = tl.load(scalars + _NOISE * K + c) * square
    flat = active & (square > 0) & ((energy > threshold) == 0)
    failure = tl.where(energy < -threshold, _NOT_POSITIVE_DEFINITE, _BREAKDOWN)
    tl.store(scalars + _ALPHA * K + c, tl.where(active, _ratio(match, energy), 0.0))
    tl.store(scalars + _ENERGY * K + c, energy)
    tl.store(scalars + _FAILURE * K + c, tl.where(flat, failure, before))


@kernel(
    {
        "y": row("fp64", columns=True, moves=2),
        "r": row("fp64", columns=True, moves=2),
        "d": row("fp64", columns=True),
        "q": row("fp64", columns=True),
        "unit": row("fp64"),
        "b": row("fp32", columns=True),
        "scalars": tile("fp64"),
        "partials": tile("fp64"),
        "behind": scalar("i32"),
    },
    variants=_with_rows(SCALED=(0, 1)),
    warps=_warps,
)
def step(
    y, r, d, q, unit, b, scalars, partials, behind, K: tl.constexpr, SCALED: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """``y += α d``, ``r -= α q``, ``b`` = ``r`` in the cycle's precision, and the sum of ``(r unit)²``."""
    c = tl.arange(0, K)[None, :]
    alpha = tl.load(scalars + _ALPHA * K + c)
    total = tl.zeros((ROWS, K), tl.float64)
    for t in range(tl.program_id(0), tl.cdiv(behind, ROWS), tl.num_programs(0)):
        rows, live = _tile_rows(0, behind, t, ROWS)
        here, meant = rows[:, None] * K + c, live[:, None]
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
    _leave(partials, 0, total, K)


@kernel(_FINISH, variants=_JOINED, warps=_warps)
def finish_step(partials, scalars, programs, K: tl.constexpr, BLOCK: tl.constexpr):
    """The squared norms of the residuals."""
    tl.store(scalars + _SQUARE * K + tl.arange(0, K), _join(partials, 0, programs, K, BLOCK))
