"""The hierarchy by the compiled kernels of the CPU."""

from dataclasses import InitVar, dataclass, field
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.solvers.conjugate_gradients import SymmetricSolve
from gabp.solvers.hierarchy.base import Hierarchy, LevelSummary
from gabp.solvers.hierarchy.scaling import common_unit, exceeds_float32
from gabp.solvers.protocol import RECURRENCE_TARGET, STALLED_ITERATIONS
from gabp.solvers.solution import Status
from gabp.system import System, require_positive_diagonal, times_power_of_two
from gabp.system.vectors import largest_entries


class CompiledLevels(Hierarchy):
    """The face of levels that the extension holds.

    Attributes
    ----------
    _levels : object
        Of the extension: ``levels()``, ``bytes`` and ``apply``.
    _unit : float
        The levels are those of A times this.
    _root : Tensor, shape (n, 1), or None
        The root of their diagonal, where float32 cannot hold its range.
    """

    _levels: Any
    _unit: float
    _root: Tensor | None
    stops_itself = True
    needs_positive_diagonal = True

    def _keep(self, levels: Any, unit: float, diagonal_range: tuple[float, float]) -> None:
        """Set the fields, given the smallest and the largest diagonal entry of A."""
        wide = exceeds_float32(*diagonal_range)
        root = (self.system.diagonal.detach().double().cpu() * unit).sqrt()[:, None] if wide else None
        for name, value in {"_levels": levels, "_unit": unit, "_root": root}.items():
            object.__setattr__(self, name, value)

    @property
    def nbytes(self) -> int:
        return self._levels.bytes

    def correct(self, r: Tensor, target: Tensor) -> "CompiledSolve":
        return CompiledSolve(self, r, target)

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu")

    def _column_exponents(self, r: Tensor) -> Tensor:
        return super()._column_exponents(r if self._root is None else r / self._root)

    def _cycle(self, r: Tensor) -> Tensor:
        r = r.contiguous()
        out = torch.empty_like(r)
        self._levels.apply(r, out, torch.get_num_threads())
        return out if self._unit == 1.0 else out * self._unit


def require_compiled() -> Any:
    """The compiled hierarchies of the CPU's backend.

    Raises
    ------
    ModuleNotFoundError
        They are missing.
    """
    compiled = dispatch.backend("cpu").hierarchy
    if compiled is None:
        reason = dispatch.extension_missing_because()
        raise ModuleNotFoundError(f"method 'hierarchy' needs the compiled kernels: {reason}")
    return compiled


@dataclass(frozen=True, eq=False, repr=False)
class CompiledHierarchy(CompiledLevels):
    """The hierarchy of a scalar system on the CPU, with elimination sweeps in row blocks.

    On the way down a level does the forward half of a sweep, on the way up the backward half. There is a single level
    where all rows are strongly diagonally dominant, and where no order of the rows brings neighbours together: then the
    preconditioner is the diagonal.

    Parameters
    ----------
    system : System
        Symmetric, with a positive diagonal.
    reuse : CompiledHierarchy, optional
        For other values on the same pattern: its ordering and aggregates are kept.

    Raises
    ------
    InvalidSystemError
        A diagonal entry is not positive.
    ModuleNotFoundError
        The compiled kernels are missing.
    """

    system: System
    reuse: InitVar["CompiledHierarchy | None"] = None
    _levels: Any = field(init=False)
    _unit: float = field(init=False)  # the levels are those of A times this
    _root: Tensor | None = field(init=False)  # of their diagonal, where float32 cannot hold its range; shape (n, 1)
    reuses_setup = True
    groups = "row blocks"

    def __post_init__(self, reuse: "CompiledHierarchy | None") -> None:
        require_positive_diagonal(self.system, "hierarchy")
        compiled = require_compiled()
        graph = self.system.graph
        ends = self.system.smallest_diagonal, float(largest_entries(self.system.diagonal[:, None]))
        unit = common_unit(*ends)
        weight, diagonal = self.system.weight.detach(), self.system.diagonal.detach()
        levels = compiled.Hierarchy(
            graph.start.cpu(),
            graph.source.cpu(),
            (weight if unit == 1.0 else weight * unit).cpu(),
            (diagonal if unit == 1.0 else diagonal * unit).cpu(),
            torch.get_num_threads(),
            None if reuse is None else reuse._levels,
        )
        self._keep(levels, unit, ends)

    @property
    def levels(self) -> tuple[LevelSummary, ...]:
        return tuple(
            LevelSummary(n, edges, blocks, loaded, exact)
            for n, edges, blocks, _, _, loaded, exact in self._levels.levels()
        )

    @property
    def lacks_locality(self) -> bool:
        finest = self.levels[0]
        return finest.groups == finest.n and not finest.exact

    @property
    def notes(self) -> str:
        return "the graph lacks locality, so the preconditioner is the diagonal (Jacobi)" if self.lacks_locality else ""


class CompiledSolve(SymmetricSolve):
    """Flexible conjugate gradients on ``A y = r``, compiled."""

    def __init__(self, hierarchy: CompiledLevels, r: Tensor, target: Tensor) -> None:
        super().__init__(hierarchy.system)
        compiled = dispatch.backend("cpu").hierarchy
        assert compiled is not None
        self._shape, self._device = r.shape, r.device
        self._unit = hierarchy._unit
        right, self._target = r.detach().double().cpu(), (RECURRENCE_TARGET * target).double().cpu().contiguous()
        self._exponent = None if hierarchy._root is None else hierarchy._column_exponents(right)
        if self._exponent is not None:
            right = times_power_of_two(right, -self._exponent)
            self._target = times_power_of_two(self._target, -self._exponent)
        self._solve = compiled.ConjugateGradients(hierarchy._levels, right.contiguous(), torch.get_num_threads())

    def advance(self, iterations: int) -> tuple[int, Status | None]:
        done, flat = 0, True
        while flat and done < iterations:
            more, flat = self._solve.advance(iterations - done, self._target, STALLED_ITERATIONS)
            done += more
            status = self.certified(self._flat_direction()) if flat else None
            if status is not None:
                return done, status
        return done, None

    def _flat_direction(self) -> Tensor:
        """The last direction, whose curvature is at rounding level, shape (n,)."""
        direction = torch.empty(self._shape[0], dtype=torch.float64)
        self._solve.flat_direction(direction)
        return direction

    def estimate(self) -> Tensor:
        out = torch.empty(self._shape, dtype=torch.float64)
        self._solve.estimate(out)
        if self._exponent is not None:
            out = times_power_of_two(out, self._exponent)
        return (out if self._unit == 1.0 else out * self._unit).to(self._device)
