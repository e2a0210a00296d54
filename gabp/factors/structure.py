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
from gabp.kernels.torch.normal_equations import Places
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
    places : sequence of Places
        For each batch of factors, where its products go in the matrix.
    """

    sets: tuple[Variables, ...]
    factors: tuple[Factors, ...]
    held: tuple[np.ndarray, ...]
    unknown: tuple[np.ndarray, ...]
    graph: EdgeGraph
    places: tuple[Places, ...]

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
            places=tuple(blocks.places(_variables_of(batch, free), _dimensions(batch)) for batch in factors),
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
        return np.cumsum([0, *map(len, self.held)])

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
    """Compressed rows of the blocks between variables, and where they are among the scalars.

    Attributes
    ----------
    first : ndarray, shape (variables + 1,)
        The first unknown of each variable, and the number of unknowns.
    key : ndarray, shape (blocks,)
        Row times the number of variables plus column, ascending.
    place : ndarray, shape (blocks,)
        Where the first row of each block begins in the off-diagonal values.
    stride : ndarray, shape (variables,)
        From a row of a variable to its next.
    graph : EdgeGraph
    """

    first: np.ndarray
    key: np.ndarray
    place: np.ndarray
    stride: np.ndarray
    graph: EdgeGraph

    @staticmethod
    def of(dimension: np.ndarray, variables: Sequence[np.ndarray]) -> "_BlockPattern":
        count = len(dimension)
        first = np.concatenate([[0], np.cumsum(dimension)])
        key = _block_keys(count, variables)
        row, column = np.divmod(key, max(count, 1))
        before = np.concatenate([[0], np.cumsum(dimension[column])])  # one scalar row of each block before
        row_block = np.searchsorted(row, np.arange(count + 1))
        stride = before[row_block[1:]] - before[row_block[:-1]] - 1  # without the diagonal entry
        start = np.concatenate([[0], np.cumsum(np.repeat(stride, dimension))])
        inside = before[:-1] - before[row_block[:-1]][row]
        place = start[first[row]] + inside - (column > row)
        graph = _scalar_graph(first, column, before, row_block, start)
        return _BlockPattern(first, key, place, stride, graph)

    def places(self, variables: np.ndarray, dimensions: Sequence[int]) -> Places:
        """Where the products of factors on ``variables``, (m, arity), go; -1 for those that are held."""
        count = len(self.stride)
        held = variables < 0
        block = np.zeros((*variables.shape, variables.shape[1]), dtype=np.int64)
        if count:
            either = held[:, :, None] | held[:, None, :]
            key = variables[:, :, None] * count + variables[:, None, :]
            block = np.where(either, 0, self.place[np.searchsorted(self.key, np.where(either, 0, key))])
        stride = np.where(held, 0, np.append(self.stride, 0)[variables])
        arrays = (np.array(dimensions), np.where(held, -1, self.first[variables]), block, stride)
        return Places(*(torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)) for array in arrays))


def _scalar_graph(
    first: np.ndarray, column: np.ndarray, before: np.ndarray, row_block: np.ndarray, start: np.ndarray
) -> EdgeGraph:
    """The graph of the unknowns: every row of a variable has the same columns, less its own."""
    count, n = len(first) - 1, int(first[-1])
    width = np.diff(before)
    columns = np.repeat(first[column] - before[:-1], width) + np.arange(before[-1])  # of one row of each variable
    owner = np.repeat(np.arange(count), np.diff(first))
    begin = before[row_block[:-1]][owner]
    size = np.diff(start) + 1
    full = np.concatenate([[0], np.cumsum(size)])
    all_columns = columns[np.repeat(begin - full[:-1], size) + np.arange(full[-1])]
    source = all_columns[all_columns != np.repeat(np.arange(n), size)]
    return EdgeGraph(n, torch.from_numpy(start), torch.from_numpy(source.astype(np.int32)))


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
