"""The Triton kernels of the hierarchy's cycle and of conjugate gradients against their literal twins."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gabp.kernels import cuda
from gabp.kernels.torch import multigrid_cycle
from gabp.kernels.torch.aggregation import Model
from gabp.kernels.torch.multigrid_levels import build_levels
from gabp.kernels.torch.sliced_rows import BOTH, HIGH, LONG, LOW, slice_rows
from gabp.system import make_system, read_matrix
from kernel_backends import needs_triton
from spd_matrices import grid, laplacian, random_graph

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def hub(n):
    """A ring of ``n`` nodes, all of them joined to one more: it has a row of its own kind."""
    i = np.arange(n)
    return laplacian(
        np.concatenate([i, i]), np.concatenate([(i + 1) % n, np.full(n, n)]), np.linspace(1, 2, 2 * n), n + 1, 0.1
    )


MATRICES = {
    "grid": lambda: grid(9, 15),
    "random graph": lambda: random_graph(n=301, degree=5),
    "a hub": lambda: hub(LONG + 40),
    "an isolated node": lambda: sp.csr_array(sp.block_diag([grid(4, 5), [[3.0]], grid(3, 3)])),
    "no edges": lambda: sp.csr_array(sp.diags_array(np.linspace(1, 2, 33))),
    "one node": lambda: sp.csr_array([[4.0]]),
}


def levels_of(A, largest_dense=0):
    system = make_system(read_matrix(A), True)
    graph = system.graph
    model = Model.of(graph.destination, graph.source.long(), system.weight, system.diagonal)
    return build_levels(model, largest_dense)


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
        shape = (level.rows.programs, multigrid_cycle.SUMS, self.columns)
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
    kernels.prolong(level.cluster, new(below.n), new(below.n), scalars, x)
    kernels.prolong(level.cluster, new(below.n), None, None, y)
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
        b, partials = new.nowhere(level.n), [new.partials(level) for _ in range(3)]
        kernels.overlap(z, q, partials[0])
        kernels.finish_overlap(partials[0], scalars)
        kernels.advance_direction(level, level.rows.value, level.diagonal.double(), z, d, q, r, scalars, partials[1])
        kernels.finish_direction(partials[1], scalars)
        kernels.step(y, r, d, q, scale, b, scalars, partials[2])
        kernels.finish_step(partials[2], scalars)
        results += [b, scalars.clone()]
    return y, r, d, q, *results


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("work", [sweep, transfer, inner_steps, outer_step], ids=lambda work: work.__name__)
@pytest.mark.parametrize("matrix", MATRICES)
def test_equals_its_twin(matrix, work, dtype):
    levels = [level.astype(dtype) for level in levels_of(MATRICES[matrix]())]
    below = levels[1] if len(levels) > 1 else None
    for columns in (1, 4) if dtype == torch.float64 else (8, 2):
        wanted = work(multigrid_cycle, levels[0], below, Vectors(dtype, columns))
        found = work(cuda.load("multigrid_cycle"), levels[0], below, Vectors(dtype, columns))
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        for expected, value in zip(wanted, found, strict=True):
            size = 1 + float(expected.abs().max())
            torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance * size)


def test_failures_are_told_apart():
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


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_layout_holds_every_coupling_once(matrix):
    A = MATRICES[matrix]()
    level = levels_of(A)[0]
    n = A.shape[0]
    parts = {}
    for part in (LOW, HIGH, BOTH):
        count, slot, column = level.rows.entries(0, n, part)
        row = torch.repeat_interleave(torch.arange(n), count)
        parts[part] = sp.csr_array((level.rows.value[slot], (row, column)), shape=(n, n)).toarray()
    order = level.order.numpy()
    off_diagonal = A.toarray()[order][:, order] - np.diag(A.diagonal()[order])
    np.testing.assert_array_equal(parts[BOTH], off_diagonal)
    np.testing.assert_array_equal(parts[LOW], np.tril(off_diagonal))
    np.testing.assert_array_equal(parts[HIGH], np.triu(off_diagonal))
    for first, last in level.colours:
        assert not off_diagonal[first:last, first:last].any()


def test_restriction_is_that_of_the_residual_left_by_the_forward_half():
    A = grid(9, 15)
    fine, coarse = levels_of(A, 40)[:2]
    b = torch.randn(fine.n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, found = torch.zeros_like(b), torch.empty(coarse.n, 1, dtype=torch.float64)
    for first, last in fine.colours:
        multigrid_cycle.relax(fine, multigrid_cycle.FORWARD, first, last, b, x)
    multigrid_cycle.restrict(fine.restriction, x, found)
    order = fine.order.numpy()
    left = b.numpy() - A[order][:, order] @ x.numpy()
    inside = fine.cluster.numpy() >= 0
    wanted = np.zeros(coarse.n)
    np.add.at(wanted, fine.cluster.numpy()[inside], left[inside, 0])
    np.testing.assert_allclose(found.numpy()[:, 0], wanted, atol=1e-12)


def test_padding_is_small_where_degrees_differ():
    rows = levels_of(random_graph(n=20_000, degree=10))[0].rows
    assert rows.slots <= 1.2 * int((rows.column >= 0).sum())
    assert bool((rows.bounds % 32 == 0).all()) and rows.bounds.dtype == torch.int64


def test_long_rows_stand_by_themselves():
    n = 2 * LONG
    row = torch.cat([torch.zeros(n, dtype=torch.int64), torch.arange(1, 40)])
    column = torch.cat([torch.arange(n), torch.zeros(39, dtype=torch.int64)])
    rows = slice_rows(40, row, None, column, torch.ones(len(row), dtype=torch.float64), 40)
    assert rows.long_row.tolist() == [0]
    assert rows.slots == n + 64
