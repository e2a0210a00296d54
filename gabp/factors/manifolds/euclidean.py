"""The vector space ℝᵈ."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.factors.manifolds.base import LieGroup
from gabp.system import InvalidSystemError


@dataclass(frozen=True, repr=False)
class Euclidean(LieGroup):
    """Vectors of ``d`` numbers.

    Parameters
    ----------
    d : int
    """

    d: int

    def __post_init__(self) -> None:
        if isinstance(self.d, bool) or not isinstance(self.d, int):
            raise TypeError(f"the dimension of Euclidean must be an integer, not {type(self.d).__name__}")
        if self.d < 1:
            raise InvalidSystemError(f"the dimension of Euclidean must be at least 1, not {self.d}")

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"Euclidean({self.d})"

    @property
    def width(self) -> int:  # type: ignore[override]
        return self.d

    @property
    def dimension(self) -> int:  # type: ignore[override]
        return self.d

    def retract(self, x: Tensor, delta: Tensor) -> Tensor:
        return x + delta

    def local(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.eye(self.d, dtype=x.dtype, device=x.device).expand(len(x), -1, -1)

    def compose(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def relative(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x

    def relative_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.local_jacobian(x, y)
