"""The compiled set-up passes and their torch twins against scipy."""

import itertools
from fractions import Fraction
from types import ModuleType

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from gabp.kernels.cpu import rows as compiled
from gabp.kernels.torch import rows as in_torch
from kernel_models import GRAPHS, random_model

Rows = tuple[Tensor, Tensor, Tensor]

TOLERANCE = 100 * torch.finfo(torch.float64).eps


@pytest.fixture(params=[compiled, in_torch], ids=["cpu", "torch"])
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


@pytest.fixture(params=GRAPHS)
def matrix(request: pytest.FixtureRequest) -> sp.csr_array:
    A = random_model(*GRAPHS[request.param]()).matrix
    A.sort_indices()
    return A


def rows(A: sp.csr_array) -> Rows:
    indices = torch.from_numpy(A.indices.astype(np.int32)), torch.from_numpy(A.data)
    return torch.from_numpy(A.indptr.astype(np.int64)), *indices


def dense(start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor) -> np.ndarray:
    n = len(diagonal)
    arrays = (weight.numpy(), source.numpy(), start.numpy())
    return sp.csr_array(arrays, shape=(n, n)).toarray() + np.diag(diagonal.numpy())


def entry(A: sp.csr_array, i: int, j: int) -> int:
    return A.indptr[i] + int(np.flatnonzero(A.indices[A.indptr[i] : A.indptr[i + 1]] == j)[0])


class TestInspect:
    @pytest.mark.parametrize("offset", [torch.int32, torch.int64])
    @pytest.mark.parametrize("index", [torch.int32, torch.int64])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_sound_rows(self, kernels, matrix, offset, index, dtype):
        start, column, value = rows(matrix)
        assert kernels.inspect_rows(start.to(offset), column.to(index), value.to(dtype)) == (-1, -1, True)

    def test_the_first_bad_entry_is_found(self, kernels):
        start, column, value = rows(random_model(*GRAPHS["random wide"]()).matrix)
        value[[70, 40_000]] = torch.tensor([torch.inf, torch.nan], dtype=torch.float64)
        column[[90, 40_001]] = torch.tensor([-1, 1_000_000], dtype=torch.int32)
        assert kernels.inspect_rows(start, column, value) == (70, 90, False)

    def test_disorder_and_duplicates_are_seen(self, kernels):
        value = torch.ones(3, dtype=torch.float64)
        start = torch.tensor([0, 2, 3, 3])
        for column in ([1, 0, 0], [1, 1, 0]):
            assert not kernels.inspect_rows(start, torch.tensor(column, dtype=torch.int32), value)[2]
        assert kernels.inspect_rows(start, torch.tensor([0, 1, 0], dtype=torch.int32), value)[2]


def test_rows_are_sorted_and_duplicates_summed(kernels, matrix):
    rng = np.random.default_rng(0)
    coo = sp.coo_array(matrix)
    row, column = np.tile(coo.row, 2), np.tile(coo.col, 2)
    value = rng.integers(-8, 8, len(row)).astype(float)
    order = rng.permutation(len(row))
    order = order[np.argsort(row[order], kind="stable")]
    start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=matrix.shape[0]))])
    given = torch.from_numpy(start), torch.from_numpy(column[order].astype(np.int32)), torch.from_numpy(value[order])
    copies = tuple(t.clone() for t in given)
    start, column, value = kernels.sort_rows(*given)
    assert kernels.inspect_rows(start, column, value) == (-1, -1, True)
    np.testing.assert_array_equal(start, matrix.indptr)
    np.testing.assert_array_equal(column, matrix.indices)
    at = {place: k for k, place in enumerate(zip(*matrix.nonzero(), strict=True))}
    expected = np.zeros(len(value))
    np.add.at(expected, [at[place] for place in zip(np.sort(row), copies[1].tolist(), strict=True)], copies[2].numpy())
    np.testing.assert_array_equal(value, expected)
    assert all(torch.equal(a, b) for a, b in zip(given, copies, strict=True))


