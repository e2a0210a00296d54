"""`gabp.kernels.torch.multigrid_cycle` with every operation fused into a Triton kernel: same names, same arguments.

Everything runs where its tensors are, in torch's current stream, and nothing waits for the device, so that a CUDA graph
can record any sequence of calls.
"""

from collections.abc import Iterator

from torch import Tensor

from gabp.kernels.cuda import multigrid_cycle_kernels
from gabp.kernels.cuda.launch import Kernel
from gabp.kernels.cuda.multigrid_cycle_kernels import CHUNK, ROWS
from gabp.kernels.torch.multigrid_cycle import CGVectors, eliminate
from gabp.kernels.torch.multigrid_levels import SLICE_HEIGHT, MultigridLevel
from gabp.kernels.torch.sliced_ell import SlicedEll

__all__ = [
    "advance_direction",
    "eliminate",
    "finish_direction",
    "finish_first",
    "finish_overlap",
    "finish_second",
    "finish_step",
    "image",
    "overlap",
    "prolong",
    "relax",
    "restrict",
    "step",
    "subtract",
]


def relax(level: MultigridLevel, stage: int, first: int, last: int, b: Tensor, x: Tensor) -> None:
    long = first >= level.sliced  # hubs have colours of their own
    multigrid_cycle_kernels.relax(
        last - first if long else _blocks(last - first // SLICE_HEIGHT * SLICE_HEIGHT),
        *_matrix(level.rows, level.rows.value),
        level.inverse_pivot,
        level.excess,
        b,
        x,
        level.rows.slices + first - level.sliced if long else first,
        last,
        K=x.shape[1],
        STAGE=stage,
        **_shape(long),
    )


def restrict(rows: SlicedEll, x: Tensor, b: Tensor) -> None:
    for long, programs in ((False, _blocks(rows.rows)), (True, len(rows.long_row))):
        first = rows.slices if long else 0
        matrix = _matrix(rows, rows.value)
        multigrid_cycle_kernels.restrict(programs, *matrix, x, b, first, rows.rows, K=x.shape[1], **_shape(long))


def prolong(aggregate: Tensor, c: Tensor, d: Tensor | None, scalars: Tensor | None, x: Tensor) -> None:
    second, steps = (c, c) if d is None else (d, scalars)  # without a second they are not read
    n, columns = x.shape
    multigrid_cycle_kernels.prolong(
        _blocks(n), aggregate, c, second, steps, x, n, K=columns, TWO=int(d is not None), ROWS=ROWS
    )


def image(level: MultigridLevel, x: Tensor, out: Tensor | None, u: Tensor, v: Tensor | None, partials: Tensor) -> None:
    for long, first, own in _launches(level, partials):
        multigrid_cycle_kernels.image(
            len(own),
            *_matrix(level.rows, level.rows.value),
            level.diagonal,
            x,
            x if out is None else out,
            u,
            x if v is None else v,
            own,
            first,
            level.sliced,
            K=x.shape[1],
            STORE=int(out is not None),
            SECOND=int(v is not None),
            **_shape(long),
        )


def subtract(x: Tensor, y: Tensor, scalars: Tensor) -> None:
    n, columns = x.shape
    multigrid_cycle_kernels.subtract(_blocks(n), x, y, scalars, n, K=columns, ROWS=ROWS)


def finish_first(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_first, partials, scalars)


def finish_second(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_second, partials, scalars)


def overlap(cg: CGVectors) -> None:
    n, columns = cg.z.shape
    multigrid_cycle_kernels.overlap(len(cg.partials), cg.z, cg.q, cg.partials, n, K=columns, ROWS=ROWS)


def finish_overlap(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_overlap, partials, scalars)


def advance_direction(level: MultigridLevel, value: Tensor, diagonal: Tensor, cg: CGVectors) -> None:
    for long, first, own in _launches(level, cg.partials):
        multigrid_cycle_kernels.advance_direction(
            len(own),
            *_matrix(level.rows, value),
            diagonal,
            cg.z,
            cg.d,
            cg.q,
            cg.r,
            cg.scalars,
            own,
            first,
            level.sliced,
            K=cg.z.shape[1],
            **_shape(long),
        )


def finish_direction(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_direction, partials, scalars)


def step(cg: CGVectors) -> None:
    n, columns = cg.y.shape
    scaled = cg.unit is not None
    unit = cg.unit if scaled else cg.scalars  # not read
    multigrid_cycle_kernels.step(
        len(cg.partials), cg.y, cg.r, cg.d, cg.q, unit, cg.b, cg.scalars, cg.partials, n,
        K=columns, SCALED=int(scaled), ROWS=ROWS,
    )  # fmt: skip


def finish_step(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_step, partials, scalars)


def _finish(kernel: Kernel, partials: Tensor, scalars: Tensor) -> None:
    programs, _, columns = partials.shape
    kernel(1, partials, scalars, programs, **next(c for c in kernel.variants if c["K"] == columns))


def _blocks(rows: int) -> int:
    return -(-rows // ROWS)


def _matrix(rows: SlicedEll, value: Tensor) -> tuple[Tensor, ...]:
    return rows.tile_start, rows.tile_row, rows.column, value


def _shape(long: bool) -> dict[str, int]:
    return {"LONG": int(long), "ROWS": CHUNK if long else ROWS}


def _launches(level: MultigridLevel, partials: Tensor) -> Iterator[tuple[bool, int, Tensor]]:
    """For the slices and for the long rows: what the launch begins with, and the partial sums of its programs."""
    of_slices = level.programs - len(level.rows.long_row)
    yield False, 0, partials[:of_slices]
    yield True, level.rows.slices, partials[of_slices:]
