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
MOST_BLOCKS = 0.6  # up to which equal patterns count as block structure
_COMMON_SIZES = (2, 3, 6)  # pairs, and poses in the plane and in space
_SAMPLE = 50  # block rows
_FILL = 0.3  # blocks of springs along the axes and diagonals of a grid are filled to a third
_ALIGNED = 1.1  # how many times better than moved
_WHOLE = 0.75  # share of what smaller blocks are filled: pairs of blocks are filled less


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
        return BlockPartition.of(find_blocks(_graph_of(matrix)))
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


def _graph_of(matrix: SparseMatrix) -> EdgeGraph:
    row = torch.repeat_interleave(torch.arange(matrix.n, device=matrix.start.device), matrix.start.diff())
    off_diagonal = matrix.column != row
    return EdgeGraph.of(matrix.n, row[off_diagonal], matrix.column[off_diagonal])


def find_blocks(graph: EdgeGraph) -> np.ndarray:
    """The block structure of a symmetric pattern, as the block of each unknown, shape (n,), int64.

    Unknowns of equal row patterns (diagonal included) form a block, as the components of one vector do where
    whole blocks are stored; at most eight. Where hardly any do, because single entries of the blocks are zero, blocks
    of 2, 3 or 6 successive unknowns are tried: the largest that the stored entries fill about as well as smaller ones,
    and better than the same blocks moved along by one unknown or more, which on a grid makes no difference.
    """
    labels = _blocks_of_equal_rows(graph)
    if labels.max() + 1 <= MOST_BLOCKS * graph.n:
        return labels
    found, most = 1, _FILL
    for size in _COMMON_SIZES:
        if graph.n % size:
            continue
        filled, *moved = (_filled_share(graph, size, offset) for offset in range(size))
        if filled >= max(most, _ALIGNED * max(moved)):
            found, most = size, max(most, _WHOLE * filled)
    return labels if found == 1 else np.arange(graph.n) // found


def _blocks_of_equal_rows(graph: EdgeGraph) -> np.ndarray:
    """Blocks of at most eight rows of equal pattern, numbered by their first rows, shape (n,), int64."""
    pattern = _pattern_hash(graph)
    order = np.argsort(pattern, kind="stable")
    leads = np.flatnonzero(np.append(True, pattern[order[1:]] != pattern[order[:-1]]))
    count = np.arange(graph.n) - np.repeat(leads, np.diff(leads, append=graph.n))  # earlier rows of the same pattern
    opens = count % _LARGEST_BLOCK == 0
    block = np.cumsum(opens) - 1
    rank = np.empty(block[-1] + 1, dtype=np.int64)
    rank[np.argsort(order[opens])] = np.arange(len(rank))
    labels = np.empty(graph.n, dtype=np.int64)
    labels[order] = rank[block]
    return labels


def _pattern_hash(graph: EdgeGraph) -> np.ndarray:
    """A 64-bit hash of each row's set of columns with the diagonal, shape (n,), uint64: the sum of their splitmix64.

    Rows of unlike patterns share one with a probability of 2⁻⁶⁴, and any partition is a valid one.
    """
    z = np.arange(1, 1 + graph.n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    start = graph.start.cpu().numpy()
    row = np.flatnonzero(np.diff(start))
    total = z.copy()
    if len(row):
        total[row] += np.add.reduceat(z[graph.source.cpu().numpy()], start[row])
    return total


def _filled_share(graph: EdgeGraph, size: int, offset: int) -> float:
    """The share of the entries stored in blocks of ``size`` successive unknowns, of those in all blocks touched.

    Of some block rows from the first, which begins at unknown ``offset``, to the last.
    """
    start, count = graph.start.cpu().numpy(), (graph.n - offset) // size
    block = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64))
    first = start[offset + size * block]
    stored = start[offset + size * (block + 1)] - first
    sampled = np.arange(stored.sum()) + np.repeat(first - np.cumsum(stored) + stored, stored)
    column = (graph.source.cpu().numpy()[sampled] - offset) // size + 1
    width = count + 2
    touched = np.unique(np.concatenate([np.repeat(block, stored) * width + column, block * width + block + 1]))
    return (len(sampled) + size * len(block)) / (len(touched) * size**2)
