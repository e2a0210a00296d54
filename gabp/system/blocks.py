"""Vector-valued nodes: the partition of the unknowns into node blocks, and the system in node blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.system.errors import InvalidSystemError
from gabp.system.graph import EdgeGraph
from gabp.system.matrix import SparseMatrix
from gabp.system.model import System

_LARGEST_BLOCK = 8  # unknowns in a block of equal patterns
_BLOCKS_PER_UNKNOWN = 0.6  # up to which equal patterns count as block structure
_COMMON_SIZES = (6, 3, 2)  # poses in space and in the plane, and pairs
_FILL = 0.55  # a chain or a grid in pairs has a half, pose graphs of diagonal information 0.58


@dataclass(frozen=True, eq=False)
class BlockPartition:
    """Partition of the unknowns into the node blocks of a vector-valued model.

    Attributes
    ----------
    member : Tensor, shape (N, d), int64
        The unknowns of each block, ascending; -1 beyond the end of a block that is smaller than the largest.
    n : int
        Unknowns.
    """

    member: Tensor
    n: int

    @staticmethod
    def of(labels: np.ndarray) -> "BlockPartition":
        """From the block of each unknown, shape (n,); blocks are numbered in the order of their first unknowns."""
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        block = rank[inverse]
        order = np.argsort(block, kind="stable")
        sizes = np.bincount(block)
        position = np.arange(len(block)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        member = np.full((len(sizes), sizes.max()), -1, dtype=np.int64)
        member[block[order], position] = order
        return BlockPartition(torch.from_numpy(member), len(labels))

    @property
    def count(self) -> int:
        """Node blocks, ``N``."""
        return len(self.member)

    @property
    def size(self) -> int:
        """Unknowns in the largest block, ``d``."""
        return self.member.shape[1]

    @cached_property
    def block(self) -> Tensor:
        """The block of each unknown, shape (n,), int64."""
        return self.padded_index // self.size

    @cached_property
    def padded_index(self) -> Tensor:
        """Each unknown's index into the flattened ``member``, shape (n,), int64."""
        flat = self.member.flatten()
        index = torch.empty(self.n, dtype=torch.int64)
        index[flat[flat >= 0]] = torch.nonzero(flat >= 0)[:, 0]
        return index

    @cached_property
    def within(self) -> Tensor:
        """The position of each unknown in its block, shape (n,), int64."""
        return self.padded_index % self.size

    def gather(self, x: Tensor) -> Tensor:
        """``x`` of shape (n, k) in blocks of shape (N, d, k); 0 in the padding of small blocks."""
        padded = x.new_zeros((self.count * self.size, x.shape[1]))
        padded[self.padded_index] = x
        return padded.reshape(self.count, self.size, -1)

    def scatter(self, blocks: Tensor) -> Tensor:
        """The inverse of `gather`, from (N, d, k) to (n, k)."""
        return blocks.reshape(self.count * self.size, -1)[self.padded_index]


@dataclass(frozen=True, eq=False)
class BlockSystem:
    """A square sparse matrix as a graph of vector-valued nodes.

    Blocks smaller than the largest are padded by uncoupled unknowns of unit precision, so that all have one size.

    Attributes
    ----------
    partition : BlockPartition
    graph : EdgeGraph
        Of the ``N`` node blocks.
    diagonal : Tensor, shape (N, d, d), float64
    weight : Tensor, shape (m, d, d), float64
        ``A[i, k]``, a block for each directed edge ``k → i``.
    symmetric : bool
    """

    partition: BlockPartition
    symmetric: bool
    _assemble: Callable[[], tuple[EdgeGraph, Tensor, Tensor]]  # only when first needed: it takes a sort of all edges

    @staticmethod
    def of(system: System, partition: BlockPartition) -> "BlockSystem":
        """The node blocks of a scalar system."""
        return BlockSystem(partition, system.symmetric, partial(_node_blocks, system, partition))

    @cached_property
    def _arrays(self) -> tuple[EdgeGraph, Tensor, Tensor]:
        return self._assemble()

    @property
    def graph(self) -> EdgeGraph:
        return self._arrays[0]

    @property
    def diagonal(self) -> Tensor:
        return self._arrays[1]

    @property
    def weight(self) -> Tensor:
        return self._arrays[2]

    def reordered(self, order: Tensor) -> "BlockSystem":
        """The same system with its nodes renumbered: the new node ``p`` is the old node ``order[p]``."""
        count = self.partition.count
        rank = torch.empty(count, dtype=torch.int64)
        rank[order] = torch.arange(count)
        row, column = rank[self.graph.destination], rank[self.graph.source.long()]
        by_row = torch.argsort(row * count + column)
        arrays = EdgeGraph.of(count, row[by_row], column[by_row]), self.diagonal[order], self.weight[by_row]
        partition = BlockPartition(self.partition.member[order], self.partition.n)
        return BlockSystem(partition, self.symmetric, partial(_given, arrays))


def _given(arrays: tuple[EdgeGraph, Tensor, Tensor]) -> tuple[EdgeGraph, Tensor, Tensor]:
    return arrays  # not a lambda: it is pickled


