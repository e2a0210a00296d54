"""Pinhole cameras with radial distortion, literally (S. Agarwal et al., *Bundle adjustment in the large*, ECCV 2010).

A camera is a rotation vector, a translation, the focal length f and the distortions k₁ and k₂. A point X is seen at
``P = R X + t`` and, as the camera looks along its negative z axis, at the pixel ``f (1 + k₁ ‖p‖² + k₂ ‖p‖⁴) p`` with
``p = -P_{xy} / P_z``.
"""

import torch
from torch import Tensor

from gabp.kernels.torch import quaternions


def reprojection_errors(camera: Tensor, point: Tensor, pixel: Tensor) -> Tensor:
    """The pixels at which cameras (m, 9) see points (m, 3), less those measured, (m, 2)."""
    seen = quaternions.rotate(quaternions.exp(camera[:, :3]), point) + camera[:, 3:6]
    p = -seen[:, :2] / seen[:, 2:]
    squared = (p * p).sum(1, keepdim=True)
    focal, k1, k2 = camera[:, 6:7], camera[:, 7:8], camera[:, 8:9]
    return focal * (1 + squared * (k1 + squared * k2)) * p - pixel


def linearize_reprojection(camera: Tensor, point: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """`reprojection_errors`, and their derivatives in camera and point side by side, (m, 2, 12)."""
    rotation = quaternions.rotation_matrix(quaternions.exp(camera[:, :3]))
    turned = (rotation @ point[..., None])[..., 0]
    seen = turned + camera[:, 3:6]
    p = -seen[:, :2] / seen[:, 2:]
    squared = (p * p).sum(1, keepdim=True)
    focal, k1, k2 = camera[:, 6:7], camera[:, 7:8], camera[:, 8:9]
    distortion = 1 + squared * (k1 + squared * k2)
    residual = focal * distortion * p - pixel

    # through the distortion, f (d I + d' p pᵀ), and the projection, -(I, p) / P_z
    slope = 2 * k1 + 4 * k2 * squared
    outer = slope[..., None] * p[:, :, None] * p[:, None, :]
    outer = outer + distortion[..., None] * torch.eye(2, dtype=p.dtype)
    through = (focal / -seen[:, 2:])[..., None] * outer
    in_seen = torch.cat([through, through @ p[..., None]], -1)
    in_rotation = -in_seen @ quaternions.cross_matrix(turned) @ quaternions.left_jacobian(camera[:, :3])
    in_intrinsics = torch.stack([distortion * p, focal * squared * p, focal * squared**2 * p], -1)
    return residual, torch.cat([in_rotation, in_seen, in_intrinsics, in_seen @ rotation], -1)
