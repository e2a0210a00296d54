"""Covariance blocks of pairs of variables, from a linear system: exact ones and the Bethe approximation."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from gabp.factors.information import Information
from gabp.messages import SparseFactor
from gabp.messages.blocks import BlockPrecisions, solve_block_fixed_point
from gabp.system import InvalidSystemError, System
from gabp.system.blocks import BlockPartition, BlockSystem

_COLUMNS = 64  # of the inverse, computed together


class CovarianceBlocks(Protocol):
    """Covariances between the unknowns of two variables, for any number of pairs."""

    @property
    def kind(self) -> str:
        """What the covariances are: ``"exact"`` or ``"bethe"``."""

    def between(self, u: Tensor, v: Tensor, shape: tuple[int, int]) -> Tensor:
        """``Cov(δ_u…, δ_v…)``, (k, *shape), for the first unknowns ``u`` and ``v``, (k,), of two variables each."""


@dataclass(frozen=True, eq=False)
class ExactBlocks:
    """Blocks of ``A⁻¹``: of the selected inverse where A has entries, by solves elsewhere."""

    system: System
    factor: SparseFactor
    kind: ClassVar[str] = "exact"

    def between(self, u: Tensor, v: Tensor, shape: tuple[int, int]) -> Tensor:
        """See `CovarianceBlocks`."""
        edge, exists = self._places(u.numpy(), v.numpy(), shape)
        diagonal, weight = (array.numpy() for array in self.factor.selected_inverse)
        block = weight[edge] if len(weight) else np.zeros(edge.shape)
        same = u.numpy() == v.numpy()
        own = np.arange(min(shape))
        block[np.flatnonzero(same)[:, None], own, own] = diagonal[u.numpy()[same, None] + own]
        missing = torch.from_numpy(~(exists | same))
        read = torch.from_numpy(block)
        if bool(missing.any()):
            read[missing] = self._solved(u[missing], v[missing], shape)
        return read

    def _places(self, u: np.ndarray, v: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The edges of each block, (k, *shape), and whether A has it, for ``u != v``.

        All rows of a variable have the same columns, each without its own, and those of another variable side by side.
        In a diagonal block, ``u == v``, the edges of the diagonal itself are undefined.
        """
        graph, last = self.system.graph, max(self.system.graph.edges - 1, 0)
        key, start = u * graph.n + v, graph.start.numpy()
        place = np.searchsorted(self._keys, key)
        exists = self._keys[place.clip(max=last)] == key if graph.edges else np.zeros(len(u), dtype=bool)
        a, b = np.arange(shape[0])[:, None], np.arange(shape[1])
        row = start[u[:, None] + a[:, 0]] + (place - start[u])[:, None]
        edge = row[:, :, None] + b - ((u == v)[:, None, None] & (b > a))
        return edge.clip(max=last), exists

    @cached_property
    def _keys(self) -> np.ndarray:
        """Row and column of each edge in one number, ascending."""
        graph = self.system.graph
        row = np.repeat(np.arange(graph.n), np.diff(graph.start.numpy()))
        return row * graph.n + graph.source.numpy()

    def _solved(self, u: Tensor, v: Tensor, shape: tuple[int, int]) -> Tensor:
        """Blocks off the pattern, by the columns of ``A⁻¹`` that belong to ``v``."""
        first, which = torch.unique(v, return_inverse=True)
        if len(torch.unique(u)) * shape[0] < len(first) * shape[1]:
            return self._solved(v, u, (shape[1], shape[0])).mT
        block = torch.empty(len(u), *shape, dtype=torch.float64)
        at_once = max(1, _COLUMNS // shape[1])
        for begin in range(0, len(first), at_once):
            chosen = first[begin : begin + at_once]
            columns = self._columns((chosen[:, None] + torch.arange(shape[1])).reshape(-1))
            here = (which >= begin) & (which < begin + at_once)
            place = _rows_and_columns(u[here], (which[here] - begin) * shape[1], shape)
            block[here] = columns[place]
        return block

    def _columns(self, unknown: Tensor) -> Tensor:
        unit = torch.zeros(self.system.n, len(unknown), dtype=torch.float64)
        unit[unknown, torch.arange(len(unknown))] = 1.0
        x = self.factor.solve(unit)
        return x + self.factor.solve(self.system.residual(x, unit))  # one step of iterative refinement


@dataclass(frozen=True, eq=False)
class BetheBlocks:
    """Beliefs of belief propagation between the variables: ``Cov_ii = J_i⁻¹``, ``Cov_ik = -J_i⁻¹ A_ik P_{k\\i}⁻¹``."""

    system: BlockSystem
    precisions: BlockPrecisions

    @property
    def kind(self) -> str:
        return "exact" if self.system.graph.is_forest else "bethe"

    def between(self, u: Tensor, v: Tensor, shape: tuple[int, int]) -> Tensor:
        """See `CovarianceBlocks`.

        Raises
        ------
        InvalidSystemError
            Two variables share no factor: no belief is about both.
        """
        number = self.system.partition.block
        i, k = number[u], number[v]
        block = self._covariance[i]
        other = i != k
        if bool(other.any()):
            block[other] = -block[other] @ self.precisions.ratio[self._edges(i[other], k[other])]
        return block[:, : shape[0], : shape[1]]

    @cached_property
    def _covariance(self) -> Tensor:
        return torch.linalg.inv(self.precisions.belief)

    def _edges(self, i: Tensor, k: Tensor) -> Tensor:
        graph = self.system.graph
        key = graph.destination * graph.n + graph.source.long()
        edge = torch.searchsorted(key, i * graph.n + k)
        found = (
            (edge < len(key)) & (key[edge.clamp(max=max(len(key) - 1, 0))] == i * graph.n + k) if len(key) else i < 0
        )
        if not bool(found.all()):
            raise InvalidSystemError(
                "the Bethe approximation has joints only of variables that share a factor; choose variance='exact'"
            )
        return edge


def exact_blocks(information: Information) -> ExactBlocks:
    """Blocks by the sparse factor that ``information`` was prepared with."""
    assert isinstance(information.prepared, SparseFactor)
    return ExactBlocks(information.linearization.system, information.prepared)


def bethe_blocks(information: Information) -> BetheBlocks:
    """Blocks by the precision messages between variables.

    Raises
    ------
    ArithmeticError
        They have no valid fixed point; the variable is named.
    """
    partition = BlockPartition.of(information.linear.blocks)
    system = BlockSystem.of(information.linearization.system, partition)
    precisions = solve_block_fixed_point(system)
    if precisions.converged:
        return BetheBlocks(system, precisions)
    place = ""
    if precisions.invalid_node is not None:
        variables, index = information.structure.variable_of(int(partition.member[precisions.invalid_node, 0]))
        place = f" at {variables.named(index)}"
    raise ArithmeticError(
        f"the precision messages between the variables have no valid fixed point{place}, or do not reach it in "
        f"{precisions.sweeps} sweeps, so there is no Bethe approximation; choose variance='exact'"
    )


def _rows_and_columns(u: Tensor, v: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Indices (k, rows, 1) and (k, 1, columns) of the blocks that begin at ``u`` and ``v``."""
    row = u[:, None, None] + torch.arange(shape[0])[:, None]
    return row, v[:, None, None] + torch.arange(shape[1])
