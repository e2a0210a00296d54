"""The sequential schedule: nodes send in row order, each from the newest messages."""

import torch
from torch import Tensor

from gabp.kernels import cpu, reference
from gabp.messages.nonsymmetric import GeneralPrecisions
from gabp.messages.precision import Precisions


class SequentialSweeps:
    """In-place sweeps at settled precisions: about half as many as flooding needs.

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
        graph, on_cpu = self._graph, self._b.device.type == "cpu"
        kernels = cpu.extension if cpu.extension is not None and on_cpu else reference
        kernels.sequential_potentials(graph.start, graph.reverse, self._ratio, self._b, self._potential, count)

    def mean(self) -> Tensor:
        """The belief means ``h_i / J_i``, shape (n, k), float64."""
        belief = self._b + reference.gather_messages(self._potential, self._graph.destination, self._graph.n)
        return (belief / self._belief[:, None]).to(torch.float64)
