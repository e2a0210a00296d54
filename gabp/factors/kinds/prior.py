"""Measurements of a variable itself."""

from collections.abc import Sequence

from torch import Tensor

from gabp.factors.kinds.base import FactorKind
from gabp.factors.manifolds import Manifold


class Prior(FactorKind):
    """A measurement of one variable, on any manifold: ``r = z⁻¹ x`` in the tangent space at ``z``.

    The measurement is a value of the manifold.
    """

    def __init__(self, manifolds: Sequence[Manifold]) -> None:
        super().__init__(manifolds)
        if len(self.manifolds) != 1:
            raise self.refuse("one variable")
        self.manifold = self.manifolds[0]
        self.dimension = self.manifold.dimension
        self.measurement_shape = (self.manifold.width,)

    def normalize(self, measurement: Tensor) -> Tensor:
        return self.manifold.normalize(measurement)

    def residual(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        return self.manifold.local(measurement, x[0])

    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        return self.residual(x, measurement), self.manifold.local_jacobian(measurement, x[0])
