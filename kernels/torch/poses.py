"""Residuals of measured relative poses and their derivatives, literally.

With the measurement ``(R_z, t_z)``, ``R_ij = R_iᵀ R_j`` and ``t_ij = R_iᵀ (t_j - t_i)`` the residual is
``R_zᵀ (t_ij - t_z)`` and then the logarithm of ``R_zᵀ R_ij``; poses move as ``t + R δt`` and ``R exp(δω)``.
"""

import math

import torch
from torch import Tensor

from gabp.kernels.torch import quaternions


def between_se2(first: Tensor, second: Tensor, measurement: Tensor) -> tuple[Tensor, Tensor]:
    """For poses x, y, angle, each (m, 3): residuals (m, 3), and derivatives in both poses side by side, (m, 3, 6)."""
    to_world, from_measured = _planar_rotation(first[:, 2]), _planar_rotation(measurement[:, 2]).mT
    t = _apply(to_world.mT, second[:, :2] - first[:, :2])
    angle = second[:, 2] - first[:, 2]
    turned = angle - measurement[:, 2]
    turned = turned - 2 * math.pi * torch.round(turned / (2 * math.pi))
    residual = torch.cat([_apply(from_measured, t - measurement[:, :2]), turned[:, None]], 1)
    jacobian = first.new_zeros(len(first), 3, 6)
    jacobian[:, :2, :2] = -from_measured
    jacobian[:, :2, 2] = _apply(from_measured, torch.stack([t[:, 1], -t[:, 0]], 1))
    jacobian[:, :2, 3:5] = from_measured @ _planar_rotation(angle)
    jacobian[:, 2, 2], jacobian[:, 2, 5] = -1.0, 1.0
    return residual, jacobian


def between_se3(first: Tensor, second: Tensor, measurement: Tensor) -> tuple[Tensor, Tensor]:
    """For poses x, y, z and unit quaternion, (m, 7): residuals (m, 6), and derivatives side by side, (m, 6, 12)."""
    back = quaternions.conjugate(first[:, 3:])
    t = quaternions.rotate(back, second[:, :3] - first[:, :3])
    between = quaternions.multiply(back, second[:, 3:])
    turned = quaternions.multiply(quaternions.conjugate(measurement[:, 3:]), between)
    from_measured = quaternions.rotation_matrix(measurement[:, 3:]).mT
    omega = quaternions.log(turned)
    inverse = quaternions.inverse_right_jacobian(omega)
    residual = torch.cat([_apply(from_measured, t - measurement[:, :3]), omega], 1)
    jacobian = first.new_zeros(len(first), 6, 12)
    jacobian[:, :3, :3] = -from_measured
    jacobian[:, :3, 3:6] = from_measured @ quaternions.cross_matrix(t)
    jacobian[:, 3:, 3:6] = -inverse @ quaternions.rotation_matrix(between).mT
    jacobian[:, :3, 6:9] = quaternions.rotation_matrix(turned)
    jacobian[:, 3:, 9:] = inverse
    return residual, jacobian


def retract_se2(poses: Tensor, delta: Tensor) -> Tensor:
    """``(t + R δt, θ + δθ)``, the angle in [-π, π]; (n, 3) each."""
    angle = poses[:, 2] + delta[:, 2]
    angle = angle - 2 * math.pi * torch.round(angle / (2 * math.pi))
    moved = poses[:, :2] + _apply(_planar_rotation(poses[:, 2]), delta[:, :2])
    return torch.cat([moved, angle[:, None]], 1)


def retract_se3(poses: Tensor, delta: Tensor) -> Tensor:
    """``(t + R δt, R exp(δω))``, for poses (n, 7) and steps (n, 6); quaternions of unit length to rounding."""
    moved = poses[:, :3] + quaternions.rotate(poses[:, 3:], delta[:, :3])
    turned = quaternions.multiply(poses[:, 3:], quaternions.exp(delta[:, 3:]))
    return torch.cat([moved, turned * (1.5 - 0.5 * (turned * turned).sum(1, keepdim=True))], 1)


def _planar_rotation(angle: Tensor) -> Tensor:
    c, s = angle.cos(), angle.sin()
    return torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]
