"""The compiled hierarchy against its literal definition: the same levels, V-cycle and K-cycle."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import aggregation_multigrid
from gabp.solvers.hierarchy import CompiledHierarchy
from gabp.system import make_system, read_matrix
from spd_matrices import grid, laplacian


def random_weights(rows, columns, seed=0):
    """Couplings of unlike strength on a grid, so that the matchings are not all alike."""
    W = -sp.triu(grid(rows, columns), 1).tocoo()
    weight = np.random.default_rng(seed).uniform(0.1, 1.0, W.nnz)
    return laplacian(W.row, W.col, weight, rows * columns, 1e-3)


def some_rows_dominant(rows, columns):
    """Every fifth row of the second half exceeds its couplings by far: it is left out of the aggregates."""
    A = random_weights(rows, columns)
    extra = np.zeros(A.shape[0])
    extra[A.shape[0] // 2 :: 5] = 10.0
    return sp.csr_array(A + sp.diags_array(extra))


def with_leaves(rows, columns):
    """A leaf at every third node of a grid."""
    A, n = random_weights(rows, columns), rows * columns
    at = np.arange(0, n, 3)
    more = len(at)
    leaves = laplacian(at, n + np.arange(more), np.full(more, 0.5), n + more, 1e-3)
    return sp.csr_array(sp.block_diag([A, sp.csr_array((more, more))]) + leaves)


def mixed_signs(rows, columns):
    """Some couplings are repulsive: the pivots of their rows are raised."""
    A = random_weights(rows, columns)
    W = sp.triu(A, 1).tocoo()
    sign = np.where(np.random.default_rng(1).random(W.nnz) < 0.2, -0.5, 1.0)
    W = sp.csr_array((W.data * sign, (W.row, W.col)), A.shape)
    W = sp.csr_array(W + W.T)
    return sp.csr_array(sp.diags_array(abs(W).sum(axis=1) + 1e-3) + W)


SYSTEMS = {
    "regular rows": lambda: grid(80, 91, shift=1e-3),
    "random weights": lambda: random_weights(81, 90),
    "a floating pair": lambda: sp.csr_array(sp.block_diag([grid(80, 90, shift=1e-3), [[1.0, -1.0], [-1.0, 1.0]]])),
    "dominant rows": lambda: some_rows_dominant(80, 90),
    "leaves": lambda: with_leaves(75, 80),
    "mixed signs": lambda: mixed_signs(80, 90),
    "regular rows in four blocks": lambda: grid(110, 101, shift=1e-3),
    "random weights in four blocks": lambda: random_weights(111, 100),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_levels_and_v_cycle_are_the_literal_ones(name):
    A = SYSTEMS[name]()
    hierarchy = CompiledHierarchy(make_system(read_matrix(A)))
    literal = aggregation_multigrid.build(A, [level.exact for level in hierarchy.levels])
    assert len(literal) >= 3
    assert [(level.n, level.edges) for level in hierarchy.levels] == [(level.n, level.W.nnz) for level in literal]
    assert [level.loaded for level in hierarchy.levels] == [level.loaded for level in literal]
    b = np.random.default_rng(2).standard_normal((A.shape[0], 2))
    expected = aggregation_multigrid.v_cycle(literal, b)
    found = hierarchy.precondition(torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_the_k_cycle_is_the_literal_one():
    """The first iteration of conjugate gradients goes along the K-cycle of the right-hand side."""
    A = grid(205, 204, shift=1e-4)
    hierarchy = CompiledHierarchy(make_system(read_matrix(A)))
    literal = aggregation_multigrid.build(A, [level.exact for level in hierarchy.levels])
    assert literal[1].n >= aggregation_multigrid.ACCELERATED
    b = np.random.default_rng(3).standard_normal((A.shape[0], 1))
    correction = hierarchy.correct(torch.from_numpy(b), torch.zeros(1))
    assert correction.advance(1) == (1, None)
    z = aggregation_multigrid.k_cycle(literal, b)
    expected = (z * b).sum() / (z * (A @ z)).sum() * z
    np.testing.assert_allclose(correction.estimate().numpy(), expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    plain = aggregation_multigrid.v_cycle(literal, b)
    assert np.abs(plain / np.linalg.norm(plain) - z / np.linalg.norm(z)).max() > 1e-3 * np.abs(
        z
    ).max() / np.linalg.norm(z)
