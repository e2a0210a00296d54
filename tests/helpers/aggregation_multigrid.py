"""The cycles of the compiled hierarchy, literally, in numpy: aggregation multigrid with a D-ILU smoother.

A level is ``A = D + W`` in row blocks. Rows are aggregated by double pairwise matching within their blocks (Notay
2010), and half an elimination sweep within the blocks smooths before, the other half after the coarse correction.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sl

WEAKEST_LINK, MUTUAL, DOMINANT, LARGEST_AGGREGATE, SINGULAR = 0.05, 0.1, 0.6, 6, 1e-14
LEFT_OUT = -1
ACCELERATED = 10_000  # rows of a coarse level from which the K-cycle takes two steps
HALF_SWEEP, WHOLE_SWEEP = (0.8, 0.5, 0.0), (0.01, 0.0, 1.0)  # floors of the pivots: see `pivots`


@dataclass
class Level:
    """``W`` without a diagonal, the diagonal, and the row sums, which coarse levels add up without cancellation."""

    W: sp.csr_array
    diagonal: np.ndarray
    row_sums: np.ndarray
    exact: bool = False
    aggregate: np.ndarray | None = None
    pivot: np.ndarray = field(default_factory=lambda: np.empty(0))
    loaded: int = 0

    @property
    def n(self) -> int:
        return len(self.diagonal)

    @property
    def matrix(self) -> sp.csr_array:
        return sp.csr_array(sp.diags_array(self.diagonal) + self.W)

    @property
    def blocks(self) -> np.ndarray:
        count = 1 if self.n < 10_000 else 4
        return self.n * np.arange(count + 1) // count

    def row(self, i: int) -> list[tuple[int, float]]:
        row = slice(self.W.indptr[i], self.W.indptr[i + 1])
        return list(zip(self.W.indices[row].tolist(), self.W.data[row].tolist(), strict=True))


def finest_level(A: sp.csr_array) -> Level:
    diagonal = A.diagonal()
    W = sp.csr_array(A - sp.diags_array(diagonal))
    W.eliminate_zeros()
    W.sort_indices()
    return Level(W, diagonal, diagonal + W.sum(axis=1))


def strongest(candidates: dict, scale: dict, own: float, mutual: bool = False) -> int | None:
    """The candidate of the strongest coupling ``-a / min(d_own, d)``, None where none is strong enough.

    ``mutual`` is for couplings that are strong for the larger of the two diagonals as well.
    """
    best, strength = None, WEAKEST_LINK
    for other, coupling in candidates.items():
        found = -coupling / min(own, scale[other])
        if found > strength * (1 + 1e-6) and (not mutual or -coupling > MUTUAL * max(own, scale[other])):
            best, strength = other, found
    return best


def matching(couplings: Callable[[int, dict], dict], scale: dict) -> dict[int, int]:
    """The mate of each, itself where it stays alone; first those that are strong for both.

    ``couplings(i, mate)`` are i's to all that have no mate yet.
    """
    mate: dict[int, int] = {}
    for mutual in (True, False):
        for i in scale:
            if i not in mate:
                best = strongest(couplings(i, mate), scale, scale[i], mutual)
                if best is not None:
                    mate[i], mate[best] = best, i
    return {i: mate.get(i, i) for i in scale}


def aggregates_of_block(level: Level, begin: int, end: int) -> dict[int, int]:
    """The aggregate of each row of a block, named by one of its rows; rows that dominate their couplings have none."""
    total = abs(level.W).sum(axis=1)
    members = [i for i in range(begin, end) if total[i] > DOMINANT * level.diagonal[i]]
    diagonal = {i: level.diagonal[i] for i in members}
    near = {i: {j: w for j, w in level.row(i) if j in diagonal} for i in members}
    mate = matching(lambda i, taken: {j: w for j, w in near[i].items() if j not in taken}, diagonal)
    pair = {i: min(i, mate[i]) for i in members}
    rows: dict[int, list[int]] = {}
    for i in members:
        rows.setdefault(pair[i], []).append(i)

    def couplings(p: int, taken: dict) -> dict[int, float]:
        found: dict[int, float] = {}
        for i in rows[p]:
            for j, w in near[i].items():
                if pair[j] != p and pair[j] not in taken:
                    found[pair[j]] = found.get(pair[j], 0.0) + w
        return found

    partner = matching(couplings, {p: sum(diagonal[i] for i in rows[p]) for p in rows})
    aggregate = {i: min(pair[i], partner[pair[i]]) for i in members}
    size: dict[int, int] = {}
    whole: dict[int, float] = {}
    for i, a in aggregate.items():
        size[a], whole[a] = size.get(a, 0) + 1, whole.get(a, 0.0) + diagonal[i]
    for i in members:  # those alone join their strongest neighbour: leaves always, others where there is room
        if size[aggregate[i]] == 1:
            room = len(level.row(i)) == 1
            open_to = {j: w for j, w in near[i].items() if room or size[aggregate[j]] < LARGEST_AGGREGATE}
            best = strongest(open_to, {j: whole[aggregate[j]] for j in open_to}, diagonal[i])
            if best is not None:
                size[aggregate[i]], aggregate[i] = 0, aggregate[best]
                size[aggregate[i]] += 1
                whole[aggregate[i]] += diagonal[i]
    return aggregate


def aggregates(level: Level) -> np.ndarray:
    """The aggregate of each row, numbered in the order of their first rows; LEFT_OUT for none."""
    found = np.full(level.n, LEFT_OUT)
    number: dict[tuple[int, int], int] = {}
    for k, (begin, end) in enumerate(pairwise(level.blocks.tolist())):
        for i, name in aggregates_of_block(level, begin, end).items():
            found[i] = number.setdefault((k, name), len(number))
    return found


def coarse_level(level: Level, aggregate: np.ndarray) -> Level:
    """``PᵀAP`` for the piecewise constant ``P`` of the aggregates, its couplings in float32."""
    n, inside = int(aggregate.max()) + 1, np.flatnonzero(aggregate >= 0)
    P = sp.csr_array((np.ones(len(inside)), (inside, aggregate[inside])), (level.n, n))
    to_left_out = level.W @ (aggregate < 0).astype(float)
    row_sums = P.T @ (level.row_sums - to_left_out)
    W = sp.csr_array(P.T @ level.W @ P)
    W = sp.csr_array(W - sp.diags_array(W.diagonal()))
    W.eliminate_zeros()
    W.sort_indices()
    W.data = W.data.astype(np.float32).astype(float)
    diagonal, scale = row_sums - W.sum(axis=1), P.T @ level.diagonal
    return Level(W, np.where(diagonal > SINGULAR * scale, diagonal, scale), row_sums)


def pivots(level: Level, floors: tuple[float, float, float]) -> tuple[np.ndarray, int]:
    """``J_i = A_ii - Σ_{k<i} A_ik²/J_k`` within each block, and how many are raised to their floor.

    The floor is a share of the diagonal and of the couplings across blocks, or of the couplings to later rows.
    """
    pivot, loaded = np.zeros(level.n), 0
    for begin, end in pairwise(level.blocks.tolist()):
        for i in range(begin, end):
            row = level.row(i)
            value = level.diagonal[i] - sum(w * w / pivot[j] for j, w in row if begin <= j < i)
            across = sum(abs(w) for j, w in row if not begin <= j < end)
            later = sum(abs(w) for j, w in row if i < j < end)
            floor = max(floors[0] * level.diagonal[i] + floors[1] * across, floors[2] * later)
            if not value >= (1 - 1e-5) * floor:
                value, loaded = floor, loaded + 1
            pivot[i] = 1 / np.float32(1 / value)
    return pivot, loaded


def build(A: sp.csr_array, exact: list[bool]) -> list[Level]:
    """As many levels as ``exact`` has entries; a level of which it is true is solved exactly."""
    levels = [finest_level(A)]
    for depth, solved in enumerate(exact):
        level = levels[depth]
        level.exact = solved
        last = depth == len(exact) - 1
        if not solved:
            level.pivot, level.loaded = pivots(level, WHOLE_SWEEP if last else HALF_SWEEP)
        if not last:
            level.aggregate = aggregates(level)
            levels.append(coarse_level(level, level.aggregate))
    return levels


def v_cycle(levels: list[Level], b: np.ndarray) -> np.ndarray:
    """One V-cycle from zero for ``b`` of shape (n, k)."""
    return cycle(levels, b, v_cycle)


def k_cycle(levels: list[Level], b: np.ndarray) -> np.ndarray:
    """One K-cycle from zero: coarse levels of many rows take up to two steps, Galerkin projections on their cycles."""
    return cycle(levels, b, two_steps)


def cycle(levels: list[Level], b: np.ndarray, correct: Callable[[list[Level], np.ndarray], np.ndarray]) -> np.ndarray:
    """Half a sweep down, the coarse correction by ``correct``, half a sweep up; the coarsest level is solved."""
    level, coarser = levels[0], levels[1:]
    A = level.matrix
    if level.exact:
        return sl.spsolve(sp.csc_array(A), b).reshape(b.shape)
    block = np.searchsorted(level.blocks, np.arange(level.n), side="right")
    W = level.W.tocoo()
    inner = sp.csr_array((W.data * (block[W.row] == block[W.col]), (W.row, W.col)), W.shape)
    D = sp.diags_array(level.pivot)
    lower, upper = sp.csr_array(D + sp.tril(inner, -1)), sp.csr_array(D + sp.triu(inner, 1))
    x = sl.spsolve_triangular(lower, b, lower=True)
    if not coarser:
        return sl.spsolve_triangular(upper, D @ x, lower=False)
    inside = level.aggregate >= 0
    residual = np.zeros((coarser[0].n, b.shape[1]))
    np.add.at(residual, level.aggregate[inside], (b - A @ x)[inside])
    x[inside] += correct(coarser, residual)[level.aggregate[inside]]
    return x + sl.spsolve_triangular(upper, b - A @ x, lower=False)


def two_steps(levels: list[Level], b: np.ndarray) -> np.ndarray:
    """The best ``α c + β d`` in the energy norm, ``c`` and ``d`` the cycles of ``b`` and of what ``c`` leaves of it.

    Without ``d`` where ``c`` leaves a quarter or less (Notay 2010, algorithm 3.2), and on levels of fewer rows.
    """
    c = k_cycle(levels, b)
    if levels[0].exact or levels[0].n < ACCELERATED:
        return c
    A = levels[0].matrix
    left = b - (c * b).sum(0) / (c * (A @ c)).sum(0) * (A @ c)
    if (np.linalg.norm(left, axis=0) <= 0.25 * np.linalg.norm(b, axis=0)).all():
        return (c * b).sum(0) / (c * (A @ c)).sum(0) * c
    d = k_cycle(levels, left)
    x = np.empty_like(b)
    for k in range(b.shape[1]):
        basis = np.stack([c[:, k], d[:, k]], axis=1)
        x[:, k] = basis @ np.linalg.solve(basis.T @ (A @ basis), basis.T @ b[:, k])
    return x
