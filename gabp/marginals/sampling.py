"""Exact samples of N(0, A⁻¹): by a sparse factor where it fits, else by perturb-and-solve."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gabp.conditions import certify
from gabp.messages import SparseFactor
from gabp.solvers import Solver
from gabp.system import InvalidSystemError, System


class Sampler(Protocol):
    """A source of independent samples."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples of N(0, A⁻¹), shape (n, count), float64."""


@dataclass(frozen=True, eq=False)
class FactorSampler:
    """Samples ``x = Pᵀ L⁻ᵀ z`` with white noise ``z``."""

    factor: SparseFactor

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        return self.factor.colour(_standard_normal(self.factor.system.n, count, generator))


@dataclass(frozen=True, eq=False)
class PerturbSampler:
    """Samples as solutions for random right-hand sides of covariance A (perturb-and-solve).

    A walk-summable matrix is a sum of positive semidefinite terms, one per edge and one per node (pairwise
    normalisability; Malioutov, Johnson and Willsky 2006): with ``(D - |O|) d >= 0``, edge (i, j) contributes
    ``|A_ij| (√(d_j/d_i) e_i ± √(d_i/d_j) e_j)(...)ᵀ`` and node i the remainder ``((D - |O|) d)_i / d_i``. Each term is
    perturbed by independent noise of its covariance (Papandreou and Yuille 2010).

    Parameters
    ----------
    system : System
    scaling : Tensor, shape (n,)
        ``d``, the scaling that certifies walk-summability.
    solver : Solver
        Of the same matrix.
    """

    system: System
    scaling: Tensor
    solver: Solver

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        graph, d = self.system.graph, self.scaling
        weight = self.system.weight.double()
        source, destination = graph.source.long(), graph.destination
        once = source < destination  # one of the two directed edges
        i, j, w = destination[once], source[once], weight[once]
        noise = _standard_normal(len(w), count, generator).to(w.device) * w.abs().sqrt()[:, None]
        ratio = (d[j] / d[i]).sqrt()[:, None]
        slack = self.system.diagonal.double() - torch.zeros_like(d).index_add_(
            0, destination, weight.abs() * d[source] / d[destination]
        )
        perturbation = (
            _standard_normal(self.system.n, count, generator).to(w.device) * slack.clamp_min(0).sqrt()[:, None]
        )
        perturbation.index_add_(0, i, ratio * noise)
        perturbation.index_add_(0, j, w.sign()[:, None] * noise / ratio)
        return self.solver.solve(perturbation).x


def make_sampler(factor: SparseFactor | None, solver: Solver) -> Sampler | None:
    """A sampler by ``factor`` if given, else by perturb-and-solve; None if the model is not certified walk-summable."""
    if factor is not None:
        return FactorSampler(factor)
    scaling = certify(solver.system).scaling
    return None if scaling is None else PerturbSampler(solver.system, scaling, solver)


def make_generator(seed: int | None) -> torch.Generator:
    """A generator seeded by ``seed``, or from the operating system's entropy if None.

    Raises
    ------
    TypeError
        ``seed`` is neither an integer nor None.
    InvalidSystemError
        ``seed`` is negative or does not fit in 64 bits.
    """
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    elif isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        if not 0 <= seed < 2**64:
            raise InvalidSystemError(f"seed must be at least 0 and below 2**64, not {seed}")
        generator.manual_seed(int(seed))
    else:
        raise TypeError(f"seed must be an integer or None, not {type(seed).__name__}")
    return generator


def _standard_normal(rows: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randn((rows, count), dtype=torch.float64, generator=generator)
