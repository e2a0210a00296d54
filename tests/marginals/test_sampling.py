"""Samples by factor and by perturb-and-solve have the mean and the covariance of the model."""

import numpy as np
import pytest
import torch

import cases
import gabp
from gabp.marginals import FactorSampler, PerturbSampler, make_generator
from gabp.marginals.sampling import make_sampler
from gabp.messages import SparseFactor
from gabp.system import make_system, read_matrix

DRAWS = 100_000


def assert_distributed(samples: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Every entry of mean and covariance within 5.5 standard errors of the truth."""
    count = len(samples)
    deviation = np.sqrt(np.diag(covariance))
    away = samples - mean
    assert (np.abs(away.mean(0)) <= 5.5 * deviation / np.sqrt(count)).all()
    product = np.outer(deviation, deviation)
    error = np.sqrt((product**2 + covariance**2) / count)
    assert (np.abs(away.T @ away / count - covariance) <= 5.5 * error).all()


@pytest.mark.parametrize("name", ["random_sparse", "gram", "disconnected", "badly_scaled", "one_node"])
def test_mean_and_covariance_through_the_factor(name):
    case = cases.BY_NAME[name]
    samples = gabp.sample(case.A, case.b, DRAWS, seed=1)
    assert samples.shape == (DRAWS, case.n)
    inverse = np.linalg.inv(case.A.toarray())
    assert_distributed(samples, inverse @ case.b, inverse)


@pytest.mark.parametrize("name", ["frustrated_grid", "disconnected", "chord_0.35", "isolated_nodes"])
def test_mean_and_covariance_by_perturb_and_solve(name):
    """With the scaling that certifies walk-summability: the weights of ``D - |O|`` solved for ones."""
    case = cases.BY_NAME[name]
    A = case.A.toarray()
    comparison = 2 * np.diag(np.diag(A)) - np.abs(A)
    scaling = torch.from_numpy(np.linalg.solve(comparison, np.ones(case.n)))
    sampler = PerturbSampler(make_system(read_matrix(case.A)), scaling, gabp.Solver(case.A))
    samples = sampler.draw(DRAWS, make_generator(2)).T.numpy()
    assert_distributed(samples, np.zeros(case.n), np.linalg.inv(A))


def test_a_factor_is_preferred_and_perturbation_requires_a_certificate(monkeypatch):
    walk_summable, frustrated = cases.BY_NAME["grid_2d"], cases.BY_NAME["gram"]
    solver = gabp.Solver(walk_summable.A)
    factor = SparseFactor(solver.system)
    assert isinstance(make_sampler(factor, solver), FactorSampler)
    assert isinstance(make_sampler(None, solver), PerturbSampler)
    assert make_sampler(None, gabp.Solver(frustrated.A)) is None
    monkeypatch.setattr("gabp.gaussian.fits_in_memory", lambda graph: False)
    with pytest.raises(gabp.InvalidSystemError, match="walk-summable"):
        gabp.sample(frustrated.A)


def test_equal_seeds_give_equal_samples_and_none_does_not():
    case = cases.BY_NAME["grid_2d"]
    model = gabp.Gaussian(case.A, case.b)
    np.testing.assert_array_equal(model.sample(3, seed=5), gabp.sample(case.A, case.b, 3, seed=5))
    assert (model.sample(3, seed=5) != model.sample(3, seed=6)).all()
    assert (model.sample(3) != model.sample(3)).all()


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_invalid_sizes(size, error):
    with pytest.raises(error):
        gabp.sample(np.eye(2), size=size)


def test_a_seed_must_be_an_integer():
    with pytest.raises(TypeError, match="seed"):
        gabp.sample(np.eye(2), seed="one")


@pytest.mark.parametrize("seed", [2**70, -(2**70)])
def test_a_seed_beyond_64_bits(seed):
    with pytest.raises(gabp.InvalidSystemError, match="seed"):
        gabp.sample(np.eye(2), seed=seed)
