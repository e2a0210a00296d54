"""Conjugate gradients on a hierarchy of Gaussian models: every symmetric positive definite system."""

import math
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import cpu
from gabp.solvers.curvature_certificate import proven_by
from gabp.solvers.device_hierarchy import DeviceHierarchy
from gabp.solvers.protocol import MethodSetup
from gabp.solvers.solution import Status
from gabp.system import System, require_positive_diagonal, times_power_of_two
from gabp.system.vectors import largest_entries

_SAFETY = 0.7  # the recurrence's residual norm is met a little below the target, since rounding sets it apart
_MODERATE = 60  # binary digits that a matrix may be away from 1 and be taken as it is
_STALLED_STEPS = 400  # without a gain, in residual or energy


@dataclass(frozen=True)
class Level:
    """One model of a hierarchy.

    Attributes
    ----------
    n : int
        Variables.
    edges : int
        Directed edges.
    blocks : int
        Row blocks that are swept independently of each other.
    loaded : int
        Rows whose precision pivot fell too low and was raised.
    exact : bool
        Solved by elimination; only ever the last level.
    """

    n: int
    edges: int
    blocks: int
    loaded: int
    exact: bool


@dataclass(frozen=True, eq=False)
class Hierarchy(MethodSetup):
    """Elimination sweeps on a hierarchy of contracted models, inside flexible conjugate gradients.

    Strongly coupled variables are clustered by double pairwise matching and tied together; the coarse model
    ``PᵀAP`` is a Gaussian model again. On the way down a level's forward elimination sweep, on the way up its
    backward sweep; coarse models are accelerated by up to two steps of conjugate gradients (the K-cycle of
    Notay 2010), the coarsest is eliminated exactly. There is no coarser model where every neighbourhood is held firmly
    (its rows are well above their couplings), and where no order of the rows brings neighbours together: the one is
    swept on its own, for the other its diagonal alone preconditions.

    Parameters
    ----------
    system : System
        Symmetric, with a positive diagonal.
    like : Hierarchy, optional
        For other values on the same pattern: its ordering and clusters are kept.

    Raises
    ------
    InvalidSystemError
        A diagonal entry is not positive.
    ModuleNotFoundError
        The compiled kernels are not there.
    """

    system: System
    like: InitVar["Hierarchy | None"] = None
    _models: Any = field(init=False, repr=False)
    _unit: float = field(init=False, repr=False)  # the models are those of A times this
    _root: Tensor | None = field(init=False, repr=False)  # of their diagonal, where float32 cannot hold its range
    exact = False
    stops_itself = True

    def __post_init__(self, like: "Hierarchy | None") -> None:
        require_positive_diagonal(self.system, "hierarchy")
        if cpu.extension is None:
            raise ModuleNotFoundError(f"method 'hierarchy' needs the compiled kernels: {cpu.missing_because}")
        graph = self.system.graph
        ends = self.system.smallest_diagonal, float(largest_entries(self.system.diagonal[:, None]))
        smallest, largest = (math.frexp(end)[1] for end in ends)
        exponent = (smallest + largest) // 2
        # the cycle is kept in float32, whose range the squares of extreme entries leave
        unit = 1.0 if abs(exponent) < _MODERATE else math.ldexp(1.0, min(-exponent, 1000))
        weight, diagonal = self.system.weight.detach(), self.system.diagonal.detach()
        models = cpu.extension.Hierarchy(
            graph.start.cpu(),
            graph.source.cpu(),
            (weight if unit == 1.0 else weight * unit).cpu(),
            (diagonal if unit == 1.0 else diagonal * unit).cpu(),
            torch.get_num_threads(),
            None if like is None else like._models,
        )
        object.__setattr__(self, "_models", models)
        object.__setattr__(self, "_unit", unit)
        wide = largest - smallest > _MODERATE
        object.__setattr__(self, "_root", (diagonal.double().cpu() * unit).sqrt()[:, None] if wide else None)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The models, finest first."""
        return tuple(
            Level(n, edges, blocks, loaded, exact) for n, edges, blocks, _, _, loaded, exact in self._models.models()
        )

    @property
    def nbytes(self) -> int:
        """Memory held by the set-up, in bytes, beside the system itself."""
        return self._models.bytes

    def correct(self, r: Tensor, target: Tensor) -> "HierarchyCorrection":
        return HierarchyCorrection(self, r, target)

    def exponents(self, r: Tensor) -> Tensor:
        """Of powers of two that bring the columns of ``r``, (n, k), within the float32 of the cycle; shape (k,)."""
        return torch.frexp(largest_entries(r if self._root is None else r / self._root)).exponent

    def precondition(self, r: Tensor) -> Tensor:
        """One V-cycle: a fixed symmetric positive definite approximation of ``A⁻¹`` times ``r``, shape (n, k)."""
        right = r.detach().double().cpu()
        exponent = self.exponents(right)
        right = times_power_of_two(right, -exponent).contiguous()
        out = torch.empty_like(right)
        self._models.apply(right, out, torch.get_num_threads())
        return times_power_of_two(out if self._unit == 1.0 else out * self._unit, exponent).to(r.device)

    def __repr__(self) -> str:
        lines = [f"Hierarchy: {len(self.levels)} levels, {self.nbytes / 1e6:.3g} MB"]
        for level, size in enumerate(self.levels):
            solved = "elimination" if size.exact else f"sweeps in {size.blocks} row blocks, {size.loaded} rows loaded"
            lines.append(f"  {level}  {size.n:>11} variables  {size.edges:>12} directed edges  {solved}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple:  # the models are made again: as fast as reading them back
        return Hierarchy, (self.system,)


def hierarchy_class(system: System) -> type[Hierarchy] | type[DeviceHierarchy]:
    """The hierarchy for a system: the compiled one where it can be, else that of tensor operations on any device."""
    compiled = cpu.extension is not None and system.device.type == "cpu"
    return Hierarchy if compiled else DeviceHierarchy


def m_matrix_solver(system: System) -> Callable[[Tensor], Iterator[Tensor]]:
    """Set up for ``A x = b`` with a symmetric M-matrix A; what comes back yields closer and closer ``x``, shape (n,).

    The solver that a proof of walk-summability is handed (`gabp.conditions.MMatrixSolver`): where A turns out to be
    no M-matrix, the last that it yields is a direction ``p`` with ``pᵀAp < 0``.
    """
    hierarchy = hierarchy_class(system)(system)

    def approximations(b: Tensor) -> Iterator[Tensor]:
        correction = hierarchy.correct(b[:, None], torch.zeros(1))
        while True:
            done, _ = correction.advance(1)
            if correction.witness is not None:
                yield correction.witness
            if done == 0 or correction.witness is not None:
                return
            yield correction.estimate()[:, 0]

    return approximations


class HierarchyCorrection:
    """Flexible conjugate gradients at work on ``A y = r``; see `gabp.solvers.protocol.Correction`.

    Attributes
    ----------
    witness : Tensor, shape (n,), or None
        After NOT_POSITIVE_DEFINITE a direction ``p`` with ``pᵀAp < 0``.
    """

    def __init__(self, hierarchy: Hierarchy, r: Tensor, target: Tensor) -> None:
        assert cpu.extension is not None
        self.shape, self.device = r.shape, r.device
        right, self.target = r.detach().double().cpu(), (_SAFETY * target).double().cpu().contiguous()
        self.witness: Tensor | None = None
        self._system, self._unit = hierarchy.system, hierarchy._unit
        self._exponent = None if hierarchy._root is None else hierarchy.exponents(right)
        if self._exponent is not None:
            right = times_power_of_two(right, -self._exponent)
            self.target = times_power_of_two(self.target, -self._exponent)
        self._solve = cpu.extension.HierarchyCorrection(hierarchy._models, right.contiguous(), torch.get_num_threads())

    def advance(self, steps: int) -> tuple[int, Status | None]:
        done, suspect = 0, True
        while suspect and done < steps:
            more, suspect = self._solve.advance(steps - done, self.target, _STALLED_STEPS)
            done += more
            status = self._proven() if suspect else None
            if status is not None:
                return done, status
        return done, None

    def _proven(self) -> Status | None:
        """What the last direction proves, whose curvature vanished beside the norms."""
        direction = torch.empty(self.shape[0], dtype=torch.float64)
        self._solve.witness(direction)
        direction /= direction.norm()
        status = proven_by(self._system, direction)
        if status is Status.NOT_POSITIVE_DEFINITE:
            self.witness = direction
        return status

    def estimate(self) -> Tensor:
        out = torch.empty(self.shape, dtype=torch.float64)
        self._solve.estimate(out)
        if self._exponent is not None:
            out = times_power_of_two(out, self._exponent)
        return (out if self._unit == 1.0 else out * self._unit).to(self.device)
