"""Linear measurements of vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gabp.factors.kinds.base import FactorKind
from gabp.factors.manifolds import Euclidean, Manifold


class Linear(FactorKind):
    """A linear equation between vectors with noise: ``r = Σ_v A_v x_v - b``, for any number of Euclidean variables.

    The measurement of a factor is the matrix ``[A_1 … A_k | b]`` of d rows.
    """

    def __init__(self, manifolds: Sequence[Manifold]) -> None:
        super().__init__(manifolds)
        if not self.manifolds or not all(isinstance(manifold, Euclidean) for manifold in self.manifolds):
            raise self.refuse("Euclidean variables")
        self.dimensions = [manifold.dimension for manifold in self.manifolds]
        self.measurement_shape = (-1, sum(self.dimensions) + 1)

    def normalize(self, measurement: Tensor) -> Tensor:
        self.dimension = measurement.shape[1]
        return measurement

    def residual(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        joint = torch.cat([*x, -torch.ones_like(x[0][:, :1])], -1)
        return (measurement @ joint[..., None])[..., 0]

    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        return self.residual(x, measurement), measurement[..., :-1]
