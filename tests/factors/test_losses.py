"""Robust losses: near quadratic at 0, their weights their derivatives, what is published of each."""

import pytest
import torch

import gabp
from gabp import losses

ALL = [losses.Huber, losses.Cauchy, losses.Tukey, losses.GemanMcClure, losses.Truncated]
every_loss = pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.__name__)
S = torch.tensor([0.0, 1e-12, 0.01, 0.5, 2.0, 3.9, 4.1, 100.0, 1e8], dtype=torch.float64)


@every_loss
def test_the_weight_is_the_derivative(loss):
    s = S[1:].clone().requires_grad_()
    loss(2.0).rho(s).sum().backward()
    torch.testing.assert_close(loss(2.0).weight(S[1:]), s.grad, rtol=1e-9, atol=1e-15)


@every_loss
def test_small_residuals_are_squared(loss):
    assert float(loss(2.0).weight(S[0])) == 1.0
    torch.testing.assert_close(loss(1e6).rho(S[:-2]), S[:-2], rtol=1e-9, atol=0)


@every_loss
def test_large_residuals_count_less(loss):
    rho, weight = loss(2.0).rho(S), loss(2.0).weight(S)
    assert bool((rho.diff() >= 0).all()) and bool((weight.diff() <= 0).all())
    assert bool((rho <= S).all())


def test_published_values():
    """Zhang (1997), table 1: k²/2, c²/2 log 2, c²/6 and half of 1/2 at the scale, where ρ there is half of ours."""
    s, k = torch.tensor([4.0], dtype=torch.float64), 2.0
    expected = {losses.Huber: k**2, losses.Cauchy: k**2 * 0.6931471805599453, losses.Tukey: k**2 / 3}
    for loss, value in expected.items():
        assert float(loss(k).rho(s)) == pytest.approx(value, rel=1e-15)
    assert float(losses.GemanMcClure(1.0).rho(torch.ones(1))) == 0.5


@every_loss
@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_the_scale_is_positive(loss, scale):
    with pytest.raises(gabp.InvalidSystemError, match="scale of a loss"):
        loss(scale)


def test_the_scale_is_a_number():
    with pytest.raises(TypeError, match="scale must be a number"):
        losses.Huber("1")
