"""Certificates about the messages of one model, each computed from those before it.

Bounds of ``ρ(|R|)`` come first: their scaling proves the precision messages to converge, whose cavities define the
operator ``M`` of the flooding means, whose bounds decide on flooding.
"""

from functools import cached_property

import numpy as np

from gabp.conditions.definiteness import has_negative_curvature, positive_definite
from gabp.conditions.host_edges import HostEdges, Vector
from gabp.conditions.non_backtracking import NonBacktracking, certified_bound, decide_radius, real_radius
from gabp.conditions.precision_messages import PrecisionMessages, certify_precisions
from gabp.conditions.spectra import jacobi_radius
from gabp.conditions.sweep_estimate import FloodingHistory, expected_sweeps, run_flooding
from gabp.conditions.verdict import Verdict
from gabp.conditions.walk_sums import MMatrixSolver, RadiusBounds

_CRITICAL = 0.98  # ρ(M) above which an affordable Krylov basis cannot tell it from 1 on a large graph
_KRYLOV = 50_000  # directed edges of such a graph
_TIGHTENING = 2_000_000  # directed edges per solve for tighter bounds
_MOST_TIGHTENING = 6  # solves


class MessageCertificates:
    """What is proven about Gaussian belief propagation on a model with a positive diagonal, computed when asked for.

    Parameters
    ----------
    edges : HostEdges
        Equilibrated, with a positive diagonal.
    solver : MMatrixSolver, optional
        Conjugate gradients by default.
    """

    def __init__(self, edges: HostEdges, solver: MMatrixSolver | None = None) -> None:
        self.edges = edges
        self._solver = solver

    @cached_property
    def bounds(self) -> RadiusBounds:
        """Certified bounds of ``ρ(|R|)``, tightened within the work allowed."""
        bounds = RadiusBounds(self.edges, self._solver)
        bounds.decide()
        bounds.tighten(solves=int(np.clip(_TIGHTENING / max(self.edges.count, 1), 1, _MOST_TIGHTENING)))
        return bounds

    @property
    def walk_summable(self) -> Verdict:
        """``ρ(|R|) < 1``."""
        return self.bounds.verdict

    @property
    def scaling(self) -> Vector | None:
        """The ``d > 0`` with ``(D - |O|) d > 0`` that proves walk-summability, shape (n,)."""
        return self.bounds.scaling if self.walk_summable is Verdict.YES else None

    @cached_property
    def positive_definite(self) -> Verdict:
        """Whether A is positive definite."""
        return positive_definite(self.edges, self.bounds)

    @cached_property
    def jacobi_radius(self) -> float | None:
        """An estimate of ``ρ(R)``."""
        return jacobi_radius(self.edges, self.bounds)

    @cached_property
    def precisions(self) -> PrecisionMessages:
        """The precision messages flooded from zero."""
        return certify_precisions(self.edges, self.scaling)

    @cached_property
    def mean_operator(self) -> NonBacktracking | None:
        """The operator ``M`` of the flooding means; None without valid cavities."""
        return NonBacktracking(self.edges, self.precisions.cavity) if self.precisions.valid else None

    @cached_property
    def history(self) -> FloodingHistory | None:
        """The residual history of some flooding sweeps; None without valid cavities."""
        return run_flooding(self.edges, self.precisions) if self.precisions.valid else None

    @cached_property
    def mean_radius(self) -> float | None:
        """An estimate of ``ρ(M)``; the observed rate of flooding where the spectrum is out of reach."""
        if self.mean_operator is None or self.history is None:
            return None
        radius = self._spectral_estimate(self.mean_operator)
        return self.history.rate if radius is None else radius

    def _spectral_estimate(self, operator: NonBacktracking) -> float | None:
        signature = self.edges.signature if self.edges.symmetric else None
        perron_vector = self.bounds.lower_certificate
        if signature is None or perron_vector is None or operator.is_small:
            return operator.radius()
        real = real_radius(operator, self.precisions.belief, signature * perron_vector)
        if real > _CRITICAL and operator.size > _KRYLOV:
            return real
        return max(real, operator.radius() or 0.0) or None

    @cached_property
    def mean_radius_bound(self) -> float | None:
        """A certified upper bound of ``ρ(M)``; None without a floor of the cavities, or where it is infinite."""
        if self.mean_operator is None or self.precisions.floor_cavity is None:
            return None
        bound = certified_bound(self.mean_operator, self.precisions.floor_cavity, self.scaling)
        if self.walk_summable is Verdict.YES:
            bound = min(bound, 1.0)  # ρ(|M|) < 1 where walk-sums converge, whatever the rounding of the bound
        return bound if np.isfinite(bound) else None

    @cached_property
    def flooding_converges(self) -> Verdict:
        """Whether flooding from zero messages converges for every right-hand side."""
        if self.mean_operator is None:
            if self.precisions.status == "invalid":
                return Verdict.NO
            return self.walk_summable if self.scaling is not None else Verdict.UNDECIDED
        if self.walk_summable is Verdict.YES:
            return Verdict.YES
        if self.positive_definite is Verdict.NO:
            # A is congruent to B(1); where that is not positive definite M has a real eigenvalue >= 1
            return Verdict.NO
        proven = self._mean_verdict(self.mean_operator)
        if proven is Verdict.UNDECIDED and self.edges.symmetric and (self.mean_radius or 0.0) >= 1:
            # D - O is congruent to B(-1): the same for a real eigenvalue <= -1
            return Verdict.NO if has_negative_curvature(self.edges, sign=-1.0) else Verdict.UNDECIDED
        return proven

    def _mean_verdict(self, operator: NonBacktracking) -> Verdict:
        """Whether ``ρ(M) < 1`` by bounds of ``M`` itself."""
        if self.precisions.floor_cavity is None:
            return Verdict.UNDECIDED
        if self.mean_radius_bound is not None and self.mean_radius_bound < 1:
            return Verdict.YES
        return decide_radius(operator, self.precisions)

    @cached_property
    def expected_sweeps(self) -> int | None:
        """Flooding sweeps to a relative residual of 1e-8; None where flooding does not converge."""
        if self.history is None or self.flooding_converges is Verdict.NO:
            return None
        return expected_sweeps(self.edges, self.history, self.mean_radius)

    @property
    def notes(self) -> list[str]:
        """Reasons of the verdicts, and exceptions from the rule, a line each."""
        notes = []
        if self.positive_definite is Verdict.NO:
            notes.append("not the precision of a Gaussian: some direction p has pᵀAp <= 0")
        if self.walk_summable is Verdict.UNDECIDED:
            notes.append("the bounds of ρ(|R|) enclose 1: walk-summability is not decided")
        if self.precisions.status == "invalid":
            notes.append("a cavity or belief precision is not positive: flooding from P = 0 fails")
        if self.walk_summable is Verdict.NO and self.flooding_converges is Verdict.YES:
            notes.append("flooding converges although the model is not walk-summable")
        return notes
