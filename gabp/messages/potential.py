"""Potential messages at settled precisions: the sweeps that move the means."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gabp.kernels import cpu, reference
from gabp.messages.precision import Precisions
from gabp.system import System


class PotentialSweeps(ABC):
    """Messages on their way to the mean of one model, for the potentials ``b`` of shape (n, k).

    The precision messages are already settled, so a sweep is linear in ``b``.
    """

    def __init__(self, system: System, precisions: Precisions, b: Tensor) -> None:
        self.system = system
        self.precisions = precisions
        self.b = b
        self.potential = b.new_zeros((system.graph.edges, b.shape[1]))

    @abstractmethod
    def sweep(self, count: int) -> None:
        """Do ``count`` sweeps."""

    def mean(self) -> Tensor:
        """The belief means ``h_i / J_i``, shape (n, k)."""
        belief = self.b + reference.gather_messages(self.potential, self.system.graph.destination, self.system.n)
        return belief / self.precisions.belief[:, None]


class FloodingSweeps(PotentialSweeps):
    """All nodes send at once (the synchronous schedule); ``damping`` is the share of the old message kept."""

    def __init__(self, system: System, precisions: Precisions, b: Tensor, damping: float = 0.0) -> None:
        super().__init__(system, precisions, b)
        self.damping = damping

    def sweep(self, count: int) -> None:
        graph = self.system.graph
        for _ in range(count):
            new = reference.flood_potentials(
                self.b,
                self.system.weight,
                graph.source.long(),
                graph.destination,
                graph.reverse,
                self.precisions.cavity,
                self.potential,
            )
            self.potential = torch.lerp(new, self.potential, self.damping) if self.damping else new


class SequentialSweeps(PotentialSweeps):
    """Nodes send in row order, each from the newest messages: about half the sweeps of flooding."""

    def __init__(self, system: System, precisions: Precisions, b: Tensor) -> None:
        super().__init__(system, precisions, b)
        reverse = system.graph.reverse
        self.ratio = system.weight[reverse] / precisions.cavity[reverse]

    def sweep(self, count: int) -> None:
        graph = self.system.graph
        if cpu.extension is not None and self.b.device.type == "cpu":
            cpu.extension.sequential_potentials(graph.start, graph.reverse, self.ratio, self.b, self.potential, count)
        else:
            reference.sequential_potentials(self.b, self.ratio, graph.start, graph.reverse, self.potential, count)
