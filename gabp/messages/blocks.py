"""Gaussian belief propagation between vector-valued nodes: the scalar equations with d × d blocks.

``P_{k→i} = -A_ik P_{k\\i}⁻¹ A_ki`` and ``h_{k→i} = -A_ik P_{k\\i}⁻¹ h_{k\\i}`` (Weiss and Freeman 2001, who state their
theorems for vectors). It can converge where the scalar form does not: a block is eliminated exactly.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.system import Forest
from gabp.system.blocks import BlockSystem


@dataclass(frozen=True, eq=False)
class BlockPrecisions:
    """The fixed point of the precision messages, or the last iterate where there is none.

    Attributes
    ----------
    ratio : Tensor, shape (m, d, d)
        ``A_ik P_{k\\i}⁻¹``, the factor of the cavity potential in the message ``k → i``.
    belief : Tensor, shape (N, d, d)
        ``J_i``; ``J_i⁻¹`` is the Bethe covariance of the node.
    sweeps : int
    converged : bool
    invalid_node : int or None
        A node whose cavity or belief is not positive definite (or, nonsymmetric, is singular).
    """

    ratio: Tensor
    belief: Tensor
    sweeps: int
    converged: bool
    invalid_node: int | None


def solve_block_fixed_point(system: BlockSystem, limit: int = 2000) -> BlockPrecisions:
    """Flood the precision messages from zero to their fixed point."""
    graph = system.graph
    source, destination, reverse = graph.source.long(), graph.destination, graph.reverse
    back = system.weight[reverse]
    message = torch.zeros_like(system.weight)
    tolerance = 16 * torch.finfo(message.dtype).eps
    converged, invalid, sweeps = graph.edges == 0, None, 0
    ratio = torch.zeros_like(message)
    while True:
        belief = system.diagonal.index_add(0, destination, message)
        invalid = _first_invalid(belief, system.symmetric)
        if converged or invalid is not None or sweeps == limit:
            break
        cavity = belief[source] - message[reverse]
        edge = _first_invalid(cavity, system.symmetric)
        if edge is not None:
            invalid = int(source[edge])
            break
        ratio = torch.linalg.solve(cavity, system.weight, left=False)
        new = -ratio @ back
        sweeps += 1
        change = (new - message).abs().amax((1, 2))
        converged = bool((change <= tolerance * new.abs().amax((1, 2))).all())
        message = new
    return BlockPrecisions(ratio, belief, sweeps, converged and invalid is None, invalid)


class _BlockSweeps:
    """Potential messages at the precision fixed point for ``b`` of shape (n, k)."""

    def __init__(self, system: BlockSystem, precisions: BlockPrecisions, b: Tensor) -> None:
        self.system, self.precisions = system, precisions
        self.device = b.device
        self.b = system.partition.gather(b.double().cpu())
        self.potential = self.b.new_zeros((system.graph.edges, *self.b.shape[1:]))

    def mean(self) -> Tensor:
        """The belief means ``J_i⁻¹ h_i``, shape (n, k)."""
        mean = torch.linalg.solve(self.precisions.belief, self._potentials())
        return self.system.partition.scatter(mean).to(self.device)

    def _potentials(self) -> Tensor:
        return self.b.index_add(0, self.system.graph.destination, self.potential)


class BlockFloodingSweeps(_BlockSweeps):
    """The synchronous schedule; ``damping`` is the share of the old message that is kept."""

    def __init__(self, system: BlockSystem, precisions: BlockPrecisions, b: Tensor, damping: float = 0.0) -> None:
        super().__init__(system, precisions, b)
        self.damping = damping

    def sweep(self, count: int) -> None:
        """Do ``count`` sweeps."""
        graph = self.system.graph
        source = graph.source.long()
        for _ in range(count):
            cavity = self._potentials()[source] - self.potential[graph.reverse]
            new = -self.precisions.ratio @ cavity
            self.potential = torch.lerp(new, self.potential, self.damping) if self.damping else new


class BlockSequentialSweeps(_BlockSweeps):
    """The sequential schedule in the order of the blocks: about half the sweeps of flooding."""

    def __init__(self, system: BlockSystem, precisions: BlockPrecisions, b: Tensor) -> None:
        super().__init__(system, precisions, b)
        self._ratio = precisions.ratio[system.graph.reverse].contiguous()

    def sweep(self, count: int) -> None:
        """Do ``count`` sweeps."""
        graph = self.system.graph
        kernels = dispatch.backend("cpu").sequential
        kernels.block_sequential_potentials(graph.start, graph.reverse, self._ratio, self.b, self.potential, count)


@dataclass(frozen=True, eq=False)
class BlockSweep:
    """The elimination sweep ``((J + L) J⁻¹ (J + U))⁻¹`` of a model in blocks; positive definite where A is symmetric.

    Exact on a forest whose children come before their parents.

    Attributes
    ----------
    system : BlockSystem
    inverse : Tensor, shape (N, d, d)
        Of the pivots ``J_i``.
    invalid_node : int or None
        A node whose diagonal block is not positive definite (or, nonsymmetric, is singular).
    """

    system: BlockSystem
    inverse: Tensor
    invalid_node: int | None

    @staticmethod
    def of(system: BlockSystem) -> "BlockSweep":
        """Set up for one matrix."""
        graph = system.graph
        inverse = torch.zeros_like(system.diagonal)
        bad = dispatch.backend("cpu").sequential.block_pivots(
            system.diagonal, system.weight, graph.start, graph.source, graph.reverse, system.symmetric, inverse
        )
        return BlockSweep(system, inverse, None if bad < 0 else bad)

    def apply(self, r: Tensor) -> Tensor:
        """The sweep on ``r`` of shape (n, k)."""
        graph, partition = self.system.graph, self.system.partition
        y = torch.empty((partition.blocks, partition.size, r.shape[1]), dtype=torch.float64)
        blocks = partition.gather(r.double().cpu())
        kernels = dispatch.backend("cpu").sequential
        kernels.block_elimination_sweep(self.system.weight, graph.start, graph.source, self.inverse, blocks, y)
        return partition.scatter(y).to(r.device)


def leaves_first(system: BlockSystem) -> BlockSystem:
    """A forest with its nodes renumbered so that children come before their parents."""
    return system.reordered(Forest.of(system.graph).node.flip(0))


def _first_invalid(blocks: Tensor, must_be_positive: bool) -> int | None:
    factorise = torch.linalg.cholesky_ex if must_be_positive else torch.linalg.lu_factor_ex
    bad = factorise(blocks)[-1] != 0
    return int(torch.nonzero(bad)[0]) if bool(bad.any()) else None
