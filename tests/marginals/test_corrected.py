"""Corrected variances: unbiased, with calibrated standard errors."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import cases
import gabp
from gabp.kernels import dispatch
from gabp.kernels.torch import distance_colouring, markov_blankets
from gabp.solvers.hierarchy import DeviceHierarchy
from gabp.system import make_system, read_matrix


@pytest.mark.parametrize("name", ["grid_2d", "poisson_2d", "random_sparse", "gram", "star", "disconnected"])
def test_z_scores_over_seeds(name):
    case = cases.BY_NAME[name]
    truth = np.diag(np.linalg.inv(case.A.toarray()))
    model = gabp.Gaussian(case.A, case.b)
    scores, errors, spreads = [], [], []
    for seed in range(20):
        estimate = model.marginals("corrected", probes=64, seed=seed)
        assert estimate.variance_kind == "corrected"
        uncertain = estimate.variance_stderr > 1e-12 * estimate.variance
        error = estimate.variance - truth
        assert (np.abs(error[~uncertain]) <= 1e-9 * truth[~uncertain]).all()  # a patch that is a whole component
        scores.append(error[uncertain] / estimate.variance_stderr[uncertain])
        errors.append(error[uncertain])
        spreads.append(estimate.variance_stderr[uncertain])
    scores = np.concatenate(scores)
    if len(scores):
        assert 0.8 <= scores.std() <= 1.25
        # divided by one standard error per node: that of a seed goes with its estimate, which would skew the mean
        means = (np.stack(errors) / np.mean(spreads, axis=0)).mean(1)
        assert abs(means.mean()) <= 4 * means.std() / np.sqrt(20)


@pytest.mark.parametrize(("shift", "gain"), [(0.0, 2.0), (0.1, 5.0)])
def test_the_error_is_a_fraction_of_that_of_hutchinson(shift, gain):
    """64 samples against 64 random sign vectors on Poisson 40², root mean square over nodes and seeds."""
    edges = [(i, j, -w) for i, j, w in cases.grid_edges(40, 40)]
    A = cases.from_edges(1600, edges, 4.0 + shift)
    inverse = np.linalg.inv(A.toarray())
    model = gabp.Gaussian(A)
    ours, plain = [], []
    for seed in range(3):
        ours.append(model.marginals("corrected", probes=64, seed=seed).variance - np.diag(inverse))
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (1600, 64))
        plain.append((signs * (inverse @ signs)).mean(1) - np.diag(inverse))
    assert gain * np.sqrt(np.mean(np.square(ours))) <= np.sqrt(np.mean(np.square(plain)))


def test_the_requested_relative_error_is_met():
    case = cases.BY_NAME["grid_2d"]
    model = gabp.Gaussian(case.A)
    for rtol in (0.05, 0.01):
        estimate = model.marginals("corrected", rtol=rtol, seed=3)
        assert (estimate.variance_stderr / estimate.variance).max() <= rtol


def test_no_factor_is_needed(monkeypatch):
    """Where no factor fits, perturb-and-solve draws the samples."""
    case = cases.BY_NAME["grid_2d"]
    monkeypatch.setattr("gabp.gaussian.fits_in_memory", lambda graph: False)
    model = gabp.Gaussian(case.A, case.b)
    estimate = model.marginals("corrected", probes=200, seed=4)
    truth = np.diag(np.linalg.inv(case.A.toarray()))
    assert np.abs((estimate.variance - truth) / estimate.variance_stderr).max() < 5
    assert "_factor" not in vars(model)


def biharmonic(side: int, decay: float) -> sp.csr_array:
    """The square of a grid's Laplacian with some decay: a smooth prior that is far from walk-summable."""
    L = cases.laplacian(side**2, cases.grid_edges(side, side), decay)
    return sp.csr_array(L @ L)


@pytest.fixture
def no_factor(monkeypatch):
    """As if no factor fitted in memory."""
    monkeypatch.setattr("gabp.gaussian.fits_in_memory", lambda graph: False)


@pytest.mark.parametrize("probes", [8, 64])
def test_z_scores_by_probing(no_factor, probes):
    A = biharmonic(20, 0.3)
    model = gabp.Gaussian(A)
    truth = np.diag(np.linalg.inv(A.toarray()))
    scores = []
    for seed in range(20):
        estimate = model.marginals("corrected", probes=probes, seed=seed)
        scores.append((estimate.variance - truth) / estimate.variance_stderr)
    scores = np.stack(scores)
    assert "_factor" not in vars(model)
    assert 0.8 <= scores.std() <= 1.25
    assert abs(scores.mean()) <= 4 * scores.mean(1).std() / np.sqrt(20)  # no bias


def test_the_requested_relative_error_is_met_by_probing(no_factor):
    A = biharmonic(20, 1.0)
    estimate = gabp.Gaussian(A).marginals("corrected", rtol=0.01, seed=0)
    assert (estimate.variance_stderr <= 0.01 * estimate.variance).all()
    truth = np.diag(np.linalg.inv(A.toarray()))
    assert np.abs((estimate.variance - truth) / estimate.variance_stderr).max() < 6


