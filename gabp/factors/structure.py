"""Where every derivative goes in the linear system: what depends on a factor graph's connections alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import torch

from gabp.factors.batches import Factors
from gabp.factors.variables import Variables
from gabp.system import EdgeGraph


@dataclass(frozen=True, eq=False)
class Structure:
    """The pattern of ``A = Σ JᵀJ`` in scalars, and the place of every product in it.

    Attributes
    ----------
    sets : sequence of Variables
    factors : sequence of Factors
    held : sequence of ndarray, shape (count,), bool
        The variables of each set that keep their values.
    unknown : sequence of ndarray, shape (count,), int64
        The first unknown of each variable; -1 where it is held.
    graph : EdgeGraph
        Of the unknowns.
    weight_place : sequence of ndarray, shape (m, D, D), int64
        For each batch of factors with D derivatives, the place of ``JᵀJ`` in the off-diagonal values, the diagonal
        after them and one more place, for what belongs to held variables.
    gradient_place : sequence of ndarray, shape (m, D), int64
        The unknown of each derivative, or the number of unknowns for those of held variables.
    """

    sets: tuple[Variables, ...]
    factors: tuple[Factors, ...]
    held: tuple[np.ndarray, ...]
    unknown: tuple[np.ndarray, ...]
    graph: EdgeGraph
    weight_place: tuple[np.ndarray, ...]
    gradient_place: tuple[np.ndarray, ...]

    @property
    def n(self) -> int:
        """Unknowns."""
        return self.graph.n

    @staticmethod
    def of(sets: Sequence[Variables], factors: Sequence[Factors], held: Sequence[np.ndarray]) -> "Structure":
        """Analyse a factor graph."""
        dimension = np.concatenate([np.full((~h).sum(), s.manifold.dimension) for s, h in zip(sets, held, strict=True)])
        free = _numbered([~h for h in held])
        blocks = _BlockPattern.of(dimension.astype(np.int64), [_variables_of(batch, free) for batch in factors])
        first = np.append(blocks.first[:-1], -1)
        return Structure(
            sets=tuple(sets),
            factors=tuple(factors),
            held=tuple(held),
            unknown=tuple(first[f] for f in free),
            graph=blocks.graph,
            weight_place=tuple(blocks.matrix_places(_variables_of(b, free), _dimensions(b)) for b in factors),
            gradient_place=tuple(blocks.vector_places(_variables_of(b, free), _dimensions(b)) for b in factors),
        )

    def variable_of(self, unknown: int) -> tuple[Variables, int]:
        """The set and the index in it of the variable that an unknown belongs to."""
        for variables, first in zip(self.sets, self.unknown, strict=True):
            inside = (first >= 0) & (first <= unknown) & (unknown < first + variables.manifold.dimension)
            if inside.any():
                return variables, int(inside.argmax())
        raise IndexError(unknown)

    @cached_property
    def offsets(self) -> np.ndarray:
        """The number of the first variable of each set, when all are numbered through; shape (sets + 1,)."""
        return np.cumsum([0, *(variables.count for variables in self.sets)])

    def numbers(self, batch: Factors) -> np.ndarray:
        """The variables of each factor, numbered through all sets, (m, arity)."""
        return batch.index.numpy() + [self.offsets[variables.position] for variables in batch.variables]


def component_labels(count: int, numbers: Sequence[np.ndarray]) -> np.ndarray:
    """The connected component of each of ``count`` variables that factors on ``numbers``, (m, arity), connect."""
    row = np.concatenate([np.repeat(n[:, 0], n.shape[1]) for n in numbers] or [np.empty(0, dtype=np.int64)])
    column = np.concatenate([n.reshape(-1) for n in numbers] or [np.empty(0, dtype=np.int64)])
    adjacency = scipy.sparse.coo_array((np.ones(len(row), dtype=np.int8), (row, column)), (count, count))
    return scipy.sparse.csgraph.connected_components(adjacency, directed=False)[1]


def _numbered(chosen: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The chosen elements of all arrays numbered through, -1 for the others."""
    total, numbers = 0, []
    for mask in chosen:
        numbers.append(np.where(mask, total + np.cumsum(mask) - 1, -1))
        total += int(mask.sum())
    return numbers


def _variables_of(batch: Factors, free: Sequence[np.ndarray]) -> np.ndarray:
    """The free variables of each factor, (m, arity), -1 where held."""
    columns = zip(batch.variables, batch.index.numpy().T, strict=True)
    return np.stack([free[variables.position][index] for variables, index in columns], 1)


