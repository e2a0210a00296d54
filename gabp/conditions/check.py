"""`check`: every condition, asked in an order in which each answer helps the next."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.conditions.block_walk_sums import certify_blocks
from gabp.conditions.definiteness import has_negative_curvature, positive_definite
from gabp.conditions.dominance import diagonally_dominant
from gabp.conditions.host_edges import Slots, Vector
from gabp.conditions.non_backtracking import NonBacktracking, certified_bound, decide_radius, real_radius
from gabp.conditions.precision_messages import Outcome, PrecisionMessages, settle
from gabp.conditions.report import ConvergenceReport
from gabp.conditions.spectra import jacobi_radius
from gabp.conditions.sweep_estimate import expected_sweeps, run_trial
from gabp.conditions.verdict import Verdict
from gabp.conditions.walk_sums import Bracket, MMatrixSolver
from gabp.system import System, asymmetry, make_system, read_matrix
from gabp.system.blocks import Partition, read_partition

MethodChooser = Callable[[System, Verdict], str]
"""``recommend(system, positive_definite)`` is the name of the method to solve with."""

_CRITICAL = 0.98  # ρ(M) above which an affordable Krylov basis cannot tell it from 1 on a large graph
_TIGHTENING = 2_000_000  # directed edges that are worth one more solve for closer bounds
_KRYLOV = 50_000  # directed edges of such a graph


def check(
    A: Any, *, blocks: Any = None, solver: MMatrixSolver | None = None, recommend: MethodChooser | None = None
) -> ConvergenceReport:
    """Find out whether Gaussian belief propagation converges on ``A``, with proofs where that is possible.

    Parameters
    ----------
    A : sparse or dense matrix, shape (n, n)
        Anything that `gabp.solve` takes.
    blocks : int, "auto" or integer array of shape (n,), optional
        Vector-valued nodes, of which block walk-summability is asked too.
    solver : callable, optional
        Solves with the symmetric M-matrix ``I - |R|``; conjugate gradients by default.
    recommend : callable, optional
        Chooses the method; without it the report recommends none.

    Raises
    ------
    TypeError, InvalidSystemError
        There is no real, finite, square matrix to look at. Everything else is reported, not raised.
    """
    matrix = read_matrix(A)
    lopsided = asymmetry(matrix)
    remarks = []
    if lopsided is not None:
        i, j, forth, back = lopsided
        remarks.append(f"not symmetric: A[{i}, {j}] = {forth:.6g}, A[{j}, {i}] = {back:.6g}")
    partition = None if blocks is None else read_partition(blocks, matrix)
    system = make_system(matrix, symmetric=lopsided is None)
    report = check_system(system, partition, solver=solver, recommend=recommend)
    scaling = report.scaling
    if scaling is not None and isinstance(A, Tensor):
        scaling = torch.from_numpy(scaling)
    return replace(report, nnz=len(matrix.value), scaling=scaling, remarks=(*remarks, *report.remarks))


def check_system(
    system: System,
    partition: Partition | None = None,
    *,
    solver: MMatrixSolver | None = None,
    recommend: MethodChooser | None = None,
) -> ConvergenceReport:
    """The report on a system that has been read already; its ``scaling`` is a numpy array."""
    remarks = []
    slots = Slots.of(system)
    turned = system if system.symmetric else _with_rows_turned(system)
    able = (turned.diagonal > 0).cpu().numpy()
    if not able.all():
        i = int(np.flatnonzero(~able)[0])
        what = "not positive" if system.symmetric else "zero"
        remarks.append(f"A[{i}, {i}] = {slots.diagonal[i]:.6g} is {what}: no messages from node {i}")
    examined = Slots.equilibrated(turned) if able.all() else slots
    finding = _examine(examined, solver) if able.all() else _no_messages(slots)
    between_blocks = None
    if partition is not None and able.all():
        between_blocks = certify_blocks(turned, partition, solver)
    if partition is not None and between_blocks is None:
        remarks.append("no walk-sums between blocks: a diagonal block is not positive definite")
    return ConvergenceReport(
        n=slots.n,
        nnz=len(system.weight) + system.n,
        components=examined.components,
        is_forest=system.graph.is_forest,
        symmetric=system.symmetric,
        positive_diagonal=bool((slots.diagonal > 0).all()),
        positive_definite=finding.positive_definite,
        diagonally_dominant=diagonally_dominant(slots),
        walk_summable=finding.walk_summable,
        walk_radius=finding.walk_radius,
        scaling=finding.scaling,
        jacobi_radius=finding.jacobi_radius,
        precision_messages=finding.precision_messages,
        mean_radius=finding.mean_radius,
        mean_radius_bound=finding.mean_radius_bound,
        flooding_converges=finding.flooding_converges,
        expected_sweeps=finding.expected_sweeps,
        recommended_method=None if recommend is None else recommend(system, finding.positive_definite),
        remarks=(*remarks, *finding.remarks),
        block_walk_summable=None if between_blocks is None else between_blocks.verdict,
        block_walk_radius=None if between_blocks is None else (between_blocks.lower, between_blocks.upper),
    )


def _with_rows_turned(system: System) -> System:
    """``S A`` with signs ``S`` that make the diagonal of a general matrix positive; the means are the same.

    All messages that a node hears change by the sign of its row, and so does its belief.
    """
    sign = torch.where(system.diagonal < 0, -1.0, 1.0).to(system.dtype)
    return replace(system, diagonal=system.diagonal * sign, weight=system.weight * sign[system.graph.destination])


@dataclass
class _Finding:
    """What the questions about messages found; as it stands, the answers for a matrix that allows none."""

    positive_definite: Verdict = Verdict.NO
    walk_summable: Verdict = Verdict.NO
    walk_radius: tuple[float, float] | None = None
    scaling: Vector | None = None
    jacobi_radius: float | None = None
    precision_messages: Outcome | None = None
    mean_radius: float | None = None
    mean_radius_bound: float | None = None
    flooding_converges: Verdict = Verdict.NO
    expected_sweeps: int | None = None
    remarks: tuple[str, ...] = ()


def _no_messages(slots: Slots) -> _Finding:
    return _Finding(positive_definite=positive_definite(slots, None))


def _examine(slots: Slots, solver: MMatrixSolver | None) -> _Finding:
    bracket = Bracket(slots, solver)
    bracket.decide()
    bracket.tighten(solves=int(np.clip(_TIGHTENING / max(slots.edges, 1), 1, 6)))
    finding = _Finding(
        positive_definite=positive_definite(slots, bracket),
        walk_summable=bracket.verdict,
        walk_radius=(bracket.lower, bracket.upper),
        scaling=bracket.scaling if bracket.verdict is Verdict.YES else None,
        jacobi_radius=jacobi_radius(slots, bracket),
    )
    precisions = settle(slots, finding.scaling)
    finding.precision_messages = precisions.outcome
    if precisions.valid:
        _examine_means(slots, bracket, precisions, finding)
    elif precisions.outcome == "invalid":
        finding.flooding_converges = Verdict.NO
    else:
        finding.flooding_converges = finding.walk_summable if finding.scaling is not None else Verdict.UNDECIDED
    finding.remarks = tuple(_remarks(finding))
    if finding.scaling is not None:
        finding.scaling = finding.scaling * slots.unit
    return finding


def _examine_means(slots: Slots, bracket: Bracket, precisions: PrecisionMessages, finding: _Finding) -> None:
    operator = NonBacktracking(slots, precisions.cavity)
    trial = run_trial(slots, precisions)
    finding.mean_radius = _mean_radius(slots, bracket, precisions, operator)
    if finding.mean_radius is None:
        finding.mean_radius = trial.rate
    if precisions.floor_cavity is not None:
        bound = certified_bound(operator, precisions.floor_cavity, finding.scaling)
        if finding.walk_summable is Verdict.YES:
            bound = min(bound, 1.0)  # walk-sums converge, so ρ(|M|) < 1, whatever rounding leaves of the bound
        finding.mean_radius_bound = bound if np.isfinite(bound) else None
    finding.flooding_converges = _flooding_converges(slots, precisions, operator, finding)
    if finding.flooding_converges is not Verdict.NO:
        finding.expected_sweeps = expected_sweeps(slots, trial, finding.mean_radius)


def _mean_radius(
    slots: Slots, bracket: Bracket, precisions: PrecisionMessages, operator: NonBacktracking
) -> float | None:
    signature = slots.signature if slots.symmetric else None
    if signature is not None and bracket.witness is not None and not operator.is_small:
        real = real_radius(operator, precisions.belief, signature * bracket.witness)
        if real > _CRITICAL and operator.size > _KRYLOV:
            return real
        return max(real, operator.radius() or 0.0) or None
    return operator.radius()


def _flooding_converges(
    slots: Slots, precisions: PrecisionMessages, operator: NonBacktracking, finding: _Finding
) -> Verdict:
    if finding.walk_summable is Verdict.YES:
        return Verdict.YES
    if finding.positive_definite is Verdict.NO:
        # A is congruent to B(1); where that is not positive definite M has a real eigenvalue >= 1
        return Verdict.NO
    if precisions.floor_cavity is not None:
        if finding.mean_radius_bound is not None and finding.mean_radius_bound < 1:
            return Verdict.YES
        proven = decide_radius(operator, precisions)
        if proven is not Verdict.UNDECIDED:
            return proven
    if slots.symmetric and finding.mean_radius is not None and finding.mean_radius >= 1:
        # D - O is congruent to B(-1): the same for a real eigenvalue <= -1
        return Verdict.NO if has_negative_curvature(slots, sign=-1.0) else Verdict.UNDECIDED
    return Verdict.UNDECIDED


def _remarks(finding: _Finding) -> list[str]:
    remarks = []
    if finding.positive_definite is Verdict.NO:
        remarks.append("not the precision of a Gaussian: some direction p has pᵀAp <= 0")
    if finding.walk_summable is Verdict.UNDECIDED:
        remarks.append("the bounds of ρ(|R|) enclose 1: walk-summability is not decided")
    if finding.precision_messages == "invalid":
        remarks.append("a cavity or belief precision turned nonpositive: flooding from P = 0 fails")
    if finding.walk_summable is Verdict.NO and finding.flooding_converges is Verdict.YES:
        remarks.append("flooding converges although the model is not walk-summable")
    return remarks
