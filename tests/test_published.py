"""Published results, reproduced through the public functions."""

import numpy as np
import pytest

import cases
import gabp
import oracles
from status_checks import assert_status_is_true

THREE = np.array([[7.0, -1, 3], [-1, 7, -5], [3, -5, 7]]) / 7


@pytest.mark.parametrize(("method", "sweeps"), [("flooding", 23), ("sequential", 16)])
def test_sweeps_of_the_three_by_three_example(method, sweeps):
    b = np.ones(3)
    schedule = {"flooding": oracles.flooding, "sequential": oracles.sequential}[method]
    assert oracles.sweeps_until_converged(schedule(THREE, b), 1e-6) == sweeps
    means = [b / np.diag(THREE)]

    def converged(progress):
        means.append(progress.x)
        return np.linalg.norm(means[-1] - means[-2]) < 1e-6 * np.linalg.norm(means[-1])

    solution = gabp.solve(THREE, b, method=method, rtol=1e-14, callback=converged)
    assert solution.status is gabp.Status.STOPPED_BY_CALLBACK
    assert solution.iterations == sweeps
    np.testing.assert_allclose(solution.x, [0, 3.5, 3.5], atol=1e-5)


def test_an_indefinite_tree():
    A = np.array([[1.0, -2, 3], [-2, 1, 0], [3, 0, 1]])
    solution = gabp.solve(A, np.array([-6.0, 0, 2]), method="tree")
    np.testing.assert_allclose(solution.x, [1, 2, -1], rtol=1e-12)


@pytest.mark.parametrize("method", ["flooding", "sequential"])
def test_a_positive_definite_single_cycle_may_have_no_valid_precisions(method):
    """Eigenvalues 0.3, 0.3, 2.4, one cycle; but an indefinite computation tree."""
    A = np.full((3, 3), 0.7) + 0.3 * np.eye(3)
    np.testing.assert_allclose(np.linalg.eigvalsh(A), [0.3, 0.3, 2.4])
    assert oracles.first_invalid_sweep(oracles.flooding(A, np.ones(3)), 3) is not None
    solution = gabp.solve(A, np.ones(3), method=method, throw=False)
    assert solution.status is gabp.Status.INVALID_PRECISION
    assert solution.iterations <= 3


WALK_SUMMABLE_BELOW = 2 / (1 + np.sqrt(17))
PRECISIONS_CONVERGE_BELOW = np.sqrt((2 * np.sqrt(7) - 1) / 27)


def test_the_thresholds_of_the_cycle_with_a_chord():
    for r, radius in [(WALK_SUMMABLE_BELOW, 1.0), (0.395, 1.0118)]:
        assert oracles.walk_radius(cases.cycle_with_chord(r).toarray()) == pytest.approx(radius, abs=1e-4)
    assert oracles.is_spd(cases.cycle_with_chord(0.4999).toarray())
    assert not oracles.is_spd(cases.cycle_with_chord(0.5001).toarray())
    assert pytest.approx(0.39867849, abs=1e-8) == PRECISIONS_CONVERGE_BELOW


@pytest.mark.parametrize(
    ("method", "r"),
    [
        *[(method, r) for method in ("flooding", "sequential") for r in (0.2, 0.35, WALK_SUMMABLE_BELOW, 0.395)],
        ("flooding", 0.398),
    ],
)
def test_the_cycle_with_a_chord_is_solved_up_to_its_threshold(method, r):
    A = cases.cycle_with_chord(r)
    b = np.array([1.0, 2.0, -1.0, 0.5])
    solution = gabp.solve(A, b, method=method, maxiter=4000)
    assert_status_is_true(A, b, solution)
    assert solution.converged


def test_beyond_walk_summability_one_schedule_may_diverge_where_another_converges():
    """ρ(M) < 1 is the condition of flooding, ρ(|M|) < 1 that of every schedule."""
    A, b = cases.cycle_with_chord(0.398), np.array([1.0, 2.0, -1.0, 0.5])
    M = oracles.mean_operator(A.toarray())
    assert oracles.spectral_radius(M) < 1 < oracles.spectral_radius(np.abs(M))
    solution = gabp.solve(A, b, method="sequential", throw=False)
    assert_status_is_true(A, b, solution)
    assert solution.status is gabp.Status.DIVERGED


@pytest.mark.parametrize("method", ["flooding", "sequential"])
@pytest.mark.parametrize("r", [0.399, 0.40, 0.45, 0.49])
def test_the_cycle_with_a_chord_has_no_precisions_above_its_threshold(r, method):
    A = cases.cycle_with_chord(r)
    solution = gabp.solve(A, np.ones(4), method=method, throw=False)
    assert_status_is_true(A, np.ones(4), solution)
    assert solution.status is gabp.Status.INVALID_PRECISION


@pytest.mark.parametrize("r", [0.2, 0.395, 0.3985, 0.40, 0.45, 0.49])
@pytest.mark.parametrize("method", ["double-loop", "auto"])
def test_other_methods_solve_the_cycle_with_a_chord_as_long_as_it_is_definite(r, method):
    A = cases.cycle_with_chord(r)
    b = np.array([1.0, 2.0, -1.0, 0.5])
    solution = gabp.solve(A, b, method=method)
    assert_status_is_true(A, b, solution)
    assert solution.converged


def test_a_star_divides_by_zero_from_the_constant_start():
    """Three edges at 0.5: in the first sweep the centre's cavity is 1 - 2·0.5 = 0; it recovers or reports failure."""
    star = cases.from_edges(4, [(0, i, 0.5) for i in (1, 2, 3)], 1.0)
    b = np.array([1.0, -2.0, 0.5, 3.0])
    assert next(iter(oracles.flooding(star.toarray(), b, start="constant"))).belief_precision[0] == -0.5
    solution = gabp.solve(star, b, method="flooding", start="constant", throw=False)
    assert_status_is_true(star, b, solution)
    from_zero = gabp.solve(star, b, method="flooding")
    assert_status_is_true(star, b, from_zero)
    assert from_zero.converged


@pytest.mark.parametrize("method", ["flooding", "sequential", "double-loop", "auto"])
def test_sparse_data_on_a_grid(method):
    """Weiss and Freeman's "approximation from sparse data": a smooth field from a fifth of its nodes."""
    rng = np.random.default_rng(0)
    mask = rng.random(625) < 0.2
    A = cases.laplacian(625, cases.grid_edges(25, 25), 100.0 * mask)
    b = 100.0 * mask * rng.random(625)
    solution = gabp.solve(A, b, method=method, rtol=1e-12)
    assert_status_is_true(A, b, solution, rtol=1e-12)
    assert solution.converged
    np.testing.assert_allclose(solution.x, oracles.solve(A.toarray(), b), atol=1e-8)


def test_the_tree_passes_lose_no_accuracy_on_a_radial_feeder():
    """Where ρ(|R|) is 1 - 5e-6, subtracting messages loses six digits; the tree passes do not subtract."""
    n = 1200
    feeder = cases.laplacian(n, [(i, i + 1, 1.0) for i in range(n - 1)])
    feeder[0, 0] += 1.0
    assert 0 < 1 - oracles.walk_radius(feeder.toarray()) < 5e-6
    b = feeder @ np.random.default_rng(1).standard_normal(n)
    solution = gabp.solve(feeder, b, method="tree", rtol=1e-13)
    assert_status_is_true(feeder, b, solution, rtol=1e-13)
    assert solution.converged
