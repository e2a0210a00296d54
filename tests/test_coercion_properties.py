"""The same system is read from every kind of matrix and vector, and the caller's arrays do not change."""

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import gabp
import input_kinds
from status_checks import as_numpy, assert_status_is_true

examples = settings(max_examples=40, derandomize=True, deadline=None, database=None)


@st.composite
def dominant_systems(draw) -> tuple[sp.csr_array, np.ndarray]:
    """A small diagonally dominant symmetric matrix of any pattern, and data."""
    n = draw(st.integers(1, 7))
    pairs = [(i, j) for i in range(n) for j in range(i)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    size = st.integers(-64, 64).filter(bool)
    dense = np.zeros((n, n))
    for i, j in edges:
        dense[i, j] = dense[j, i] = draw(size) / 16
    margins = draw(st.lists(st.integers(1, 64), min_size=n, max_size=n))
    np.fill_diagonal(dense, np.abs(dense).sum(axis=1) + np.array(margins) / 16)
    b = np.array(draw(st.lists(st.integers(-100, 100), min_size=n, max_size=n))) / 8
    return sp.csr_array(dense), b


@examples
@given(dominant_systems(), st.sampled_from(input_kinds.MATRIX_KINDS), st.sampled_from(input_kinds.VECTOR_KINDS))
def test_any_kind_of_matrix_with_any_kind_of_data(system, matrix_kind, vector_kind):
    plain, values = system
    A, b = matrix_kind.convert(plain), vector_kind.convert(values)
    before = input_kinds.snapshot((*matrix_kind.parts(A), b))
    solution = gabp.solve(A, b)
    assert_status_is_true(plain, b, solution)
    assert solution.converged
    assert type(solution.x) is type(b)
    assert solution.x.dtype == input_kinds.expected_dtype(b)
    assert input_kinds.snapshot((*matrix_kind.parts(A), b)) == before


@examples
@given(dominant_systems(), st.sampled_from(input_kinds.MATRIX_KINDS))
def test_every_kind_of_matrix_gives_bitwise_the_same_solution(system, kind):
    plain, b = system
    straight = gabp.solve(plain, b, method="sequential", rtol=1e-12)
    other = gabp.solve(kind.convert(plain), b, method="sequential", rtol=1e-12)
    np.testing.assert_array_equal(other.x, straight.x)
    assert other.iterations == straight.iterations


@examples
@given(dominant_systems(), st.data())
def test_entries_split_in_any_way_and_order_are_summed(system, data):
    plain, b = system
    coo = plain.tocoo()
    shares = np.array(data.draw(st.lists(st.integers(-8, 8), min_size=coo.nnz, max_size=coo.nnz))) / 4
    rows, columns = np.tile(coo.row, 2), np.tile(coo.col, 2)
    entries = np.concatenate([coo.data - shares, shares])
    order = np.array(data.draw(st.permutations(range(2 * coo.nnz))), dtype=int)
    split = sp.coo_array((entries[order], (rows[order], columns[order])), shape=plain.shape)
    np.testing.assert_array_equal(gabp.solve(split, b, method="flooding").x, gabp.solve(plain, b, method="flooding").x)


@examples
@given(dominant_systems(), st.integers(1, 4), st.sampled_from(input_kinds.VECTOR_KINDS))
def test_columns_come_back_where_they_were(system, columns, kind):
    plain, values = system
    b = kind.convert(np.outer(values, np.arange(columns)))
    solution = gabp.solve(plain, b, method="double-loop")
    assert_status_is_true(plain, b, solution)
    assert solution.converged
    assert solution.x.shape == b.shape
    assert not as_numpy(solution.x)[:, 0].any()


@examples
@given(dominant_systems(), st.floats(1e-12, 1e-1), st.floats(0, 10))
def test_any_tolerance_is_kept(system, rtol, atol):
    plain, b = system
    for method in ("flooding", "sequential", "double-loop", "auto"):
        solution = gabp.solve(plain, b, method=method, rtol=rtol, atol=atol)
        assert_status_is_true(plain, b, solution, rtol=rtol, atol=atol)
        assert solution.converged
