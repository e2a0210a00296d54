"""`gabp.lstsq` in both forms, against dense least squares."""

import numpy as np
import pytest
import scipy.sparse
import torch

import gabp
from gabp.messages.factor_graph import FactorGraph, FactorSweeps

# a chain of measurements with a very accurate one at its end: the normal equations are far from walk-summable
GRADES = (
    np.array([[1.0, 0, 0], [25, -25, 0], [-50, -40, 90], [0, 1, 0]]),
    np.array([0, 1.795, 1.966, -0.066]),
    np.array([1e-2, 1e-2, 1e-2, 1e-6]),
)
# every measurement sees every variable: the bipartite graph is dense with short cycles
DENSE = np.array([[3.0, 2, -1], [-2, 2, 1], [1, 1, 1]]), np.array([6.0, 3, 4]), np.ones(3)


def dense_solution(F, y, variance=1.0, prior=0.0):
    F = F.toarray() if scipy.sparse.issparse(F) else F
    W = np.diag(1 / np.broadcast_to(variance, F.shape[0]))
    return np.linalg.solve(F.T @ W @ F + np.diag(np.broadcast_to(prior, F.shape[1])), F.T @ W @ y)


@pytest.mark.parametrize("form", ["auto", "factor"])
def test_the_grades_are_solved(form):
    F, y, variance = GRADES
    solution = gabp.lstsq(F, y, noise_variance=variance, form=form, rtol=1e-13)
    assert solution.converged
    assert solution.x == pytest.approx([0.00579, -0.066, -0.00427], abs=5e-6)
    assert solution.x == pytest.approx(dense_solution(*GRADES), rel=1e-7)


def test_the_factor_form_takes_three_sweeps_on_the_grades():
    F, y, variance = GRADES
    row, column = np.nonzero(F)
    graph = FactorGraph.at_fixed_point(
        *(torch.from_numpy(array) for array in (row, column, F[row, column], variance, np.zeros(3)))
    )
    assert graph.damping == 0.0
    sweeps = FactorSweeps(graph, torch.from_numpy(F.T @ (y / variance))[:, None], graph.damping)
    sweeps.sweep(3)
    assert sweeps.mean()[:, 0].numpy() == pytest.approx(dense_solution(*GRADES), rel=1e-6)


def test_the_pairwise_form_fails_on_the_grades():
    F, y, variance = GRADES
    with pytest.raises(gabp.ConvergenceError) as failure:
        gabp.lstsq(F, y, noise_variance=variance, form="pairwise")
    assert failure.value.solution.status is gabp.Status.INVALID_PRECISION


@pytest.mark.parametrize("form", ["auto", "factor", "pairwise"])
def test_the_dense_problem_is_solved(form):
    F, y, variance = DENSE
    solution = gabp.lstsq(F, y, noise_variance=variance, form=form, rtol=1e-12)
    assert solution.x == pytest.approx([1, 2, 1], abs=1e-9)
    if form == "factor":
        assert "damping 0." in solution.method_reason


@pytest.mark.parametrize("form", ["auto", "factor", "pairwise"])
def test_random_problems_with_a_prior(form):
    rng = np.random.default_rng(0)
    F = scipy.sparse.random_array((120, 40), density=0.06, rng=rng, data_sampler=rng.standard_normal).tocsr()
    y, variance, prior = rng.normal(size=120), rng.uniform(0.5, 2, 120), rng.uniform(8, 12, 40)
    solution = gabp.lstsq(F, y, noise_variance=variance, prior_precision=prior, form=form, rtol=1e-11)
    assert solution.x == pytest.approx(dense_solution(F, y, variance, prior), rel=1e-8)
    residual = F.T @ ((y - F @ solution.x) / variance) - prior * solution.x
    assert solution.residual_norm == pytest.approx(np.linalg.norm(residual), abs=1e-12)


@pytest.mark.parametrize("kind", [torch.tensor, lambda F: torch.tensor(F).to_sparse_csr(), scipy.sparse.coo_matrix])
def test_kinds_of_matrices(kind):
    F, y, variance = DENSE
    columns = torch.tensor(np.stack([y, 2 * y], 1), dtype=torch.float32)
    solution = gabp.lstsq(kind(F), columns, noise_variance=torch.tensor(variance))
    assert solution.x.dtype == torch.float32
    torch.testing.assert_close(solution.x, torch.tensor([[1.0, 2], [2, 4], [1, 2]]), rtol=1e-4, atol=1e-4)


