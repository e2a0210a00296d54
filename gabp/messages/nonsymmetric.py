"""Flooding a nonsymmetric system (Fanaskov 2019, arXiv:1904.04093), by the literal equations.

The products ``A_ij A_ji`` take the place of ``A_ij²``: the precision message of an edge whose reverse is zero is zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels import reference
from gabp.messages.potentials import PotentialMessages
from gabp.system import System


@dataclass(frozen=True, eq=False)
class GeneralPrecisions:
    """The fixed point of the precision messages of a general system, or the last iterate where there is none.

    Attributes
    ----------
    system : System
    cavity : Tensor, shape (m,)
        ``P_{k\\i}`` of each edge ``k → i``.
    belief : Tensor, shape (n,)
    sweeps : int
    converged : bool
    invalid_node : int or None
        A node with a zero or overflowing cavity or belief.
    """

    system: System
    cavity: Tensor
    belief: Tensor
    sweeps: int
    converged: bool
    invalid_node: int | None


def solve_general_fixed_point(system: System, limit: int = 10_000) -> GeneralPrecisions:
    """Flood the precision messages ``P_{j→i} = -A_ij A_ji / P_{j\\i}`` from zero to their fixed point."""
    graph, diagonal, weight = system.graph, system.diagonal, system.weight
    source, destination, reverse = graph.source.long(), graph.destination, graph.reverse
    tolerance = 8 * torch.finfo(weight.dtype).eps
    message = torch.zeros_like(weight)
    converged, sweeps = False, 0
    while True:
        belief = diagonal + reference.gather_messages(message, destination, graph.n)
        cavity = belief[source] - message[reverse]
        invalid = _first_invalid(belief, torch.arange(graph.n, device=belief.device))
        if invalid is None:
            invalid = _first_invalid(cavity, source)
        if converged or invalid is not None or sweeps == limit:
            return GeneralPrecisions(system, cavity, belief, sweeps, converged, invalid)
        new = -weight * weight[reverse] / cavity
        converged = bool(((new - message).abs() <= tolerance * new.abs()).all())
        message = new
        sweeps += 1


def _first_invalid(precision: Tensor, node: Tensor) -> int | None:
    valid = (precision != 0) & torch.isfinite(precision)
    return None if bool(valid.all()) else int(node[int(valid.logical_not().nonzero()[0])])


class GeneralFloodingSweeps(PotentialMessages):
    """The synchronous schedule of a general system; parameters as of `gabp.messages.FloodingSweeps`."""

    def __init__(self, precisions: GeneralPrecisions, b: Tensor, damping: float = 0.0) -> None:
        super().__init__(precisions.system, precisions.belief, b)
        self._weight, self._cavity = precisions.system.weight, precisions.cavity
        self._damping = damping

    def sweep(self, count: int) -> None:
        """Do ``count`` sweeps."""
        graph = self._graph
        edges = (self._weight, graph.source.long(), graph.destination, graph.reverse)
        for _ in range(count):
            new = reference.flood_potentials(self._b, *edges, self._cavity, self._potential)
            self._potential = torch.lerp(new, self._potential, self._damping) if self._damping else new
