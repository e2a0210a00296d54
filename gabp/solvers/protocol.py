"""How a method plugs into the iteration: what depends on A is split from what depends on b."""

from typing import Protocol

from torch import Tensor

from gabp.solvers.solution import Status


class Correction(Protocol):
    """One method at work on ``A y = r``."""

    def advance(self, steps: int) -> tuple[int, Status | None]:
        """Do up to ``steps`` sweeps or steps; stop early where the method itself thinks ``y`` meets its target.

        Returns how many were done, and why no more can be, if so.
        """

    def estimate(self) -> Tensor:
        """``y`` so far, shape (n, k)."""


class Prepared(Protocol):
    """A method set up for one matrix: immutable, safe in several threads, picklable."""

    @property
    def exact(self) -> bool:
        """Whether one step solves to rounding."""

    @property
    def stops_itself(self) -> bool:
        """Whether `Correction.advance` returns early when it judges that the target is met."""

    @property
    def failure(self) -> Status | None:
        """Why the set-up found that this method cannot solve this matrix, if so."""

    def correct(self, r: Tensor, target: Tensor) -> Correction:
        """Start on ``A y = r``, for ``r`` of shape (n, k) and wanted residual norms ``target`` of shape (k,)."""
