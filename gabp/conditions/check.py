"""`check`: the convergence report of one matrix."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.conditions.block_walk_sums import BlockWalkSums, certify_blocks
from gabp.conditions.definiteness import positive_definite
from gabp.conditions.dominance import diagonally_dominant
from gabp.conditions.host_edges import HostEdges
from gabp.conditions.message_certificates import MessageCertificates
from gabp.conditions.report import ConvergenceReport
from gabp.conditions.verdict import Verdict
from gabp.conditions.walk_sums import MMatrixSolver
from gabp.system import System, largest_asymmetry, make_system, read_matrix
from gabp.system.blocks import BlockPartition, read_partition

MethodChooser = Callable[[System, Verdict], str]
"""``recommend(system, positive_definite)`` is the name of the method to solve with."""


def check(
    A: Any, *, blocks: Any = None, solver: MMatrixSolver | None = None, recommend: MethodChooser | None = None
) -> ConvergenceReport:
    """Find out whether Gaussian belief propagation converges on ``A``, with proofs where that is possible.

    Parameters
    ----------
    A : sparse or dense matrix, shape (n, n)
        Anything that `gabp.solve` takes.
    blocks : int, "auto" or integer array of shape (n,), optional
        Vector-valued nodes, for block walk-summability.
    solver : MMatrixSolver, optional
        Solves with the symmetric M-matrix ``I - |R|``; conjugate gradients by default.
    recommend : MethodChooser, optional
        Chooses the method; without it the report recommends none.

    Returns
    -------
    ConvergenceReport

    Raises
    ------
    TypeError
        ``A`` is no matrix, or of an unsupported dtype.
    InvalidSystemError
        ``A`` is not real, finite and square. Asymmetry, nonpositive diagonals and indefiniteness are reported instead.
    """
    matrix = read_matrix(A)
    partition = None if blocks is None else read_partition(blocks, matrix)
    asymmetry = largest_asymmetry(matrix)
    system = make_system(matrix, symmetric=asymmetry is None)
    report = check_system(system, partition, solver=solver, recommend=recommend)
    scaling, notes = report.scaling, report.notes
    if scaling is not None and isinstance(A, Tensor):
        scaling = torch.from_numpy(scaling)
    if asymmetry is not None:
        i, j, forth, back = asymmetry
        notes = (f"not symmetric: A[{i}, {j}] = {forth:.6g}, A[{j}, {i}] = {back:.6g}", *notes)
    return replace(report, nnz=len(matrix.value), scaling=scaling, notes=notes)


def check_system(
    system: System,
    partition: BlockPartition | None = None,
    *,
    solver: MMatrixSolver | None = None,
    recommend: MethodChooser | None = None,
) -> ConvergenceReport:
    """The report on a system that has been read already; its ``scaling`` is a numpy array.

    See `check` for the parameters.
    """
    edges = HostEdges.of(system)
    sign_normalised = system if system.symmetric else _with_positive_diagonal(system)
    has_pivots = bool((sign_normalised.diagonal > 0).all())
    examined = HostEdges.equilibrated(sign_normalised) if has_pivots else edges
    report = ConvergenceReport(
        n=system.n,
        nnz=edges.count + system.n,
        components=examined.components,
        is_forest=system.graph.is_forest,
        symmetric=system.symmetric,
        positive_diagonal=bool((edges.diagonal > 0).all()),
        positive_definite=positive_definite(edges, None),
        diagonally_dominant=diagonally_dominant(edges),
        walk_summable=Verdict.NO,
        flooding_converges=Verdict.NO,
        notes=() if has_pivots else (_missing_pivot(edges),),
    )
    if partition is not None:
        report = _with_blocks(report, certify_blocks(sign_normalised, partition, solver) if has_pivots else None)
    if has_pivots:
        report = _with_certificates(report, MessageCertificates(examined, solver))
    if recommend is not None:
        report = replace(report, recommended_method=recommend(system, report.positive_definite))
    return report


def _with_blocks(report: ConvergenceReport, found: BlockWalkSums | None) -> ConvergenceReport:
    if found is None:
        note = "no walk-sums between blocks: a diagonal block is not positive definite"
        return replace(report, notes=(*report.notes, note))
    return replace(report, block_walk_summable=found.verdict, block_walk_radius=(found.lower, found.upper))


def _with_certificates(report: ConvergenceReport, found: MessageCertificates) -> ConvergenceReport:
    return replace(
        report,
        walk_summable=found.walk_summable,
        walk_radius=(found.bounds.lower, found.bounds.upper),
        scaling=None if found.scaling is None else found.scaling * found.edges.unit,
        positive_definite=found.positive_definite,
        jacobi_radius=found.jacobi_radius,
        precision_messages=found.precisions.status,
        mean_radius=found.mean_radius,
        mean_radius_bound=found.mean_radius_bound,
        flooding_converges=found.flooding_converges,
        expected_sweeps=found.expected_sweeps,
        notes=(*report.notes, *found.notes),
    )


def _with_positive_diagonal(system: System) -> System:
    """``S A`` with the signs ``S`` of the diagonal of a general matrix; the means are the same.

    The messages into a node and its belief change by the sign of its row.
    """
    sign = torch.where(system.diagonal < 0, -1.0, 1.0).to(system.dtype)
    return replace(system, diagonal=system.diagonal * sign, weight=system.weight * sign[system.graph.destination])


def _missing_pivot(edges: HostEdges) -> str:
    """Report the first diagonal entry that admits no message."""
    missing, reason = (edges.diagonal <= 0, "not positive") if edges.symmetric else (edges.diagonal == 0, "zero")
    i = int(np.flatnonzero(missing)[0])
    return f"A[{i}, {i}] = {edges.diagonal[i]:.6g} is {reason}: no messages from node {i}"
