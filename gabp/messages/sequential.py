"""The sequential schedule: nodes are updated one after another, each from the newest messages.

On the CPU in the order of the rows, elsewhere colour by colour: no two nodes of one colour are neighbours, so updating
them at once is the sequential schedule in another order.
"""

from types import ModuleType
from typing import Protocol

from torch import Tensor

from gabp.kernels import dispatch, reference
from gabp.messages.nonsymmetric import GeneralPrecisions
from gabp.messages.potentials import PotentialMessages
from gabp.messages.precision import Precisions


class InPlaceSweeps(Protocol):
    """In-place sweeps at the precision fixed point: about half as many as flooding needs."""

    def sweep(self, count: int) -> None:
        """Do ``count`` sweeps."""

    def mean(self) -> Tensor:
        """The belief means ``h_i / J_i``, shape (n, k), float64."""


def sequential_sweeps(precisions: Precisions | GeneralPrecisions, b: Tensor) -> InPlaceSweeps:
    """Sweeps from zero messages for the right-hand sides ``b`` (n, k), on their device."""
    if b.device.type == "cpu":
        return SequentialSweeps(precisions, b)
    fused = dispatch.backend(b.device).coloured
    if fused is not None and isinstance(precisions, Precisions):
        return FusedSweeps(fused, precisions, b)
    return ColouredSweeps(precisions, b)


class SequentialSweeps(PotentialMessages):
    """Node by node in row order.

    Parameters
    ----------
    precisions : Precisions or GeneralPrecisions
    b : Tensor, shape (n, k)
    """

    def __init__(self, precisions: Precisions | GeneralPrecisions, b: Tensor) -> None:
        system = precisions.system
        super().__init__(system, precisions.belief, b)
        self._ratio = (system.weight / precisions.cavity)[system.graph.reverse]

    def sweep(self, count: int) -> None:
        graph = self._graph
        kernels = dispatch.backend("cpu").sequential
        kernels.sequential_potentials(graph.start, graph.reverse, self._ratio, self._b, self._potential, count)


class ColouredSweeps(SequentialSweeps):
    """Colour by colour, in torch operations."""

    def __init__(self, precisions: Precisions | GeneralPrecisions, b: Tensor) -> None:
        super().__init__(precisions, b)
        colours = self._graph.colours
        of_edge = colours[self._graph.destination]
        self._edges = [(of_edge == colour).nonzero().flatten() for colour in range(int(colours.max()) + 1)]

    def sweep(self, count: int) -> None:
        graph = self._graph
        reference.coloured_potentials(
            self._edges, graph.destination, graph.reverse, self._ratio, self._b, self._potential, count
        )


class FusedSweeps:
    """Colour by colour, one kernel for each; see ``kernels/cuda/coloured.py``."""

    def __init__(self, kernels: ModuleType, precisions: Precisions, b: Tensor) -> None:
        graph = precisions.system.graph
        layout = kernels.coloured_layout(
            graph.start, graph.source, precisions.system.weight, precisions.belief, precisions.message, graph.colours
        )
        self._kernels = kernels
        self._state = kernels.coloured_state(layout, b)

    def sweep(self, count: int) -> None:
        self._kernels.coloured_sweeps(self._state, count)

    def mean(self) -> Tensor:
        return self._kernels.coloured_estimate(self._state)
