"""Clusters of strongly coupled nodes and the model in which each is one node, by tensor operations on any device.

Every result is the same on every device and in every run: sums go over sorted segments, and all ties are broken by
the nodes' numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels.torch.colouring import scramble

_WEAKEST_LINK = 0.05  # couplings below this share of the smaller diagonal bind nothing
_DOMINANT = 0.6  # a node whose couplings sum to less than this share of its diagonal is left out
_LARGEST_CLUSTER = 6
_MATCHING_ROUNDS = 12
_SINGULAR = 1e-14
_EQUAL = 13  # last bits of a float32 strength that are not told apart


@dataclass(frozen=True, eq=False)
class Model:
    """A symmetric matrix as directed edges, both directions there, in row order.

    ``slack`` holds the row sums: clusters add them up without the cancellation that the diagonal suffers, so that
    nearly singular models stay positive definite on every level.

    Attributes
    ----------
    row, column : Tensor, int64, shape (m,)
    weight : Tensor, float64, shape (m,)
    diagonal, slack : Tensor, float64, shape (n,)
    """

    row: Tensor
    column: Tensor
    weight: Tensor
    diagonal: Tensor
    slack: Tensor

    @property
    def n(self) -> int:
        return len(self.diagonal)

    @staticmethod
    def of(row: Tensor, column: Tensor, weight: Tensor, diagonal: Tensor) -> "Model":
        """The model of a diagonal and of edges in row order."""
        return Model(row, column, weight, diagonal, diagonal + row_sums(row, weight, len(diagonal)))


def row_sums(row: Tensor, value: Tensor, n: int) -> Tensor:
    """Sums of ``value`` over the ascending ``row``, shape (n,)."""
    return segment_sums(value, torch.bincount(row, minlength=n))


def segment_sums(value: Tensor, count: Tensor) -> Tensor:
    """Sums of the first ``count[0]`` rows of ``value``, the next ``count[1]``, ...; the same in every run."""
    return torch.segment_reduce(value, "sum", lengths=count, axis=0, unsafe=True, initial=0)


def find_clusters(model: Model) -> Tensor:
    """The cluster of each node, shape (n,) int64, numbered in the order of their first nodes; -1 for none.

    Two matchings on ``-A_ij / min(A_ii, A_jj)`` (Notay 2010), the second between the pairs of the first. Nodes so
    dominant that their own sweep settles them are left out; nodes that stay single join their strongest neighbour.
    """
    n = model.n
    in_play = row_sums(model.row, model.weight.abs(), n) > _DOMINANT * model.diagonal
    cluster = _numbered(torch.where(in_play, _match(model, in_play), -1))
    pairs = contract(model, cluster)[0]
    everyone = torch.ones(pairs.n, dtype=torch.bool, device=cluster.device)
    joined = _match(pairs, everyone)
    cluster = torch.where(cluster >= 0, joined[cluster.clamp(min=0)], -1) if pairs.n else cluster
    return _numbered(_adopt_singles(model, _numbered(cluster)))


def contract(model: Model, cluster: Tensor) -> tuple[Model, float]:
    """``PᵀAP`` for the piecewise constant ``P`` of the clusters, and the share of the couplings within clusters."""
    n = int(cluster.max()) + 1 if len(cluster) else 0
    into, out_of = cluster[model.row], cluster[model.column]
    within = (into == out_of) & (into >= 0)
    total = float(model.weight.abs().sum())
    inner = float(model.weight[within].abs().sum()) / total if total > 0 else 1.0
    # each undirected edge is summed once and mirrored, so that the model is symmetric to the last bit
    forth = (into >= 0) & (into < out_of)
    place, order = torch.sort(into[forth] * n + out_of[forth], stable=True)
    place, count = torch.unique_consecutive(place, return_counts=True)
    weight = segment_sums(model.weight[forth][order], count)
    low, high = torch.div(place, max(n, 1), rounding_mode="floor"), place % max(n, 1)
    row, column, weight = torch.cat([low, high]), torch.cat([high, low]), weight.repeat(2)
    order = torch.argsort(row * n + column)
    row, column, weight = row[order], column[order], weight[order]

    # the couplings to nodes left out are no part of the coarse model, and so are those within it
    lost = (into >= 0) & (out_of < 0)
    own = model.slack - row_sums(model.row, torch.where(lost, model.weight, 0.0), model.n)
    slack, scale = _cluster_sums(own, cluster, n), _cluster_sums(model.diagonal, cluster, n)
    diagonal = slack - row_sums(row, weight, n)
    # a floating component that has become one cluster: any positive value grounds it
    return Model(row, column, weight, torch.where(diagonal > _SINGULAR * scale, diagonal, scale), slack), inner


def _cluster_sums(value: Tensor, cluster: Tensor, n: int) -> Tensor:
    order = torch.argsort(cluster, stable=True)
    order = order[cluster[order] >= 0]
    return row_sums(cluster[order], value[order], n)


def _numbered(cluster: Tensor) -> Tensor:
    """The same clusters, numbered by their first nodes."""
    inside = cluster >= 0
    names, place = torch.unique(cluster[inside], return_inverse=True)
    first = torch.full((len(names),), len(cluster), device=cluster.device)
    first.scatter_reduce_(0, place, inside.nonzero().flatten(), "amin")
    number = torch.empty_like(first)
    number[torch.argsort(first)] = torch.arange(len(names), device=cluster.device)
    numbered = torch.full_like(cluster, -1)
    numbered[inside] = number[place]
    return numbered


def _strength(model: Model) -> Tensor:
    smaller = torch.minimum(model.diagonal[model.row], model.diagonal[model.column])
    return -model.weight / smaller


def _match(model: Model, in_play: Tensor) -> Tensor:
    """A matching on the strong couplings between nodes ``in_play``; see `dominant_matching`."""
    strength = _strength(model)
    edge = (strength > _WEAKEST_LINK) & in_play[model.row] & in_play[model.column]
    row, column = model.row[edge], model.column[edge]
    return dominant_matching(row, column, edge_preference(row, column, strength[edge]), model.n, _MATCHING_ROUNDS)


def edge_preference(row: Tensor, column: Tensor, strength: Tensor) -> Tensor:
    """A number for each edge, larger for the stronger of two, shape (m,) int64; the same for both directions.

    Among equally strong edges, those that pair a line of nodes off two by two come first, then the short ones: on a
    grid in row order the pairs are the same everywhere. Hashes of the edge decide the rest, without which a line would
    be matched one edge a round. ``strength`` is positive, and compared by 10 bits of its mantissa.
    """
    low, high = torch.minimum(row, column), torch.maximum(row, column)
    distance = high - low
    even = (torch.div(low, distance, rounding_mode="floor") % 2 == 0).long()
    length = torch.frexp(distance.float()).exponent.long().clamp(max=31)
    bits = strength.float().view(torch.int32).long() >> _EQUAL
    # 18 bits of strength, 1 of parity, 5 of shortness, 31 of hash
    return ((bits << 37) | (even << 36) | ((31 - length) << 31)) | scramble(scramble(low) ^ (high * 3 + 1))


def dominant_matching(row: Tensor, column: Tensor, preference: Tensor, n: int, rounds: int) -> Tensor:
    """A locally dominant matching: in every round the edges that both ends prefer to all their others.

    With a strict order of preferences and enough rounds it is the greedy matching.

    Parameters
    ----------
    row, column : Tensor, int64, shape (m,)
        Both directions of every edge.
    preference : Tensor, int64, shape (m,)
        Not negative, and the same for both directions.
    n : int
        Nodes.
    rounds : int
        Nodes that are single after so many stay so.

    Returns
    -------
    Tensor, int64, shape (n,)
        The smaller node of each pair, or the node itself where it stays single.
    """
    name = torch.arange(n, device=row.device)
    mate = name.clone()
    for _ in range(rounds):
        if len(row) == 0:
            break
        best = torch.full_like(name, -1).scatter_reduce_(0, row, preference, "amax")
        preferred = preference == best[row]
        choice = torch.full_like(name, -1).scatter_reduce_(0, row[preferred], column[preferred], "amax")
        mutual = (choice >= 0) & (choice[choice.clamp(min=0)] == name)
        mate = torch.where(mutual, choice, mate)
        free = (mate[row] == row) & (mate[column] == column)
        row, column, preference = row[free], column[free], preference[free]
    return torch.minimum(mate, name)


def _adopt_singles(model: Model, cluster: Tensor) -> Tensor:
    """Nodes alone in their cluster join their strongest neighbour's: leaves always, others while there is room."""
    size = torch.bincount(cluster[cluster >= 0], minlength=1)
    members = torch.where(cluster >= 0, size[cluster.clamp(min=0)], 0)
    degree = torch.bincount(model.row, minlength=model.n)
    strength = _strength(model)
    # towards clusters that are some already: two singles would only change places
    edge = (members[model.row] == 1) & (members[model.column] > 1) & (strength > _WEAKEST_LINK)
    near, far, strength = model.row[edge], model.column[edge], strength[edge]
    best = torch.full_like(model.diagonal, -1.0).scatter_reduce_(0, near, strength, "amax")
    liked = strength == best[near]
    target = torch.full_like(cluster, -1).scatter_reduce_(0, near[liked], cluster[far[liked]], "amax")
    single = (target >= 0).nonzero().flatten()
    single = single[torch.argsort(target[single], stable=True)]
    wanted = target[single]
    rank = torch.arange(len(single), device=cluster.device) - torch.searchsorted(wanted, wanted)
    adopted = (degree[single] == 1) | (size[wanted] + rank < _LARGEST_CLUSTER)
    cluster = cluster.clone()
    cluster[single[adopted]] = wanted[adopted]
    return cluster
