"""Flooding a symmetric model: the synchronous sweeps that move the means."""

from torch import Tensor

from gabp.kernels import dispatch
from gabp.messages.precision import Precisions, Start, starting_scale
from gabp.system import System


class FloodingSweeps:
    """All nodes send at once (the synchronous schedule), at settled precisions.

    Parameters
    ----------
    precisions : Precisions
    b : Tensor, shape (n, k)
    damping : float
        Share of the old message that is kept.
    """

    def __init__(self, precisions: Precisions, b: Tensor, damping: float = 0.0) -> None:
        self._kernels = precisions.kernels
        self._state = self._kernels.mean_state(precisions.system.layout, precisions.fixed, b)
        self._damping = damping

    def sweep(self, count: int) -> None:
        self._kernels.mean_sweeps(self._state, count, self._damping)

    def mean(self) -> Tensor:
        """The belief means ``h_i / J_i``, shape (n, k), float64."""
        return self._kernels.mean_estimate(self._state)


class JointFloodingSweeps:
    """Flooding as the literature states it: precisions and potentials move together from their start."""

    def __init__(self, system: System, b: Tensor, start: Start = "zero", scaling: Tensor | None = None) -> None:
        self._kernels = dispatch.choose(system.device, system.dtype)
        self._state = self._kernels.joint_state(system.layout, b, starting_scale(system, start, scaling))
        self._must_be_positive = start == "zero" or scaling is not None

    def sweep(self, count: int) -> tuple[int, int | None]:
        """The sweeps done of ``count``, and the node whose belief is no positive precision, if one stopped them."""
        done, invalid = self._kernels.joint_sweeps(self._state, count, self._must_be_positive)
        return done, invalid if self._must_be_positive else None

    def mean(self) -> Tensor:
        """The belief means, shape (n, k), float64; 0 where the belief's precision is 0."""
        return self._kernels.joint_estimate(self._state)[0]

    def belief(self) -> Tensor:
        """The belief precisions, shape (n,), float64."""
        return self._kernels.joint_estimate(self._state)[1]
