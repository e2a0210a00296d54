"""The quadratic model of a factor graph at an estimate, as a linear system of gabp."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gabp.factors.common_motions import common_motions
from gabp.factors.structure import Structure
from gabp.kernels import dispatch
from gabp.system import System

Values = tuple[Tensor, ...]


class NonFiniteResidualError(ArithmeticError):
    """A residual or its derivative is not finite; the message names the factor."""


@dataclass(frozen=True, eq=False)
class Linearization:
    """``f(x ⊞ δ) ≈ objective + gradientᵀδ + ½ δᵀAδ``.

    Attributes
    ----------
    objective : float
    system : System
        A, on the structure's graph.
    gradient : Tensor, shape (n,)
    common_motions : callable
        To the near-null vectors of A, or None; see `gabp.factors.common_motions`.
    """

    objective: float
    system: System
    gradient: Tensor
    common_motions: Callable[[], Tensor | None]

    def reduction(self, step: Tensor) -> float:
        """By how much the model decreases in a step."""
        column = step[:, None]
        return -float(self.gradient @ step + 0.5 * (step @ self.system.multiply(column)[:, 0]))


def initial_values(structure: Structure) -> Values:
    """The values that the variables were added with."""
    return tuple(variables.initial for variables in structure.sets)


def objective(structure: Structure, values: Values) -> float:
    """``½ Σ ρ(rᵀΩr)``; infinite or NaN where a residual is."""
    return float(sum(batch.objective(values).sum() for batch in structure.factors))


def linearize(structure: Structure, values: Values) -> Linearization:
    """Linearise all factors.

    Raises
    ------
    NonFiniteResidualError
    """
    graph = structure.graph
    weight, diagonal, gradient = (torch.from_numpy(np.zeros(size)) for size in (graph.edges, graph.n, graph.n))
    kernels, total = dispatch.backend("cpu").normal_equations, 0.0
    for batch, places in zip(structure.factors, structure.places, strict=True):
        objectives, factors = batch.linearize(values)
        kernels.add_products(factors, places, weight, diagonal, gradient)
        total += float(objectives.sum())
    if not (math.isfinite(total) and math.isfinite(float(diagonal.sum()))):
        _blame(structure, values)
    motions = partial(common_motions, structure.sets, structure.unknown, values)
    return Linearization(total, System(graph, diagonal, weight, True), gradient, motions)


def retract(structure: Structure, values: Values, step: Tensor) -> Values:
    """``x ⊞ δ``; held variables keep their values."""
    moved = []
    for variables, first, value in zip(structure.sets, structure.unknown, values, strict=True):
        free, manifold = first >= 0, variables.manifold
        count = int(free.sum())
        if count == 0:
            moved.append(value)
            continue
        begin = int(first[free.argmax()])  # the unknowns of a set are numbered in order
        delta = step[begin : begin + count * manifold.dimension].reshape(count, -1)
        if count == len(value):
            moved.append(manifold.retract_all(value, delta))
            continue
        new = value.numpy().copy()
        new[free] = manifold.retract_all(torch.from_numpy(value.numpy()[free]), delta).numpy()
        moved.append(torch.from_numpy(new))
    return tuple(moved)


def _blame(structure: Structure, values: Sequence[Tensor]) -> None:
    """Name the first factor whose residual or derivative is not finite."""
    for batch in structure.factors:
        objectives, factors = batch.linearize(values)
        finite = torch.isfinite(objectives) & torch.isfinite(factors.jacobian).all(2).all(1)
        if not bool(finite.all()):
            raise NonFiniteResidualError(batch.named(int((~finite).nonzero()[0])))
    raise NonFiniteResidualError("the sum of all factors, which overflows")
