"""Gaussian belief propagation between vector-valued nodes: the scalar equations with d × d blocks.

``P_{k→i} = -A_ik P_{k\\i}⁻¹ A_ki`` and ``h_{k→i} = -A_ik P_{k\\i}⁻¹ h_{k\\i}`` (Weiss and Freeman 2001, who state their
theorems for vectors). It can converge where the scalar form does not: a block is eliminated exactly.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import cpu, reference
from gabp.system import Forest
from gabp.system.blocks import BlockSystem

_kernels: Any = reference if cpu.extension is None else cpu.extension


@dataclass(frozen=True, eq=False)
class BlockPrecisions:
    """Settled precision messages.

    Attributes
    ----------
    ratio : Tensor, shape (m, d, d)
        ``A_ik P_{k\\i}⁻¹``: what the sender's cavity potential is multiplied by.
    belief : Tensor, shape (N, d, d)
        ``J_i``; ``J_i⁻¹`` is the Bethe covariance of the node.
    sweeps : int
    settled : bool
    invalid_node : int or None
        A node whose cavity or belief is not positive definite (or, nonsymmetric, is singular).
    """

    ratio: Tensor
    belief: Tensor
    sweeps: int
    settled: bool
    invalid_node: int | None


def settle_block_precisions(system: BlockSystem, limit: int = 2000) -> BlockPrecisions:
    """Flood the precision messages from zero to their fixed point."""
    graph = system.graph
    source, destination, reverse = graph.source.long(), graph.destination, graph.reverse
    back = system.weight[reverse]
    message = torch.zeros_like(system.weight)
    still = 16 * torch.finfo(message.dtype).eps
    settled, invalid, sweeps = graph.edges == 0, None, 0
    ratio = torch.zeros_like(message)
    while True:
        belief = system.diagonal.index_add(0, destination, message)
        invalid = _first_invalid(belief, system.symmetric)
        if settled or invalid is not None or sweeps == limit:
            break
        cavity = belief[source] - message[reverse]
        place = _first_invalid(cavity, system.symmetric)
        if place is not None:
            invalid = int(source[place])
            break
        ratio = torch.linalg.solve(cavity, system.weight, left=False)
        new = -ratio @ back
        sweeps += 1
        change = (new - message).abs().amax((1, 2))
        settled = bool((change <= still * new.abs().amax((1, 2))).all())
        message = new
    return BlockPrecisions(ratio, belief, sweeps, settled and invalid is None, invalid)


class BlockFloodingSweeps:
    """Potential messages at settled precisions for ``b`` of shape (n, k); all nodes send at once."""

    def __init__(self, system: BlockSystem, precisions: BlockPrecisions, b: Tensor, damping: float = 0.0) -> None:
        self.system, self.precisions, self.damping = system, precisions, damping
        self.device = b.device
        self.b = system.partition.gather(b.double().cpu())
        self.potential = self.b.new_zeros((system.graph.edges, *self.b.shape[1:]))

    def sweep(self, count: int) -> None:
        """Do ``count`` sweeps."""
        graph = self.system.graph
        source = graph.source.long()
        for _ in range(count):
            cavity = self._heard()[source] - self.potential[graph.reverse]
            new = -self.precisions.ratio @ cavity
            self.potential = torch.lerp(new, self.potential, self.damping) if self.damping else new

    def mean(self) -> Tensor:
        """The belief means ``J_i⁻¹ h_i``, shape (n, k)."""
        mean = torch.linalg.solve(self.precisions.belief, self._heard())
        return self.system.partition.scatter(mean).to(self.device)

    def _heard(self) -> Tensor:
        return self.b.index_add(0, self.system.graph.destination, self.potential)


@dataclass(frozen=True, eq=False)
class BlockSweep:
    """The elimination sweep ``((J + L) J⁻¹ (J + Lᵀ))⁻¹`` of a symmetric model in blocks, positive definite.

    Exact on a forest whose children come before their parents.

    Attributes
    ----------
    system : BlockSystem
    inverse : Tensor, shape (N, d, d)
        Of the pivots ``J_i``.
    invalid_node : int or None
        A node whose diagonal block is not positive definite.
    """

    system: BlockSystem
    inverse: Tensor
    invalid_node: int | None

    @staticmethod
    def of(system: BlockSystem) -> "BlockSweep":
        """Set up for one matrix."""
        graph = system.graph
        inverse = torch.zeros_like(system.diagonal)
        bad = _kernels.block_pivots(system.diagonal, system.weight, graph.start, graph.source, graph.reverse, inverse)
        return BlockSweep(system, inverse, None if bad < 0 else bad)

    def apply(self, r: Tensor) -> Tensor:
        """The sweep on ``r`` of shape (n, k)."""
        graph, partition = self.system.graph, self.system.partition
        y = torch.empty((partition.blocks, partition.size, r.shape[1]), dtype=torch.float64)
        blocks = partition.gather(r.double().cpu())
        _kernels.block_elimination_sweep(self.system.weight, graph.start, graph.source, self.inverse, blocks, y)
        return partition.scatter(y).to(r.device)


def leaves_first(system: BlockSystem) -> BlockSystem:
    """A forest with its nodes renumbered so that children come before their parents."""
    return system.reordered(Forest.of(system.graph).node.flip(0))


def block_walk_radius(system: BlockSystem, products: int = 200) -> tuple[float, float]:
    """Certified bounds of ``ρ(N)`` for the norms ``N_ik = ‖A_ii^-½ A_ik A_kk^-½‖₂`` between nodes.

    Below 1 the model is block walk-summable: precisions and means converge under any schedule. The bounds are the
    least and largest ratio ``(N x)_i / x_i`` (Collatz and Wielandt), rounding allowed for.

    Raises
    ------
    ValueError
        The matrix is not symmetric with positive definite diagonal blocks.
    """
    factor, failed = torch.linalg.cholesky_ex(system.diagonal)
    if not system.symmetric or bool(failed.any()):
        raise ValueError("block walk-sums need a symmetric matrix with positive definite diagonal blocks")
    graph = system.graph
    source, destination = graph.source.long(), graph.destination
    scaled = torch.linalg.solve_triangular(factor[destination], system.weight, upper=False)
    scaled = torch.linalg.solve_triangular(factor[source], scaled.mT, upper=False)
    norm = torch.linalg.matrix_norm(scaled, 2)
    x = torch.ones(graph.n, dtype=torch.float64)
    lower, upper = 0.0, float("inf")
    slack = 1 + 16 * (int(graph.start.diff().max()) + 2 + system.partition.size) * torch.finfo(torch.float64).eps
    for _ in range(products):
        image = torch.zeros_like(x).index_add_(0, destination, norm * x[source])
        ratio = image / x
        lower, upper = max(lower, float(ratio.min()) / slack), min(upper, float(ratio.max()) * slack)
        x = x + image  # with the identity added, so that a bipartite graph does not oscillate
        x = x / x.max()
    return lower, upper


def _first_invalid(blocks: Tensor, must_be_positive: bool) -> int | None:
    factorise = torch.linalg.cholesky_ex if must_be_positive else torch.linalg.lu_factor_ex
    bad = factorise(blocks)[-1] != 0
    return int(torch.nonzero(bad)[0]) if bool(bad.any()) else None
