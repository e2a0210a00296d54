"""The levels of a hierarchy on a device: their rows in order of elimination, and what connects them."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gabp.kernels.torch import multigrid_cycle
from gabp.kernels.torch.multigrid_levels import BOTH, EARLIER, LATER
from multigrid_matrices import MATRICES, levels_of
from spd_matrices import grid, random_graph


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_layout_stores_every_coupling_once(matrix):
    A = MATRICES[matrix]()
    level = levels_of(A)[0]
    n = A.shape[0]
    parts = {}
    for part in (EARLIER, LATER, BOTH):
        count, slot, column = level.rows.nonzeros(0, n, part)
        row = torch.repeat_interleave(torch.arange(n), count)
        parts[part] = sp.csr_array((level.rows.value[slot], (row, column)), shape=(n, n)).toarray()
    order = level.order.numpy()
    off_diagonal = A.toarray()[order][:, order] - np.diag(A.diagonal()[order])
    np.testing.assert_array_equal(parts[BOTH], off_diagonal)
    np.testing.assert_array_equal(parts[EARLIER], np.tril(off_diagonal))
    np.testing.assert_array_equal(parts[LATER], np.triu(off_diagonal))
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
    inside = fine.aggregate.numpy() >= 0
    wanted = np.zeros(coarse.n)
    np.add.at(wanted, fine.aggregate.numpy()[inside], left[inside, 0])
    np.testing.assert_allclose(found.numpy()[:, 0], wanted, atol=1e-12)


def test_padding_is_small_where_degrees_differ():
    rows = levels_of(random_graph(n=20_000, degree=10))[0].rows
    assert rows.slots <= 1.2 * int((rows.column >= 0).sum())
    assert bool((rows.tile_start % 32 == 0).all()) and rows.tile_start.dtype == torch.int64
