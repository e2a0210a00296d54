"""Flooding a symmetric model: synchronous sweeps, of potential messages alone or of both kinds."""

from torch import Tensor

from gabp.kernels import dispatch
from gabp.messages.precision import Precisions, Start, starting_scale
from gabp.system import System


class FloodingSweeps:
    """The synchronous schedule of the potential messages at the precision fixed point.

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
        """Do ``count`` sweeps."""
        self._kernels.mean_sweeps(self._state, count, self._damping)

    def mean(self) -> Tensor:
        """The belief means ``h_i / J_i``, shape (n, k), float64."""
        return self._kernels.mean_estimate(self._state)


class JointFloodingSweeps:
    """The synchronous schedule of precision and potential messages together, as the literature states it."""

    def __init__(self, system: System, b: Tensor, start: Start = "zero", scaling: Tensor | None = None) -> None:
        self._kernels = dispatch.backend(system.device, system.dtype).messages
        self._state = self._kernels.joint_state(system.layout, b, starting_scale(system, start, scaling))
        self._must_be_positive = start == "zero" or scaling is not None

    def sweep(self, count: int) -> tuple[int, int | None]:
        """The sweeps done, at most ``count``, and the node of a nonpositive belief precision, if one stopped them."""
        done, invalid = self._kernels.joint_sweeps(self._state, count, self._must_be_positive)
        return done, invalid if self._must_be_positive else None

    def mean(self) -> Tensor:
        """The belief means, shape (n, k), float64; 0 where the belief's precision is 0."""
        return self._kernels.joint_estimate(self._state)[0]

    def belief(self) -> Tensor:
        """The belief precisions, shape (n,), float64."""
        return self._kernels.joint_estimate(self._state)[1]
