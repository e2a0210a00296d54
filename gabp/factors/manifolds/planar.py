"""Rotations and rigid motions of the plane, by angles."""

import math

import numpy as np
import torch
from torch import Tensor

from gabp.factors.manifolds.base import Singleton
from gabp.kernels import dispatch


def wrap(angle: Tensor) -> Tensor:
    """The same angle in [-π, π]; exact where it is there already, so that derivatives pass."""
    return angle - 2 * math.pi * torch.round(angle.detach() / (2 * math.pi))


def rotate(angle: Tensor, v: Tensor) -> Tensor:
    """``R(angle) v`` for angles (...,) and vectors (..., 2)."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * v[..., 0] - s * v[..., 1], s * v[..., 0] + c * v[..., 1]], -1)


def rotation_matrix(angle: Tensor) -> Tensor:
    """``R(angle)``, (..., 2, 2)."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))


class _SO2(Singleton):
    """Rotations of the plane, (..., 1): angles in radians."""

    name, width, dimension = "SO2", 1, 1

    def retract(self, x: Tensor, delta: Tensor) -> Tensor:
        return wrap(x + delta)

    def local(self, x: Tensor, y: Tensor) -> Tensor:
        return wrap(y - x)

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.ones_like(y)[..., None]

    def compose(self, x: Tensor, y: Tensor) -> Tensor:
        return wrap(x + y)

    def relative(self, x: Tensor, y: Tensor) -> Tensor:
        return wrap(y - x)

    def relative_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -torch.ones_like(y)[..., None]

    def normalize(self, values: Tensor) -> Tensor:
        return wrap(values)


class _SE2(Singleton):
    """Rigid motions of the plane, (..., 3): x, y and the angle in radians.

    ``(t, θ) ⊞ (δt, δθ) = (t + R(θ) δt, θ + δθ)``.
    """

    name, width, dimension = "SE2", 3, 3

    def retract(self, x: Tensor, delta: Tensor) -> Tensor:
        return self.compose(x, delta)

    def local(self, x: Tensor, y: Tensor) -> Tensor:
        return self.relative(x, y)

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        c, s = (y[:, 2] - x[:, 2]).cos(), (y[:, 2] - x[:, 2]).sin()
        zero, one = torch.zeros_like(c), torch.ones_like(c)
        return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))

    def compose(self, x: Tensor, y: Tensor) -> Tensor:
        moved = x[..., :2] + rotate(x[..., 2], y[..., :2])
        return torch.cat([moved, wrap(x[..., 2:] + y[..., 2:])], -1)

    def relative(self, x: Tensor, y: Tensor) -> Tensor:
        seen = rotate(-x[..., 2], y[..., :2] - x[..., :2])
        return torch.cat([seen, wrap(y[..., 2:] - x[..., 2:])], -1)

    def relative_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        between = self.relative(x, y)
        c, s = between[:, 2].cos(), between[:, 2].sin()
        # the derivative of t in δθ_i, (t_y, -t_x), seen from the rotated frame
        u = c * between[:, 1] - s * between[:, 0]
        v = -s * between[:, 1] - c * between[:, 0]
        zero, one = torch.zeros_like(c), torch.ones_like(c)
        return torch.stack([-c, -s, u, s, -c, v, zero, zero, -one], -1).unflatten(-1, (3, 3))

    def retract_all(self, x: Tensor, delta: Tensor) -> Tensor:
        return dispatch.backend("cpu").poses.retract_se2(x, delta)

    def residual_between(self, x: Tensor, y: Tensor, measurement: Tensor) -> Tensor:
        return self.linearize_between(x, y, measurement)[0]  # compiled: the derivatives cost little

    def linearize_between(self, x: Tensor, y: Tensor, measurement: Tensor) -> tuple[Tensor, Tensor]:
        return dispatch.backend("cpu").poses.between_se2(x, y, measurement)

    def act(self, x: Tensor, point: Tensor) -> Tensor:
        """The point, (..., 2), given in the frame of ``x``, in the world's frame."""
        return x[..., :2] + rotate(x[..., 2], point)

    def observe(self, x: Tensor, point: Tensor) -> Tensor:
        """The point, (..., 2), given in the world's frame, in the frame of ``x``."""
        return rotate(-x[..., 2], point - x[..., :2])

    def normalize(self, values: Tensor) -> Tensor:
        if (np.abs(values.detach().numpy()[..., 2]) <= math.pi).all():
            return values
        return torch.cat([values[..., :2], wrap(values[..., 2:])], -1)


SO2 = _SO2()
SE2 = _SE2()
