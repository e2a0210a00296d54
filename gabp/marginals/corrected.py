"""Unbiased variances with a standard error, at sizes where no factor fits.

Rao–Blackwellised samples (Sidén, Lindgren, Bolin and Villani 2018): with S the rim of a small patch around
node i, ``Var(x_i) = Var(x_i | x_S) + Var(E(x_i | x_S))``. The first is a small dense inverse, known exactly;
the second, much smaller, is estimated from samples of the model. Its estimate is a mean of squares of Gaussians,
so its standard error is known: ``√(2/N)`` of itself.
"""

import logging
import math
from dataclasses import dataclass

import scipy.sparse
import torch
from torch import Tensor

from gabp.kernels import cpu, patches
from gabp.marginals.sampling import Sampler
from gabp.system import NotPositiveDefiniteError, System

_kernels = cpu.extension if cpu.extension is not None else patches
_log = logging.getLogger("gabp")

_LARGEST_PATCH = 32  # nodes
_LONGEST_RIM = 48
_BATCH = 32  # samples drawn together
_PILOT = 32  # samples from which the number needed is judged
_MOST = 4096
_RELATIVE_ERROR = 0.02  # standard error against variance, worst node, where the caller asks for nothing


@dataclass(frozen=True, eq=False)
class Conditionals:
    """Every node given the rim of its patch.

    Attributes
    ----------
    variance : Tensor, shape (n,)
        ``Var(x_i | x_S)``.
    mean : scipy.sparse.csr_array, shape (n, n)
        ``E(x | rims) = mean @ x``.
    """

    variance: Tensor
    mean: scipy.sparse.csr_array

    @staticmethod
    def of(system: System) -> "Conditionals":
        graph, n = system.graph, system.n
        model = (graph.start.cpu(), graph.source.cpu(), system.diagonal.double().cpu(), system.weight.double().cpu())
        limits, threads = (_LARGEST_PATCH, _LONGEST_RIM), torch.get_num_threads()
        variance = torch.empty(n, dtype=torch.float64)
        rim_start = torch.empty(n + 1, dtype=torch.int64)
        bad = _kernels.patch_rims(*model, *limits, variance, rim_start, threads)
        if bad >= 0:
            raise NotPositiveDefiniteError(bad)
        rim = torch.empty(int(rim_start[-1]), dtype=torch.int32)
        coefficient = torch.empty(len(rim), dtype=torch.float64)
        _kernels.patch_coefficients(*model, *limits, rim_start, rim, coefficient, threads)
        mean = scipy.sparse.csr_array((coefficient.numpy(), rim.numpy(), rim_start.numpy()), (n, n))
        return Conditionals(variance, mean)


def corrected_variances(
    system: System, sampler: Sampler, generator: torch.Generator, *, probes: int | None, rtol: float | None
) -> tuple[Tensor, Tensor]:
    """Variances and their standard errors, each of shape (n,).

    Parameters
    ----------
    system : System
    sampler : Sampler
    generator : torch.Generator
    probes : int, optional
        Samples to draw. By default as many as ``rtol`` takes, judged from a pilot of 32, at most 4096.
    rtol : float, optional
        The largest standard error wanted, relative to the variance; 0.02 by default.
    """
    given_rim = Conditionals.of(system)
    total = torch.zeros(system.n, dtype=torch.float64)
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
            needed = 2 * (share / (_RELATIVE_ERROR if rtol is None else rtol)) ** 2
            wanted = max(_PILOT, min(_MOST, math.ceil(needed)))
            if needed > _MOST:
                _log.warning("a relative error of %s would take %.3g samples; %d are drawn", rtol, needed, _MOST)
    explained = total / drawn
    return (
        (given_rim.variance + explained).to(system.device),
        (explained * math.sqrt(2 / drawn)).to(system.device),
    )
