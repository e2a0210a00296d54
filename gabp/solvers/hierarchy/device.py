"""The hierarchy by tensor operations, or kernels fused for the device: set up and stored on the system's own device."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.cuda.graph_capture import record
from gabp.kernels.torch.aggregation import SymmetricMatrix
from gabp.kernels.torch.multigrid_cycle import FAILURE, NOISE, OUTER_SCALARS, SQUARE, SUMS, TARGET, CGVectors
from gabp.kernels.torch.multigrid_cycle_cost import Cost, CycleCost
from gabp.kernels.torch.multigrid_levels import MultigridLevel, build_levels
from gabp.kernels.torch.sliced_ell import PANELS
from gabp.solvers.conjugate_gradients import SymmetricSolve
from gabp.solvers.hierarchy.base import Hierarchy, LevelSummary
from gabp.solvers.hierarchy.cycle import Cycle
from gabp.solvers.hierarchy.scaling import node_exponents
from gabp.solvers.protocol import RECURRENCE_TARGET, STALLED_ITERATIONS
from gabp.solvers.residual_monitor import ResidualMonitor
from gabp.solvers.solution import Status
from gabp.system import System, require_positive_diagonal, times_power_of_two

LARGEST_DENSE = 2048  # nodes of a level that is eliminated: its inverse, 34 MB, stays in a large GPU's cache
_IN_CYCLE = torch.float32
_ROUNDING = 1e-14  # curvature below this share of |A||p|² is noise
_FIRST_CHECK, _GROWTH = 4, 0.5  # iterations to the first residual check, and share of all between two later ones


@dataclass(frozen=True, eq=False, repr=False)
class DeviceHierarchy(Hierarchy):
    """The hierarchy of a scalar system as tensors, with elimination sweeps in colours.

    The method of `CompiledHierarchy`, made for a GPU: aggregates come from locally dominant matchings, and both
    iterations of the K-cycle are always done, so that none waits for the host. Residual norms are checked every few
    iterations.

    Parameters
    ----------
    system : System
        Symmetric, with a positive diagonal.

    Raises
    ------
    InvalidSystemError
        A diagonal entry is not positive.
    """

    system: System
    stored: tuple[MultigridLevel, ...] = field(init=False)  # in float32
    exponent: Tensor | None = field(init=False)  # (n,) the levels are those of S A S, S = 2**exponent
    value: Tensor = field(init=False)  # A's own, in the slots of the finest level
    diagonal: Tensor = field(init=False)
    norm: float = field(init=False)  # bound of the largest eigenvalue of S A S
    stops_itself = True
    needs_positive_diagonal = True
    groups = "colours"

    def __post_init__(self) -> None:
        require_positive_diagonal(self.system, "hierarchy")
        graph = self.system.graph
        row, column = graph.destination, graph.source.long()
        diagonal, weight = self.system.diagonal.detach().double(), self.system.weight.detach().double()
        model = SymmetricMatrix.of(row, column, weight, diagonal)
        exponent = node_exponents(model)
        if exponent is not None:
            weight = times_power_of_two(weight, exponent[row] + exponent[column])
            model = SymmetricMatrix.of(row, column, weight, times_power_of_two(diagonal, 2 * exponent))
        levels = build_levels(model, LARGEST_DENSE)
        finest = levels[0]
        in_float = bool((finest.rows.value.float().double() == finest.rows.value).all())
        row_norms = model.diagonal + SymmetricMatrix.of(row, column, weight.abs(), model.diagonal * 0).row_sum
        stored = tuple(level.astype(_IN_CYCLE) for level in levels)
        for name, content in {
            "stored": stored,
            "exponent": exponent,
            "value": stored[0].rows.value if in_float else finest.rows.value,
            "diagonal": finest.diagonal,
            "norm": float(row_norms.max()),
        }.items():
            object.__setattr__(self, name, content)

    @property
    def kernels(self) -> Any:
        """The functions of `gabp.kernels.torch.multigrid_cycle`, fused for the device where they can be."""
        return dispatch.backend(self.system.device).multigrid_cycle

    @property
    def levels(self) -> tuple[LevelSummary, ...]:
        return tuple(
            LevelSummary(level.n, level.edges, len(level.colours), level.loaded, level.inverse is not None)
            for level in self.stored
        )

    @property
    def nbytes(self) -> int:
        return sum(level.nbytes for level in self.stored) + self.value.nbytes + self.diagonal.nbytes

    @cached_property
    def cost(self) -> Cost:
        """Launches and memory traffic of an iteration for one right-hand side."""
        counter = CycleCost()
        zero = torch.zeros((self.system.n, 1), device=self.system.device)
        DeviceSolve(self, zero, zero[0], counter).iterate()
        return counter.total

    def correct(self, r: Tensor, target: Tensor) -> "DeviceSolve":
        return DeviceSolve(self, r.detach(), target, self.kernels)

    def _cycle(self, r: Tensor) -> Tensor:
        right, parts = self.into_rows(r).to(_IN_CYCLE), []
        for first, width in _panels(r.shape[1]):
            b = right[:, first : first + width]
            b = torch.nn.functional.pad(b, (0, width - b.shape[1])).contiguous()
            x = torch.empty_like(b)
            Cycle(self.stored, width, self.kernels, accelerated=False).apply(b, x)
            parts.append(x)
        return self.out_of_rows(torch.cat(parts, 1)[:, : r.shape[1]].double())

    @cached_property
    def units(self) -> Tensor | None:
        """``1 / S`` in the order of the finest level's rows: A's units of a residual; None where ``S`` is 1."""
        if self.exponent is None:
            return None
        return times_power_of_two(torch.ones_like(self.diagonal), -self.exponent[self.stored[0].order])

    def into_rows(self, r: Tensor) -> Tensor:
        """``S r`` in the order of the finest level's rows, for ``r`` of shape (n, k)."""
        scaled = r if self.exponent is None else times_power_of_two(r, self.exponent[:, None])
        return scaled[self.stored[0].order]

    def out_of_rows(self, y: Tensor) -> Tensor:
        """``S y`` in the order of the nodes, for ``y`` in the order of the finest level's rows."""
        out = torch.empty_like(y)
        out[self.stored[0].order] = y
        return out if self.exponent is None else times_power_of_two(out, self.exponent[:, None])

    def _headline(self) -> str:
        return (
            f"{super()._headline()} on {self.system.device}, {self.cost.launches} launches, "
            f"{self.cost.bytes_moved / 1e6:.3g} MB moved and no synchronisation per iteration"
        )


