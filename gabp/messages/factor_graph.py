"""Gaussian belief propagation on a bipartite graph: variables on one side, linear measurements on the other."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gabp.kernels.torch.offsets import offsets

_VAGUE = 1e-8  # of a variable's information: a positive start where there is no prior
_DAMPINGS = (0.0, 0.3, 0.5, 0.7, 0.9)
_TRIAL = 40  # sweeps that measure the convergence rate of each damping


@dataclass(frozen=True, eq=False)
class FactorGraph:
    """Factors ``N(Σ_i F_ai x_i; y_a, v_a)`` and unary precisions, with the fixed point of their messages.

    Edges are the nonzeros of F in row order.

    Attributes
    ----------
    row, column : Tensor, shape (m,), int64
    coefficient : Tensor, shape (m,)
    variance : Tensor, shape (rows,)
    prior : Tensor, shape (n,)
        With a vague part added, of 1e-8 of the variable's information.
    cavity : Tensor, shape (m,)
        ``P_{i→a}``, the precision of the message from variable ``i`` to factor ``a``.
    uncertainty : Tensor, shape (m,)
        ``v_a + Σ_{j≠i} F_aj² / P_{j→a}``, the variance of a factor's prediction for ``i``.
    belief : Tensor, shape (n,)
    damping : float
        Share of the old mean message that is kept: of a few, the one of fastest convergence.
    """

    row: Tensor
    column: Tensor
    coefficient: Tensor
    variance: Tensor
    prior: Tensor
    cavity: Tensor
    uncertainty: Tensor
    belief: Tensor
    damping: float

    @staticmethod
    def at_fixed_point(
        row: Tensor, column: Tensor, coefficient: Tensor, variance: Tensor, prior: Tensor, limit: int = 500
    ) -> "FactorGraph":
        """Flood the precision messages from vague ones to their fixed point.

        They grow monotonically. Where ``limit`` sweeps do not suffice, the means are those of a nearby model.
        """
        squared = coefficient**2
        information = torch.zeros_like(prior).index_add_(0, column, squared / variance[row])
        prior = prior + _VAGUE * (information + prior)
        by_row, by_column = _Segments.of(row), _Segments.of(column)
        tolerance = 4 * torch.finfo(prior.dtype).eps
        cavity = prior[column]
        for _ in range(limit):
            uncertainty = variance[row] + by_row.sum_of_others(squared / cavity)
            new = prior[column] + by_column.sum_of_others(squared / uncertainty)
            converged = bool(((new - cavity).abs() <= tolerance * new).all())
            cavity = new
            if converged:
                break
        uncertainty = variance[row] + by_row.sum_of_others(squared / cavity)
        belief = prior.index_add(0, column, squared / uncertainty)
        graph = FactorGraph(row, column, coefficient, variance, prior, cavity, uncertainty, belief, 0.0)
        rates = [graph._rate(damping) for damping in _DAMPINGS]
        best = _DAMPINGS[rates.index(min(rates))]
        return FactorGraph(row, column, coefficient, variance, prior, cavity, uncertainty, belief, best)

    @property
    def n(self) -> int:
        """Variables."""
        return len(self.prior)

    @cached_property
    def rows(self) -> int:
        """Factors."""
        return len(self.variance)

    def _rate(self, damping: float) -> float:
        """The ratio of the changes of the means in the two halves of a trial."""
        sweeps = FactorSweeps(self, torch.ones((self.n, 1), dtype=self.prior.dtype, device=self.prior.device), damping)
        change = []
        for half in (_TRIAL // 2, _TRIAL - _TRIAL // 2):
            sweeps.sweep(half)
            before = sweeps.mean()
            sweeps.sweep(1)
            change.append(float((sweeps.mean() - before).norm()))
            if not change[-1] < float("inf"):
                return float("inf")
        return change[1] / change[0] if change[0] > 0 else 0.0


class FactorSweeps:
    """Mean messages of a factor graph for unary potentials ``r`` of shape (n, k), by the flooding schedule."""

    def __init__(self, graph: FactorGraph, r: Tensor, damping: float) -> None:
        self.graph, self.r, self.damping = graph, r, damping
        self.potential = r.new_zeros((len(graph.row), r.shape[1]))  # from factors to variables

    def sweep(self, count: int) -> None:
        """Do ``count`` sweeps, each from variables to factors and back."""
        graph = self.graph
        coefficient = graph.coefficient[:, None]
        for _ in range(count):
            incoming = self._potentials()[graph.column] - self.potential
            predicted = coefficient * incoming / graph.cavity[:, None]
            total = predicted.new_zeros((graph.rows, predicted.shape[1])).index_add_(0, graph.row, predicted)
            missing = predicted - total[graph.row]
            new = coefficient * missing / graph.uncertainty[:, None]
            self.potential = torch.lerp(new, self.potential, self.damping) if self.damping else new

    def mean(self) -> Tensor:
        """The belief means, shape (n, k)."""
        return self._potentials() / self.graph.belief[:, None]

    def _potentials(self) -> Tensor:
        return self.r.index_add(0, self.graph.column, self.potential)


@dataclass(frozen=True, eq=False)
class _Segments:
    """Edges grouped by one of their ends, for sums that leave out one edge without ever subtracting it.

    A vague variable makes one term of a sum so large that subtracting it would leave nothing of the others.
    """

    order: Tensor
    inverse: Tensor
    position: Tensor
    length: Tensor
    longest: int

    @staticmethod
    def of(key: Tensor) -> "_Segments":
        order = torch.argsort(key, stable=True)
        counts = torch.bincount(key)
        first = offsets(counts)[:-1]
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(key), device=key.device)
        ordered = key[order]
        position = torch.arange(len(key), device=key.device) - first[ordered]
        return _Segments(order, inverse, position, counts[ordered], int(counts.max()) if len(key) else 0)

    def sum_of_others(self, values: Tensor) -> Tensor:
        """For each edge, the sum over the others with the same key: of those before and of those after it."""
        values = values[self.order]
        before = self._exclusive(values, self.position)
        after = self._exclusive(values.flip(0), (self.length - 1 - self.position).flip(0)).flip(0)
        return (before + after)[self.inverse]

    def _exclusive(self, values: Tensor, position: Tensor) -> Tensor:
        """Exclusive prefix sums within each segment, by doubling."""
        total = torch.where(position >= 1, values.roll(1), 0.0)
        reach = 1
        while reach < self.longest - 1:
            total = total + torch.where(position > reach, total.roll(reach), 0.0)
            reach *= 2
        return total
