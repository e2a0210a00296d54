"""The hierarchy of models where it does not run compiled: set up and kept on the system's own device."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.cuda.graph_capture import record
from gabp.kernels.torch.aggregation import Model
from gabp.kernels.torch.multigrid_cycle import FAILURE, NOISE, OUTER_SCALARS, PANELS, SQUARE, SUMS, TARGET
from gabp.kernels.torch.multigrid_cycle_cost import Cost, CycleCost
from gabp.kernels.torch.multigrid_levels import Level, build_levels
from gabp.solvers.curvature_certificate import proven_by
from gabp.solvers.device_cycle import Cycle
from gabp.solvers.protocol import MethodSetup
from gabp.solvers.solution import Status
from gabp.system import System, require_positive_diagonal, times_power_of_two

LARGEST_DENSE = 2048  # nodes of a model that is eliminated: its inverse, 34 MB, stays in a large GPU's cache
_IN_CYCLE = torch.float32
_SAFETY = 0.7  # the recurrence's residual norm is met a little below the target, since rounding sets it apart
_ROUNDING = 1e-14  # curvature below this share of |A||p|² is noise
_FIRST_LOOK = 4  # steps
_STALLED_STEPS = 400  # without a new lowest residual norm
_NARROW, _WIDE, _FLOAT_LIMIT = 16.0, 1e24, 1e12  # of the diagonal: its spread, and what float32 products can hold


@dataclass(frozen=True, eq=False)
class DeviceHierarchy(MethodSetup):
    """Multicolour elimination sweeps on a hierarchy of contracted models, inside flexible conjugate gradients.

    The method of `gabp.solvers.hierarchy.Hierarchy`, made for a GPU: sweeps go colour by colour, clusters come from
    handshakes, and both steps of the K-cycle are always done, so that no step waits for a number on its way to the
    host. Set-up and solve stay on the device of the system; the residual norms are looked at every few steps.

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
    levels: tuple[Level, ...] = field(init=False, repr=False)
    exponent: Tensor | None = field(init=False, repr=False)  # (n,) the models are those of S A S, S = 2**exponent
    value: Tensor = field(init=False, repr=False)  # A's own, in the slots of the finest level
    diagonal: Tensor = field(init=False, repr=False)
    norm: float = field(init=False, repr=False)  # bound of the largest eigenvalue of S A S
    exact = False
    stops_itself = True

    def __post_init__(self) -> None:
        require_positive_diagonal(self.system, "hierarchy")
        graph = self.system.graph
        row, column = graph.destination, graph.source.long()
        diagonal, weight = self.system.diagonal.detach().double(), self.system.weight.detach().double()
        model = Model.of(row, column, weight, diagonal)
        exponent = _choose_scale(model)
        if exponent is not None:
            weight = times_power_of_two(weight, exponent[row] + exponent[column])
            model = Model.of(row, column, weight, times_power_of_two(diagonal, 2 * exponent))
        levels = build_levels(model, LARGEST_DENSE)
        finest = levels[0]
        in_float = bool((finest.rows.value.float().double() == finest.rows.value).all())
        rows = model.diagonal + Model.of(row, column, weight.abs(), model.diagonal * 0).slack
        in_cycle = tuple(level.astype(_IN_CYCLE) for level in levels)
        for name, content in {
            "levels": in_cycle,
            "exponent": exponent,
            "value": in_cycle[0].rows.value if in_float else finest.rows.value,
            "diagonal": finest.diagonal,
            "norm": float(rows.max()),
        }.items():
            object.__setattr__(self, name, content)

    @property
    def kernels(self) -> Any:
        """The functions of `gabp.kernels.torch.multigrid_cycle`, fused for the device where they can be."""
        return dispatch.choose_cycle(self.system.device)

    @property
    def nbytes(self) -> int:
        """Memory held by the set-up, in bytes, beside the system itself."""
        return sum(level.nbytes for level in self.levels) + self.value.nbytes + self.diagonal.nbytes

    @cached_property
    def cost(self) -> Cost:
        """What a step for one right-hand side launches and moves."""
        counter = CycleCost()
        nothing = torch.zeros((self.system.n, 1), device=self.system.device)
        DeviceCorrection(self, nothing, nothing[0], counter).step()
        return counter.total

    def correct(self, r: Tensor, target: Tensor) -> "DeviceCorrection":
        return DeviceCorrection(self, r.detach(), target, self.kernels)

    def precondition(self, r: Tensor) -> Tensor:
        """One V-cycle: a fixed symmetric positive definite approximation of ``A⁻¹`` times ``r``, shape (n, k)."""
        right = r.detach().to(self.system.device, torch.float64)
        exponent = torch.frexp(right.abs().amax(0)).exponent  # the cycle is kept in float32
        right = self.into_rows(times_power_of_two(right, -exponent)).to(_IN_CYCLE)
        parts = []
        for first, width in _panels(r.shape[1]):
            b = right[:, first : first + width]
            b = torch.nn.functional.pad(b, (0, width - b.shape[1])).contiguous()
            x = torch.empty_like(b)
            Cycle(self.levels, width, self.kernels, accelerated=False).apply(b, x)
            parts.append(x)
        x = torch.cat(parts, 1)[:, : r.shape[1]].double()
        return times_power_of_two(self.out_of_rows(x), exponent).to(r.device)

    @cached_property
    def units(self) -> Tensor | None:
        """``1 / S`` in the order of the finest level's rows: A's units of a residual; None where ``S`` is 1."""
        if self.exponent is None:
            return None
        return times_power_of_two(torch.ones_like(self.diagonal), -self.exponent[self.levels[0].order])

    def into_rows(self, r: Tensor) -> Tensor:
        """``S r`` in the order of the finest level's rows, for ``r`` of shape (n, k)."""
        scaled = r if self.exponent is None else times_power_of_two(r, self.exponent[:, None])
        return scaled[self.levels[0].order]

    def out_of_rows(self, y: Tensor) -> Tensor:
        """``S y`` in the order of the nodes, for ``y`` in the order of the finest level's rows."""
        out = torch.empty_like(y)
        out[self.levels[0].order] = y
        return out if self.exponent is None else times_power_of_two(out, self.exponent[:, None])

    def __repr__(self) -> str:
        lines = [
            f"DeviceHierarchy on {self.system.device}: {len(self.levels)} levels, {self.nbytes / 1e6:.3g} MB, "
            f"{self.cost.launches} launches, {self.cost.bytes_moved / 1e6:.3g} MB moved and no synchronisation per step"
        ]
        for depth, level in enumerate(self.levels):
            solved = f"sweeps in {len(level.colours)} colours, {level.loaded} rows loaded"
            solved = "elimination" if level.inverse is not None else solved
            lines.append(f"  {depth}  {level.n:>11} variables  {level.edges:>12} directed edges  {solved}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple:
        return DeviceHierarchy, (self.system,)


class DeviceCorrection:
    """Flexible conjugate gradients at work on ``A y = r``; see `gabp.solvers.protocol.Correction`.

    Attributes
    ----------
    witness : Tensor, shape (n,), or None
        After NOT_POSITIVE_DEFINITE a direction ``p`` with ``pᵀAp < 0``.
    """

    def __init__(self, hierarchy: DeviceHierarchy, r: Tensor, target: Tensor, kernels: Any) -> None:
        self._hierarchy = hierarchy
        self._columns, self.device = r.shape[1], hierarchy.system.device
        self.witness: Tensor | None = None
        cycles: dict[int, Cycle] = {}
        self._panels = []
        for first, width in _panels(self._columns):
            if width not in cycles:
                cycles[width] = Cycle(hierarchy.levels, width, kernels, accelerated=True)
            part = slice(first, first + width)
            self._panels.append(_Panel(hierarchy, r[:, part], target[part], width, cycles[width], kernels))
        self._go: Callable[[], None] | None = None
        self._lowest, self._since_lowest = math.inf, 0
        self._met, self._failure, self._excess = self._look()

    def advance(self, steps: int) -> tuple[int, Status | None]:
        done, log_rate = 0, 0.0
        while done < steps and not self._met and self._failure is None and self._since_lowest < _STALLED_STEPS:
            count = min(steps - done, _until_look(done, log_rate, self._excess))
            for _ in range(count):
                self._take_step()
            before = self._excess
            self._met, self._failure, self._excess = self._look()
            if 0.0 < self._excess < math.inf and 0.0 < before < math.inf:
                log_rate = math.log(self._excess / before) / count
            done += count
            self._since_lowest = 0 if self._excess < self._lowest else self._since_lowest + count
            self._lowest = min(self._lowest, self._excess)
        return done, self._failure

    def estimate(self) -> Tensor:
        y = torch.cat([panel.y for panel in self._panels], 1)[:, : self._columns]
        return self._hierarchy.out_of_rows(y)

    def step(self) -> None:
        """One step, without a word to the host: its memory and its launches are the same every time."""
        for panel in self._panels:
            panel.step()

    def _take_step(self) -> None:
        """The first step compiles and allocates what is missing; a device may record the second and replay it."""
        if self._go is None:
            self.step()
            self._go = record(self.step, self.device)
        else:
            self._go()

    def _look(self) -> tuple[bool, Status | None, float]:
        """Whether all targets are met; else why they cannot be, if so; and the worst norm over its target."""
        told = torch.cat([panel.scalars for panel in self._panels], 1).cpu()
        square, target, failure = told[SQUARE], told[TARGET], told[FAILURE]
        left = square > target
        if not bool(left.any()):
            return True, None, 0.0
        excess = math.sqrt(float((square[left] / target[left]).max()))
        return False, self._status(failure), excess

    def _status(self, failure: Tensor) -> Status | None:
        """What the directions prove whose curvature vanished beside the norms; their columns take no more steps."""
        if not bool((failure != 0).any()):
            return None
        directions = torch.cat([panel.d for panel in self._panels], 1)
        for column in failure.nonzero().flatten().tolist():
            p = self._hierarchy.out_of_rows(directions[:, column : column + 1])[:, 0]
            p = p / p.norm()
            status = proven_by(self._hierarchy.system, p)
            if status is Status.NOT_POSITIVE_DEFINITE:
                self.witness = p
            if status is not None:
                return status
        return Status.STAGNATED


class _Panel:
    """The vectors of up to eight right-hand sides, padded by zeros to a width that the kernels have."""

    def __init__(
        self, hierarchy: DeviceHierarchy, r: Tensor, target: Tensor, width: int, cycle: Cycle, kernels: Any
    ) -> None:
        self._hierarchy, self._cycle, self._kernels = hierarchy, cycle, kernels
        finest, padding = hierarchy.levels[0], width - r.shape[1]
        r = torch.nn.functional.pad(r.double(), (0, padding))
        self._r = hierarchy.into_rows(r).contiguous()
        self.y, self.d, self._q = (torch.zeros_like(self._r) for _ in range(3))
        self._b, self._z = self._r.to(_IN_CYCLE), torch.empty_like(self._r, dtype=_IN_CYCLE)
        self.scalars = self._r.new_zeros((OUTER_SCALARS, width))
        self.scalars[SQUARE] = (r**2).sum(0)
        self.scalars[TARGET] = torch.nn.functional.pad((_SAFETY * target.to(r)) ** 2, (0, padding))
        self.scalars[NOISE] = _ROUNDING * hierarchy.norm
        self._partials = self._r.new_empty((finest.rows.programs, SUMS, width))
        self._unit = hierarchy.units

    def step(self) -> None:
        kernels, scalars, partials, h = self._kernels, self.scalars, self._partials, self._hierarchy
        self._cycle.apply(self._b, self._z)
        kernels.overlap(self._z, self._q, partials)
        kernels.finish_overlap(partials, scalars)
        kernels.advance_direction(
            h.levels[0], h.value, h.diagonal, self._z, self.d, self._q, self._r, scalars, partials
        )
        kernels.finish_direction(partials, scalars)
        kernels.step(self.y, self._r, self.d, self._q, self._unit, self._b, scalars, partials)
        kernels.finish_step(partials, scalars)


def _panels(columns: int) -> list[tuple[int, int]]:
    """First column and width of each panel: as wide as there are kernels for, the last as narrow as will do."""
    widest = max(PANELS)
    return [
        (first, min(width for width in PANELS if width >= min(columns - first, widest)))
        for first in range(0, columns, widest)
    ]


def _until_look(done: int, log_rate: float, excess: float) -> int:
    """Steps to the next look: where the observed rate says that the target is met, within reason."""
    longest = max(_FIRST_LOOK, done // 2)
    if log_rate >= 0.0 or not math.isfinite(excess):
        return longest
    return max(1, min(longest, math.ceil(-math.log(excess) / log_rate)))


def _choose_scale(model: Model) -> Tensor | None:
    """Exponents of the units in which neighbours move alike, as the clusters suppose; None for those of A.

    A's own, unless moving all alike costs less energy in units of the diagonal, or float32 could not hold the values.
    """
    d = model.diagonal
    smallest, largest = float(d.min()), float(d.max())
    outside = largest > _FLOAT_LIMIT or smallest < 1 / _FLOAT_LIMIT
    if largest <= _NARROW * smallest and not outside:
        return None
    exponent = _half_exponent(d)
    scaled = times_power_of_two(d, 2 * exponent)
    coupling = times_power_of_two(model.weight, exponent[model.row] + exponent[model.column]).sum()
    alike = float(model.slack.sum()), float(scaled.sum() + coupling)
    if largest > _WIDE * smallest or alike[1] * float(d.sum()) < 0.5 * alike[0] * float(scaled.sum()):
        return exponent
    if not outside:
        return None
    middle = torch.tensor(math.sqrt(largest) * math.sqrt(smallest), dtype=torch.float64, device=d.device)
    return _half_exponent(middle).expand_as(exponent)


def _half_exponent(d: Tensor) -> Tensor:
    return -torch.div(torch.frexp(d).exponent, 2, rounding_mode="floor")
