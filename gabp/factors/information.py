"""The information matrix of a factor graph at an estimate, ready to be solved with."""

from collections.abc import Sequence
from dataclasses import dataclass

from gabp.factors.batches import Factors
from gabp.factors.gauge import free_components, undetermined
from gabp.factors.linear_solves import LinearMethod, SystemSolve
from gabp.factors.linearization import Linearization, linearize
from gabp.factors.optimizers.result import OptimizationResult, OptimizationStatus
from gabp.factors.structure import Structure
from gabp.system import InvalidSystemError, NotPositiveDefiniteError


@dataclass(frozen=True, eq=False)
class Information:
    """``A = Σ w JᵀΩJ`` in the tangent spaces of the variables that are not held.

    Attributes
    ----------
    structure : Structure
    linearization : Linearization
    linear : LinearMethod
    prepared : SystemSolve or None
        None where all variables are held.
    """

    structure: Structure
    linearization: Linearization
    linear: LinearMethod
    prepared: SystemSolve | None

    @staticmethod
    def at(result: OptimizationResult, factors: Sequence[Factors], method: str = "auto") -> "Information":
        """Linearise factors at an estimate, and set up to solve.

        Raises
        ------
        InvalidSystemError
            A component, or a direction, is undetermined; the variable is named.
        NonFiniteResidualError
        MemoryError
            The factor that ``method="elimination"`` asks for does not fit.
        """
        _require_determined_components(result, factors)
        structure = Structure.of(result.sets, factors, result.fixed)
        linearization = linearize(structure, result.estimate)
        linear = LinearMethod.choose(structure, method)
        if structure.n == 0:
            return Information(structure, linearization, linear, None)
        prepared = None
        if linearization.system.smallest_diagonal > 0:
            try:
                prepared = linear.prepare(linearization.system)
            except NotPositiveDefiniteError:
                prepared = None
        where = undetermined(structure, linearization, linear, prepared)
        if where or prepared is None:
            raise InvalidSystemError(f"{OptimizationStatus.INDETERMINATE.value} ({where})")
        return Information(structure, linearization, linear, prepared)


def _require_determined_components(result: OptimizationResult, factors: Sequence[Factors]) -> None:
    free = free_components(result.sets, factors, result.fixed)
    if not free:
        return
    position, index = free[0].first
    named = result.sets[position].named(index)
    raise InvalidSystemError(
        f"{OptimizationStatus.GAUGE_FREEDOM.value} (the component of {free[0].size} variables that {named} is in)"
    )
