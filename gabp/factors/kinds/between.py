"""Measurements of the transformation from one variable to another: odometry, loop closures, differences."""

from collections.abc import Sequence

from torch import Tensor

from gabp.factors.kinds.base import FactorKind
from gabp.factors.manifolds import LieGroup, Manifold


class Between(FactorKind):
    """A measurement of ``x_i⁻¹ x_j`` for two variables of one Lie group: ``r = z⁻¹ (x_i⁻¹ x_j)``.

    The measurement is a value of the group. For SE(2) and SE(3) the residual is the translation ``R_zᵀ (t_ij - t_z)``
    and then the rotation ``log(R_zᵀ R_ij)``, as in g2o.
    """

    relative = True

    def __init__(self, manifolds: Sequence[Manifold]) -> None:
        super().__init__(manifolds)
        if len(self.manifolds) != 2 or self.manifolds[0] != self.manifolds[1]:
            raise self.refuse("two variables of one manifold")
        if not isinstance(self.manifolds[0], LieGroup):
            raise self.refuse("variables of a Lie group, which define `compose` and `relative`")
        self.group = self.manifolds[0]
        self.dimension = self.group.dimension
        self.measurement_shape = (self.group.width,)

    def normalize(self, measurement: Tensor) -> Tensor:
        return self.group.normalize(measurement)

    def residual(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        return self.group.local(measurement, self.group.relative(*x))

    def residual_all(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        return self.group.residual_between(x[0], x[1], measurement)

    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        return self.group.linearize_between(x[0], x[1], measurement)
