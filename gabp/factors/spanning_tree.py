"""Poses composed along a spanning tree of the measured transformations."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import torch
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.kinds import BearingRange, Between, Landmark, Prior
from gabp.factors.linearization import Values
from gabp.factors.manifolds import LieGroup
from gabp.factors.variables import Variables


def compose_along_tree(
    group: LieGroup, known: np.ndarray, values: Tensor, edges: np.ndarray, measurement: Tensor
) -> tuple[Tensor, np.ndarray]:
    """Values of a group by the shortest chains of measurements from those that are known.

    Chains are composed by pointer doubling: as many passes as the logarithm of the longest.

    Parameters
    ----------
    group : LieGroup
    known : ndarray, shape (N,), bool
        The values to start from.
    values : Tensor, shape (N, width)
    edges : ndarray, shape (m, 2), int64
    measurement : Tensor, shape (m, width)
        ``x_i⁻¹ x_j`` of each edge (i, j).

    Returns
    -------
    Tensor, shape (N, width)
    ndarray, shape (N,), bool
        What is known now; other values are as they were.
    """
    count = len(known)
    parent, edge = _breadth_first(known, edges)
    reached = parent >= 0
    moved = values.clone()
    above = np.where(reached, parent, np.arange(count))
    step = values.clone()  # from the ancestor `above` to each value; its own value where that is known
    into = edge[reached]
    forward = torch.from_numpy(edges[into, 1] == np.flatnonzero(reached))[:, None]
    along = measurement[into]
    identity = group.relative(along, along)
    step[reached] = torch.where(forward, along, group.relative(along, identity))
    while True:
        unfinished = reached & (above != above[above])
        if not unfinished.any():
            break
        chain = np.flatnonzero(reached[above] & reached)
        step[chain] = group.compose(step[above[chain]], step[chain])
        above[chain] = above[above[chain]]
    places = np.flatnonzero(reached)
    moved[places] = group.compose(values[above[places]], step[places])
    return group.normalize(moved), known | reached


def _breadth_first(known: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parent of each value that is reached from the known ones, and the edge to it; -1 elsewhere."""
    count, numbers = len(known), np.arange(len(edges)) + 1
    roots = np.flatnonzero(known)
    # an extra node leads to every known value; of several edges between two values, the first counts
    ends = np.concatenate([edges, edges[:, ::-1]])
    _, first = np.unique(ends[:, 0] * count + ends[:, 1], return_index=True)
    row = np.concatenate([ends[first, 0], np.full(len(roots), count)])
    column = np.concatenate([ends[first, 1], roots])
    label = np.concatenate([np.tile(numbers, 2)[first], np.ones(len(roots), dtype=np.int64)])
    adjacency = scipy.sparse.csr_array((label, (row, column)), (count + 1, count + 1))
    order, predecessor = scipy.sparse.csgraph.breadth_first_order(adjacency, count)
    parent, edge = np.full(count, -1), np.full(count, -1)
    reached = order[1:][~known[order[1:]]]
    parent[reached] = predecessor[reached]
    if len(reached):
        edge[reached] = np.asarray(adjacency[parent[reached], reached]).reshape(-1) - 1
    return parent, edge


def spanning_tree_values(sets: Sequence[Variables], factors: Sequence[Factors], held: Sequence[np.ndarray]) -> Values:
    """Start values: poses along `Between` factors, points from the first pose that sees them.

    The chains start from what is held and what has a prior, else from the first variable of a component, at its initial
    value. What no chain reaches keeps its initial value.
    """
    values = [variables.initial for variables in sets]
    for variables, mask in zip(sets, held, strict=True):
        if isinstance(variables.manifold, LieGroup):
            values[variables.position] = _along_between(variables, factors, mask)
    placed: set[tuple[int, int]] = set()
    for batch in factors:
        if isinstance(batch.kind, (Landmark, BearingRange)):
            _place_points(batch, values, held, placed)
    return tuple(values)


def _along_between(variables: Variables, factors: Sequence[Factors], held: np.ndarray) -> Tensor:
    group = variables.manifold
    assert isinstance(group, LieGroup)
    own = [b for b in factors if isinstance(b.kind, Between) and b.variables == (variables, variables)]
    if not own:
        return variables.initial
    edges = np.concatenate([batch.index.numpy() for batch in own])
    measurement = torch.cat([batch.measurement for batch in own])
    known, start = held.copy(), variables.initial.clone()
    for batch in factors:
        if isinstance(batch.kind, Prior) and batch.variables == (variables,):
            index = batch.index[:, 0]
            new = torch.from_numpy(~known[index.numpy()])
            start[index[new]] = batch.measurement[new]
            known[index.numpy()] = True
    connected = scipy.sparse.coo_array((np.ones(len(edges)), edges.T), (variables.count, variables.count))
    labels = scipy.sparse.csgraph.connected_components(connected, directed=False)[1]
    rooted = np.zeros(labels.max() + 1, dtype=bool)
    rooted[labels[known]] = True
    first = np.unique(labels, return_index=True)[1]
    known[first[~rooted]] = True
    return compose_along_tree(group, known, start, edges, measurement)[0]


def _place_points(
    batch: Factors, values: list[Tensor], held: Sequence[np.ndarray], placed: set[tuple[int, int]]
) -> None:
    """Put each point where the first pose that sees it does."""
    pose, point = batch.variables
    seen, first = np.unique(batch.index[:, 1].numpy(), return_index=True)
    new = np.array([not held[point.position][i] and (point.position, int(i)) not in placed for i in seen], dtype=bool)
    seen, observer = seen[new], torch.from_numpy(first[new])
    placed.update((point.position, int(i)) for i in seen)
    observed = batch.measurement[observer]
    if isinstance(batch.kind, BearingRange):
        bearing, distance = observed.unbind(1)
        observed = distance[:, None] * torch.stack([bearing.cos(), bearing.sin()], -1)
    poses = values[pose.position][batch.index[observer, 0]]
    points = values[point.position].clone()
    points[torch.from_numpy(seen)] = pose.manifold.act(poses, observed)  # type: ignore[attr-defined]
    values[point.position] = points
