"""Walk-summability between vector-valued nodes.

The norms ``N_ik = ‖A_ii^-½ A_ik A_kk^-½‖₂`` between blocks take the place of ``|R_ik|``. Where ``ρ(N) < 1`` the
model is block walk-summable, and precision and potential messages between blocks converge under any schedule
(Malioutov, Johnson and Willsky 2006, whose argument holds for any operator norm). A general matrix is judged by
``‖A_ii⁻¹ A_ik‖₂``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.conditions.verdict import Verdict
from gabp.conditions.walk_sums import MMatrixSolver, certify
from gabp.system import System
from gabp.system.blocks import BlockPartition, BlockSystem

_ROUNDING = 32 * torch.finfo(torch.float64).eps  # of a coupling, times block size and condition numbers


@dataclass(frozen=True)
class BlockWalkSums:
    """Proven bounds of ``ρ(N)`` and their verdict.

    Attributes
    ----------
    verdict : Verdict
        Whether the model is block walk-summable.
    lower, upper : float
        ``lower <= ρ(N) <= upper``.
    """

    verdict: Verdict
    lower: float
    upper: float


def certify_blocks(
    system: System, partition: BlockPartition, solver: MMatrixSolver | None = None
) -> BlockWalkSums | None:
    """Prove or refute block walk-summability; None where a diagonal block is not positive definite or ill-conditioned.

    Parameters
    ----------
    system : System
        With a positive diagonal.
    partition : BlockPartition
    solver : MMatrixSolver, optional
        Conjugate gradients by default.
    """
    blocks = BlockSystem.of(system.equilibrated()[0], partition)
    factor, failed = _factorised(blocks)
    if failed:
        return None
    coupling = _couplings(blocks, factor)
    condition = torch.linalg.cond(blocks.diagonal)
    error = _ROUNDING * partition.size * (condition[blocks.graph.source.long()] + condition[blocks.graph.destination])
    if not bool(torch.isfinite(error).all()):
        return None
    ones = torch.ones(partition.count, dtype=torch.float64)
    scalar = certify(System(blocks.graph, ones, -coupling * (1 + error), system.symmetric), solver)
    lower = scalar.lower / (1 + float(error.max())) ** 2 if len(error) else 0.0
    if scalar.verdict is Verdict.YES:
        return BlockWalkSums(Verdict.YES, lower, scalar.upper)
    return BlockWalkSums(Verdict.NO if lower >= 1 else Verdict.UNDECIDED, lower, scalar.upper)


def _factorised(blocks: BlockSystem) -> tuple[Tensor, bool]:
    """Cholesky factors of the diagonal blocks, or a general matrix's blocks themselves; whether one is singular."""
    if blocks.symmetric:
        factor, failed = torch.linalg.cholesky_ex(blocks.diagonal)
    else:
        factor, failed = blocks.diagonal, torch.linalg.inv_ex(blocks.diagonal)[1]
    return factor, bool(failed.any())


def _couplings(blocks: BlockSystem, factor: Tensor) -> Tensor:
    """``N_ik`` of each directed edge, shape (m,)."""
    graph = blocks.graph
    source, destination = graph.source.long(), graph.destination
    if not blocks.symmetric:
        return torch.linalg.matrix_norm(torch.linalg.solve(factor[destination], blocks.weight), 2)
    scaled = torch.linalg.solve_triangular(factor[destination], blocks.weight, upper=False)
    scaled = torch.linalg.solve_triangular(factor[source], scaled.mT, upper=False)
    norm = torch.linalg.matrix_norm(scaled, 2)
    return torch.maximum(norm, norm[graph.reverse])  # symmetric but for rounding
