"""Rotations of space by unit quaternions (x, y, z, w): products, exponential and logarithm, their derivatives.

Formulas: J. Solà, J. Deray and D. Atchuthan, *A micro Lie theory for state estimation in robotics*, arXiv:1812.01537
(2018), appendix B. Every function is smooth at angle 0, by series, and the logarithm is accurate up to angle π.
"""

import torch
from torch import Tensor

_SMALL = 1e-8  # of a squared angle, below which two terms of a series are exact to rounding


def multiply(p: Tensor, q: Tensor) -> Tensor:
    """``p · q``, (..., 4)."""
    a, u, b, v = p[..., 3:], p[..., :3], q[..., 3:], q[..., :3]
    return torch.cat([a * v + b * u + torch.linalg.cross(u, v), a * b - (u * v).sum(-1, keepdim=True)], -1)


def conjugate(q: Tensor) -> Tensor:
    """The inverse of a unit quaternion."""
    return torch.cat([-q[..., :3], q[..., 3:]], -1)


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """``R(q) v``, (..., 3)."""
    u = q[..., :3]
    twice = 2 * torch.linalg.cross(u, v)
    return v + q[..., 3:] * twice + torch.linalg.cross(u, twice)


def rotation_matrix(q: Tensor) -> Tensor:
    """``R(q)``, (..., 3, 3)."""
    x, y, z, w = q.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def from_rotation_matrix(rotation: Tensor) -> Tensor:
    """The unit quaternion, (..., 4), of a rotation matrix, (..., 3, 3).

    The matrix determines ``4 q qᵀ``; its longest column is the most accurate multiple of ``q`` (S. W. Shepperd,
    *Quaternion from rotation matrix*, Journal of Guidance and Control 1 (1978)).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in rotation.unbind(-2))
    rows = [
        *(1 + xx - yy - zz, xy + yx, xz + zx, zy - yz),
        *(xy + yx, 1 - xx + yy - zz, yz + zy, xz - zx),
        *(xz + zx, yz + zy, 1 - xx - yy + zz, yx - xy),
        *(zy - yz, xz - zx, yx - xy, 1 + xx + yy + zz),
    ]
    outer = torch.stack(rows, -1).unflatten(-1, (4, 4))
    longest = torch.diagonal(outer, dim1=-2, dim2=-1).argmax(-1, keepdim=True)
    return normalize(outer.take_along_dim(longest[..., None], -1)[..., 0])


def cross_matrix(v: Tensor) -> Tensor:
    """``[v]×`` with ``[v]× u = v × u``, (..., 3, 3)."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def exp(omega: Tensor) -> Tensor:
    """The rotation by ``‖ω‖`` about ``ω``, (..., 3) to (..., 4)."""
    squared = (omega * omega).sum(-1, keepdim=True)
    small = squared < _SMALL
    half = torch.where(small, 1.0, squared).sqrt() / 2
    over_angle = torch.where(small, 0.5 - squared / 48, half.sin() / (2 * half))
    return torch.cat([over_angle * omega, torch.where(small, 1 - squared / 8, half.cos())], -1)


def log(q: Tensor) -> Tensor:
    """The rotation vector ``ω`` of a unit quaternion, ``‖ω‖ <= π``; (..., 4) to (..., 3)."""
    v, w = q[..., :3], q[..., 3:]
    sign = torch.where(w < 0, -1.0, 1.0)
    squared = (v * v).sum(-1, keepdim=True)
    small = squared < _SMALL
    length = torch.where(small, 1.0, squared).sqrt()
    upright = sign * w
    near_zero = 2 / torch.where(small, upright, 1.0)
    factor = torch.where(
        small, near_zero * (1 - squared / (3 * upright * upright)), 2 * torch.atan2(length, upright) / length
    )
    return sign * factor * v


def inverse_right_jacobian(omega: Tensor) -> Tensor:
    """The derivative of ``log(exp(ω) exp(δ))`` in ``δ`` at 0, (..., 3, 3), for ``‖ω‖ < 2π``.

    ``I + ½ [ω]× + c [ω]×²`` with ``c = 1/θ² - cot(θ/2) / 2θ``.
    """
    squared = (omega * omega).sum(-1)
    small = squared < 1e-3
    theta = torch.where(small, 1.0, squared).sqrt()
    series = 1 / 12 + squared * (1 / 720 + squared * (1 / 30240 + squared / 1209600))
    c = torch.where(small, series, 1 / theta**2 - 1 / (2 * theta * torch.tan(theta / 2)))[..., None, None]
    # [ω]×² = ω ωᵀ - θ² I
    identity = torch.eye(3, dtype=omega.dtype, device=omega.device)
    squares = omega[..., :, None] * omega[..., None, :] - squared[..., None, None] * identity
    return identity + 0.5 * cross_matrix(omega) + c * squares


def left_jacobian(omega: Tensor) -> Tensor:
    """The derivative of ``log(exp(ω + δ) exp(-ω))`` in ``δ`` at 0, (..., 3, 3).

    ``I + (1 - cos θ)/θ² [ω]× + (θ - sin θ)/θ³ [ω]×²``.
    """
    squared = (omega * omega).sum(-1)
    small = squared < 1e-3
    theta = torch.where(small, 1.0, squared).sqrt()
    first = torch.where(
        small, 0.5 - squared * (1 / 24 - squared * (1 / 720 - squared / 40320)), 2 * (theta / 2).sin() ** 2 / theta**2
    )
    second = torch.where(
        small, 1 / 6 - squared * (1 / 120 - squared * (1 / 5040 - squared / 362880)), (theta - theta.sin()) / theta**3
    )
    identity = torch.eye(3, dtype=omega.dtype, device=omega.device)
    squares = omega[..., :, None] * omega[..., None, :] - squared[..., None, None] * identity
    return identity + first[..., None, None] * cross_matrix(omega) + second[..., None, None] * squares


def normalize(q: Tensor) -> Tensor:
    """Scale to unit length.

    Raises
    ------
    ValueError
        A quaternion is zero; with its row.
    """
    length = torch.linalg.vector_norm(q, dim=-1, keepdim=True)
    if not bool((length > 0).all()):
        raise ValueError("has the quaternion 0, which is no rotation", int((length.reshape(-1) <= 0).nonzero()[0]))
    return q / length
