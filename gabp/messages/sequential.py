"""The sequential schedule: nodes send in turn, each from the newest messages.

On the CPU the turns are those of the rows. Elsewhere nodes of one colour take their turn together: no two of them are
neighbours, so it is the sequential schedule in another order.
"""

from typing import Any, Protocol

from torch import Tensor

from gabp.kernels import cpu, dispatch, reference
from gabp.messages.nonsymmetric import GeneralPrecisions
from gabp.messages.precision import Precisions


class Turns(Protocol):
    """In-place sweeps at settled precisions: about half as many as flooding needs."""

    def sweep(self, count: int) -> None:
        """``count`` times, every node sends once."""

    def mean(self) -> Tensor:
        """The belief means ``h_i / J_i``, shape (n, k), float64."""


def sequential_sweeps(precisions: Precisions | GeneralPrecisions, b: Tensor) -> Turns:
    """Start from zero messages for the right-hand sides ``b`` (n, k), on the device they are on."""
    if b.device.type == "cpu":
        return SequentialSweeps(precisions, b)
    fused = dispatch.choose_coloured(b.device)
    if fused is not None and isinstance(precisions, Precisions):
        return FusedSweeps(fused, precisions, b)
    return ColouredSweeps(precisions, b)


class SequentialSweeps:
    """Node by node in row order.

    Parameters
    ----------
    precisions : Precisions or GeneralPrecisions
    b : Tensor, shape (n, k)
    """

    def __init__(self, precisions: Precisions | GeneralPrecisions, b: Tensor) -> None:
        system = precisions.system
        self._graph = system.graph
        self._belief = precisions.belief
        self._b = b
        self._potential = b.new_zeros((system.graph.edges, b.shape[1]))
        self._ratio = (system.weight / precisions.cavity)[system.graph.reverse]

    def sweep(self, count: int) -> None:
        graph = self._graph
        kernels = reference if cpu.extension is None else cpu.extension
        kernels.sequential_potentials(graph.start, graph.reverse, self._ratio, self._b, self._potential, count)

    def mean(self) -> Tensor:
        belief = self._b + reference.gather_messages(self._potential, self._graph.destination, self._graph.n)
        return (belief / self._belief[:, None]).double()


class ColouredSweeps(SequentialSweeps):
    """Colour by colour, in torch operations."""

    def __init__(self, precisions: Precisions | GeneralPrecisions, b: Tensor) -> None:
        super().__init__(precisions, b)
        colours = self._graph.colours
        of_slot = colours[self._graph.destination]
        self._slots = [(of_slot == colour).nonzero().flatten() for colour in range(int(colours.max()) + 1)]

    def sweep(self, count: int) -> None:
        graph = self._graph
        reference.coloured_potentials(
            self._slots, graph.destination, graph.reverse, self._ratio, self._b, self._potential, count
        )


class FusedSweeps:
    """Colour by colour, one kernel for each; see ``kernels/cuda/coloured.py``."""

    def __init__(self, kernels: Any, precisions: Precisions, b: Tensor) -> None:
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
