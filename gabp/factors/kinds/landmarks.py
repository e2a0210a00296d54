"""What a pose sees of a point: its position, its distance, its bearing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gabp.factors.kinds.base import FactorKind
from gabp.factors.manifolds import SE2, SE3, Euclidean, Manifold
from gabp.factors.manifolds.planar import rotation_matrix, wrap
from gabp.kernels.torch.quaternions import cross_matrix
from gabp.kernels.torch.quaternions import rotation_matrix as rotation_of

_SPACE: dict[Manifold, int] = {SE2: 2, SE3: 3}  # dimension of the space in which a pose lives


def space_of(manifold: Manifold) -> int:
    """The dimension of the space in which a pose or a point has a position, or 0 where it has none."""
    if isinstance(manifold, Euclidean):
        return manifold.d
    return _SPACE.get(manifold, 0)


def orientation(pose: Manifold, x: Tensor) -> Tensor:
    """The rotation matrices of poses, (m, 2, 2) or (m, 3, 3)."""
    return rotation_matrix(x[:, 2]) if pose is SE2 else rotation_of(x[:, 3:])


class Landmark(FactorKind):
    """A measurement of a point's position in the frame of a pose: ``r = R_iᵀ (l_j - t_i) - z``.

    Variables: a pose, SE(2) or SE(3), and a point, Euclidean(2) or Euclidean(3). The measurement is a position.
    """

    relative = True

    def __init__(self, manifolds: Sequence[Manifold]) -> None:
        super().__init__(manifolds)
        self.dimension = _require_pose_and_point(self, (2, 3))
        self.measurement_shape = (self.dimension,)

    def residual(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        return self.manifolds[0].observe(*x) - measurement  # type: ignore[attr-defined]

    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        residual = self.residual(x, measurement)
        return residual, _observation_jacobian(self.manifolds[0], x[0], residual + measurement)


class BearingRange(FactorKind):
    """A measurement of the direction and distance of a point from a pose of the plane.

    Variables: SE(2) and Euclidean(2). The measurement is the bearing in radians, from the x axis of the pose, and the
    range; the residual of the bearing is in [-π, π].
    """

    relative = True
    dimension = 2
    measurement_shape = (2,)

    def __init__(self, manifolds: Sequence[Manifold]) -> None:
        super().__init__(manifolds)
        _require_pose_and_point(self, (2,))

    def normalize(self, measurement: Tensor) -> Tensor:
        return torch.cat([wrap(measurement[:, :1]), measurement[:, 1:]], -1)

    def residual(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        return self._compare(SE2.observe(*x), measurement)

    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        seen = SE2.observe(*x)
        distance = torch.linalg.vector_norm(seen, dim=1)
        direction = _divided(seen, distance)
        across = _divided(torch.stack([-direction[:, 1], direction[:, 0]], -1), distance)
        polar = torch.stack([across, direction], 1)
        return self._compare(seen, measurement), polar @ _observation_jacobian(SE2, x[0], seen)

    @staticmethod
    def _compare(seen: Tensor, measurement: Tensor) -> Tensor:
        bearing = wrap(torch.atan2(seen[:, 1], seen[:, 0]) - measurement[:, 0])
        return torch.stack([bearing, torch.linalg.vector_norm(seen, dim=1) - measurement[:, 1]], -1)


class Range(FactorKind):
    """A measurement of the distance between two positions: ``r = ‖p_j - p_i‖ - z``.

    Variables: poses or points, SE(2), SE(3) or Euclidean, of one space. The derivative where they coincide is taken as
    0.
    """

    relative = True
    dimension = 1
    measurement_shape = (1,)

    def __init__(self, manifolds: Sequence[Manifold]) -> None:
        super().__init__(manifolds)
        spaces = {space_of(manifold) for manifold in self.manifolds}
        if len(self.manifolds) != 2 or len(spaces) != 1 or spaces == {0}:
            raise self.refuse("two poses or points, SE2, SE3 or Euclidean, of one space")
        self.space = spaces.pop()

    def residual(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        return torch.linalg.vector_norm(self._offset(x), dim=1, keepdim=True) - measurement

    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        offset = self._offset(x)
        distance = torch.linalg.vector_norm(offset, dim=1)
        direction = _divided(offset, distance)[:, None, :]
        ends = zip((-direction, direction), self.manifolds, x, strict=True)
        return distance[:, None] - measurement, torch.cat([self._in_tangent_space(*end) for end in ends], -1)

    def _offset(self, x: Sequence[Tensor]) -> Tensor:
        return x[1][:, : self.space] - x[0][:, : self.space]

    def _in_tangent_space(self, row: Tensor, manifold: Manifold, x: Tensor) -> Tensor:
        """The derivative (m, 1, space) in a position, as one in the pose or point that has it."""
        if isinstance(manifold, Euclidean):
            return row
        turned = row @ orientation(manifold, x)
        return torch.nn.functional.pad(turned, (0, manifold.dimension - self.space))


def _require_pose_and_point(kind: FactorKind, spaces: tuple[int, ...]) -> int:
    """The dimension of the space, where the variables are a pose and a point of one of these spaces."""
    if len(kind.manifolds) == 2:
        pose, point = kind.manifolds
        space = _SPACE.get(pose, 0)
        if space in spaces and point == Euclidean(space):
            return space
    poses = " or ".join(f"(SE{space}, Euclidean({space}))" for space in spaces)
    raise kind.refuse(f"a pose and a point, {poses}")


def _observation_jacobian(pose: Manifold, x: Tensor, seen: Tensor) -> Tensor:
    """The derivatives of ``seen = Rᵀ (l - t)`` in the pose and in the point, side by side."""
    back = orientation(pose, x).mT
    turning = torch.stack([seen[:, 1], -seen[:, 0]], -1)[..., None] if pose is SE2 else cross_matrix(seen)
    moving = -torch.eye(seen.shape[1], dtype=seen.dtype, device=seen.device).expand(len(seen), -1, -1)
    return torch.cat([moving, turning, back], -1)


def _divided(v: Tensor, length: Tensor) -> Tensor:
    return v / torch.where(length > 0, length, 1.0)[:, None]
