"""The Triton kernels of the hierarchy's cycle and of conjugate gradients against their literal versions in torch."""

import pytest
import torch

from gabp.kernels import cuda
from gabp.kernels.torch import multigrid_cycle
from kernel_backends import needs_triton
from multigrid_matrices import MATRICES, levels_of
from spd_matrices import grid

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Vectors:
    """Numbers to work on, the same for every backend that asks with the same seed."""

    def __init__(self, dtype, columns):
        self.dtype, self.columns = dtype, columns
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, rows, dtype=None):
        values = torch.randn(rows, self.columns, dtype=torch.float64, generator=self.generator)
        return values.to(DEVICE, dtype or self.dtype)

    def nowhere(self, rows, dtype=None):
        """What must not be read before it is written."""
        return torch.full((rows, self.columns), torch.nan, dtype=dtype or self.dtype, device=DEVICE)

    def partials(self, level):
        shape = (level.programs, multigrid_cycle.SUMS, self.columns)
        return torch.full(shape, torch.nan, dtype=torch.float64, device=DEVICE)


def sweep(kernels, level, below, new):
    b, x = new(level.n), new.nowhere(level.n)
    for first, last in level.colours:
        kernels.relax(level, multigrid_cycle.FORWARD, first, last, b, x)
    forward = x.clone()
    for first, last in reversed(level.colours):
        kernels.relax(level, multigrid_cycle.BACKWARD, first, last, b, x)
    for first, last in reversed(level.colours[:-1]):
        kernels.relax(level, multigrid_cycle.SUBSTITUTE, first, last, b, forward)
    return x, forward


def transfer(kernels, level, below, new):
    if below is None:
        return ()
    b, x, y = new.nowhere(below.n), new(level.n), new(level.n)
    kernels.restrict(level.restriction, x, b)
    scalars = new(multigrid_cycle.INNER_SCALARS, torch.float64)
    kernels.prolong(level.aggregate, new(below.n), new(below.n), scalars, x)
    kernels.prolong(level.aggregate, new(below.n), None, None, y)
    return b, x, y


def inner_steps(kernels, level, below, new):
    b, c, d, out = new(level.n), new(level.n), new(level.n), new.nowhere(level.n)
    scalars = new.nowhere(multigrid_cycle.INNER_SCALARS, torch.float64)
    for first, other in ((True, None), (False, out)):
        partials = new.partials(level)
        kernels.image(level, c if first else d, out if first else None, b, other, partials)
        if first:
            kernels.finish_first(partials, scalars)
            kernels.subtract(b, out, scalars)
        else:
            kernels.finish_second(partials, scalars)
    return out, b, scalars


def outer_step(kernels, level, below, new):
    wide = torch.float64
    z, unit = new(level.n), new(level.n, wide)[:, 0].abs()
    y, r, d, q = (new(level.n, wide) for _ in range(4))
    scalars = new(multigrid_cycle.OUTER_SCALARS, wide).abs()
    scalars[multigrid_cycle.FAILURE] = 0.0
    scalars[multigrid_cycle.FAILURE, 1:2] = multigrid_cycle.BREAKDOWN  # that column stays as it is
    scalars[multigrid_cycle.SQUARE], scalars[multigrid_cycle.TARGET], scalars[multigrid_cycle.NOISE] = 1.0, 0.5, 1e-14
    scalars[multigrid_cycle.TARGET, 2:3] = 2.0  # that one has met its target
    results = []
    for scale in (None, unit):
        b = new.nowhere(level.n)
        first, second, third = (
            multigrid_cycle.CGVectors(y, r, d, q, b, z, scale, scalars, new.partials(level)) for _ in range(3)
        )
        kernels.overlap(first)
        kernels.finish_overlap(first.partials, scalars)
        kernels.advance_direction(level, level.rows.value, level.diagonal.double(), second)
        kernels.finish_direction(second.partials, scalars)
        kernels.step(third)
        kernels.finish_step(third.partials, scalars)
        results += [b, scalars.clone()]
    return y, r, d, q, *results


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("work", [sweep, transfer, inner_steps, outer_step], ids=lambda work: work.__name__)
@pytest.mark.parametrize("matrix", MATRICES)
def test_equals_the_literal_version(matrix, work, dtype):
    levels = [level.astype(dtype) for level in levels_of(MATRICES[matrix]())]
    below = levels[1] if len(levels) > 1 else None
    for columns in (1, 4) if dtype == torch.float64 else (8, 2):
        wanted = work(multigrid_cycle, levels[0], below, Vectors(dtype, columns))
        found = work(cuda.load("multigrid_cycle"), levels[0], below, Vectors(dtype, columns))
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        for expected, value in zip(wanted, found, strict=True):
            size = 1 + float(expected.abs().max())
            torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance * size)


def test_breakdown_and_negative_curvature_are_distinguished():
    level = levels_of(grid(5, 7))[0]
    for kernels in (
        (multigrid_cycle, cuda.load("multigrid_cycle")) if cuda.triton_missing_because() is None else (multigrid_cycle,)
    ):
        new = Vectors(torch.float64, 4)
        partials, scalars = new.partials(level).zero_(), new.nowhere(multigrid_cycle.OUTER_SCALARS).zero_()
        partials[0, :, :] = torch.tensor([[2.0, -2.0, 1e-20, 0.0], [1.0] * 4, [1.0, 1.0, 1.0, 0.0]])
        scalars[multigrid_cycle.SQUARE], scalars[multigrid_cycle.NOISE] = 1.0, 1e-14
        kernels.finish_direction(partials, scalars)
        assert scalars[multigrid_cycle.FAILURE].tolist() == [
            0.0,
            multigrid_cycle.NOT_POSITIVE_DEFINITE,
            multigrid_cycle.BREAKDOWN,
            0.0,
        ]
        assert scalars[multigrid_cycle.ALPHA, [0, 1, 3]].tolist() == [0.5, 0.0, 0.0]
