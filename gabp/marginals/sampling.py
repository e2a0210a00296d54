"""Exact samples of N(0, A⁻¹): through a factor where it fits, by perturb-and-solve where it does not."""

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
    """``x = Pᵀ L⁻ᵀ z``."""

    factor: SparseFactor

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        return self.factor.colour(_white(self.factor.system.n, count, generator))


@dataclass(frozen=True, eq=False)
class PerturbSampler:
    """Solve for a random right-hand side of covariance A: the solution has covariance A⁻¹.

    A walk-summable model is a sum of one term per edge and one per node, all positive semidefinite: with
    ``(D - |O|) d >= 0``, edge (i, j) gives ``|A_ij| (√(d_j/d_i) e_i ± √(d_i/d_j) e_j)(...)ᵀ`` and node i what
    is left, ``((D - |O|) d)_i / d_i`` (Malioutov, Johnson and Willsky 2006, on pairwise normalisability). Each
    term is perturbed by its own noise (Papandreou and Yuille 2010).

    Parameters
    ----------
    system : System
    scaling : Tensor, shape (n,)
        The ``d``.
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
        once = source < destination  # each edge has two slots
        i, j, w = destination[once], source[once], weight[once]
        noise = _white(len(w), count, generator).to(w.device) * w.abs().sqrt()[:, None]
        ratio = (d[j] / d[i]).sqrt()[:, None]
        slack = self.system.diagonal.double() - torch.zeros_like(d).index_add_(
            0, destination, weight.abs() * d[source] / d[destination]
        )
        perturbation = _white(self.system.n, count, generator).to(w.device) * slack.clamp_min(0).sqrt()[:, None]
        perturbation.index_add_(0, i, ratio * noise)
        perturbation.index_add_(0, j, w.sign()[:, None] * noise / ratio)
        return self.solver.solve(perturbation).x


def make_sampler(factor: SparseFactor | None, solver: Solver) -> Sampler | None:
    """The factor's, if there is one, else perturb-and-solve; None where the model is not certified walk-summable."""
    if factor is not None:
        return FactorSampler(factor)
    scaling = certify(solver.system).scaling
    return None if scaling is None else PerturbSampler(solver.system, scaling, solver)


def make_generator(seed: int | None) -> torch.Generator:
    """Seeded by ``seed``, or afresh for None."""
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


def _white(rows: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randn((rows, count), dtype=torch.float64, generator=generator)
