"""Aggregation of strongly coupled nodes and the Galerkin matrix of the aggregates, by tensor operations on any device.

Every result is the same on every device and in every run: sums go over sorted segments, and all ties are broken by
the nodes' numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels.torch.colouring import integer_hash

_COUPLING_THRESHOLD = 0.05  # share of the smaller diagonal below which a coupling aggregates nothing
_MUTUAL_THRESHOLD = 0.1  # share of the larger diagonal from which a coupling is strong for both
_DOMINANCE_THRESHOLD = 0.6  # a node whose couplings sum to less than this share of its diagonal is not aggregated
_LARGEST_AGGREGATE = 6
_MATCHING_ROUNDS = 12  # nodes unmatched after them stay so
_SINGULAR_DIAGONAL = 1e-14
_IGNORED_BITS = 13  # last bits of a float32 coupling, in which two are taken as equally strong


@dataclass(frozen=True, eq=False)
class SymmetricMatrix:
    """A symmetric matrix in coordinate format, both triangles stored, in row order.

    Aggregates add up the row sums without the cancellation that the diagonal suffers, so that nearly singular matrices
    stay positive definite on every level.

    Attributes
    ----------
    row, column : Tensor, int64, shape (m,)
    weight : Tensor, float64, shape (m,)
    diagonal, row_sum : Tensor, float64, shape (n,)
    """

    row: Tensor
    column: Tensor
    weight: Tensor
    diagonal: Tensor
    row_sum: Tensor

    @property
    def n(self) -> int:
        return len(self.diagonal)

    @staticmethod
    def of(row: Tensor, column: Tensor, weight: Tensor, diagonal: Tensor) -> "SymmetricMatrix":
        """The matrix of a diagonal and of off-diagonal elements in row order."""
        return SymmetricMatrix(row, column, weight, diagonal, diagonal + row_sums(row, weight, len(diagonal)))


def row_sums(row: Tensor, value: Tensor, n: int) -> Tensor:
    """Sums of ``value`` over the ascending ``row``, shape (n,)."""
    return segment_sums(value, torch.bincount(row, minlength=n))


def segment_sums(value: Tensor, count: Tensor) -> Tensor:
    """Sums of the first ``count[0]`` rows of ``value``, the next ``count[1]``, ...; the same in every run."""
    return torch.segment_reduce(value, "sum", lengths=count, axis=0, unsafe=True, initial=0)


def find_aggregates(matrix: SymmetricMatrix) -> Tensor:
    """The aggregate of each node, shape (n,) int64, numbered in the order of their first nodes; -1 for none.

    Double pairwise aggregation on ``-A_ij / min(A_ii, A_jj)`` (Notay 2010): two matchings, the second between the pairs
    of the first, whose diagonals are sums of their nodes': a sweep does not see the constant on nodes of large
    diagonal, so no aggregate may hold two such nodes that are coupled weakly. Nodes so dominant that a sweep alone
    solves for them are left out; unmatched nodes join the aggregate of their strongest neighbour.
    """
    coupled = row_sums(matrix.row, matrix.weight.abs(), matrix.n) > _DOMINANCE_THRESHOLD * matrix.diagonal
    aggregate = _renumber(torch.where(coupled, _match(matrix, coupled, matrix.diagonal), -1))
    pairs = galerkin_matrix(matrix, aggregate)[0]
    if pairs.n:
        diagonal = _aggregate_sums(matrix.diagonal, aggregate, pairs.n)
        matched = _match(pairs, torch.ones_like(diagonal, dtype=torch.bool), diagonal)
        aggregate = torch.where(aggregate >= 0, matched[aggregate.clamp(min=0)], -1)
    return _renumber(_join_unmatched(matrix, _renumber(aggregate)))


def galerkin_matrix(matrix: SymmetricMatrix, aggregate: Tensor) -> tuple[SymmetricMatrix, float]:
    """``PᵀAP``, ``P`` constant on each aggregate, and the share of the couplings that are within aggregates."""
    n = int(aggregate.max()) + 1 if len(aggregate) else 0
    into, out_of = aggregate[matrix.row], aggregate[matrix.column]
    within = (into == out_of) & (into >= 0)
    total = float(matrix.weight.abs().sum())
    inner = float(matrix.weight[within].abs().sum()) / total if total > 0 else 1.0
    # each undirected edge is summed once and mirrored, so that the result is symmetric to the last bit
    upper = (into >= 0) & (into < out_of)
    place, order = torch.sort(into[upper] * n + out_of[upper], stable=True)
    place, count = torch.unique_consecutive(place, return_counts=True)
    weight = segment_sums(matrix.weight[upper][order], count)
    low, high = torch.div(place, max(n, 1), rounding_mode="floor"), place % max(n, 1)
    row, column, weight = torch.cat([low, high]), torch.cat([high, low]), weight.repeat(2)
    order = torch.argsort(row * n + column)
    row, column, weight = row[order], column[order], weight[order]

    # couplings to nodes in no aggregate are no part of the coarse matrix, and so are no part of its row sums
    lost = (into >= 0) & (out_of < 0)
    own = matrix.row_sum - row_sums(matrix.row, torch.where(lost, matrix.weight, 0.0), matrix.n)
    row_sum, scale = _aggregate_sums(own, aggregate, n), _aggregate_sums(matrix.diagonal, aggregate, n)
    diagonal = row_sum - row_sums(row, weight, n)
    # a component of the graph with zero row sums that has become one aggregate: any positive value makes it regular
    diagonal = torch.where(diagonal > _SINGULAR_DIAGONAL * scale, diagonal, scale)
    return SymmetricMatrix(row, column, weight, diagonal, row_sum), inner


def _aggregate_sums(value: Tensor, aggregate: Tensor, n: int) -> Tensor:
    order = torch.argsort(aggregate, stable=True)
    order = order[aggregate[order] >= 0]
    return row_sums(aggregate[order], value[order], n)


def _renumber(aggregate: Tensor) -> Tensor:
    """The same aggregates, numbered in the order of their first nodes."""
    inside = aggregate >= 0
    names, place = torch.unique(aggregate[inside], return_inverse=True)
    first = torch.full((len(names),), len(aggregate), device=aggregate.device)
    first.scatter_reduce_(0, place, inside.nonzero().flatten(), "amin")
    number = torch.empty_like(first)
    number[torch.argsort(first)] = torch.arange(len(names), device=aggregate.device)
    numbered = torch.full_like(aggregate, -1)
    numbered[inside] = number[place]
    return numbered


def _match(matrix: SymmetricMatrix, eligible: Tensor, diagonal: Tensor) -> Tensor:
    """A matching on the strong couplings between ``eligible`` nodes; see `dominant_matching`.

    First on the couplings that are strong for both ends, as inside an inclusion, which a weak neighbour would part.
    """
    ends = diagonal[matrix.row], diagonal[matrix.column]
    strength = -matrix.weight / torch.minimum(*ends)
    edge = (strength > _COUPLING_THRESHOLD) & eligible[matrix.row] & eligible[matrix.column]
    mutual = -matrix.weight > _MUTUAL_THRESHOLD * torch.maximum(*ends)
    pair = torch.arange(matrix.n, device=diagonal.device)
    for among in (edge & mutual, edge):
        taken = torch.bincount(pair, minlength=matrix.n)[pair] > 1
        among = among & ~taken[matrix.row] & ~taken[matrix.column]
        row, column = matrix.row[among], matrix.column[among]
        preference = edge_preference(row, column, strength[among])
        pair = torch.where(taken, pair, dominant_matching(row, column, preference, matrix.n, _MATCHING_ROUNDS))
    return pair


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
    bits = strength.float().view(torch.int32).long() >> _IGNORED_BITS
    # 18 bits of strength, 1 of parity, 5 of shortness, 31 of hash
    return ((bits << 37) | (even << 36) | ((31 - length) << 31)) | integer_hash(integer_hash(low) ^ (high * 3 + 1))


def dominant_matching(row: Tensor, column: Tensor, preference: Tensor, n: int, rounds: int) -> Tensor:
    """A locally dominant matching: in every round the edges that both ends prefer to all their others
    (Preis 1999; Manne and Bisseling 2007).

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


