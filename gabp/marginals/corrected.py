"""Unbiased variances with a standard error, at sizes where no factor fits.

Both ways leave what a patch around each node determines to `Conditionals` (the Rao–Blackwell step of Sidén,
Lindgren, Bolin and Villani 2018) and estimate the rest, ``diag(W A⁻¹ Wᵀ)``:

- from samples x of the model, as the mean of ``(W x)²``, a mean of squares of Gaussians, whose standard error is
  ``√(2/N)`` of itself;
- where the model cannot be sampled, by coloured probing (`gabp.marginals.probing`), which needs solves only.
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
_PILOT = 32  # samples or probes from which the number needed is judged
_MOST = 4096
_RELATIVE_ERROR = 0.02  # standard error against variance, worst node, where the caller asks for nothing


def corrected_variances(
    solver: Solver, sampler: Sampler | None, generator: torch.Generator, *, probes: int | None, rtol: float | None
) -> tuple[Tensor, Tensor]:
    """Variances and their standard errors, each of shape (n,).

    Parameters
    ----------
    solver : Solver
    sampler : Sampler or None
        Of the same matrix, where it can be sampled.
    generator : torch.Generator
    probes : int, optional
        Samples or probes. By default as many as ``rtol`` takes, judged from a pilot of 32, at most 4096.
    rtol : float, optional
        The largest standard error wanted, relative to the variance; 0.02 by default.
    """
    given_rim = Conditionals.of(solver.system)
    wanted = _RELATIVE_ERROR if rtol is None else rtol
    if sampler is None:
        explained, error = _by_probing(Probing(solver, given_rim), generator, probes, wanted)
    else:
        explained, error = _by_sampling(given_rim, sampler, generator, probes, wanted)
    device = solver.system.device
    return (given_rim.variance + explained).to(device), error.to(device)


def _by_sampling(
    given_rim: Conditionals, sampler: Sampler, generator: torch.Generator, probes: int | None, rtol: float
) -> tuple[Tensor, Tensor]:
    total = torch.zeros_like(given_rim.variance)
    drawn = 0
    wanted = _PILOT if probes is None else probes
    while drawn < wanted:
        count = min(_BATCH, wanted - drawn)
        samples = sampler.draw(count, generator).cpu().numpy()
        total += torch.from_numpy(given_rim.mean @ samples).square().sum(1)
        drawn += count
        if probes is None and drawn == _PILOT:
            explained = total / drawn
            share = float((explained / (given_rim.variance + explained)).max())
            needed = 2 * (share / rtol) ** 2
            wanted = max(_PILOT, min(_MOST, math.ceil(needed)))
            if needed > _MOST:
                _log.warning("a relative error of %s would take %.3g samples; %d are drawn", rtol, needed, _MOST)
    explained = total / drawn
    return explained, explained * math.sqrt(2 / drawn)


def _by_probing(probing: Probing, generator: torch.Generator, probes: int | None, rtol: float) -> tuple[Tensor, Tensor]:
    """With ever more probes until the error is met: the gain of colours that are further apart is not foreseen."""
    if probes is not None:
        return probing.estimate(probes, generator)
    probes = _PILOT
    while True:
        explained, error = probing.estimate(probes, generator)
        variance = probing.given_rim.variance + explained
        if bool((error <= rtol * variance).all()):
            return explained, error
        if probes >= _MOST:
            worst = float((error / variance.abs()).max())
            _log.warning("the relative error is %.2g after %d probes, not %s", worst, probes, rtol)
            return explained, error
        probes *= 2
