"""Colours for the nodes of a graph, by tensor operations on any device: no two neighbours share one.

The directed edges are ``row[e]``, ``column[e]``, int64, both directions of each. The results are the same on every
device.
"""

import torch
from torch import Tensor

_RECOLOURINGS = 1  # pass of iterated greedy; a second gains next to nothing


def integer_hash(number: Tensor) -> Tensor:
    """A hash of nonnegative integers, below 2**31 (the finaliser of MurmurHash3, Appleby 2011)."""
    h = number & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return (h ^ (h >> 16)) & 0x7FFFFFFF


def colour(n: int, row: Tensor, column: Tensor) -> Tensor:
    """Colours 0, 1, ... of the nodes, shape (n,) int64, largest classes first.

    Two colours for a bipartite graph. Otherwise, in rounds, every node that precedes all its uncoloured neighbours in
    an order of hashes takes the first free colour (Jones and Plassmann 1993); then the classes are coloured again from
    the last to the first, which never needs more colours (iterated greedy; Culberson 1992).
    """
    two = _bipartition(n, row, column)
    if two is not None:
        return two
    order = torch.argsort(integer_hash(torch.arange(n, device=row.device)), stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(n, device=row.device)
    colours = torch.full((n,), -1, dtype=torch.int64, device=row.device)
    used = 0
    uncoloured = torch.arange(n, device=row.device)
    near, far = row, column
    while len(uncoloured):
        ahead = torch.full_like(rank, -1).scatter_reduce_(0, near, rank[far], "amax")
        first = uncoloured[rank[uncoloured] > ahead[uncoloured]]
        colours, used = _colour_greedily(colours, first, used, row, column)
        uncoloured = uncoloured[colours[uncoloured] < 0]
        left = (colours[near] < 0) & (colours[far] < 0)
        near, far = near[left], far[left]
    for _ in range(_RECOLOURINGS if used > 2 else 0):
        old, count = colours, used
        colours, used = torch.full_like(old, -1), 0
        for k in reversed(range(count)):
            colours, used = _colour_greedily(colours, (old == k).nonzero().flatten(), used, row, column)
    by_size = torch.argsort(torch.bincount(colours, minlength=used), descending=True, stable=True)
    place = torch.empty_like(by_size)
    place[by_size] = torch.arange(used, device=row.device)
    return place[colours]


def _bipartition(n: int, row: Tensor, column: Tensor) -> Tensor | None:
    """Colours 0 and 1 of a bipartite graph, shape (n,) int64, those of the larger class 0; None for any other graph.

    Connected components after Shiloach and Vishkin (1982): trees, in which the side of each node relative to its root
    is known, are hooked onto the adjacent tree of smallest number and flattened by pointer jumping, until no edge leads
    from tree to tree. An edge within a side ends the search, mostly in the first rounds.
    """
    m, node = len(row), torch.arange(n, device=row.device)
    root, side, edge = node, torch.zeros_like(node), torch.arange(m, device=row.device)
    while True:
        near, far = root[row[edge]], root[column[edge]]
        apart = near != far
        if bool(((side[row[edge]] == side[column[edge]]) & ~apart).any()):
            return None
        edge, near, far = edge[apart], near[apart], far[apart]
        if len(edge) == 0:
            break
        # of a root's edges to smaller trees the one to the smallest, by which it hooks on
        best = torch.full_like(node, n * m).scatter_reduce_(0, near, far * m + edge, "amin")
        hooks = (best < node * m).nonzero().flatten()
        by = best[hooks] % m
        root, side = root.clone(), side.clone()
        root[hooks], side[hooks] = root[column[by]], side[row[by]] ^ side[column[by]] ^ 1
        while True:
            above = root[root]
            if torch.equal(above, root):
                break
            side = side ^ side[root]
            root = above
    return side if 2 * int(side.sum()) <= n else 1 - side


def _colour_greedily(colours: Tensor, nodes: Tensor, used: int, row: Tensor, column: Tensor) -> tuple[Tensor, int]:
    """Give each of ``nodes``, no two of them neighbours, the smallest colour that none of its neighbours has."""
    index = torch.full_like(colours, -1)
    index[nodes] = torch.arange(len(nodes), device=nodes.device)
    coloured = (index[row] >= 0) & (colours[column] >= 0)
    taken = torch.zeros(len(nodes), used + 1, dtype=torch.bool, device=nodes.device)
    taken[index[row[coloured]], colours[column[coloured]]] = True
    free = taken.to(torch.int8).argmin(1)
    colours = colours.clone()
    colours[nodes] = free
    return colours, max(used, int(free.max()) + 1)