def _join_unmatched(matrix: SymmetricMatrix, aggregate: Tensor) -> Tensor:
    """Nodes alone in their aggregate join that of their strongest neighbour: leaves always, others while it is small.

    Only aggregates of two nodes or more are joined: two single nodes would only change places.
    """
    size = torch.bincount(aggregate[aggregate >= 0], minlength=1)
    members = torch.where(aggregate >= 0, size[aggregate.clamp(min=0)], 0)
    degree = torch.bincount(matrix.row, minlength=matrix.n)
    whole = _aggregate_sums(matrix.diagonal, aggregate, len(size))
    near, far = matrix.diagonal[matrix.row], whole[aggregate.clamp(min=0)][matrix.column]
    strength = -matrix.weight / torch.minimum(near, far)
    edge = (members[matrix.row] == 1) & (members[matrix.column] > 1) & (strength > _COUPLING_THRESHOLD)
    near, far, strength = matrix.row[edge], matrix.column[edge], strength[edge]
    best = torch.full_like(matrix.diagonal, -1.0).scatter_reduce_(0, near, strength, "amax")
    strongest = strength == best[near]
    target = torch.full_like(aggregate, -1).scatter_reduce_(0, near[strongest], aggregate[far[strongest]], "amax")
    single = (target >= 0).nonzero().flatten()
    single = single[torch.argsort(target[single], stable=True)]
    wanted = target[single]
    rank = torch.arange(len(single), device=aggregate.device) - torch.searchsorted(wanted, wanted)
    joins = (degree[single] == 1) | (size[wanted] + rank < _LARGEST_AGGREGATE)
    aggregate = aggregate.clone()
    aggregate[single[joins]] = wanted[joins]
    return aggregate
