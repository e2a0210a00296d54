"""Vector-valued nodes: a partition of the unknowns, and the model in blocks."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.kernels.torch.offsets import row_offsets
from gabp.system.errors import InvalidSystemError
from gabp.system.graph import EdgeGraph
from gabp.system.matrix import SparseMatrix
from gabp.system.model import System

_LARGEST = 8  # unknowns in a block that `find_blocks` puts together
_FOUND = 0.6  # blocks per unknown up to which they count as found
_USUAL_SIZES = (6, 3, 2)  # poses in space and in the plane, and pairs
_FILL = 0.55  # a chain or a grid in pairs has a half, pose graphs of diagonal information 0.58


@dataclass(frozen=True, eq=False)
class Partition:
    """Which unknowns make up each vector-valued node.

    Attributes
    ----------
    member : Tensor, shape (N, d), int64
        The unknowns of each block, ascending; -1 beyond the end of a block that is smaller than the largest.
    n : int
    """

    member: Tensor
    n: int

    @staticmethod
    def of(labels: np.ndarray) -> "Partition":
        """From the block of each unknown; blocks are numbered in the order of their first unknowns."""
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        block = rank[inverse]
        order = np.argsort(block, kind="stable")
        sizes = np.bincount(block)
        position = np.arange(len(block)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        member = np.full((len(sizes), sizes.max()), -1, dtype=np.int64)
        member[block[order], position] = order
        return Partition(torch.from_numpy(member), len(labels))

    @property
    def blocks(self) -> int:
        """How many nodes there are, ``N``."""
        return len(self.member)

    @property
    def size(self) -> int:
        """Unknowns in the largest block, ``d``."""
        return self.member.shape[1]

    @cached_property
    def block(self) -> Tensor:
        """The block of each unknown, shape (n,)."""
        return self._place // self.size

    @cached_property
    def _place(self) -> Tensor:
        """Where each unknown is in the blocks laid out one after another, shape (n,)."""
        flat = self.member.flatten()
        place = torch.empty(self.n, dtype=torch.int64)
        place[flat[flat >= 0]] = torch.nonzero(flat >= 0)[:, 0]
        return place

    @cached_property
    def within(self) -> Tensor:
        """The position of each unknown in its block, shape (n,)."""
        return self._place % self.size

    def gather(self, x: Tensor) -> Tensor:
        """(n, k) in blocks, (N, d, k); 0 beyond the end of a small block."""
        blocks = x.new_zeros((self.blocks * self.size, x.shape[1]))
        blocks[self._place] = x
        return blocks.reshape(self.blocks, self.size, -1)

    def scatter(self, blocks: Tensor) -> Tensor:
        """The way back, from (N, d, k) to (n, k)."""
        return blocks.reshape(self.blocks * self.size, -1)[self._place]


@dataclass(frozen=True, eq=False)
class BlockSystem:
    """A matrix as a graph of vector-valued nodes.

    Blocks smaller than the largest are filled up by uncoupled unknowns of unit precision, so that all have one size.

    Attributes
    ----------
    partition : Partition
    graph : EdgeGraph
    diagonal : Tensor, shape (N, d, d), float64
    weight : Tensor, shape (m, d, d), float64
        The block ``A[i, k]`` in the slot of the message that node ``i`` hears from node ``k``.
    symmetric : bool
    """

    partition: Partition
    graph: EdgeGraph
    diagonal: Tensor
    weight: Tensor
    symmetric: bool

    @staticmethod
    def of(system: System, partition: Partition) -> "BlockSystem":
        """The blocks of a scalar system."""
        partition_block, within = partition.block, partition.within
        row, column = system.graph.destination.cpu(), system.graph.source.long().cpu()
        value, count, d = system.weight.double().cpu(), partition.blocks, partition.size
        above, beside = partition_block[row], partition_block[column]
        inside = above == beside
        diagonal = torch.zeros((count, d, d), dtype=torch.float64)
        everyone = torch.arange(partition.n)
        diagonal[partition_block, within, within] = system.diagonal.double().cpu()[everyone]
        diagonal[above[inside], within[row[inside]], within[column[inside]]] = value[inside]
        empty = partition.member < 0
        node, position = torch.nonzero(empty, as_tuple=True)
        diagonal[node, position, position] = 1.0
        outside = ~inside
        key, slot = torch.unique(above[outside] * count + beside[outside], return_inverse=True)
        weight = torch.zeros((len(key), d, d), dtype=torch.float64)
        weight[slot, within[row[outside]], within[column[outside]]] = value[outside]
        start = row_offsets(key // count, count)
        return BlockSystem(partition, EdgeGraph(count, start, (key % count).int()), diagonal, weight, system.symmetric)

    def reordered(self, order: Tensor) -> "BlockSystem":
        """The same model with its nodes renumbered: the new node ``p`` is the old node ``order[p]``."""
        count = self.partition.blocks
        rank = torch.empty(count, dtype=torch.int64)
        rank[order] = torch.arange(count)
        row, column = rank[self.graph.destination], rank[self.graph.source.long()]
        by_place = torch.argsort(row * count + column)
        return BlockSystem(
            Partition(self.partition.member[order], self.partition.n),
            EdgeGraph(count, row_offsets(row, count), column[by_place].int()),
            self.diagonal[order],
            self.weight[by_place],
            self.symmetric,
        )


def read_partition(blocks: Any, matrix: SparseMatrix) -> Partition:
    """The partition that a caller asks for.

    Parameters
    ----------
    blocks : int, "auto", or array of integers, shape (n,)
        The size of all blocks; found in the pattern of the matrix; or the block of each unknown.
    matrix : SparseMatrix

    Raises
    ------
    TypeError, InvalidSystemError
        Another kind of object; a size that does not divide n; another length.
    """
    n = matrix.n
    if isinstance(blocks, str):
        if blocks != "auto":
            raise InvalidSystemError(f"blocks must be an integer, an array or 'auto', not {blocks!r}")
        return Partition.of(find_blocks(matrix))
    if isinstance(blocks, (int, np.integer)) and not isinstance(blocks, bool):
        if blocks < 1 or n % blocks:
            raise InvalidSystemError(f"blocks of {blocks} do not divide {n} unknowns")
        return Partition.of(np.arange(n) // int(blocks))
    labels = blocks.detach().cpu().numpy() if isinstance(blocks, Tensor) else np.asarray(blocks)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"blocks must be an integer, an array of integers or 'auto', not {type(blocks).__name__}")
    if labels.shape != (n,):
        raise InvalidSystemError(f"blocks has shape {labels.shape}; expected the block of each unknown, ({n},)")
    return Partition.of(labels)


def find_blocks(matrix: SparseMatrix) -> np.ndarray:
    """Blocks in a plain matrix, as the block of each unknown, shape (n,).

    Unknowns with the same neighbours (themselves included) belong together, as the components of one vector do where
    whole blocks are stored; at most eight make a block. Where hardly any do, because single entries of the blocks
    are zero, blocks of 6, 3 or 2 successive unknowns are tried: the first size of which the stored entries
    fill more than a half.
    """
    start, column = matrix.start.cpu().numpy(), matrix.column.cpu().numpy()
    seen: dict[bytes, tuple[int, int]] = {}  # by pattern: the open block and how many are in it
    labels = np.empty(matrix.n, dtype=np.int64)
    blocks = 0
    for i in range(matrix.n):
        pattern = column[start[i] : start[i + 1]].tobytes()
        label, members = seen.get(pattern, (-1, _LARGEST))
        if members == _LARGEST:
            label, members = blocks, 0
            blocks += 1
        labels[i] = label
        seen[pattern] = (label, members + 1)
    if blocks <= _FOUND * matrix.n:
        return labels
    row = np.repeat(np.arange(matrix.n), np.diff(start))
    for size in _USUAL_SIZES:
        touched = len(np.unique((row // size) * matrix.n + column // size))
        if matrix.n % size == 0 and len(column) >= _FILL * touched * size**2:
            return np.arange(matrix.n) // size
    return labels
