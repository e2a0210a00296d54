"""The terrain example: hyperparameters learnt by gradients, and calibrated error bars."""

import importlib.util
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[2] / "examples" / "terrain_hyperparameters.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("terrain_hyperparameters", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def patch(example):
    """A corner of the map, 45 × 45 heights."""
    return example.Map(example.load_heights(4)[:45, :45], seed=1)


def test_the_evidence_is_the_density_of_the_data(patch):
    parameters = torch.tensor([0.5, -3.0, 3.0], dtype=torch.float64)
    smoothness, decay, precision = parameters.exp()
    dense = patch.matrix(smoothness * (patch.laplacian + decay * patch.identity)).to_dense()
    seen = torch.linalg.inv(dense)[patch.mask][:, patch.mask] + torch.eye(int(patch.mask.sum())) / precision
    density = torch.distributions.MultivariateNormal(torch.zeros(len(seen), dtype=torch.float64), seen)
    expected = density.log_prob(patch.truth[patch.mask])
    assert float(patch.log_evidence(parameters)) == pytest.approx(float(expected), rel=1e-8)


def test_learning_raises_the_evidence_and_the_error_bars_are_calibrated(example, patch):
    start = torch.tensor([0.0, -4.0, 4.0], dtype=torch.float64)
    learnt = example.learn(patch)
    assert patch.log_evidence(learnt) > patch.log_evidence(start) + 1
    gradient = torch.autograd.functional.jacobian(patch.log_evidence, learnt)
    assert gradient.abs().max() < 0.05 * int(patch.mask.sum())
    error, inside = example.coverage(patch, learnt)
    assert 0 < error < patch.scale
    assert 0.9 <= inside <= 0.99
