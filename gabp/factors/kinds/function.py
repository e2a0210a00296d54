"""Residuals written by the user, as a function of single variables."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gabp.factors.kinds.base import FactorKind
from gabp.factors.manifolds import Manifold
from gabp.factors.manifolds.differentiation import batched_derivative
from gabp.system import InvalidSystemError


class FunctionKind(FactorKind):
    """A user's function of single variables, batched by `torch.func.vmap` and differentiated by `torch.func.jacfwd`.

    Parameters
    ----------
    function : callable
        From one value of each variable, (width,), and one factor's data to the residual, (d,) or a scalar, in torch
        operations that `torch.func` can transform.
    manifolds : sequence of Manifold
    """

    def __init__(self, function: Callable[..., Tensor], manifolds: Sequence[Manifold]) -> None:
        super().__init__(manifolds)
        self.function = function
        self._residuals = torch.func.vmap(self._residual)
        arguments = tuple(range(len(self.manifolds)))
        zeros = (None,) * len(arguments)
        self._derivatives = batched_derivative(
            self._perturbed, argnums=arguments, in_dims=(*zeros, (0,) * len(arguments), 0), has_aux=True
        )

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def measure(self, x: Sequence[Tensor], measurement: Tensor) -> None:
        """Learn the dimension of the residual from the first factor.

        Raises
        ------
        TypeError, InvalidSystemError
            The function returns no tensor, or not a vector.
        """
        residual = self.function(*(value[0] for value in x), measurement[0])
        if not isinstance(residual, Tensor):
            raise TypeError(f"{self.name} must return a torch tensor, not {type(residual).__name__}")
        if residual.ndim > 1 or residual.numel() == 0:
            raise InvalidSystemError(f"{self.name} must return a residual of shape (d,), not {tuple(residual.shape)}")
        self.dimension = residual.numel()

    def residual(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        return self._residuals(*x, measurement)

    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        zeros = [value.new_zeros(manifold.dimension) for manifold, value in zip(self.manifolds, x, strict=True)]
        jacobians, residual = self._derivatives(*zeros, tuple(x), measurement)
        return residual, torch.cat(jacobians, -1)

    def _residual(self, *arguments: Any) -> Tensor:
        return torch.atleast_1d(self.function(*arguments)).to(torch.float64)

    def _perturbed(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        *deltas, x, measurement = arguments
        moved = [manifold.retract(*pair) for manifold, *pair in zip(self.manifolds, x, deltas, strict=True)]
        residual = self._residual(*moved, measurement)
        return residual, residual
