"""Coloured probing: the diagonal of a covariance from solves alone, for every positive definite model.

A probe has a random sign at each node of one colour and 0 elsewhere, so that an estimate of a diagonal entry,
``v_i (Σ v)_i = Σ_ii + Σ_j v_i v_j Σ_ij``, is disturbed by nodes j of i's own colour only (Tang and Saad 2012);
the random signs keep it unbiased. Nodes of one colour are as far apart as the number of probes allows.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from gabp.kernels import dispatch, reference
from gabp.marginals.conditionals import Conditionals
from gabp.solvers import Solver

_BATCH = 32  # probes solved for together
_ROUNDS = 3  # of averaging over neighbours, by which the few repetitions of each node are pooled


@dataclass(frozen=True, eq=False)
class Probing:
    """``diag(W A⁻¹ Wᵀ)`` of a model given the rims of its patches."""

    solver: Solver
    given_rim: Conditionals

    def estimate(self, probes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """An unbiased estimate from about ``probes`` solves, at least 2, and its standard error, each (n,).

        Half of them or fewer are the colours; the whole is repeated at least twice with new signs, and the errors
        of the repetitions are pooled over neighbours, whose signs are independent as their colours differ.
        """
        colour, colours = self._colour(max(probes // 2, 1))
        repetitions = max(probes // colours, 2)
        estimates = torch.stack([self._repetition(colour, colours, generator) for _ in range(repetitions)])
        squared_error = estimates.var(0) / repetitions
        relative = squared_error / self.given_rim.variance.square()
        graph = self.solver.system.graph
        source, destination = graph.source.long().cpu(), graph.destination.cpu()
        around = 1 + graph.start.diff().cpu()
        for _ in range(_ROUNDS):
            relative = (relative + reference.gather_messages(relative[source], destination, graph.n)) / around
        return estimates.mean(0), relative.sqrt() * self.given_rim.variance

    def _colour(self, most: int) -> tuple[np.ndarray, int]:
        """Each node's colour, shape (n,), and how many: at most ``most``, equal ones as far apart as that allows."""
        graph = self.solver.system.graph
        start, source = graph.start.cpu(), graph.source.cpu()
        enough = min(most, int(np.bincount(graph.labels).max()))  # a colour for each node of a component
        best, colours, distance = torch.zeros(graph.n, dtype=torch.int32), 1, 1
        while colours < enough:
            colour = torch.empty_like(best)
            found = dispatch.backend("cpu").distance_colouring.colour_apart(start, source, distance, most, colour)
            if found == 0:
                break
            best, colours = colour, found
            distance += 1 + distance // 4
        return best.numpy(), colours

    def _repetition(self, colour: np.ndarray, colours: int, generator: torch.Generator) -> Tensor:
        n, W = len(colour), self.given_rim.mean
        sign = (2.0 * torch.randint(2, (n,), generator=generator) - 1).double().numpy()
        node = np.argsort(colour, kind="stable")
        explained = np.empty(n)
        for first in range(0, colours, _BATCH):
            width = min(_BATCH, colours - first)
            begin, end = np.searchsorted(colour[node], [first, first + width])
            inside = node[begin:end]
            place = (inside, colour[inside] - first)
            probe = scipy.sparse.csr_array((sign[inside], place), (n, width))
            right = torch.from_numpy((W.T @ probe).toarray())
            columns = self.solver.solve(right.to(self.solver.system.device)).x.cpu().numpy()
            seen = (W[inside] @ columns)[np.arange(len(inside)), place[1]]
            explained[inside] = sign[inside] * seen
        return torch.from_numpy(explained)
