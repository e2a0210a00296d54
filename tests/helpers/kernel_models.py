"""Small models as directed edges, of the shapes at which kernels fail: empty rows, hubs, odd sizes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


class Model(NamedTuple):
    start: Tensor
    source: Tensor
    weight: Tensor
    diagonal: Tensor

    def to(self, device: str) -> "Model":
        return Model(*(tensor.to(device) for tensor in self))

    @property
    def matrix(self) -> sp.csr_array:
        arrays = (self.weight.double().numpy(), self.source.numpy(), self.start.numpy())
        n = len(self.diagonal)
        off_diagonal = sp.csr_array(arrays, shape=(n, n))
        return sp.csr_array(off_diagonal + sp.diags_array(self.diagonal.double().numpy()))


def random_model(
    n: int, edges: np.ndarray, seed: int = 0, margin: float = 0.3, dtype: torch.dtype = torch.float64
) -> Model:
    """A walk-summable model: random weights of both signs on ``edges`` (e, 2), rows dominant by ``margin``."""
    rng = np.random.default_rng(seed)
    i, j = edges.reshape(-1, 2).T
    value = rng.choice([-1.0, 1.0], len(i)) * rng.uniform(0.2, 1.0, len(i))
    upper = sp.coo_array((value, (i, j)), shape=(n, n))
    A = sp.csr_array(upper + upper.T)
    A.sort_indices()
    diagonal = abs(A).sum(axis=1) * (1 + margin) + rng.uniform(0.5, 1.0, n)
    return Model(
        torch.from_numpy(A.indptr.astype(np.int64)),
        torch.from_numpy(A.indices.astype(np.int32)),
        torch.from_numpy(A.data).to(dtype),
        torch.from_numpy(diagonal).to(dtype),
    )


def grid(rows: int, columns: int) -> tuple[int, np.ndarray]:
    node = np.arange(rows * columns).reshape(rows, columns)
    across = np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], 1)
    down = np.stack([node[:-1].ravel(), node[1:].ravel()], 1)
    return node.size, np.concatenate([across, down])


def random_graph(n: int, edges: int, seed: int) -> tuple[int, np.ndarray]:
    pairs = np.random.default_rng(seed).integers(0, n, (edges, 2))
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], 1), axis=0)
    return n, pairs


def star(leaves: int, centre: int = 0) -> tuple[int, np.ndarray]:
    others = np.delete(np.arange(leaves + 1), centre)
    return leaves + 1, np.stack([np.full(leaves, centre), others], 1)


def hubs(n: int) -> tuple[int, np.ndarray]:
    """A few nodes of every degree up to n among many of degree one or two: rows that fit no common slice."""
    pairs = [(h, k) for h in range(5) for k in range(5, n, h + 1)]
    return n, np.array(pairs)


def gaps(n: int) -> tuple[int, np.ndarray]:
    """A path over every third node: the rest are isolated, their rows empty."""
    nodes = np.arange(0, n, 3)
    return n, np.stack([nodes[:-1], nodes[1:]], 1)


NONE = np.empty((0, 2), dtype=np.int64)

GRAPHS: dict[str, Callable[[], tuple[int, np.ndarray]]] = {
    "one node": lambda: (1, NONE),
    "no edges": lambda: (13, NONE),
    "one edge": lambda: (2, np.array([[0, 1]])),
    "grid 3x3": lambda: grid(3, 3),
    "grid 17x23": lambda: grid(17, 23),
    "grid 120x40": lambda: grid(120, 40),
    "empty rows": lambda: gaps(29),
    "star 100": lambda: star(100),
    "star 3000 around the last node": lambda: star(3000, 3000),
    "hubs": lambda: hubs(1009),
    "random sparse": lambda: random_graph(777, 1500, 1),
    "random dense": lambda: random_graph(65, 900, 2),
    "random wide": lambda: random_graph(5001, 30000, 3),
}

# For kernels that take milliseconds for each block of rows: the same difficulties, in a block or two.
SMALL_GRAPHS: dict[str, Callable[[], tuple[int, np.ndarray]]] = {
    "one node": lambda: (1, NONE),
    "no edges": lambda: (13, NONE),
    "one edge": lambda: (2, np.array([[0, 1]])),
    "grid 3x3": lambda: grid(3, 3),
    "grid 7x10": lambda: grid(7, 10),
    "empty rows": lambda: gaps(29),
    "star 100": lambda: star(100),
    "star 130 around the last node": lambda: star(130, 130),
    "two hubs": lambda: (72, np.array([(hub, leaf) for hub in (0, 1) for leaf in range(2, 72)])),
    "random sparse": lambda: random_graph(100, 150, 1),
    "random dense": lambda: random_graph(20, 90, 2),
}
