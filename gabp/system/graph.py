"""The graph of a matrix: its directed edges, sorted by destination; rooted forests."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.torch.colouring import colour
from gabp.kernels.torch.offsets import destinations, row_offsets


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
        return self.source.shape[0]

    @cached_property
    def destination(self) -> Tensor:
        """The node that each edge enters, shape (m,), int64."""
        return destinations(self.start)

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
    """A rooted forest: its nodes in breadth-first order, tree by tree, parents before their children.

    Attributes
    ----------
    node : Tensor, shape (n,), int64
        The node at each position.
    parent : Tensor, shape (n,), int32
        The position of its parent; -1 for a root.
    parent_edge, child_edge : Tensor, shape (n,), int64
        The directed edges from its parent to the node, and back; -1 for a root.
    """

    node: Tensor
    parent: Tensor
    parent_edge: Tensor
    child_edge: Tensor

    @staticmethod
    def of(graph: EdgeGraph) -> "Forest":
        """Root every component of ``graph`` (a forest) at its first node."""
        node, parent_edge, child_edge = (torch.empty(graph.n, dtype=torch.int64) for _ in range(3))
        parent = torch.empty(graph.n, dtype=torch.int32)
        kernels = dispatch.backend("cpu").sequential
        kernels.root_trees(graph.start.cpu(), graph.source.cpu(), node, parent, parent_edge, child_edge)
        return Forest(node, parent, parent_edge, child_edge)
