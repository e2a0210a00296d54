"""Everything that `check` found out about a matrix, as one frozen object."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from torch import Tensor

from gabp.conditions.precision_messages import Outcome
from gabp.conditions.verdict import Verdict


@dataclass(frozen=True, repr=False, eq=False)
class ConvergenceReport:
    """What is known, and what is proven, about Gaussian belief propagation on one matrix.

    ``D = diag(A)``, ``O = A - D``, ``R = I - D^-½ A D^-½``. A `Verdict` of YES or NO is a proof.

    Attributes
    ----------
    n, nnz, components : int
        Unknowns, stored nonzeros, connected components of the graph.
    is_forest, symmetric, positive_diagonal : bool
    positive_definite : Verdict
        Whether A is the precision of a Gaussian.
    diagonally_dominant : Verdict
        ``A_ii > Σ_j |A_ij|`` in every row.
    walk_summable : Verdict
        ``ρ(|R|) < 1``: precisions and means converge under every schedule. Of a general matrix ``ρ(|D|⁻¹ |O|)``.
    walk_radius : (float, float) or None
        Certified bounds ``lower <= ρ(|R|) <= upper``; None without a positive diagonal.
    scaling : array or tensor, shape (n,), float64, or None
        A ``d > 0`` with ``(D - |O|) d > 0``, which proves a yes.
    jacobi_radius : float or None
        ``ρ(R)``, an estimate. Jacobi's condition, neither necessary nor sufficient for GaBP.
    precision_messages : {"converged", "invalid", "not converged"} or None
        Where the precision iteration from zero leads.
    mean_radius : float or None
        ``ρ(M)``, an estimate of the reduction of the error per flooding sweep.
    mean_radius_bound : float or None
        A certified upper bound of ``ρ(M)``.
    flooding_converges : Verdict
    expected_sweeps : int or None
        Flooding sweeps to a relative residual of 1e-8 for a random right-hand side, both measured in the units
        in which A has a diagonal near 1.
    recommended_method : str
        The method to solve with.
    remarks : tuple of str
        Reasons and surprises, a line each.
    block_walk_summable : Verdict or None
        ``ρ(N) < 1`` for the norms ``N_ik = ‖A_ii^-½ A_ik A_kk^-½‖₂`` between vector-valued nodes: messages between
        blocks converge under every schedule. None where no blocks were given.
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
    walk_radius: tuple[float, float] | None
    scaling: np.ndarray | Tensor | None = field(metadata={"long": True})
    jacobi_radius: float | None
    precision_messages: Outcome | None
    mean_radius: float | None
    mean_radius_bound: float | None
    flooding_converges: Verdict
    expected_sweeps: int | None
    recommended_method: str | None
    remarks: tuple[str, ...] = ()
    block_walk_summable: Verdict | None = None
    block_walk_radius: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain Python values, fit for JSON: verdicts as "yes", "no", "undecided"."""
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
            ("mean radius ρ(M)", f"{_number(self.mean_radius)}  (proven <= {_number(self.mean_radius_bound)})"),
            ("flooding converges", str(self.flooding_converges)),
            ("expected sweeps", "-" if self.expected_sweeps is None else f"{self.expected_sweeps} to 1e-8"),
            ("recommended method", self.recommended_method or "-"),
        ]
        if self.block_walk_summable is not None:
            between_blocks = f"{self.block_walk_summable}{_bounds(self.block_walk_radius, 'ρ(N)')}"
            rows.append(("block walk-summable", between_blocks))
        rows += [("note", remark) for remark in self.remarks]
        return "\n".join(["ConvergenceReport", *(f"  {name:<20} {value}" for name, value in rows)])


def _bounds(radius: tuple[float, float] | None, name: str) -> str:
    return "" if radius is None else f"  ({_number(radius[0])} <= {name} <= {_number(radius[1])})"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _number(value: float | None) -> str:
    """Seven digits, and more where the distance from 1 is what matters."""
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
