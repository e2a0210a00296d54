"""What all hierarchies offer, whatever their levels store."""

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from gabp.solvers.protocol import MethodSetup
from gabp.system import times_power_of_two
from gabp.system.vectors import largest_entries


@dataclass(frozen=True)
class LevelSummary:
    """One level of a hierarchy.

    Attributes
    ----------
    n : int
        Variables.
    edges : int
        Directed edges.
    groups : int
        Parts of the rows by which the smoother goes: see `Hierarchy.groups`.
    loaded : int
        Rows whose precision pivot fell too low and was raised.
    exact : bool
        Solved by elimination; only ever the coarsest level.
    """

    n: int
    edges: int
    groups: int
    loaded: int
    exact: bool


class Hierarchy(MethodSetup):
    """A cycle through levels as the preconditioner of flexible conjugate gradients.

    Attributes
    ----------
    is_linear : bool
        Whether `precondition` is a fixed linear operator, as other libraries' conjugate gradients need it.
    groups : str
        What the smoother divides the rows of a level into: row blocks are swept independently of each other, colours
        and nodes one after another.
    """

    symmetric_only = True
    is_linear: ClassVar[bool] = True
    groups: ClassVar[str]

    @property
    @abstractmethod
    def levels(self) -> tuple[LevelSummary, ...]:
        """The levels, finest first."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory of the set-up, in bytes, beside the system itself."""

    @abstractmethod
    def _cycle(self, r: Tensor) -> Tensor:
        """One V-cycle for ``r`` of shape (n, k), float64 on the device of the set-up, with entries of order 1."""

    @property
    def _device(self) -> torch.device:
        return self.system.device

    def precondition(self, r: Tensor) -> Tensor:
        """One V-cycle: a fixed symmetric positive definite approximation of ``A⁻¹`` times ``r``, shape (n, k)."""
        columns = r.detach().to(self._device, torch.float64)
        exponent = self._column_exponents(columns)
        return times_power_of_two(self._cycle(times_power_of_two(columns, -exponent)), exponent).to(r.device)

    def _column_exponents(self, r: Tensor) -> Tensor:
        """Of powers of two that bring the columns of ``r``, (n, k), into the range of float32; shape (k,)."""
        return torch.frexp(largest_entries(r)).exponent

    def _headline(self) -> str:
        return f"{type(self).__name__}: {len(self.levels)} levels, {self.nbytes / 1e6:.3g} MB"

    def __repr__(self) -> str:
        lines = [self._headline()]
        for depth, level in enumerate(self.levels):
            sweeps = f"sweeps in {level.groups} {self.groups}, {level.loaded} rows loaded"
            solved = "elimination" if level.exact else sweeps
            lines.append(f"  {depth}  {level.n:>11} variables  {level.edges:>12} directed edges  {solved}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:  # set up again: as fast as reading the levels back
        return type(self), tuple(getattr(self, one.name) for one in fields(self) if one.init)  # type: ignore[arg-type]
