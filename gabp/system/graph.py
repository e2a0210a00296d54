"""The graph of a matrix: a slot for every directed edge, sorted by destination."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.torch.colouring import colour


@dataclass(frozen=True, eq=False)
class EdgeGraph:
    """Directed edges of a symmetric pattern, compressed by destination.

    Attributes
    ----------
    n : int
        Nodes.
    start : Tensor, shape (n + 1,), int64
        The slots of node ``i``, one for each message it hears, are ``start[i]:start[i + 1]``.
    source : Tensor, shape (m,), int32
        Who sends the message of each slot; ascending within a node, never the node itself.
    """

    n: int
    start: Tensor
    source: Tensor

    @property
    def edges(self) -> int:
        """Directed edges, ``m``."""
        return len(self.source)

    @cached_property
    def destination(self) -> Tensor:
        """Who hears the message of each slot, shape (m,), int64."""
        return torch.repeat_interleave(
            torch.arange(self.n, device=self.start.device), self.start.diff(), output_size=self.edges
        )

    @cached_property
    def reverse(self) -> Tensor:
        """The slot of the message that flows the other way, shape (m,), int64."""
        return dispatch.backend(self.start.device).rows.reverse_edges(self.start, self.source)

    @cached_property
    def colours(self) -> Tensor:
        """Colours 0, 1, ... of the nodes, shape (n,), int64; no two neighbours share one."""
        return colour(self.n, self.destination, self.source.long())

    @cached_property
    def labels(self) -> np.ndarray:
        """The connected component of each node, shape (n,), int32."""
        start, source = self.start.cpu().numpy(), self.source.cpu().numpy()
        return dispatch.backend("cpu").bounds.components_and_signs(start, source, np.zeros(self.edges))[0]

    @cached_property
    def components(self) -> int:
        """How many connected components there are."""
        return int(self.labels.max()) + 1

    @property
    def is_forest(self) -> bool:
        """Whether no cycle exists: every component has one edge fewer than nodes."""
        return self.edges // 2 < self.n and self.edges // 2 == self.n - self.components

    @cached_property
    def symbolic(self) -> Any:
        """The shape of a sparse factor on this graph under a fill-reducing order, for `gabp.kernels`.

        ``entries`` of the factor, ``flops`` to compute it and ``peak_bytes`` to invert by it are for all to read.
        """
        return dispatch.backend("cpu").factor.Symbolic.of(self.start.cpu(), self.source.cpu())

    def symbolic_within(self, flops: float) -> Any:
        """`symbolic`, or None where the factor takes more operations than ``flops``.

        The ordering stops where it has exceeded them: little is spent on what is not worth factoring.
        """
        if "symbolic" not in self.__dict__:
            found = dispatch.backend("cpu").factor.Symbolic.of(self.start.cpu(), self.source.cpu(), flops)
            if found is None:
                return None
            self.__dict__["symbolic"] = found  # where `cached_property` keeps it
        return self.symbolic if self.symbolic.flops <= flops else None

    def __getstate__(self) -> dict:
        return {"n": self.n, "start": self.start, "source": self.source}


@dataclass(frozen=True, eq=False)
class Forest:
    """The nodes of a forest in an order with parents before their children.

    Attributes
    ----------
    node : Tensor, shape (n,), int64
        The node at each position.
    parent : Tensor, shape (n,), int32
        The position of its parent; -1 for a root.
    slot : Tensor, shape (n,), int64
        The slot in which the node hears its parent; meaningless for a root.
    """

    node: Tensor
    parent: Tensor
    slot: Tensor

    @staticmethod
    def of(graph: EdgeGraph) -> "Forest":
        """Root every component of ``graph`` (a forest) at its first node, breadth first."""
        n = graph.n
        roots = np.unique(graph.labels, return_index=True)[1]
        # one search serves all components: an extra node n that leads to every root
        source = np.concatenate([graph.source.cpu().numpy(), roots])
        start = np.append(graph.start.cpu().numpy(), graph.edges + len(roots))
        joined = scipy.sparse.csr_array((np.ones(len(source), dtype=np.int8), source, start), (n + 1, n + 1))
        order, predecessor = scipy.sparse.csgraph.breadth_first_order(joined, n)
        node = order[1:].astype(np.int64)
        above = predecessor[node].astype(np.int64)
        position = np.empty(n + 1, dtype=np.int32)
        position[node] = np.arange(n, dtype=np.int32)
        position[n] = -1
        place = graph.destination.cpu().numpy() * n + graph.source.cpu().numpy()
        slot = np.minimum(np.searchsorted(place, node * n + above), max(graph.edges - 1, 0))
        return Forest(torch.from_numpy(node), torch.from_numpy(position[above]), torch.from_numpy(slot))
