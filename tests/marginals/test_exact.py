"""Exact variances, covariances and log-determinants against dense linear algebra."""

import sys

import numpy as np
import pyamg.gallery
import pytest
import scipy.sparse as sp

import cases
import gabp
import oracles

UNIT = np.finfo(float).eps / 2
DENSE = 500  # nodes for which an inverse in extended precision takes no time
PROPER = [case for case in cases.CASES if case.spd and case.n <= DENSE]
every_case = pytest.mark.parametrize("case", PROPER, ids=lambda case: case.name)


def named(A, name):
    return cases.Case(name, sp.csr_array(A), np.ones(A.shape[0]))


def conditioned(n: int, condition: float, seed: int) -> np.ndarray:
    """A dense matrix with eigenvalues spread evenly in logarithm."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    A = (Q * np.logspace(0, -np.log10(condition), n)) @ Q.T
    return (A + A.T) / 2


def random_sparse(n: int, per_row: float, margin: float, seed: int) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    F = sp.random_array((n, n), density=per_row / n, rng=rng, data_sampler=rng.standard_normal)
    return sp.csr_array(F @ F.T + margin * sp.eye_array(n))


HARD = [
    named(conditioned(40, 1e4, 0), "condition_1e4"),
    named(conditioned(40, 1e7, 1), "condition_1e7"),
    named(conditioned(40, 1e10, 2), "condition_1e10"),
    named(random_sparse(300, 2, 0.1, 3), "gram_300"),
    named(random_sparse(300, 1.5, 1e-6, 4), "near_singular_gram"),
    named(random_sparse(400, 6, 1.0, 5), "filled_400"),
    named(cases.laplacian(225, cases.grid_edges(15, 15), 1e-8), "nearly_free_grid"),
    named(cases.laplacian(343, cases.grid_edges(7, 7, 7), 1e-3), "grid_3d_343"),
    named(cases.laplacian(256, cases.grid_edges(16, 16, weights=(1e4, 1.0)), 0.1), "anisotropic_1e4"),
    named(np.ones((300, 300)) + np.eye(300), "dense_300"),
]


def finite_elements(name: str) -> sp.csr_array:
    A = sp.csr_array(pyamg.gallery.load_example(name)["A"])
    return sp.csr_array((A + A.T) / 2)


MESHES = [
    named(finite_elements("airfoil"), "airfoil"),
    named(finite_elements("unit_square") + 1e-3 * sp.eye_array(191), "unit_square"),
    named(pyamg.gallery.linear_elasticity((12, 12), format="csr")[0], "elasticity"),
]
every_system = pytest.mark.parametrize("case", PROPER + HARD + MESHES, ids=lambda case: case.name)


def tolerance(A: np.ndarray) -> float:
    """The accuracy that the condition number of the equilibrated matrix admits."""
    scale = 1 / np.sqrt(np.diag(A))
    return max(1e-9, 1e3 * np.linalg.cond(scale[:, None] * A * scale) * UNIT)


@every_system
def test_variances_and_covariances_on_the_pattern(case):
    A = case.A.toarray()
    inverse = oracles.solve(A, np.eye(case.n))
    model = gabp.Gaussian(case.A)
    exact = model.marginals("exact")
    assert exact.variance_kind == "exact"
    assert exact.variance_stderr is None
    np.testing.assert_allclose(exact.variance, np.diag(inverse), rtol=tolerance(A), atol=0)
    pairs = np.argwhere(A)
    size = np.sqrt(np.outer(np.diag(inverse), np.diag(inverse)))[tuple(pairs.T)]
    error = np.abs(model.covariances(pairs) - inverse[tuple(pairs.T)])
    assert (error <= tolerance(A) * size).all()


def test_the_systems_include_ill_conditioned_ones():
    systems = PROPER + HARD + MESHES
    scaled = [case.A.toarray() / np.sqrt(np.outer(case.A.diagonal(), case.A.diagonal())) for case in systems]
    assert len(systems) >= 40
    assert max(np.linalg.cond(A) for A in scaled) > 1e9


@every_system
def test_log_determinants(case):
    A = case.A.toarray()
    scale = np.sqrt(np.diag(A))
    expected = np.linalg.slogdet(A / np.outer(scale, scale))[1] + 2 * np.log(scale).sum()
    condition = np.linalg.cond(A / np.outer(scale, scale))
    largest = max(np.abs(np.log(scale)).sum(), 1.0)
    assert gabp.logdet(case.A) == pytest.approx(expected, rel=1e-10, abs=1e-10 * largest + 10 * condition * UNIT)


def test_a_covariance_off_the_pattern():
    case = cases.BY_NAME["grid_2d"]
    inverse = np.linalg.inv(case.A.toarray())
    pairs = np.array([[0, 143], [143, 0], [7, 7], [0, 1], [60, 3]])
    np.testing.assert_allclose(gabp.Gaussian(case.A).covariances(pairs), inverse[tuple(pairs.T)], rtol=1e-10)


def test_a_stored_zero_is_no_edge():
    """Its covariance is computed all the same."""
    A = sp.csr_array(([2.0, 0.0, -1.0, 0.0, 2.0, -1.0, -1.0, -1.0, 2.0], [0, 1, 2, 0, 1, 2, 0, 1, 2], [0, 3, 6, 9]))
    A[2, 2] = 4.0
    np.testing.assert_allclose(gabp.Gaussian(A).covariances([[0, 1]]), np.linalg.inv(A.toarray())[0, 1])


@pytest.mark.parametrize("name", ["indefinite_grid", "saddle_point", "singular_grid", "one_cycle_trap"])
def test_what_is_not_positive_definite_is_refused(name):
    case = cases.BY_NAME[name]
    if case.spd:
        assert (gabp.marginals(case.A, case.b, variance="exact").variance > 0).all()
        return
    with pytest.raises(gabp.InvalidSystemError, match=r"positive"):
        gabp.Gaussian(case.A).variances("exact")
    with pytest.raises(gabp.InvalidSystemError, match=r"positive"):
        gabp.logdet(case.A)
    with pytest.raises(gabp.InvalidSystemError, match=r"positive"):
        gabp.sample(case.A)


def test_the_node_of_a_nonpositive_pivot_is_reported():
    A = sp.diags_array([1.0, 2.0, 3.0, 4.0]).tolil()
    A[1, 2] = A[2, 1] = 5.0
    with pytest.raises(gabp.NotPositiveDefiniteError, match=r"node [12]") as caught:
        gabp.logdet(sp.csr_array(A))
    assert caught.value.node in (1, 2)


def test_a_factor_that_does_not_fit_is_refused_before_anything_is_allocated(monkeypatch):
    memory = sys.modules["gabp.messages.junction_tree"]
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e4)
    monkeypatch.setattr(memory, "_NEGLIGIBLE", 0)
    model = gabp.Gaussian(cases.BY_NAME["grid_2d"].A)
    with pytest.raises(MemoryError, match="corrected"):
        model.variances("exact")


@pytest.mark.parametrize("name", ["grid_2d", "random_tree", "disconnected", "one_node", "isolated_nodes"])
def test_bethe_is_exact_on_forests_and_labelled_everywhere(name):
    case = cases.BY_NAME[name]
    marginals = gabp.marginals(case.A, case.b)
    assert marginals.variance_kind == ("exact" if case.forest else "bethe")
    expected = oracles.bethe_variances(case.A.toarray())
    np.testing.assert_allclose(marginals.variance, expected, rtol=1e-12)
    np.testing.assert_allclose(marginals.mean, oracles.solve(case.A.toarray(), case.b), rtol=1e-7, atol=1e-12)
    if case.forest:
        assert gabp.logdet(case.A, kind="bethe") == pytest.approx(np.linalg.slogdet(case.A.toarray())[1], rel=1e-12)


def test_the_bethe_log_determinant_is_that_of_the_scaled_matrix():
    """``log det A ≈ Σ log J_i - Σ_edges log(1 - g²)`` with the messages of the dense oracle."""
    A = cases.BY_NAME["frustrated_grid"].A.toarray()
    sweep = oracles.converged_precisions(A)
    J = sweep.belief_precision
    i, j = np.argwhere(np.triu(A, 1)).T
    cavity = J[i] - sweep.precision[j, i]
    g = A[i, j] / (np.sqrt(J[i] * J[j]) * cavity / J[i])
    assert gabp.logdet(A, kind="bethe") == pytest.approx(np.log(J).sum() - np.log(1 - g**2).sum(), rel=1e-12)


def test_without_a_fixed_point_there_is_no_bethe_approximation():
    case = cases.BY_NAME["gram"]
    with pytest.raises(ArithmeticError, match="no valid fixed point"):
        gabp.marginals(case.A, case.b)


def test_a_published_example():
    A = np.array([[6.4228, 2.0845, 2.1617], [2.0845, 4.7798, 1.2418], [2.1617, 1.2418, 5.5250]])
    np.testing.assert_allclose(gabp.marginals(A, np.ones(3)).variance, [0.22042, 0.27313, 0.23361], atol=5e-6)
    exact = gabp.marginals(A, np.ones(3), variance="exact").variance
    np.testing.assert_allclose(exact, [0.1996, 0.2474, 0.2116], atol=5e-5)


@pytest.mark.parametrize("n", [2, 3, 40])
def test_a_last_pivot_of_zero_is_refused(n):
    """Every pivot of a path's Laplacian is exactly 1 until the last, which is 0."""
    path = cases.laplacian(n, [(i, i + 1, 1.0) for i in range(n - 1)])
    with pytest.raises(gabp.NotPositiveDefiniteError):
        gabp.logdet(path)