def test_arguments_are_checked():
    F, y, _ = DENSE
    with pytest.raises(gabp.InvalidSystemError, match="form"):
        gabp.lstsq(F, y, form="normal")
    with pytest.raises(gabp.InvalidSystemError, match="3 rows"):
        gabp.lstsq(F, y[:2])
    with pytest.raises(gabp.InvalidSystemError, match=r"noise_variance\[1\]"):
        gabp.lstsq(F, y, noise_variance=np.array([1.0, 0.0, 1.0]))
    with pytest.raises(gabp.InvalidSystemError, match=r"prior_precision\[0\]"):
        gabp.lstsq(F, y, prior_precision=-1.0)
    for wrong in (np.ones(2), np.eye(2), np.ones((2, 3))):
        with pytest.raises(gabp.InvalidSystemError, match="prior_precision has shape"):
            gabp.lstsq(F, y, prior_precision=wrong)
    with pytest.raises(gabp.InvalidSystemError, match=r"not symmetric: \[0, 2\] = 1.0 against \[2, 0\] = 0.0"):
        gabp.lstsq(F, y, prior_precision=np.eye(3) + np.eye(3, k=2))
    with pytest.raises(gabp.InvalidSystemError, match=r"prior_precision\[1\] is -1"):
        gabp.lstsq(F, y, prior_precision=np.diag([1.0, -1.0, 1.0]))
    with pytest.raises(gabp.InvalidSystemError, match=r"F\[1, 2\]"):
        gabp.lstsq(np.where(np.arange(9).reshape(3, 3) == 5, np.nan, F), y)
    with pytest.raises(gabp.InvalidSystemError, match=r"y\[2\]"):
        gabp.lstsq(F, np.array([1.0, 2.0, np.inf]))
    with pytest.raises(TypeError, match="F must"):
        gabp.lstsq(F.tolist(), y)
    with pytest.raises(TypeError, match="y must"):
        gabp.lstsq(F, y.tolist())


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("form", ["auto", "factor", "pairwise"])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_products_neither_vanish_nor_overflow(dtype, form, sign):
    exponent = sign * (25 if dtype == "f4" else 200)
    size = np.array(10.0**exponent, dtype)
    F, y, _ = DENSE
    solution = gabp.lstsq(F.astype(dtype) * size, y.astype(dtype) * size, form=form)
    assert solution.x.dtype == dtype
    assert solution.x == pytest.approx([1, 2, 1], rel=1e-3 if dtype == "f4" else 1e-6)
    away = gabp.lstsq(F.astype(dtype) * size, y.astype(dtype), form=form)
    assert away.x * size == pytest.approx([1, 2, 1], rel=1e-3 if dtype == "f4" else 1e-6)


def test_variances_and_priors_of_any_size():
    F, y, _ = DENSE
    plain = gabp.lstsq(F, y, noise_variance=np.array([1.0, 4.0, 2.0]), prior_precision=0.5)
    large = gabp.lstsq(F, y, noise_variance=2.0**1000 * np.array([1.0, 4.0, 2.0]), prior_precision=2.0**-1001)
    small = gabp.lstsq(F, y, noise_variance=2.0**-1000 * np.array([1.0, 4.0, 2.0]), prior_precision=2.0**999)
    assert (large.x == plain.x).all()
    assert (small.x == plain.x).all()
    assert large.residual_norm == pytest.approx(plain.residual_norm * 2.0**-1000, rel=1e-9, abs=0)


@pytest.mark.parametrize(("form", "decades"), [("auto", 60), ("factor", 5)])
def test_rows_and_columns_of_many_sizes(form, decades):
    rng = np.random.default_rng(1)
    F = scipy.sparse.eye_array(150, 40) + scipy.sparse.random_array((150, 40), density=0.05, rng=rng)
    x = rng.normal(size=40)
    rows, columns = (10 ** rng.uniform(-decades, decades, size) for size in (150, 40))
    scaled = scipy.sparse.diags_array(rows) @ F @ scipy.sparse.diags_array(columns)
    solution = gabp.lstsq(scaled, rows * (F @ x), noise_variance=rows**2, form=form)
    assert solution.x * columns == pytest.approx(x, rel=1e-9 if form == "auto" else 1e-3)


@pytest.mark.parametrize("kind", [scipy.sparse.csc_matrix, np.asarray, torch.tensor])
def test_a_prior_may_be_a_matrix(kind):
    rng = np.random.default_rng(3)
    F, y = rng.normal(size=(4, 6)), rng.normal(size=4)
    smooth = 2.0 * np.eye(6) - np.eye(6, k=1) - np.eye(6, k=-1)
    for form in ("auto", "pairwise"):
        solution = gabp.lstsq(F, y, prior_precision=kind(20 * smooth + 5 * np.eye(6)), form=form, rtol=1e-11)
        assert solution.x == pytest.approx(np.linalg.solve(F.T @ F + 20 * smooth + 5 * np.eye(6), F.T @ y))
    with pytest.raises(gabp.InvalidSystemError, match="off its diagonal"):
        gabp.lstsq(F, y, prior_precision=kind(smooth), form="factor")
    diagonal = gabp.lstsq(F, y, prior_precision=kind(3 * np.eye(6)), form="factor")
    assert diagonal.x == pytest.approx(gabp.lstsq(F, y, prior_precision=3.0, form="factor").x)


@pytest.mark.parametrize("form", ["auto", "factor", "pairwise"])
def test_an_unknown_in_no_measurement_or_prior_is_zero(form):
    F, y, _ = DENSE
    padded = np.zeros((5, 5))
    padded[np.ix_([0, 2, 4], [0, 1, 4])] = F
    measured = np.array([y[0], 7.0, y[1], 0.0, y[2]])
    solution = gabp.lstsq(padded, measured, form=form, rtol=1e-10)
    assert solution.converged
    assert solution.x == pytest.approx([1, 2, 0, 0, 1], abs=1e-7)
    assert gabp.lstsq(np.zeros((3, 2)), y, form=form).x.tolist() == [0.0, 0.0]


def test_fewer_measurements_than_unknowns():
    """Any x that fits is right; one that does not is never called converged."""
    rng = np.random.default_rng(5)
    F, y = rng.normal(size=(3, 6)), rng.normal(size=3)
    solution = gabp.lstsq(F, y)
    assert F @ solution.x == pytest.approx(y, rel=1e-6)


def test_a_solution_beyond_the_dtype_is_not_called_converged():
    with pytest.raises(gabp.ConvergenceError) as failure:
        gabp.lstsq(np.array([[1e-30]], "f4"), np.array([1e30], "f4"))
    assert failure.value.solution.status is gabp.Status.STAGNATED
