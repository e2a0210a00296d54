"""Rotations and rigid motions of space, by unit quaternions."""

import torch
from torch import Tensor

from gabp.factors.manifolds.base import Singleton
from gabp.kernels import dispatch
from gabp.kernels.torch import quaternions


class _SO3(Singleton):
    """Rotations of space, (..., 4): unit quaternions x, y, z, w."""

    name, width, dimension = "SO3", 4, 3

    def retract(self, x: Tensor, delta: Tensor) -> Tensor:
        return _unit(quaternions.multiply(x, quaternions.exp(delta)))

    def local(self, x: Tensor, y: Tensor) -> Tensor:
        return quaternions.log(self.relative(x, y))

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return quaternions.inverse_right_jacobian(self.local(x, y))

    def compose(self, x: Tensor, y: Tensor) -> Tensor:
        return quaternions.multiply(x, y)

    def relative(self, x: Tensor, y: Tensor) -> Tensor:
        return quaternions.multiply(quaternions.conjugate(x), y)

    def relative_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -quaternions.rotation_matrix(self.relative(y, x))

    def normalize(self, values: Tensor) -> Tensor:
        return quaternions.normalize(values)


class _SE3(Singleton):
    """Rigid motions of space, (..., 7): the translation x, y, z and the unit quaternion x, y, z, w.

    ``(t, R) ⊞ (δt, δω) = (t + R δt, R exp(δω))``.
    """

    name, width, dimension = "SE3", 7, 6

    def retract(self, x: Tensor, delta: Tensor) -> Tensor:
        moved = x[..., :3] + quaternions.rotate(x[..., 3:], delta[..., :3])
        return torch.cat([moved, _unit(quaternions.multiply(x[..., 3:], quaternions.exp(delta[..., 3:])))], -1)

    def local(self, x: Tensor, y: Tensor) -> Tensor:
        between = self.relative(x, y)
        return torch.cat([between[..., :3], quaternions.log(between[..., 3:])], -1)

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        between = self.relative(x, y)[..., 3:]
        jacobian = x.new_zeros((*between.shape[:-1], 6, 6))
        jacobian[..., :3, :3] = quaternions.rotation_matrix(between)
        jacobian[..., 3:, 3:] = quaternions.inverse_right_jacobian(quaternions.log(between))
        return jacobian

    def compose(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([self.act(x, y[..., :3]), quaternions.multiply(x[..., 3:], y[..., 3:])], -1)

    def relative(self, x: Tensor, y: Tensor) -> Tensor:
        back = quaternions.conjugate(x[..., 3:])
        return torch.cat([self.observe(x, y[..., :3]), quaternions.multiply(back, y[..., 3:])], -1)

    def relative_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        between = self.relative(x, y)
        back = quaternions.rotation_matrix(quaternions.conjugate(between[..., 3:]))
        jacobian = x.new_zeros((*between.shape[:-1], 6, 6))
        jacobian[..., :3, :3] = jacobian[..., 3:, 3:] = -back
        jacobian[..., :3, 3:] = back @ quaternions.cross_matrix(between[..., :3])
        return jacobian

    def retract_all(self, x: Tensor, delta: Tensor) -> Tensor:
        return dispatch.backend("cpu").poses.retract_se3(x, delta)

    def residual_between(self, x: Tensor, y: Tensor, measurement: Tensor) -> Tensor:
        return self.linearize_between(x, y, measurement)[0]  # compiled: the derivatives cost little

    def linearize_between(self, x: Tensor, y: Tensor, measurement: Tensor) -> tuple[Tensor, Tensor]:
        return dispatch.backend("cpu").poses.between_se3(x, y, measurement)

    def act(self, x: Tensor, point: Tensor) -> Tensor:
        """The point, (..., 3), given in the frame of ``x``, in the world's frame."""
        return x[..., :3] + quaternions.rotate(x[..., 3:], point)

    def observe(self, x: Tensor, point: Tensor) -> Tensor:
        """The point, (..., 3), given in the world's frame, in the frame of ``x``."""
        return quaternions.rotate(quaternions.conjugate(x[..., 3:]), point - x[..., :3])

    def normalize(self, values: Tensor) -> Tensor:
        return torch.cat([values[..., :3], quaternions.normalize(values[..., 3:])], -1)


def _unit(q: Tensor) -> Tensor:
    """Against the drift of repeated products: the length is 1 to rounding already."""
    return q * (1.5 - 0.5 * (q * q).sum(-1, keepdim=True))


SO3 = _SO3()
SE3 = _SE3()
