"""The hierarchy of models where it does not run compiled: set up and kept on the system's own device."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.contraction import Model
from gabp.kernels.cycle import FAILURE, OUTER_SCALARS, SQUARE, TARGET
from gabp.kernels.levels import Level, build_levels
from gabp.solvers.device_cycle import Cycle
from gabp.solvers.protocol import Correction
from gabp.solvers.solution import Status
from gabp.system import System, require_positive_diagonal, times_power_of_two

LARGEST_DENSE = 1024  # nodes of a model that is eliminated: its inverse stays in a GPU's cache
_IN_CYCLE = torch.float32
_SAFETY = 0.7  # the recurrence's residual norm is met a little below the target, since rounding sets it apart
_ROUNDING = 1e-14  # curvature below this share of |A||p|² is noise
_FIRST_LOOK = 4  # steps
_STALLED_STEPS = 400  # without a new lowest residual norm
_OUTER_SUMS = 3
_NARROW, _WIDE, _FLOAT_LIMIT = 16.0, 1e24, 1e12  # of the diagonal: its spread, and what float32 products can hold
_FAILURES = {0: None, 1: Status.NOT_POSITIVE_DEFINITE, 2: Status.SINGULAR}


@dataclass(frozen=True, eq=False)
class DeviceHierarchy:
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
    failure = None

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
        """The functions of `gabp.kernels.cycle`, fused for the device where they can be."""
        return dispatch.choose_cycle(self.system.device)

    @property
    def nbytes(self) -> int:
        """Memory held by the set-up, in bytes, beside the system itself."""
        return sum(level.nbytes for level in self.levels) + self.value.nbytes + self.diagonal.nbytes

    @cached_property
    def launches(self) -> int:
        """Kernels that one step launches, none of which waits for the host."""
        counter = _LaunchCounter()
        DeviceCorrection(self, torch.zeros(self.system.n, 1), torch.zeros(1), counter).step()
        return counter.launches

    def correct(self, r: Tensor, target: Tensor) -> Correction:
        return DeviceCorrection(self, r.detach(), target, self.kernels)

    def precondition(self, r: Tensor) -> Tensor:
        """One V-cycle: a fixed symmetric positive definite approximation of ``A⁻¹`` times ``r``, shape (n, k)."""
        right = r.detach().to(self.system.device, torch.float64)
        exponent = torch.frexp(right.abs().amax(0)).exponent  # the cycle is kept in float32
        b = self.into_rows(times_power_of_two(right, -exponent)).to(_IN_CYCLE).contiguous()
        x = torch.empty_like(b)
        Cycle(self.levels, b.shape[1], self.kernels, accelerated=False).apply(b, x)
        return times_power_of_two(self.out_of_rows(x.double()), exponent).to(r.device)

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
            f"{self.launches} launches and no synchronisation per step"
        ]
        for depth, level in enumerate(self.levels):
            solved = f"sweeps in {len(level.colours)} colours, {level.loaded} rows loaded"
            solved = "elimination" if level.inverse is not None else solved
            lines.append(f"  {depth}  {level.n:>11} variables  {level.edges:>12} directed edges  {solved}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple:
        return DeviceHierarchy, (self.system,)


class DeviceCorrection:
    """Flexible conjugate gradients at work on ``A y = r``; see `gabp.solvers.protocol.Correction`."""

    def __init__(self, hierarchy: DeviceHierarchy, r: Tensor, target: Tensor, kernels: Any) -> None:
        self._hierarchy, self._kernels = hierarchy, kernels
        finest = hierarchy.levels[0]
        self._r = hierarchy.into_rows(r.double()).contiguous()
        columns = r.shape[1]
        self._y, self._d, self._q = (torch.zeros_like(self._r) for _ in range(3))
        self._b, self._z = self._r.to(_IN_CYCLE), torch.empty_like(self._r, dtype=_IN_CYCLE)
        self._scalars = self._r.new_zeros((OUTER_SCALARS, columns))
        self._scalars[SQUARE] = (r.double() ** 2).sum(0)
        self._scalars[TARGET] = (_SAFETY * target.double()) ** 2
        self._partials = self._r.new_empty((finest.rows.programs, _OUTER_SUMS, columns))
        exponent = hierarchy.exponent
        unit = None if exponent is None else times_power_of_two(torch.ones_like(hierarchy.diagonal), -exponent)
        self._unit = None if unit is None else unit[finest.order]
        self._cycle = Cycle(hierarchy.levels, columns, kernels, accelerated=True)
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
        return self._hierarchy.out_of_rows(self._y)

    def step(self) -> None:
        """One step, without a word to the host: its memory and its launches are the same every time."""
        kernels, scalars, partials = self._kernels, self._scalars, self._partials
        finest, h = self._hierarchy.levels[0], self._hierarchy
        self._cycle.apply(self._b, self._z)
        kernels.overlap(self._z, self._q, partials)
        kernels.finish_overlap(partials, scalars)
        kernels.advance_direction(finest, h.value, h.diagonal, self._z, self._d, self._q, self._r, scalars, partials)
        kernels.finish_direction(partials, _ROUNDING * h.norm, scalars)
        kernels.step(self._y, self._r, self._d, self._q, self._unit, self._b, scalars, partials)
        kernels.finish_step(partials, scalars)

    def _take_step(self) -> None:
        """The first step compiles and allocates what is missing; a device may record the second and replay it."""
        if self._go is None:
            self.step()
            self._go = dispatch.record(self.step, self._r.device)
        else:
            self._go()

    def _look(self) -> tuple[bool, Status | None, float]:
        """Whether all targets are met; else why they cannot be, if so; and the worst norm over its target."""
        square, target, failure = self._scalars[[SQUARE, TARGET, FAILURE]].cpu()
        left = square > target
        if not bool(left.any()):
            return True, None, 0.0
        excess = math.sqrt(float((square[left] / target[left]).max()))
        return False, _FAILURES[int(failure.max())], excess


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


class _LaunchCounter:
    """Stands in for the kernels and counts what they would launch."""

    _OVER_ALL_ROWS = ("image", "advance_direction", "restrict")

    def __init__(self) -> None:
        self.launches = 0

    def __getattr__(self, name: str) -> Callable[..., None]:
        def count(*arguments: Any) -> None:
            self.launches += 1
            if name in self._OVER_ALL_ROWS:
                rows = arguments[0].rows if isinstance(arguments[0], Level) else arguments[0]
                self.launches += len(rows.long_row) > 0
            if name == "eliminate":
                self.launches += 2  # to float64 and back

        return count
