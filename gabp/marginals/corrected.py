"""Unbiased estimates of variances with standard errors, for models whose sparse factor does not fit.

The conditional variances of `Conditionals` are exact (Rao–Blackwellisation; Sidén, Lindgren, Bolin and Villani 2018).
The variance of the conditional means, ``diag(W A⁻¹ Wᵀ)``, is estimated

- from N samples x of the model, as the mean of ``(W x)²``, with relative standard error ``√(2/N)``;
- where the model cannot be sampled, by coloured probing (`gabp.marginals.probing`), which only takes solves.
"""

import logging
import math

import torch
from torch import Tensor

from gabp.marginals.conditionals import Conditionals
from gabp.marginals.probing import Probing
from gabp.marginals.sampling import Sampler
from gabp.solvers import Solver

_log = logging.getLogger("gabp")

_BATCH = 32  # samples drawn together
_PILOT = 32  # samples or probes from which the necessary number is estimated
_MOST = 4096  # samples or probes
_RELATIVE_ERROR = 0.02  # default standard error relative to the variance, at the worst node


def corrected_variances(
    solver: Solver, sampler: Sampler | None, generator: torch.Generator, *, probes: int | None, rtol: float | None
) -> tuple[Tensor, Tensor]:
    """Estimate variances and their standard errors.

    Parameters
    ----------
    solver : Solver
    sampler : Sampler or None
        Of the same matrix; None where it cannot be sampled.
    generator : torch.Generator
    probes : int, optional
        Number of samples or probes. By default as many as ``rtol`` takes, from a pilot of 32, at most 4096.
    rtol : float, optional
        Largest standard error relative to the variance; 0.02 by default.

    Returns
    -------
    variance, standard_error : Tensor, shape (n,), float64
        On the device of the system.

    Raises
    ------
    NotPositiveDefiniteError
        See `Conditionals.of`.
    """
    conditionals = Conditionals.of(solver.system)
    target = _RELATIVE_ERROR if rtol is None else rtol
    if sampler is None:
        mean_variance, error = _by_probing(Probing(solver, conditionals), generator, probes, target)
    else:
        mean_variance, error = _by_sampling(conditionals, sampler, generator, probes, target)
    device = solver.system.device
    return (conditionals.variance + mean_variance).to(device), error.to(device)


def _by_sampling(
    conditionals: Conditionals, sampler: Sampler, generator: torch.Generator, probes: int | None, rtol: float
) -> tuple[Tensor, Tensor]:
    total = torch.zeros_like(conditionals.variance)
    drawn = 0
    wanted = _PILOT if probes is None else probes
    while drawn < wanted:
        count = min(_BATCH, wanted - drawn)
        samples = sampler.draw(count, generator).cpu().numpy()
        total += torch.from_numpy(conditionals.mean @ samples).square().sum(1)
        drawn += count
        if probes is None and drawn == _PILOT:
            mean_variance = total / drawn
            share = float((mean_variance / (conditionals.variance + mean_variance)).max())
            needed = 2 * (share / rtol) ** 2
            wanted = max(_PILOT, min(_MOST, math.ceil(needed)))
            if needed > _MOST:
                _log.warning("a relative standard error of %s takes %.3g samples; %d are drawn", rtol, needed, _MOST)
    mean_variance = total / drawn
    return mean_variance, mean_variance * math.sqrt(2 / drawn)


def _by_probing(probing: Probing, generator: torch.Generator, probes: int | None, rtol: float) -> tuple[Tensor, Tensor]:
    """Double the probes until the error is met, as the gain of more distant colours cannot be predicted."""
    if probes is not None:
        return probing.estimate(probes, generator)
    probes = _PILOT
    while True:
        mean_variance, error = probing.estimate(probes, generator)
        variance = probing.conditionals.variance + mean_variance
        if bool((error <= rtol * variance).all()):
            return mean_variance, error
        if probes >= _MOST:
            worst = float((error / variance.abs()).max())
            _log.warning("the relative standard error is %.2g after %d probes, above %s", worst, probes, rtol)
            return mean_variance, error
        probes *= 2
