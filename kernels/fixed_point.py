"""The fixed point of the precision messages: one iteration over whatever backend floods them."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gabp.kernels.types import FixedPoint


class Progress(NamedTuple):
    """The state of the iteration after some sweeps; see `gabp.kernels.types.FixedPoint`."""

    sweeps: int
    change: float
    invalid_node: int | None


class StoppingRule(NamedTuple):
    """When the iteration ends; see `gabp.kernels.types.MessageKernels.precision_fixed_point`."""

    limit: int
    tolerance: float
    must_be_positive: bool

    def converged(self, progress: Progress) -> bool:
        """Whether every belief is positive and has stopped changing."""
        return progress.invalid_node is None and progress.change <= self.tolerance

    def stops(self, progress: Progress) -> bool:
        """Whether no further sweep is to be done."""
        failed = self.must_be_positive and progress.invalid_node is not None
        return failed or progress.sweeps >= self.limit or self.converged(progress)


class Flooding(Protocol):
    """Precision messages of one model on one backend."""

    @property
    def invalid_at_start(self) -> int | None:
        """The smallest node whose belief is not positive before the first sweep."""

    def advance(self, progress: Progress, rule: StoppingRule) -> Progress:
        """At least one sweep, and no sweep after the one at which ``rule`` stops."""

    def beliefs(self, sweeps: int) -> Tensor:
        """The belief precisions after so many sweeps, ``(n,)`` in node order."""

    def coefficients(self, sweeps: int) -> tuple[Tensor, Tensor]:
        """``coefficient`` and ``root`` of a `FixedPoint` with positive beliefs."""


def default_tolerance(dtype: torch.dtype) -> float:
    """The relative change below which beliefs of ``dtype`` count as converged."""
    return 8 * torch.finfo(dtype).eps


def start_from_zero(diagonal: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Beliefs ``(2, n)`` and messages ``(2, m)`` of two successive sweeps, the older of which sends zero.

    In edge-local form a message is recomputed from what was received two sweeps before; an infinite cavity sends zero.
    """
    message = diagonal.new_empty((2, m))
    message[0], message[1] = 0.0, -torch.inf
    return torch.stack((diagonal, torch.zeros_like(diagonal))), message


def find_fixed_point(flooding: Flooding, rule: StoppingRule) -> FixedPoint:
    """Flood until ``rule`` stops."""
    progress = Progress(0, float("inf"), flooding.invalid_at_start)
    while not rule.stops(progress):
        progress = flooding.advance(progress, rule)
    belief = flooding.beliefs(progress.sweeps)
    coefficient = root = belief.new_empty(0)
    if progress.invalid_node is None:
        coefficient, root = flooding.coefficients(progress.sweeps)
    return FixedPoint(rule.converged(progress), *progress, belief, coefficient, root)