def _node_blocks(system: System, partition: BlockPartition) -> tuple[EdgeGraph, Tensor, Tensor]:
    """The graph, the diagonal blocks and the off-diagonal blocks of a scalar system."""
    block, within = partition.block, partition.within
    row, column = system.graph.destination.cpu(), system.graph.source.long().cpu()
    value, count, d = system.weight.double().cpu(), partition.count, partition.size
    row_block, column_block = block[row], block[column]
    inside = row_block == column_block
    diagonal = torch.zeros((count, d, d), dtype=torch.float64)
    diagonal[block, within, within] = system.diagonal.double().cpu()
    diagonal[row_block[inside], within[row[inside]], within[column[inside]]] = value[inside]
    padded, position = torch.nonzero(partition.member < 0, as_tuple=True)
    diagonal[padded, position, position] = 1.0
    outside = ~inside
    key, edge = torch.unique(row_block[outside] * count + column_block[outside], return_inverse=True)
    weight = torch.zeros((len(key), d, d), dtype=torch.float64)
    weight[edge, within[row[outside]], within[column[outside]]] = value[outside]
    graph = EdgeGraph.of(count, key // count, key % count)
    return graph, diagonal, weight


def read_partition(blocks: Any, matrix: SparseMatrix) -> BlockPartition:
    """Read the public argument ``blocks``.

    Parameters
    ----------
    blocks : int, "auto", or array of integers, shape (n,)
        The size of all blocks; "auto" for those of `find_blocks`; or the block of each unknown.
    matrix : SparseMatrix

    Raises
    ------
    TypeError
        Another kind of object.
    InvalidSystemError
        A size that does not divide n, another string, or an array of another shape.
    """
    n = matrix.n
    if isinstance(blocks, str):
        if blocks != "auto":
            raise InvalidSystemError(f"blocks must be an integer, an array or 'auto', not {blocks!r}")
        return BlockPartition.of(find_blocks(matrix))
    if isinstance(blocks, (int, np.integer)) and not isinstance(blocks, bool):
        if blocks < 1 or n % blocks:
            raise InvalidSystemError(f"blocks of {blocks} do not divide {n} unknowns")
        return BlockPartition.of(np.arange(n) // int(blocks))
    labels = blocks.detach().cpu().numpy() if isinstance(blocks, Tensor) else np.asarray(blocks)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"blocks must be an integer, an array of integers or 'auto', not {type(blocks).__name__}")
    if labels.shape != (n,):
        raise InvalidSystemError(f"blocks has shape {labels.shape}; expected the block of each unknown, ({n},)")
    return BlockPartition.of(labels)


def find_blocks(matrix: SparseMatrix) -> np.ndarray:
    """The block structure of a matrix, as the block of each unknown, shape (n,), int64.

    Unknowns of equal row patterns (diagonal included) form a block, as the components of one vector do where
    whole blocks are stored; at most eight. Where hardly any do, because single entries of the blocks are zero, blocks
    of 6, 3 or 2 successive unknowns are tried: the first size of which the stored entries fill more than a half.
    """
    start, column = matrix.start.cpu().numpy(), matrix.column.cpu().numpy()
    labels = _blocks_of_equal_rows(start, column)
    if labels.max() + 1 <= _BLOCKS_PER_UNKNOWN * matrix.n:
        return labels
    row = np.repeat(np.arange(matrix.n), np.diff(start))
    for size in _COMMON_SIZES:
        touched = len(np.unique((row // size) * matrix.n + column // size))
        if matrix.n % size == 0 and len(column) >= _FILL * touched * size**2:
            return np.arange(matrix.n) // size
    return labels


def _blocks_of_equal_rows(start: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Blocks of at most eight rows of equal pattern, numbered by their first rows, shape (n,), int64."""
    n = len(start) - 1
    order, is_repeat = _rows_by_pattern(start, column)
    leads = np.flatnonzero(~is_repeat)  # where each pattern begins in `order`
    count = np.arange(n) - np.repeat(leads, np.diff(leads, append=n))  # earlier rows of the same pattern
    opens = count % _LARGEST_BLOCK == 0
    block = np.cumsum(opens) - 1
    rank = np.empty(block[-1] + 1, dtype=np.int64)
    rank[np.argsort(order[opens])] = np.arange(len(rank))
    labels = np.empty(n, dtype=np.int64)
    labels[order] = rank[block]
    return labels


def _rows_by_pattern(start: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order that brings rows of equal pattern together, ascending, and which of them repeat the row before.

    Sorted by hash and then compared entry by entry; if two patterns share a hash, another hash function is drawn.
    """
    seed = 0
    while True:
        key = _pattern_hash(start, column, seed=seed)
        order = np.argsort(key, kind="stable")
        same_hash = np.append(False, key[order[1:]] == key[order[:-1]])
        if _equal_rows(start, column, order[1:][same_hash[1:]], order[:-1][same_hash[1:]]):
            return order, same_hash
        seed += 1


def _pattern_hash(start: np.ndarray, column: np.ndarray, seed: int) -> np.ndarray:
    """A 64-bit hash of each row's set of columns, shape (n,), uint64: the sum of splitmix64 over the columns."""
    n = len(start) - 1
    z = np.arange(1 + seed * n, 1 + (seed + 1) * n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    total = np.zeros(len(column) + 1, dtype=np.uint64)
    np.cumsum((z ^ (z >> np.uint64(31)))[column], out=total[1:])
    return total[start[1:]] - total[start[:-1]]


def _equal_rows(start: np.ndarray, column: np.ndarray, rows: np.ndarray, others: np.ndarray) -> bool:
    """Whether each of ``rows`` has the pattern of its counterpart in ``others``."""
    length = start[rows + 1] - start[rows]
    if not np.array_equal(length, start[others + 1] - start[others]):
        return False
    entry = np.arange(length.sum()) + np.repeat(start[rows] - np.cumsum(length) + length, length)
    return np.array_equal(column[entry], column[entry + np.repeat(start[others] - start[rows], length)])
