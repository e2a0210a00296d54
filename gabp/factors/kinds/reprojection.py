"""Pixels at which cameras see points."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gabp.factors.kinds.base import FactorKind
from gabp.factors.manifolds import Euclidean, Manifold
from gabp.kernels.torch import quaternions


class Reprojection(FactorKind):
    """A pixel measured by a pinhole camera with radial distortion: ``r = f (1 + k₁ ‖p‖² + k₂ ‖p‖⁴) p - z``.

    ``p = -P_{xy} / P_z`` with ``P = R X + t``: the camera looks along its negative z axis (S. Agarwal, N. Snavely,
    S. Seitz and R. Szeliski, *Bundle adjustment in the large*, ECCV 2010).

    Variables: a camera, Euclidean(9), of rotation vector, translation, f, k₁ and k₂; and a point, Euclidean(3). The
    measurement is a pixel, relative to the centre of the picture.
    """

    relative = True
    dimension = 2
    measurement_shape = (2,)

    def __init__(self, manifolds: Sequence[Manifold]) -> None:
        super().__init__(manifolds)
        if self.manifolds != (Euclidean(9), Euclidean(3)):
            raise self.refuse("a camera and a point, (Euclidean(9), Euclidean(3))")

    def residual(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        camera, point = x
        seen = quaternions.rotate(quaternions.exp(camera[:, :3]), point) + camera[:, 3:6]
        p = -seen[:, :2] / seen[:, 2:]
        squared = (p * p).sum(1, keepdim=True)
        focal, k1, k2 = camera[:, 6:7], camera[:, 7:8], camera[:, 8:9]
        return focal * (1 + squared * (k1 + squared * k2)) * p - measurement

    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        camera, point = x
        rotation = quaternions.rotation_matrix(quaternions.exp(camera[:, :3]))
        turned = (rotation @ point[..., None])[..., 0]
        seen = turned + camera[:, 3:6]
        p = -seen[:, :2] / seen[:, 2:]
        squared = (p * p).sum(1, keepdim=True)
        focal, k1, k2 = camera[:, 6:7], camera[:, 7:8], camera[:, 8:9]
        distortion = 1 + squared * (k1 + squared * k2)
        residual = focal * distortion * p - measurement

        # through the distortion, f (d I + d' p pᵀ), and the projection, -(I, p) / P_z
        slope = 2 * k1 + 4 * k2 * squared
        outer = slope[..., None] * p[:, :, None] * p[:, None, :]
        diagonal = torch.diagonal(outer, dim1=1, dim2=2)
        diagonal += distortion
        through = (focal / -seen[:, 2:])[..., None] * outer
        in_seen = torch.cat([through, through @ p[..., None]], -1)
        in_rotation = -in_seen @ quaternions.cross_matrix(turned) @ quaternions.left_jacobian(camera[:, :3])
        in_intrinsics = torch.stack([distortion * p, focal * squared * p, focal * squared**2 * p], -1)
        return residual, torch.cat([in_rotation, in_seen, in_intrinsics, in_seen @ rotation], -1)
