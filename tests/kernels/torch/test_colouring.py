"""Colours by tensor operations: no two neighbours share one, and a bipartite graph has two."""

import numpy as np
import pytest
import torch

from gabp.kernels.torch.colouring import colour
from kernel_models import grid, random_graph, star


def shuffled(n, edges, seed=0):
    return n, np.random.default_rng(seed).permutation(n)[edges]


def ring(n):
    i = np.arange(n)
    return n, np.stack([i, (i + 1) % n], 1)


def random_bipartite(n, edges, seed):
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.integers(0, n // 3, edges), rng.integers(n // 3, n, edges)], 1)
    return shuffled(n, np.unique(pairs, axis=0), seed)


BIPARTITE = {
    "grid": lambda: grid(40, 31),
    "shuffled grid": lambda: shuffled(*grid(40, 31)),
    "even ring": lambda: ring(1000),
    "shuffled even ring": lambda: shuffled(*ring(1000)),
    "star": lambda: star(50, centre=7),
    "sparse, in many components": lambda: random_bipartite(900, 500, 1),
    "dense": lambda: random_bipartite(90, 2000, 2),
    "one edge": lambda: (4, np.array([[3, 1]])),
}
OTHERS = {
    "odd ring": lambda: ring(1001),
    "shuffled odd ring": lambda: shuffled(*ring(1001)),
    "random": lambda: random_graph(500, 2000, 3),
    "a triangle far from a grid": lambda: (
        126,
        np.concatenate([grid(11, 11)[1], [[123, 124], [124, 125], [123, 125]]]),
    ),
}


def colours_of(n, edges):
    row, column = torch.from_numpy(np.concatenate([edges, edges[:, ::-1]]).T.copy()).long()
    order = torch.argsort(row * n + column)
    row, column = row[order], column[order]
    colours = colour(n, row, column)
    assert colours.shape == (n,) and bool((colours[row] != colours[column]).all())
    sizes = torch.bincount(colours)
    assert bool((sizes > 0).all()) and bool((sizes.diff() <= 0).all())  # largest first
    return len(sizes)


@pytest.mark.parametrize("graph", BIPARTITE)
def test_two_colours_where_they_suffice(graph):
    assert colours_of(*BIPARTITE[graph]()) == 2


@pytest.mark.parametrize("graph", OTHERS)
def test_more_where_they_do_not(graph):
    n, edges = OTHERS[graph]()
    assert 3 <= colours_of(n, edges) <= int(np.bincount(edges.ravel()).max()) + 1


def test_no_edges():
    assert colour(5, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)).tolist() == [0] * 5
