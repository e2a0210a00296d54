"""Messages of a nonsymmetric system (Fanaskov 2019, arXiv:1904.04093), by the literal equations.

The products ``A_ij A_ji`` take the place of ``A_ij²``: an edge stored in one direction only sends no precision.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels import reference
from gabp.system import System


@dataclass(frozen=True, eq=False)
class GeneralPrecisions:
    """Settled precision messages of a general system.

    Attributes
    ----------
    system : System
    cavity : Tensor, shape (m,)
        ``P_{k\\i}`` of each message's sender ``k`` without the receiver ``i``.
    belief : Tensor, shape (n,)
    sweeps : int
    settled : bool
    invalid_node : int or None
        A node with a zero or overflowing cavity or belief.
    """

    system: System
    cavity: Tensor
    belief: Tensor
    sweeps: int
    settled: bool
    invalid_node: int | None


def settle_general_precisions(system: System, limit: int = 10_000) -> GeneralPrecisions:
    """Flood the precision messages ``P_{j→i} = -A_ij A_ji / P_{j\\i}`` from zero to their fixed point."""
    graph, diagonal, weight = system.graph, system.diagonal, system.weight
    source, destination, reverse = graph.source.long(), graph.destination, graph.reverse
    still = 8 * torch.finfo(weight.dtype).eps
    message = torch.zeros_like(weight)
    settled, sweeps = False, 0
    while True:
        belief = diagonal + reference.gather_messages(message, destination, graph.n)
        cavity = belief[source] - message[reverse]
        invalid = _first_unusable(belief, torch.arange(graph.n, device=belief.device))
        if invalid is None:
            invalid = _first_unusable(cavity, source)
        if settled or invalid is not None or sweeps == limit:
            return GeneralPrecisions(system, cavity, belief, sweeps, settled, invalid)
        new = -weight * weight[reverse] / cavity
        settled = bool(((new - message).abs() <= still * new.abs()).all())
        message = new
        sweeps += 1


def _first_unusable(precision: Tensor, node: Tensor) -> int | None:
    usable = (precision != 0) & torch.isfinite(precision)
    return None if bool(usable.all()) else int(node[int(usable.logical_not().nonzero()[0])])


class GeneralFloodingSweeps:
    """Synchronous potential messages of a general system at settled precisions.

    Parameters
    ----------
    precisions : GeneralPrecisions
    b : Tensor, shape (n, k)
    damping : float
        Share of the old message that is kept.
    """

    def __init__(self, precisions: GeneralPrecisions, b: Tensor, damping: float = 0.0) -> None:
        self._precisions = precisions
        self._b = b
        self._damping = damping
        self._potential = b.new_zeros((precisions.system.graph.edges, b.shape[1]))

    def sweep(self, count: int) -> None:
        system, graph = self._precisions.system, self._precisions.system.graph
        for _ in range(count):
            new = reference.flood_potentials(
                self._b,
                system.weight,
                graph.source.long(),
                graph.destination,
                graph.reverse,
                self._precisions.cavity,
                self._potential,
            )
            self._potential = torch.lerp(new, self._potential, self._damping) if self._damping else new

    def mean(self) -> Tensor:
        """The belief means ``h_i / J_i``, shape (n, k), float64."""
        system = self._precisions.system
        belief = self._b + reference.gather_messages(self._potential, system.graph.destination, system.n)
        return (belief / self._precisions.belief[:, None]).to(torch.float64)
