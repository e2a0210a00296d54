"""A symmetric matrix by rows falls into its diagonal and its edges; any other is left alone."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gabp.kernels.dispatch import split_symmetric


def model(n, seed):
    rng = np.random.default_rng(seed)
    W = sp.random_array((n, n), density=min(1.0, 6 / n), rng=rng)
    return sp.csr_array(W + W.T + sp.diags_array(rng.uniform(1, 2, n)))


def arrays(A, dtype=np.float64):
    A = sp.csr_array(A)
    A.sort_indices()
    parts = A.indptr.astype(np.int64), A.indices.astype(np.int32), A.data.astype(dtype)
    return tuple(torch.from_numpy(part) for part in parts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 50, 40_000])
def test_parts_make_up_the_matrix(n, dtype):
    A = model(n, seed=n)
    start, source, weight, diagonal = split_symmetric(*arrays(A, dtype))
    edges = sp.csr_array((weight.numpy(), source.numpy(), start.numpy()), (n, n))
    assert not edges.diagonal().any()
    assert (edges + sp.diags_array(diagonal.numpy()) != A.astype(dtype)).nnz == 0


def test_stored_zeros_are_no_edges_and_a_missing_diagonal_is_zero():
    A = sp.csr_array(np.array([[1.0, 2.0, 3.0], [2.0, 0.0, 4.0], [3.0, 4.0, 5.0]]))
    A.data[A.data == 4.0] = 0.0
    start, source, weight, diagonal = split_symmetric(*arrays(A))
    assert start.tolist() == [0, 2, 3, 4] and source.tolist() == [1, 2, 0, 0]
    assert weight.tolist() == [2.0, 3.0, 2.0, 3.0] and diagonal.tolist() == [1.0, 0.0, 5.0]


@pytest.mark.parametrize("n", [3, 40_000])
def test_asymmetry_is_left_to_others(n):
    A = model(n, seed=1).tolil()
    A[n - 1, 0] = A[0, n - 1] = 1.0
    for value in (1.0 + 1e-15, 0.0):
        A[n - 1, 0] = value
        assert split_symmetric(*arrays(sp.csr_array(A))) is None
