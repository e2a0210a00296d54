"""The result of `check`."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from torch import Tensor

from gabp.conditions.precision_messages import PrecisionStatus
from gabp.conditions.verdict import Verdict


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ConvergenceReport:
    """Certificates and estimates about Gaussian belief propagation on one matrix.

    ``D = diag(A)``, ``O = A - D``, ``R = I - D^-½ A D^-½``. A `Verdict` of YES or NO is a proof. All radii are
    dimensionless and invariant to the scaling of the variables.

    Attributes
    ----------
    n : int
        Unknowns.
    nnz : int
        Stored nonzeros.
    components : int
        Connected components of the graph.
    is_forest : bool
        Whether the graph is acyclic.
    symmetric : bool
        Whether A is symmetric to rounding.
    positive_diagonal : bool
        ``A_ii > 0`` for all ``i``.
    positive_definite : Verdict
        Whether A is the precision of a Gaussian.
    diagonally_dominant : Verdict
        ``A_ii > Σ_j |A_ij|`` in every row, which suffices for every schedule (Weiss and Freeman 2001).
    walk_summable : Verdict
        ``ρ(|R|) < 1``: precisions and means converge under every schedule (Malioutov, Johnson and Willsky 2006).
        For a nonsymmetric matrix, ``ρ(|D|⁻¹ |O|) < 1``.
    walk_radius : (float, float) or None
        Certified bounds ``lower <= ρ(|R|) <= upper``; None without a positive diagonal.
    scaling : array or tensor, shape (n,), float64, or None
        A ``d > 0`` with ``(D - |O|) d > 0``, the certificate of walk-summability.
    jacobi_radius : float or None
        An estimate of ``ρ(R)``. Jacobi's condition ``ρ(R) < 1`` is neither necessary nor sufficient for GaBP.
    precision_messages : {"converged", "invalid", "not converged"} or None
        The precision messages flooded from zero: "invalid" where a cavity or belief becomes nonpositive.
    mean_radius : float or None
        An estimate of ``ρ(M)``, the asymptotic reduction of the error per flooding sweep.
    mean_radius_bound : float or None
        A certified upper bound of ``ρ(M)``.
    flooding_converges : Verdict
        Whether flooding from zero messages converges for every right-hand side.
    expected_sweeps : int or None
        Flooding sweeps to a relative residual of 1e-8 for a random right-hand side, both measured in the units
        in which A has a diagonal near 1.
    recommended_method : str or None
        The method to solve with; None where no chooser was given.
    notes : tuple of str
        Reasons of the verdicts, and exceptions from the rule, a line each.
    block_walk_summable : Verdict or None
        ``ρ(N) < 1`` for the norms ``N_ik = ‖A_ii^-½ A_ik A_kk^-½‖₂`` between node blocks: block messages
        converge under every schedule. None without blocks.
    block_walk_radius : (float, float) or None
        Certified bounds of ``ρ(N)``.
    """

    n: int
    nnz: int
    components: int
    is_forest: bool
    symmetric: bool
    positive_diagonal: bool
    positive_definite: Verdict
    diagonally_dominant: Verdict
    walk_summable: Verdict
    walk_radius: tuple[float, float] | None = None
    scaling: np.ndarray | Tensor | None = None
    jacobi_radius: float | None = None
    precision_messages: PrecisionStatus | None = None
    mean_radius: float | None = None
    mean_radius_bound: float | None = None
    flooding_converges: Verdict
    expected_sweeps: int | None = None
    recommended_method: str | None = None
    notes: tuple[str, ...] = ()
    block_walk_summable: Verdict | None = None
    block_walk_radius: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-compatible Python values; verdicts as "yes", "no", "undecided"."""
        return {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}

    def __repr__(self) -> str:
        shape = f"{self.n} unknowns, {self.nnz} nonzeros, {self.components} component"
        rows = [
            ("matrix", shape + ("s" if self.components != 1 else "") + (", a forest" if self.is_forest else "")),
            ("symmetric", _yes(self.symmetric)),
            ("positive diagonal", _yes(self.positive_diagonal)),
            ("positive definite", str(self.positive_definite)),
            ("diagonally dominant", str(self.diagonally_dominant)),
            ("walk-summable", f"{self.walk_summable}{_bounds(self.walk_radius, 'ρ(|R|)')}"),
            ("Jacobi radius ρ(R)", _number(self.jacobi_radius)),
            ("precision messages", self.precision_messages or "-"),
            ("mean radius ρ(M)", _number(self.mean_radius) + self._mean_bound()),
            ("flooding converges", str(self.flooding_converges)),
            ("expected sweeps", "-" if self.expected_sweeps is None else f"{self.expected_sweeps} to 1e-8"),
            ("recommended method", self.recommended_method or "-"),
        ]
        if self.block_walk_summable is not None:
            between_blocks = f"{self.block_walk_summable}{_bounds(self.block_walk_radius, 'ρ(N)')}"
            rows.append(("block walk-summable", between_blocks))
        rows += [("note", note) for note in self.notes]
        return "\n".join(["ConvergenceReport", *(f"  {name:<20} {value}" for name, value in rows)])

    def _mean_bound(self) -> str:
        return "" if self.mean_radius_bound is None else f"  (proven <= {_number(self.mean_radius_bound)})"


def _bounds(radius: tuple[float, float] | None, name: str) -> str:
    return "" if radius is None else f"  ({_number(radius[0])} <= {name} <= {_number(radius[1])})"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _number(value: float | None) -> str:
    """Seven digits; near 1, the distance from it."""
    if value is None:
        return "-"
    gap = abs(1 - value)
    if 0 < gap < 1e-4:
        return f"1 {'-' if value < 1 else '+'} {gap:.3g}"
    return f"{value:.7g}"


def _plain(value: Any) -> Any:
    if isinstance(value, Verdict):
        return value.value
    if isinstance(value, np.ndarray | Tensor):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
