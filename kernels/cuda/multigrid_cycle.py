"""`gabp.kernels.torch.multigrid_cycle`, every step fused into a Triton kernel: same names, same arguments.

Everything runs where its tensors are, in torch's current stream, and no
call waits for the device, so that a CUDA graph can hold any sequence of them.
"""

from collections.abc import Iterator

from torch import Tensor

from gabp.kernels.cuda import multigrid_cycle_kernels
from gabp.kernels.cuda.launch import Kernel
from gabp.kernels.cuda.multigrid_cycle_kernels import CHUNK, ROWS
from gabp.kernels.torch.multigrid_cycle import eliminate
from gabp.kernels.torch.multigrid_levels import Level
from gabp.kernels.torch.sliced_rows import LANES, SlicedRows

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


def relax(level: Level, stage: int, first: int, last: int, b: Tensor, x: Tensor) -> None:
    rows = level.rows
    long = first >= rows.short  # hubs have colours of their own
    multigrid_cycle_kernels.relax(
        last - first if long else _tiles(last - first // LANES * LANES),
        *_matrix(rows, rows.value, long),
        level.inverse_pivot,
        level.excess,
        b,
        x,
        first - rows.short if long else first,
        last,
        K=x.shape[1],
        STAGE=stage,
        **_shape(long),
    )


def restrict(rows: SlicedRows, x: Tensor, b: Tensor) -> None:
    for long, programs in ((False, _tiles(rows.short)), (True, len(rows.long_row))):
        matrix = _matrix(rows, rows.value, long)
        multigrid_cycle_kernels.restrict(programs, *matrix, x, b, 0, rows.short, K=x.shape[1], **_shape(long))


def prolong(cluster: Tensor, c: Tensor, d: Tensor | None, scalars: Tensor | None, x: Tensor) -> None:
    second, steps = (c, c) if d is None else (d, scalars)  # without a second they are not read
    n, columns = x.shape
    multigrid_cycle_kernels.prolong(
        _tiles(n), cluster, c, second, steps, x, n, K=columns, TWO=int(d is not None), ROWS=ROWS
    )


def image(level: Level, x: Tensor, out: Tensor | None, u: Tensor, v: Tensor | None, partials: Tensor) -> None:
    for long, own in _summing(level.rows, partials):
        multigrid_cycle_kernels.image(
            len(own),
            *_matrix(level.rows, level.rows.value, long),
            level.diagonal,
            x,
            x if out is None else out,
            u,
            x if v is None else v,
            own,
            level.rows.short,
            K=x.shape[1],
            STORE=int(out is not None),
            SECOND=int(v is not None),
            **_shape(long),
        )


def subtract(x: Tensor, y: Tensor, scalars: Tensor) -> None:
    n, columns = x.shape
    multigrid_cycle_kernels.subtract(_tiles(n), x, y, scalars, n, K=columns, ROWS=ROWS)


def finish_first(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_first, partials, scalars)


def finish_second(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_second, partials, scalars)


def overlap(z: Tensor, q: Tensor, partials: Tensor) -> None:
    n, columns = z.shape
    multigrid_cycle_kernels.overlap(len(partials), z, q, partials, n, K=columns, ROWS=ROWS)


def finish_overlap(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_overlap, partials, scalars)


def advance_direction(
    level: Level,
    value: Tensor,
    diagonal: Tensor,
    z: Tensor,
    d: Tensor,
    q: Tensor,
    r: Tensor,
    scalars: Tensor,
    partials: Tensor,
) -> None:
    for long, own in _summing(level.rows, partials):
        multigrid_cycle_kernels.advance_direction(
            len(own),
            *_matrix(level.rows, value, long),
            diagonal,
            z,
            d,
            q,
            r,
            scalars,
            own,
            level.rows.short,
            K=z.shape[1],
            **_shape(long),
        )


def finish_direction(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_direction, partials, scalars)


def step(
    y: Tensor, r: Tensor, d: Tensor, q: Tensor, unit: Tensor | None, b: Tensor, scalars: Tensor, partials: Tensor
) -> None:
    n, columns = y.shape
    scaled = unit is not None
    given = unit if scaled else scalars  # not read
    multigrid_cycle_kernels.step(
        len(partials), y, r, d, q, given, b, scalars, partials, n, K=columns, SCALED=int(scaled), ROWS=ROWS
    )


def finish_step(partials: Tensor, scalars: Tensor) -> None:
    _finish(multigrid_cycle_kernels.finish_step, partials, scalars)


def _finish(kernel: Kernel, partials: Tensor, scalars: Tensor) -> None:
    programs, _, columns = partials.shape
    kernel(1, partials, scalars, programs, **next(c for c in kernel.variants if c["K"] == columns))


def _tiles(rows: int) -> int:
    return -(-rows // ROWS)


def _matrix(rows: SlicedRows, value: Tensor, long: bool) -> tuple[Tensor, ...]:
    return rows.long_bounds if long else rows.bounds, rows.long_row, rows.column, value


def _shape(long: bool) -> dict[str, int]:
    return {"LONG": int(long), "ROWS": CHUNK if long else ROWS}


def _summing(rows: SlicedRows, partials: Tensor) -> Iterator[tuple[bool, Tensor]]:
    """For the slices and for the long rows: the partial sums of their programs."""
    of_slices = rows.programs - len(rows.long_row)
    yield False, partials[:of_slices]
    yield True, partials[of_slices:]
