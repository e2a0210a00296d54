"""How a method plugs into iterative refinement: what depends on A is split from what depends on b."""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from torch import Tensor

from gabp.solvers.solution import Status
from gabp.system import System

# Share of the target that the residual of a recurrence has to meet: rounding sets the true residual apart from it.
RECURRENCE_TARGET = 0.7
STALLED_ITERATIONS = 400  # of conjugate gradients without a gain, after which refinement restarts them


class InnerSolve(Protocol):
    """An iteration on the correction equation ``A y = r``."""

    def advance(self, iterations: int) -> tuple[int, Status | None]:
        """Do up to ``iterations`` sweeps or iterations; fewer where the method judges that ``y`` meets its target.

        Returns
        -------
        int
            How many were done.
        Status or None
            Why no more are possible, if so.
        """

    def estimate(self) -> Tensor:
        """The current ``y``, shape (n, k), float64."""


class MethodSetup(ABC):
    """A method set up for one matrix: immutable, safe in several threads, picklable.

    Attributes
    ----------
    system : System
    exact : bool
        Whether one iteration solves to rounding.
    stops_itself : bool
        Whether `InnerSolve.advance` returns early when it judges that the target is met.
    symmetric_only : bool
        Whether A must be symmetric.
    needs_positive_diagonal : bool
        Whether the diagonal of a symmetric A must be positive, or the constructor raises `InvalidSystemError`.
    reuses_setup : bool
        Whether the constructor takes ``reuse``: a set-up of the same method for other values on the same pattern.
    """

    system: System
    exact: ClassVar[bool] = False
    stops_itself: ClassVar[bool] = False
    symmetric_only: ClassVar[bool] = False
    needs_positive_diagonal: ClassVar[bool] = False
    reuses_setup: ClassVar[bool] = False

    @property
    def failure(self) -> Status | None:
        """Why the set-up found that this method cannot solve this matrix, if so."""
        return None

    @property
    def lacks_locality(self) -> bool:
        """Whether the set-up found a graph so scattered that a factor is nearly dense, and takes long to predict."""
        return False

    @property
    def notes(self) -> str:
        """What a solution's ``method_reason`` adds about the set-up; mostly empty."""
        return ""

    @abstractmethod
    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        """Start on ``A y = r``, for ``r`` of shape (n, k) and wanted residual norms ``target`` of shape (k,)."""
