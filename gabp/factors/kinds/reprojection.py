"""Pixels at which cameras see points."""

from collections.abc import Sequence

from torch import Tensor

from gabp.factors.kinds.base import FactorKind
from gabp.factors.manifolds import Euclidean, Manifold
from gabp.kernels import dispatch
from gabp.kernels.torch import cameras


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
        return cameras.reprojection_errors(x[0], x[1], measurement)

    def residual_all(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        return dispatch.backend("cpu").cameras.reprojection_errors(x[0], x[1], measurement)

    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        return dispatch.backend("cpu").cameras.linearize_reprojection(x[0], x[1], measurement)
