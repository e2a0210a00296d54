"""Corrected variances: unbiased, with standard errors that mean what they say."""

import numpy as np
import pytest
import torch

import cases
import gabp
from gabp.kernels import cpu, patches
from gabp.system import make_system, read_matrix


@pytest.mark.parametrize("name", ["grid_2d", "poisson_2d", "random_sparse", "gram", "star", "disconnected"])
def test_z_scores_over_seeds(name):
    case = cases.BY_NAME[name]
    truth = np.diag(np.linalg.inv(case.A.toarray()))
    model = gabp.Gaussian(case.A, case.b)
    scores = []
    for seed in range(20):
        estimate = model.marginals("corrected", probes=64, seed=seed)
        assert estimate.variance_kind == "corrected"
        uncertain = estimate.variance_stderr > 1e-12 * estimate.variance
        error = estimate.variance - truth
        assert (np.abs(error[~uncertain]) <= 1e-9 * truth[~uncertain]).all()  # a patch that is a whole component
        scores.append(error[uncertain] / estimate.variance_stderr[uncertain])
    scores = np.concatenate(scores)
    if len(scores):
        assert 0.8 <= scores.std() <= 1.25


@pytest.mark.parametrize(("shift", "gain"), [(0.0, 2.0), (0.1, 5.0)])
def test_the_error_beats_hutchinson_by_far(shift, gain):
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


def test_the_relative_error_asked_for_is_met():
    case = cases.BY_NAME["grid_2d"]
    model = gabp.Gaussian(case.A)
    for rtol in (0.05, 0.01):
        estimate = model.marginals("corrected", rtol=rtol, seed=3)
        assert (estimate.variance_stderr / estimate.variance).max() <= 1.5 * rtol


def test_no_factor_is_needed(monkeypatch):
    """Where no factor fits, perturb-and-solve draws the samples."""
    case = cases.BY_NAME["grid_2d"]
    monkeypatch.setattr("gabp.learning.gaussian.fits_in_memory", lambda graph: False)
    model = gabp.Gaussian(case.A, case.b)
    estimate = model.marginals("corrected", probes=200, seed=4)
    truth = np.diag(np.linalg.inv(case.A.toarray()))
    assert np.abs((estimate.variance - truth) / estimate.variance_stderr).max() < 5
    assert "_factor" not in vars(model)


def test_the_same_seed_gives_the_same_estimate():
    case = cases.BY_NAME["grid_2d"]
    first, second = (gabp.marginals(case.A, case.b, variance="corrected", probes=8, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.variance, second.variance)
    np.testing.assert_array_equal(first.variance_stderr, second.variance_stderr)


@pytest.mark.parametrize("name", ["grid_2d", "random_sparse", "star", "complete", "isolated_nodes", "gram"])
@pytest.mark.parametrize(("largest", "longest"), [(1, 1), (5, 6), (32, 48)])
def test_compiled_patches_are_the_literal_ones(name, largest, longest):
    system = make_system(read_matrix(cases.BY_NAME[name].A))
    model = (system.graph.start, system.graph.source, system.diagonal, system.weight)
    results = []
    for kernels in (cpu.extension, patches):
        variance = torch.full((system.n,), torch.nan, dtype=torch.float64)
        start = torch.empty(system.n + 1, dtype=torch.int64)
        assert kernels.patch_rims(*model, largest, longest, variance, start, 1) == -1
        rim = torch.empty(int(start[-1]), dtype=torch.int32)
        coefficient = torch.full((len(rim),), torch.nan, dtype=torch.float64)
        kernels.patch_coefficients(*model, largest, longest, start, rim, coefficient, 1)
        results.append((variance, start, rim, coefficient))
    for ours, literal in zip(*results, strict=True):
        torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("argument", [{"probes": 0}, {"rtol": -1.0}, {"variance": "guessed"}])
def test_arguments_that_make_no_sense(argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        gabp.marginals(np.eye(2), np.ones(2), **{"variance": "corrected", **argument})
