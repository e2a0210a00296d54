"""The callback sees every sweep, what it sees is true, and its stop never raises."""

import itertools

import numpy as np
import pytest
import torch

import cases
import gabp
import oracles
from status_checks import assert_status_is_true, column_norms, true_residuals

GRID = cases.BY_NAME["grid_2d"]
ITERATIVE = ["auto", "flooding", "sequential", "double-loop"]


@pytest.mark.parametrize("method", ITERATIVE)
def test_called_once_per_iteration(method):
    seen = []
    solution = gabp.solve(GRID.A, GRID.b, method=method, callback=lambda p: seen.append(p.iteration))
    assert solution.converged
    assert seen == list(range(1, solution.iterations + 1))


@pytest.mark.parametrize("method", ITERATIVE)
def test_the_residual_it_is_shown_is_that_of_the_x_it_is_shown(method):
    shown = []
    b = np.random.default_rng(21).standard_normal((GRID.n, 3)) * [1.0, 1e3, 1e-3]
    gabp.solve(GRID.A, b, method=method, callback=lambda p: shown.append((p.relative_residual, p.x)) or False)
    for relative, x in shown:
        true = (true_residuals(GRID.A, b, x) / column_norms(b)).max()
        assert relative == pytest.approx(true, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("method", ["flooding", "sequential", "double-loop"])
def test_true_stops_cleanly(method):
    solution = gabp.solve(GRID.A, GRID.b, method=method, callback=lambda p: p.iteration == 3, throw=True)
    assert solution.status is gabp.Status.STOPPED_BY_CALLBACK
    assert not solution.converged
    assert solution.iterations == 3
    assert_status_is_true(GRID.A, GRID.b, solution)


@pytest.mark.parametrize("answer", [None, False, 0, np.False_])
def test_anything_but_true_goes_on(answer):
    assert gabp.solve(GRID.A, GRID.b, method="flooding", callback=lambda p: answer).converged


def test_a_numpy_truth_stops_too():
    solution = gabp.solve(GRID.A, GRID.b, method="flooding", callback=lambda p: p.relative_residual < np.float64(1e-2))
    assert solution.status is gabp.Status.STOPPED_BY_CALLBACK
    assert_status_is_true(GRID.A, GRID.b, solution)
    assert solution.residual_norm < 1e-2 * np.linalg.norm(GRID.b)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(144,), (144, 1), (144, 2)])
def test_x_is_shown_in_the_form_of_b(convert, dtype, shape):
    b = convert(np.ones(shape, dtype=dtype))
    shown = []
    gabp.solve(GRID.A, b, method="sequential", callback=lambda p: shown.append(p.x))
    assert shown
    for x in shown:
        assert type(x) is type(b)
        assert x.shape == b.shape
        assert x.dtype == b.dtype


def test_what_it_keeps_is_its_own():
    """An x that was shown does not change as the sweeps go on, and writing to it changes no sweep."""
    kept = []

    def vandal(progress):
        x = progress.x
        kept.append((x, x.copy()))
        if progress.iteration % 2:
            progress.x[...] = np.nan

    solution = gabp.solve(GRID.A, GRID.b, method="flooding", callback=vandal)
    assert solution.converged
    for x, copy in kept:
        np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize("method", ITERATIVE)
def test_watching_changes_the_answer_by_no_more_than_the_tolerance(method):
    alone = gabp.solve(GRID.A, GRID.b, method=method, rtol=1e-11)
    watched = gabp.solve(GRID.A, GRID.b, method=method, rtol=1e-11, callback=lambda p: None)
    assert_status_is_true(GRID.A, GRID.b, watched, rtol=1e-11)
    np.testing.assert_allclose(watched.x, alone.x, rtol=1e-7, atol=1e-9)


def test_without_one_the_residual_is_looked_at_less_often():
    alone = gabp.solve(GRID.A, GRID.b, method="flooding", rtol=1e-10)
    assert len(alone.history) < alone.iterations / 2


def test_the_history_falls_to_the_tolerance():
    solution = gabp.solve(GRID.A, GRID.b, method="flooding", callback=lambda p: None)
    assert len(solution.history) >= solution.iterations
    assert solution.history[-1] <= 1e-8 < solution.history[-2]


def test_an_error_of_the_callback_is_the_callers():
    class MineError(Exception):
        pass

    def fail(progress):
        raise MineError

    with pytest.raises(MineError):
        gabp.solve(GRID.A, GRID.b, method="flooding", callback=fail)


@pytest.mark.parametrize("name", ["bipartite", "chord_0.35", "complete", "ring", "path"])
@pytest.mark.parametrize("method", ["flooding", "sequential"])
def test_the_means_are_those_of_the_equations_sweep_by_sweep(name, method):
    """Precisions depend on A alone and reach their fixed point first; then the potentials are swept, from zero."""
    case = cases.BY_NAME[name]
    A = case.A.toarray()
    schedule = {"flooding": oracles.flooding, "sequential": oracles.sequential}[method]
    sweeps = schedule(A, case.b, precision=oracles.converged_precisions(A).precision)
    expected = [sweep.mean for sweep in itertools.islice(sweeps, 1, 13)]
    shown = []
    gabp.solve(
        case.A,
        case.b,
        method=method,
        rtol=1e-15,
        callback=lambda p: shown.append(p.x) or len(shown) == 12,
        throw=False,
    )
    scale = np.abs(oracles.solve(A, case.b)).max()
    for x, mean in zip(shown, expected, strict=False):
        np.testing.assert_allclose(x, mean, rtol=1e-12, atol=1e-12 * scale)
    assert len(shown) >= 2


@pytest.mark.parametrize("damping", [0.25, 0.6])
def test_damped_means_are_those_of_the_equations_sweep_by_sweep(damping):
    case = cases.BY_NAME["bipartite"]
    A = case.A.toarray()
    precision = oracles.converged_precisions(A).precision
    expected = oracles.flooding(A, case.b, damping=damping, precision=precision)
    next(expected)
    shown = []
    gabp.solve(
        case.A,
        case.b,
        method="flooding",
        damping=damping,
        callback=lambda p: shown.append(p.x) or len(shown) == 15,
    )
    assert len(shown) == 15
    for x, sweep in zip(shown, expected, strict=False):
        np.testing.assert_allclose(x, sweep.mean, rtol=1e-12, atol=1e-12)
