"""The elimination sweep against its dense definition, (D + L) D⁻¹ (D + Lᵀ)."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from gabp.kernels.cpu import extension

M_MATRIX = (0.01, 1.0)  # the floors of the pivots: never reached on a dominant model with nonpositive couplings


def split(A):
    """Rows without the diagonal, and the diagonal."""
    A = sp.csr_array(A)
    A.sort_indices()
    row = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    off = A.indices != row
    start = np.concatenate([[0], np.cumsum(np.bincount(row[off], minlength=A.shape[0]))]).astype(np.int64)
    return start, A.indices[off].astype(np.int32), A.data[off], A.diagonal()


def grid(rows, columns, shift=0.1):
    line = lambda n: sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])  # noqa: E731
    A = sp.kron(sp.eye_array(rows), line(columns)) + sp.kron(line(rows), sp.eye_array(columns))
    return sp.csr_array(A + shift * sp.eye_array(rows * columns))


def random_model(n, degree, seed, sign=-1.0):
    rng = np.random.default_rng(seed)
    W = sp.random_array((n, n), density=degree / n, rng=rng, data_sampler=lambda size: rng.uniform(0.1, 1.0, size))
    W = W + W.T
    W = sp.csr_array(W - sp.diags_array(W.diagonal()))
    return sp.csr_array(sp.diags_array(W.sum(axis=1) + 0.1) + sign * W)


def dense_sweep(A, blocks, floor=M_MATRIX):
    """The operator, the pivots and how many were loaded."""
    A = A.toarray()
    n = len(A)
    L = np.zeros_like(A)
    for begin, end in pairwise(blocks):
        L[begin:end, begin:end] = np.tril(A[begin:end, begin:end], -1)
    pivot, loaded = np.zeros(n), 0
    for i in range(n):
        pivot[i] = A[i, i] - np.sum(L[i, :i] ** 2 / pivot[:i])
        lowest = max(floor[0] * A[i, i], floor[1] * np.abs(L[:, i]).sum())
        if pivot[i] < (1 - 1e-5) * lowest:
            pivot[i], loaded = lowest, loaded + 1
    D = np.diag(pivot)
    return (D + L) @ np.diag(1 / pivot) @ (D + L.T), pivot, loaded


CASES = {
    "grid whose rows form regular runs": grid(12, 40),
    "grid with rows shorter than a run": grid(30, 7),
    "grid of more than a chunk per row": grid(3, 700),
    "runs of odd length": grid(12, 41),
    "a last chunk of odd length": grid(3, 701),
    "random": random_model(150, 6, seed=0),
    "mixed signs": random_model(150, 6, seed=1, sign=1.0),
    "one node": sp.csr_array([[2.0]]),
    "two nodes": sp.csr_array([[2.0, -1.0], [-1.0, 2.0]]),
    "no edges": sp.csr_array(sp.diags_array(np.arange(1.0, 20.0))),
    "an isolated node": sp.csr_array(sp.block_diag([grid(4, 5), [[3.0]], grid(3, 3)])),
}


def close(out, expected):
    """To a few roundings of float32."""
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("columns", [1, 2, 4, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_applies_the_inverse_of_its_factors(case, dtype, columns):
    A = CASES[case]
    start, source, weight, diagonal = split(A)
    sweep = extension.EliminationSweep(start, source, weight.astype(dtype), diagonal.astype(dtype), *M_MATRIX)
    M, pivot, _ = dense_sweep(A, sweep.blocks)
    b = np.random.default_rng(0).standard_normal((A.shape[0], columns)).astype(np.float32)
    out = np.full_like(b, np.nan)
    sweep.apply(b, out)
    np.testing.assert_allclose(sweep.pivots, pivot, rtol=1e-5)
    expected = np.linalg.solve(M, b.astype(np.float64))
    close(out, expected)


def test_blocks_of_a_large_model_ignore_each_other():
    A = grid(60, 200)
    sweep = extension.EliminationSweep(*split(A), *M_MATRIX)
    assert len(sweep.blocks) > 2
    begin, end = sweep.blocks[1], sweep.blocks[2]
    M, _, _ = dense_sweep(A[begin:end, begin:end], [0, end - begin])
    b = np.random.default_rng(0).standard_normal((A.shape[0], 1)).astype(np.float32)
    out = np.empty_like(b)
    sweep.apply(b, out)
    close(out[begin:end], np.linalg.solve(M, b[begin:end].astype(float)))


def test_exact_on_a_forest_in_elimination_order():
    """Children before parents: no fill, so elimination without fill is elimination."""
    n = 200
    parent = [min(2 * n - 1, i + 1 + i // 3) for i in range(n)]
    edges = [(i, p) for i, p in enumerate(parent) if p < n]
    i, j = np.array(edges).T
    W = sp.coo_array((np.ones(len(i)), (i, j)), shape=(n, n))
    W = sp.csr_array(W + W.T)
    A = sp.csr_array(sp.diags_array(W.sum(axis=1) + 0.01) - W)
    x = np.random.default_rng(3).standard_normal((n, 1))
    out = np.empty((n, 1), dtype=np.float32)
    extension.EliminationSweep(*split(A), *M_MATRIX).apply((A @ x).astype(np.float32), out)
    np.testing.assert_allclose(out, x, atol=1e-3)


def test_low_pivots_are_loaded():
    """Three nodes, unit diagonal and couplings 0.7: positive definite, far from walk-summable."""
    A = sp.csr_array(np.full((3, 3), 0.7) + 0.3 * np.eye(3))
    sweep = extension.EliminationSweep(*split(A), *M_MATRIX)
    M, pivot, loaded = dense_sweep(A, sweep.blocks)
    assert sweep.loaded == loaded > 0
    np.testing.assert_allclose(sweep.pivots, pivot, rtol=1e-6)
    assert np.linalg.eigvalsh(M).min() > 0


def test_refuses_arrays_that_do_not_fit():
    start, source, weight, diagonal = split(grid(3, 3))
    with pytest.raises(ValueError, match="n \\+ 1"):
        extension.EliminationSweep(start[:-1].copy(), source, weight, diagonal, *M_MATRIX)
    with pytest.raises(ValueError, match="same length"):
        extension.EliminationSweep(start, source[:-1].copy(), weight, diagonal, *M_MATRIX)