class TestMirrors:
    def test_a_symmetric_matrix_is_exact(self, kernels, matrix):
        assert kernels.compare_mirrors(*rows(matrix), TOLERANCE) == (True, -1, -1, -1)

    def test_rounding_is_forgiven_but_not_exact(self, kernels):
        A = random_model(*GRAPHS["grid 17x23"]()).matrix
        A.data[entry(A, 30, 31)] *= 1 + 4e-16
        assert kernels.compare_mirrors(*rows(A), TOLERANCE) == (False, -1, -1, -1)

    def test_rounding_is_relative_to_the_diagonal(self, kernels):
        """Small couplings are rounded as sums of the size of ``sqrt|A_ii A_jj|`` are."""
        for asymmetry, row in ((0.5, -1), (4.0, 0)):
            A = np.array([[1.0, 1e-17], [1e-17 + 2 * asymmetry * TOLERANCE, 4.0]])
            assert kernels.compare_mirrors(*rows(sp.csr_array(A)), TOLERANCE)[:2] == (False, row)

    def test_the_largest_asymmetry_is_named(self, kernels):
        A = random_model(*GRAPHS["random wide"]()).matrix
        pairs = [(i, int(A.indices[A.indptr[i]])) for i in (4000, 4900, 2500)]
        for (i, j), by in zip(pairs, (1e-6, 1e-3, 1e-4), strict=True):
            A.data[entry(A, i, j)] += by
        i, j = sorted(pairs[1])
        assert kernels.compare_mirrors(*rows(A), TOLERANCE) == (False, i, entry(A, i, j), entry(A, j, i))

    @pytest.mark.parametrize(
        ("upper", "lower"),
        [((1.0, 2.0), (2.0, 1.0)), ((1.0, -1.0), (-1.0, 1.0)), ((3.0, 0.0), (0.0, 3.0))],
        ids=["swapped", "signs", "elsewhere"],
    )
    def test_asymmetries_do_not_cancel(self, kernels, upper, lower):
        A = 4 * np.eye(4)
        A[[0, 2], [1, 3]], A[[1, 3], [0, 2]] = upper, lower
        exact, i, *_ = kernels.compare_mirrors(*rows(sp.csr_array(A)), TOLERANCE)
        assert (exact, i) == (False, 0)

    def test_the_last_bit_of_one_entry_counts(self, kernels, matrix):
        value = matrix.data.copy()
        off = np.flatnonzero(np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) != matrix.indices)
        for at in off[:: max(1, len(off) // 5)]:
            changed = value.copy()
            changed[at] = np.nextafter(changed[at], np.inf)
            A = sp.csr_array((changed, matrix.indices, matrix.indptr), shape=matrix.shape)
            assert not kernels.compare_mirrors(*rows(A), TOLERANCE)[0]

    def test_a_missing_mirror_counts_as_zero(self, kernels):
        A = sp.csr_array(np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]))
        assert kernels.compare_mirrors(*rows(A), TOLERANCE) == (False, 0, 1, -1)

    def test_stored_zeros_are_symmetric_but_not_exact(self, kernels):
        start, column = torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1], dtype=torch.int32)
        value = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
        assert kernels.compare_mirrors(start, column, value, TOLERANCE) == (False, -1, -1, -1)


class TestSplit:
    @pytest.mark.parametrize("exact", [True, False])
    @pytest.mark.parametrize("average", [True, False])
    def test_the_parts_are_the_whole(self, kernels, matrix, exact, average):
        start, source, weight, diagonal = kernels.split_rows(*rows(matrix), exact=exact, average=average)
        off_diagonal = matrix - sp.diags_array(matrix.diagonal())
        off_diagonal.eliminate_zeros()
        np.testing.assert_array_equal(diagonal, matrix.diagonal())
        for actual, expected in ((start, "indptr"), (source, "indices"), (weight, "data")):
            np.testing.assert_array_equal(actual, getattr(off_diagonal, expected))
        assert (start.dtype, source.dtype) == (torch.int64, torch.int32)

    def test_a_gap_in_the_diagonal_is_a_zero(self, kernels):
        A = sp.csr_array(np.array([[2.0, 1.0, 0.0], [1.0, 0.0, 3.0], [0.0, 3.0, 4.0]]))
        start, source, weight, diagonal = kernels.split_rows(*rows(A), exact=True, average=True)
        np.testing.assert_array_equal(dense(start, source, weight, diagonal), A.toarray())

    def test_average(self, kernels):
        A = np.array([[0.0, 1.0, 3.0, 0.0], [2.0, 5.0, -4.0, 0.0], [3.0, 4.0, 0.0, 1e-9], [0.0, 0.0, 0.0, 1.0]])
        start, source, weight, diagonal = kernels.split_rows(*rows(sp.csr_array(A)), exact=False, average=True)
        np.testing.assert_array_equal(dense(start, source, weight, diagonal), (A + A.T) / 2)
        assert bool((weight != 0).all())  # -4 and 4 cancel: no edge

    def test_a_nonsymmetric_matrix_gets_a_symmetric_pattern(self, kernels):
        A = np.array([[0.0, 1.0, 3.0], [0.0, 5.0, 0.0], [3.0, 4.0, 0.0]])
        start, source, weight, diagonal = kernels.split_rows(*rows(sp.csr_array(A)), exact=False, average=False)
        np.testing.assert_array_equal(dense(start, source, weight, diagonal), A)
        assert start.tolist() == [0, 2, 4, 6]
        assert source.tolist() == [1, 2, 0, 2, 0, 1]
        assert weight.tolist() == [1.0, 3.0, 0.0, 0.0, 3.0, 4.0]

    def test_stored_zeros_are_dropped_on_both_sides(self, kernels):
        start, column = torch.tensor([0, 2, 4]), torch.tensor([0, 1, 0, 1], dtype=torch.int32)
        value = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
        for average in (True, False):
            out = kernels.split_rows(start, column, value, exact=False, average=average)
            assert out[0].tolist() == [0, 0, 0]
            assert out[3].tolist() == [1.0, 1.0]