class DeviceSolve(SymmetricSolve):
    """Flexible conjugate gradients on ``A y = r``, every vector and scalar of it on the device."""

    def __init__(self, hierarchy: DeviceHierarchy, r: Tensor, target: Tensor, kernels: Any) -> None:
        super().__init__(hierarchy.system)
        self._hierarchy, self._columns = hierarchy, r.shape[1]
        cycles: dict[int, Cycle] = {}
        self._panels = []
        for first, width in _panels(self._columns):
            if width not in cycles:
                cycles[width] = Cycle(hierarchy.stored, width, kernels, accelerated=True)
            part = slice(first, first + width)
            self._panels.append(_Panel(hierarchy, r[:, part], target[part], width, cycles[width], kernels))
        self._replay: Callable[[], None] | None = None
        self._failure: Status | None = None
        self._monitor = ResidualMonitor(self._check(), _FIRST_CHECK, _GROWTH)

    def advance(self, iterations: int) -> tuple[int, Status | None]:
        done, monitor = 0, self._monitor
        while done < iterations and self._failure is None:
            if monitor.current == 0.0 or monitor.since_lowest >= STALLED_ITERATIONS:
                break
            count = min(iterations - done, monitor.next_check(1.0))
            for _ in range(count):
                self._launch()
            monitor.record(count, self._check())
            done += count
        return done, self._failure

    def estimate(self) -> Tensor:
        y = torch.cat([panel.cg.y for panel in self._panels], 1)[:, : self._columns]
        return self._hierarchy.out_of_rows(y)

    def iterate(self) -> None:
        """One iteration without host synchronisation: its memory and its launches are the same every time."""
        for panel in self._panels:
            panel.iterate()

    def _launch(self) -> None:
        """The first iteration compiles and allocates what is missing; a device may record the second and replay it."""
        if self._replay is None:
            self.iterate()
            self._replay = record(self.iterate, self._hierarchy.system.device)
        else:
            self._replay()

    def _check(self) -> float:
        """The largest residual norm over its target, 0 where all targets are met; sets why they cannot be, if so."""
        scalars = torch.cat([panel.cg.scalars for panel in self._panels], 1).cpu()
        square, target, failure = scalars[SQUARE], scalars[TARGET], scalars[FAILURE]
        active = square > target
        if not bool(active.any()):
            return 0.0
        if bool((failure != 0).any()):
            self._failure = self._status(failure.nonzero().flatten().tolist())
        return float((square[active] / target[active]).max()) ** 0.5

    def _status(self, failed: list[int]) -> Status:
        """What the last directions of the columns that have failed prove: their curvature is at rounding level."""
        directions = torch.cat([panel.cg.d for panel in self._panels], 1)
        for column in failed:
            status = self.certified(self._hierarchy.out_of_rows(directions[:, column : column + 1])[:, 0])
            if status is not None:
                return status
        return Status.STAGNATED


class _Panel:
    """The vectors of up to eight right-hand sides, padded by zeros to a width for which there are kernels."""

    def __init__(
        self, hierarchy: DeviceHierarchy, r: Tensor, target: Tensor, width: int, cycle: Cycle, kernels: Any
    ) -> None:
        self._hierarchy, self._cycle, self._kernels = hierarchy, cycle, kernels
        finest, padding = hierarchy.stored[0], width - r.shape[1]
        r = torch.nn.functional.pad(r.double(), (0, padding))
        scalars = r.new_zeros((OUTER_SCALARS, width))
        scalars[SQUARE] = (r**2).sum(0)
        scalars[TARGET] = torch.nn.functional.pad((RECURRENCE_TARGET * target.to(r)) ** 2, (0, padding))
        scalars[NOISE] = _ROUNDING * hierarchy.norm
        r = hierarchy.into_rows(r).contiguous()
        y, d, q = (torch.zeros_like(r) for _ in range(3))
        self.cg = CGVectors(
            y=y,
            r=r,
            d=d,
            q=q,
            b=r.to(_IN_CYCLE),
            z=torch.empty_like(r, dtype=_IN_CYCLE),
            unit=hierarchy.units,
            scalars=scalars,
            partials=r.new_empty((finest.programs, SUMS, width)),
        )

    def iterate(self) -> None:
        kernels, cg, h = self._kernels, self.cg, self._hierarchy
        self._cycle.apply(cg.b, cg.z)
        kernels.overlap(cg)
        kernels.finish_overlap(cg.partials, cg.scalars)
        kernels.advance_direction(h.stored[0], h.value, h.diagonal, cg)
        kernels.finish_direction(cg.partials, cg.scalars)
        kernels.step(cg)
        kernels.finish_step(cg.partials, cg.scalars)


def _panels(columns: int) -> list[tuple[int, int]]:
    """First column and width of each panel: as wide as there are kernels for, the last as narrow as possible."""
    widest = max(PANELS)
    return [
        (first, min(width for width in PANELS if width >= min(columns - first, widest)))
        for first in range(0, columns, widest)
    ]
