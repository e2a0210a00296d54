"""Coloured probing: the diagonal of a covariance from solves alone, for every positive definite model.

A probe has random signs at the nodes of one colour and zeros elsewhere. The error of the estimate
``v_i (Σ v)_i = Σ_ii + Σ_j v_i v_j Σ_ij`` comes from the nodes j of i's own colour only (Tang and Saad 2012), and
random signs make it unbiased. Nodes of one colour are as far apart as the number of probes permits.
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
_SMOOTHINGS = 3  # averages over neighbours, which pool the few repetitions of each node


@dataclass(frozen=True, eq=False)
class Probing:
    """Estimator of ``diag(W A⁻¹ Wᵀ)``, with ``W`` the coefficients of the conditional means.

    Attributes
    ----------
    solver : Solver
    conditionals : Conditionals
        Of the same matrix.
    """

    solver: Solver
    conditionals: Conditionals

    def estimate(self, probes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Unbiased estimate and its standard error, shape (n,) each, from about ``probes`` solves, at least 2.

        There are at most ``probes / 2`` colours. All are probed at least twice, with new signs, and the errors
        of these repetitions are pooled over neighbours, whose signs are independent as their colours differ.
        """
        colour, colours = self._colouring(max(probes // 2, 1))
        repetitions = max(probes // colours, 2)
        estimates = torch.stack([self._repetition(colour, colours, generator) for _ in range(repetitions)])
        squared_error = estimates.var(0) / repetitions
        relative = squared_error / self.conditionals.variance.square()
        graph = self.solver.system.graph
        source, destination = graph.source.long().cpu(), graph.destination.cpu()
        neighbourhood = 1 + graph.start.diff().cpu()
        for _ in range(_SMOOTHINGS):
            relative = (relative + reference.gather_messages(relative[source], destination, graph.n)) / neighbourhood
        return estimates.mean(0), relative.sqrt() * self.conditionals.variance

    def _colouring(self, most: int) -> tuple[np.ndarray, int]:
        """Colours of the nodes, shape (n,), at the largest distance that ``most`` colours permit, and their number."""
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
        """One estimate of the diagonal, shape (n,), with a probe for each colour."""
        n, W = len(colour), self.conditionals.mean
        sign = (2.0 * torch.randint(2, (n,), generator=generator) - 1).double().numpy()
        node = np.argsort(colour, kind="stable")
        diagonal = np.empty(n)
        for first in range(0, colours, _BATCH):
            width = min(_BATCH, colours - first)
            begin, end = np.searchsorted(colour[node], [first, first + width])
            inside = node[begin:end]
            place = (inside, colour[inside] - first)
            probe = scipy.sparse.csr_array((sign[inside], place), (n, width))
            right = torch.from_numpy((W.T @ probe).toarray())
            columns = self.solver.solve(right.to(self.solver.system.device)).x.cpu().numpy()
            product = (W[inside] @ columns)[np.arange(len(inside)), place[1]]
            diagonal[inside] = sign[inside] * product
        return torch.from_numpy(diagonal)