def test_reverse_edges(kernels, matrix):
    start, source, _, _ = kernels.split_rows(*rows(matrix), exact=True, average=True)
    reverse = kernels.reverse_edges(start, source)
    destination = torch.repeat_interleave(torch.arange(len(start) - 1), start.diff())
    assert torch.equal(source[reverse].long(), destination)
    assert torch.equal(destination[reverse], source.long())


class TestSummary:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_is_that_of_the_dense_matrix(self, kernels, matrix, dtype):
        matrix = matrix.astype(str(dtype).removeprefix("torch."))
        start, _, weight, diagonal = in_torch.split_rows(*rows(matrix), exact=True, average=True)
        smallest, norm, dominance = kernels.summarize_rows(start, weight, diagonal)
        size = np.abs(diagonal.double().numpy())
        sums = abs(matrix).astype(np.float64).sum(axis=1) - size
        assert smallest == float(diagonal.min())
        np.testing.assert_allclose((norm, dominance), ((sums + size).max(), (sums / size).max()), rtol=1e-12)

    def test_rows_without_diagonal(self, kernels):
        start, weight = torch.tensor([0, 1, 2, 2]), torch.tensor([0.5, 0.5], dtype=torch.float64)
        summary = kernels.summarize_rows(start, weight, torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64))
        assert summary == (0.0, 2.5, np.inf)
        alone = kernels.summarize_rows(torch.zeros(3, dtype=torch.int64), weight[:0], torch.zeros(2).double())
        assert alone == (0.0, 0.0, 0.0)


class TestNorms:
    @pytest.mark.parametrize("shape", [(1, 1), (5, 3), (40_000, 1), (40_000, 2)])
    def test_of_columns(self, kernels, shape):
        x = np.random.default_rng(6).standard_normal(shape)
        np.testing.assert_allclose(kernels.column_norms(torch.from_numpy(x)), np.linalg.norm(x, axis=0), rtol=1e-13)
        np.testing.assert_array_equal(kernels.largest_entries(torch.from_numpy(x)), np.abs(x).max(axis=0))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_seen(self, kernels, value):
        x = np.ones((20_000, 2))
        x[17_000, 1] = value
        np.testing.assert_array_equal(kernels.largest_entries(torch.from_numpy(x)), [1.0, abs(value)])


class TestResidual:
    @pytest.mark.parametrize("columns", [1, 3, 8, 11])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_is_that_of_scipy(self, kernels, matrix, dtype, columns):
        start, source, weight, diagonal = in_torch.split_rows(*rows(matrix), exact=False, average=True)
        x, b = np.random.default_rng(5).standard_normal((2, len(diagonal), columns))
        arrays = weight.to(dtype), diagonal.to(dtype), torch.from_numpy(x), torch.from_numpy(b)
        r = kernels.residual(start, source, *arrays)
        np.testing.assert_allclose(r, b - matrix @ x, rtol=1e-5, atol=1e-5 * np.abs(b).max())

    def test_sums_in_the_order_of_scipy(self, matrix):
        start, source, weight, diagonal = in_torch.split_rows(*rows(matrix), exact=False, average=True)
        whole = sp.csr_array(matrix + sp.diags_array(np.where(diagonal == 0, 1.0, 0.0)))
        whole.sort_indices()
        whole.setdiag(diagonal.numpy())
        x, b = np.random.default_rng(6).standard_normal((2, len(diagonal), 1))
        arrays = weight, diagonal, torch.from_numpy(x), torch.from_numpy(b)
        assert np.array_equal(compiled.residual(start, source, *arrays), b - whole @ x)

    def test_carefully_is_that_of_exact_arithmetic(self, kernels, matrix):
        """Where float64 cancels all digits: b is A x, rounded."""
        start, source, weight, diagonal = in_torch.split_rows(*rows(matrix), exact=False, average=True)
        n = min(len(diagonal), 60)
        x = np.random.default_rng(5).standard_normal((len(diagonal), 2)) * [1.0, 1e30]
        b = matrix @ x
        r = kernels.extended_precision_residual(
            start, source, weight, diagonal, torch.from_numpy(x), torch.from_numpy(b)
        ).numpy()
        for i, c in itertools.product(range(n), range(2)):
            entries = range(matrix.indptr[i], matrix.indptr[i + 1])
            products = [Fraction(matrix.data[e]) * Fraction(x[matrix.indices[e], c]) for e in entries]
            exact = Fraction(b[i, c]) - sum(products)
            size = sum(map(abs, products))
            assert (
                abs(exact - Fraction(r[i, c])) <= 1e-15 * abs(exact) + Fraction(len(products) ** 2 * 2.0**-100) * size
            )
