"""The properties of the named systems hold by dense linear algebra, and the oracles agree with each other."""

import itertools

import numpy as np
import pytest

import cases
import oracles

SWEEPS_TRIED = 400


@pytest.mark.parametrize("case", cases.CASES, ids=repr)
def test_the_properties_of_a_case_hold(case):
    A = case.A.toarray()
    assert np.array_equal(A, A.T)
    assert np.isfinite(A).all() and np.isfinite(case.b).all()
    assert oracles.is_spd(A) == case.spd
    assert oracles.is_forest(A) == case.forest
    walk_summable = case.positive_diagonal and oracles.walk_radius(A) < 1 - 1e-9
    assert walk_summable == case.walk_summable
    scale = 1 / np.sqrt(np.abs(A).max(axis=1, initial=1e-300))
    singular_values = np.linalg.svd(scale[:, None] * A * scale[None, :], compute_uv=False)
    assert (singular_values[-1] <= 1e-13 * max(singular_values[0], 1)) == case.singular


def test_names_are_unique_and_lists_name_methods():
    assert len(cases.BY_NAME) == len(cases.CASES)
    known = {label for method in cases.METHODS for label in (method.label, method.name)}
    assert {label for case in cases.CASES for label in case.ends} <= known


@pytest.mark.parametrize("case", [c for c in cases.CASES if c.ends.get("flooding") == cases.INVALID], ids=repr)
@pytest.mark.parametrize("schedule", [oracles.flooding, oracles.sequential])
def test_invalid_precisions_are_met_as_in_the_table(case, schedule):
    assert oracles.first_invalid_sweep(schedule(case.A.toarray(), case.b), SWEEPS_TRIED) is not None


@pytest.mark.parametrize(
    "case",
    [c for c in cases.CASES if c.positive_diagonal and c.n <= 12 and not c.ends and c.spd],
    ids=repr,
)
def test_the_schedules_reach_the_dense_solution_as_in_the_table(case):
    A = case.A.toarray()
    exact = oracles.solve(A, case.b)
    runs = [
        oracles.flooding(A, case.b),
        oracles.flooding(A, case.b, damping=0.3),
        oracles.sequential(A, case.b),
    ]
    for run in runs:
        last = next(itertools.islice(run, SWEEPS_TRIED, None))
        np.testing.assert_allclose(last.mean, exact, rtol=1e-8, atol=1e-10 * np.abs(exact).max())


def test_starts_reach_the_same_fixed_point():
    A = cases.BY_NAME["bipartite"].A.toarray()
    b = cases.BY_NAME["bipartite"].b
    d = np.abs(np.linalg.eigh(np.abs(A))[1][:, -1])  # Perron vector: (D - |O|) d > 0
    ends = [
        next(itertools.islice(oracles.flooding(A, b, start=start), SWEEPS_TRIED, None))
        for start in ("zero", "constant", d)
    ]
    for end in ends[1:]:
        np.testing.assert_allclose(end.belief_precision, ends[0].belief_precision, rtol=1e-12)
        np.testing.assert_allclose(end.mean, ends[0].mean, rtol=1e-9)


def test_bethe_variances_are_exact_on_a_tree_and_as_published_on_a_cycle():
    tree = cases.BY_NAME["caterpillar"].A.toarray()
    np.testing.assert_allclose(oracles.bethe_variances(tree), np.diag(np.linalg.inv(tree)), rtol=1e-12)
    published = np.array([[6.4228, 2.0845, 2.1617], [2.0845, 4.7798, 1.2418], [2.1617, 1.2418, 5.5250]])
    np.testing.assert_allclose(oracles.bethe_variances(published), [0.22042, 0.27313, 0.23361], atol=5e-6)


def test_the_mean_operator_predicts_convergence():
    repulsive = cases.BY_NAME["repulsive_complete"].A.toarray()
    assert oracles.spectral_radius(oracles.mean_operator(repulsive)) == pytest.approx(2.1346, abs=1e-3)
    chord = oracles.mean_operator(cases.BY_NAME["chord_0.395"].A.toarray())
    assert oracles.spectral_radius(chord) == pytest.approx(0.8791, abs=1e-4)
    assert oracles.spectral_radius(np.abs(chord)) == pytest.approx(1.073, abs=1e-3)