def _dimensions(batch: Factors) -> list[int]:
    return [variables.manifold.dimension for variables in batch.variables]


@dataclass(frozen=True, eq=False)
class _BlockPattern:
    """Compressed rows of the blocks between variables, and where each begins among the scalars.

    The scalars of a block row are stored row by row, each over all its blocks; ``place[p]`` is where the scalar at ``p``
    of that order is in the values of the edge graph and, after them, the diagonal.
    """

    first: np.ndarray  # of each variable's unknowns, and their number at the end
    key: np.ndarray  # of each block, row · variables + column, ascending
    block_start: np.ndarray  # of each block's first scalar
    row_width: np.ndarray  # of each variable's block row, in scalars
    place: np.ndarray
    graph: EdgeGraph

    @staticmethod
    def of(dimension: np.ndarray, variables: Sequence[np.ndarray]) -> "_BlockPattern":
        count = len(dimension)
        first = np.concatenate([[0], np.cumsum(dimension)])
        key = _block_keys(count, variables)
        row, column = np.divmod(key, count) if count else (key, key)
        width = dimension[column]
        before = np.concatenate([[0], np.cumsum(width)])  # scalars of one scalar row each, of the blocks before
        row_block = np.searchsorted(row, np.arange(count + 1))
        row_width = before[row_block[1:]] - before[row_block[:-1]]
        row_start = np.concatenate([[0], np.cumsum(dimension * row_width)])
        in_row = before[:-1] - before[row_block[:-1]][row]

        columns = np.repeat(first[column] - before[:-1], width) + np.arange(before[-1])
        owner = np.repeat(np.arange(count), dimension)  # the variable of each unknown
        inside = np.arange(first[-1]) - first[owner]
        start = row_start[:-1][owner] + inside * row_width[owner]
        shift = np.repeat(before[row_block[:-1]][owner] - start, row_width[owner])
        column_of = columns[shift + np.arange(row_start[-1])]
        own = in_row[np.searchsorted(key, np.arange(count) * (count + 1))]  # of the diagonal block in its row
        diagonal = start + own[owner] + inside

        off = np.ones(row_start[-1], dtype=bool)
        off[diagonal] = False
        place = np.cumsum(off) - 1
        place[diagonal] = row_start[-1] - len(owner) + np.arange(len(owner))
        rows = np.append(start, row_start[-1]) - np.arange(len(owner) + 1)
        graph = EdgeGraph(len(owner), torch.from_numpy(rows), torch.from_numpy(column_of[off].astype(np.int32)))
        return _BlockPattern(first, key, row_start[:-1][row] + in_row, row_width, place, graph)

    def matrix_places(self, variables: np.ndarray, dimensions: Sequence[int]) -> np.ndarray:
        """The place of each entry of ``JᵀJ`` of factors on ``variables``, (m, arity)."""
        size, ends = sum(dimensions), np.cumsum([0, *dimensions])
        places = np.full((len(variables), size, size), len(self.place), dtype=np.int64)
        for p, rows in enumerate(dimensions):
            for q, columns in enumerate(dimensions):
                u, v = variables[:, p], variables[:, q]
                kept = (u >= 0) & (v >= 0)
                u, v = u[kept], v[kept]
                start = self.block_start[np.searchsorted(self.key, u * len(self.row_width) + v)]
                inside = np.arange(rows)[:, None] * self.row_width[u][:, None, None] + np.arange(columns)
                block = places[:, ends[p] : ends[p + 1], ends[q] : ends[q + 1]]
                block[kept] = self.place[start[:, None, None] + inside]
        return places

    def vector_places(self, variables: np.ndarray, dimensions: Sequence[int]) -> np.ndarray:
        """The unknown of each derivative of factors on ``variables``, (m, arity)."""
        columns = []
        for variable, dimension in zip(variables.T, dimensions, strict=True):
            unknown = self.first[variable][:, None] + np.arange(dimension)
            columns.append(np.where(variable[:, None] >= 0, unknown, self.first[-1]))
        return np.concatenate(columns, 1)


def _block_keys(count: int, variables: Sequence[np.ndarray]) -> np.ndarray:
    """The blocks of the pattern, the diagonal among them, by row and column."""
    keys = [np.arange(count) * (count + 1)]
    for columns in variables:
        for p in range(columns.shape[1]):
            for q in range(p):
                u, v = columns[:, p], columns[:, q]
                kept = (u >= 0) & (v >= 0) & (u != v)
                keys += [u[kept] * count + v[kept], v[kept] * count + u[kept]]
    return np.unique(np.concatenate(keys))