def test_probing_with_one_colour_per_node_is_exact(no_factor):
    A = biharmonic(7, 0.1)
    estimate = gabp.Gaussian(A).marginals("corrected", probes=98, seed=0)
    np.testing.assert_allclose(estimate.variance, np.diag(np.linalg.inv(A.toarray())), rtol=1e-6)


def test_an_unreachable_relative_error_is_logged(no_factor, monkeypatch, caplog):
    monkeypatch.setattr(sys.modules["gabp.marginals.corrected"], "_MOST", 64)
    model = gabp.Gaussian(biharmonic(20, 0.01))
    estimate = model.marginals("corrected", rtol=1e-4, seed=0)
    assert (estimate.variance_stderr > 1e-4 * estimate.variance).any()
    assert "after 64 probes" in caplog.text


@pytest.mark.parametrize("excess", [0.2, 1e-4])
@pytest.mark.parametrize("compiled", [True, False])
def test_negative_curvature_is_found_without_a_factor(no_factor, monkeypatch, excess, compiled):
    """Down to one eigenvalue just below zero."""
    if not compiled:
        monkeypatch.setattr("gabp.solvers.hierarchy.selection.hierarchy_class", lambda system: DeviceHierarchy)
    A = cases.laplacian(400, cases.grid_edges(20, 20), -excess)
    for question in (gabp.Gaussian.mean, gabp.Gaussian.variances, lambda model: model.marginals("corrected")):
        with pytest.raises(gabp.NotPositiveDefiniteError, match="negative curvature") as caught:
            question(gabp.Gaussian(A, np.ones(400)))
        assert 0 <= caught.value.node < 400


def test_unverified_definiteness_is_logged(no_factor, monkeypatch, caplog):
    monkeypatch.setattr("gabp.conditions.definiteness._SEARCH_ITERATIONS", 1)
    gabp.Gaussian(biharmonic(20, 0.01), np.ones(400)).mean()
    assert "definiteness of A unverified" in caplog.text


@pytest.mark.parametrize("name", ["grid_2d", "random_sparse", "star", "complete", "isolated_nodes", "disconnected"])
@pytest.mark.parametrize("distance", [0, 1, 2, 5])
def test_nodes_of_one_colour_are_far_apart(name, distance):
    A = cases.BY_NAME[name].A
    n, graph = A.shape[0], make_system(read_matrix(A)).graph
    results = []
    for kernels in (dispatch.backend("cpu").distance_colouring, distance_colouring):
        colour = torch.empty(n, dtype=torch.int32)
        colours = kernels.colour_apart(graph.start, graph.source, distance, n, colour)
        assert colours == int(colour.max()) + 1
        assert kernels.colour_apart(graph.start, graph.source, distance, colours - 1, torch.empty_like(colour)) == 0
        results.append(colour.numpy())
    np.testing.assert_array_equal(*results)
    reached = np.linalg.matrix_power(np.eye(n) + (A.toarray() != 0), distance) > 0
    alike = results[0][:, None] == results[0]
    assert not (alike & reached & ~np.eye(n, dtype=bool)).any()


def test_the_same_seed_gives_the_same_estimate():
    case = cases.BY_NAME["grid_2d"]
    first, second = (gabp.marginals(case.A, case.b, variance="corrected", probes=8, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.variance, second.variance)
    np.testing.assert_array_equal(first.variance_stderr, second.variance_stderr)


@pytest.mark.parametrize("name", ["grid_2d", "random_sparse", "star", "complete", "isolated_nodes", "gram"])
@pytest.mark.parametrize(("largest", "longest"), [(1, 1), (5, 6), (32, 48)])
def test_compiled_patches_equal_the_literal_ones(name, largest, longest):
    system = make_system(read_matrix(cases.BY_NAME[name].A))
    model = markov_blankets.Model(system.graph.start, system.graph.source, system.diagonal, system.weight)
    limits = markov_blankets.Limits(largest, longest)
    results = []
    for kernels in (dispatch.backend("cpu").markov_blankets, markov_blankets):
        variance = torch.full((system.n,), torch.nan, dtype=torch.float64)
        start = torch.empty(system.n + 1, dtype=torch.int64)
        assert kernels.conditional_variances(model, limits, variance, start, 1) == -1
        blanket = torch.empty(int(start[-1]), dtype=torch.int32)
        coefficient = torch.full((len(blanket),), torch.nan, dtype=torch.float64)
        kernels.conditional_means(model, limits, start, blanket, coefficient, 1)
        results.append((variance, start, blanket, coefficient))
    for ours, literal in zip(*results, strict=True):
        torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("argument", [{"probes": 0}, {"rtol": -1.0}, {"variance": "guessed"}])
def test_invalid_arguments(argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        gabp.marginals(np.eye(2), np.ones(2), **{"variance": "corrected", **argument})
