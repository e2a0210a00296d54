"""The graph of a matrix: its directed edges, sorted by destination; rooted forests."""

import math
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
from gabp.kernels.torch.offsets import row_offsets


@dataclass(frozen=True, eq=False)
class EdgeGraph:
    """Directed edges of a symmetric pattern, compressed by destination (CSR without the diagonal).

    Attributes
    ----------
    n : int
        Nodes.
    start : Tensor, shape (n + 1,), int64
        The edges into node ``i``, which carry its incoming messages, are ``start[i]:start[i + 1]``.
    source : Tensor, shape (m,), int32
        The node that each edge leaves; ascending among the edges into one node, never that node itself.
    """

    n: int
    start: Tensor
    source: Tensor

    @staticmethod
    def of(n: int, destination: Tensor, source: Tensor) -> "EdgeGraph":
        """From the ends of all directed edges, sorted by destination and then by source; each of shape (m,)."""
        return EdgeGraph(n, row_offsets(destination, n), source.int())

    @property
    def edges(self) -> int:
        """Directed edges, ``m``."""
        return len(self.source)

    @cached_property
    def destination(self) -> Tensor:
        """The node that each edge enters, shape (m,), int64."""
        return torch.repeat_interleave(
            torch.arange(self.n, device=self.start.device), self.start.diff(), output_size=self.edges
        )

    @cached_property
    def reverse(self) -> Tensor:
        """The index of each edge's reverse, shape (m,), int64."""
        return dispatch.backend(self.start.device).rows.reverse_edges(self.start, self.source)

    @cached_property
    def colours(self) -> Tensor:
        """A proper colouring of the nodes by 0, 1, ..., shape (n,), int64."""
        return colour(self.n, self.destination, self.source.long())

    @cached_property
    def labels(self) -> np.ndarray:
        """The connected component of each node, shape (n,), int32."""
        start, source = self.start.cpu().numpy(), self.source.cpu().numpy()
        return dispatch.backend("cpu").bounds.components_and_signs(start, source, np.zeros(self.edges))[0]

    @cached_property
    def components(self) -> int:
        """Connected components."""
        return int(self.labels.max()) + 1

    @property
    def is_forest(self) -> bool:
        """Whether the graph is acyclic: every component has one undirected edge fewer than nodes."""
        return self.edges // 2 < self.n and self.edges // 2 == self.n - self.components

    @cached_property
    def symbolic(self) -> Any:
        """The symbolic Cholesky factor under a fill-reducing ordering, opaque but to `gabp.kernels`.

        Readable by all: ``entries`` of the factor, ``flops`` to compute it, ``peak_bytes`` of its selected inverse.
        """
        return self._analyse(math.inf)

    def symbolic_within(self, flops: float) -> Any:
        """`symbolic`, or None where the factor takes more operations than ``flops``.

        The analysis stops once it has counted that many.
        """
        if "symbolic" not in self.__dict__:
            found = self._analyse(flops)
            if found is None:
                return None
            self.__dict__["symbolic"] = found  # where `cached_property` keeps it
        return self.symbolic if self.symbolic.flops <= flops else None

    def _analyse(self, most_flops: float) -> Any:
        threads = torch.get_num_threads()
        return dispatch.backend("cpu").factor.Symbolic.of(self.start.cpu(), self.source.cpu(), most_flops, threads)

    def __getstate__(self) -> dict:
        return {"n": self.n, "start": self.start, "source": self.source}


@dataclass(frozen=True, eq=False)
class Forest:
    """A rooted forest: its nodes in breadth-first order, parents before their children.

    Attributes
    ----------
    node : Tensor, shape (n,), int64
        The node at each position.
    parent : Tensor, shape (n,), int32
        The position of its parent; -1 for a root.
    parent_edge : Tensor, shape (n,), int64
        The directed edge from its parent to the node; undefined for a root.
    """

    node: Tensor
    parent: Tensor
    parent_edge: Tensor

    @staticmethod
    def of(graph: EdgeGraph) -> "Forest":
        """Root every component of ``graph`` (a forest) at its first node, by breadth-first search."""
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
        key = graph.destination.cpu().numpy() * n + graph.source.cpu().numpy()
        edge = np.minimum(np.searchsorted(key, node * n + above), max(graph.edges - 1, 0))
        return Forest(torch.from_numpy(node), torch.from_numpy(position[above]), torch.from_numpy(edge))
