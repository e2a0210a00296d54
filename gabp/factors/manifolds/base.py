"""What a manifold offers: an update from its tangent space and the way back."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from gabp.factors.manifolds.differentiation import batched_derivative


class Manifold(ABC):
    """A smooth manifold whose values are rows of numbers.

    A subclass states ``name``, ``width`` and ``dimension`` and defines `retract` and `local` in torch operations on any
    leading shape; the derivatives then follow by forward differentiation, unless it overrides them.

    Attributes
    ----------
    name : str
    width : int
        Numbers that store a value.
    dimension : int
        Of the tangent space.

    Examples
    --------
    Positive numbers, updated by a factor:

    >>> import torch, gabp
    >>> class Positive(gabp.factors.Manifold):
    ...     name, width, dimension = "positive", 1, 1
    ...     def retract(self, x, delta):
    ...         return x * delta.exp()
    ...     def local(self, x, y):
    ...         return (y / x).log()
    >>> graph = gabp.FactorGraph()
    >>> x = graph.variables(Positive(), torch.tensor([[1.0]]))
    >>> prior = graph.add(gabp.factors.Prior, x, [0], torch.tensor([[4.0]]), 1.0)
    >>> graph.optimize().values(x)
    tensor([[4.]])
    """

    name: str
    width: int
    dimension: int

    @abstractmethod
    def retract(self, x: Tensor, delta: Tensor) -> Tensor:
        """``x ⊞ δ``: (..., width) and (..., dimension) to (..., width); ``x ⊞ 0 = x``."""

    def retract_all(self, x: Tensor, delta: Tensor) -> Tensor:
        """`retract` for (N, width) and (N, dimension), where speed counts and no derivative is wanted."""
        return self.retract(x, delta)

    @abstractmethod
    def local(self, x: Tensor, y: Tensor) -> Tensor:
        """The ``δ``, (..., dimension), with ``x ⊞ δ = y``, the smallest where there are several."""

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The derivative of ``local(x, y ⊞ δ)`` in ``δ`` at 0, (m, dimension, dimension)."""
        return _derivative(lambda delta, a, b: self.local(a, self.retract(b, delta)), self.dimension, x, y)

    def normalize(self, values: Tensor) -> Tensor:
        """Bring finite values into the canonical form.

        Raises
        ------
        ValueError
            A value represents no point; the message completes "value 3 …" and the error's second argument is the row.
        """
        return values

    def __repr__(self) -> str:
        return self.name


class LieGroup(Manifold):
    """A manifold that is a group, with ``x ⊞ δ = x · exp(δ)``: a perturbation from the right.

    ``exp`` may be any map that is the identity to first order; for SE(2) and SE(3) it takes translation and rotation
    apart, as g2o does.
    """

    @abstractmethod
    def compose(self, x: Tensor, y: Tensor) -> Tensor:
        """``x · y``."""

    @abstractmethod
    def relative(self, x: Tensor, y: Tensor) -> Tensor:
        """``x⁻¹ · y``."""

    def relative_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The derivative of ``(x ⊞ δ)⁻¹ · y`` in ``δ`` at 0, in the tangent space at ``x⁻¹ · y``: minus an adjoint.

        Shape (m, dimension, dimension). The derivative in ``y`` is the identity.
        """

        def moved(delta: Tensor, a: Tensor, b: Tensor) -> Tensor:
            return self.local(self.relative(a, b), self.relative(self.retract(a, delta), b))

        return _derivative(moved, self.dimension, x, y)

    def residual_between(self, x: Tensor, y: Tensor, measurement: Tensor) -> Tensor:
        """``local(z, x⁻¹ · y)``, (m, dimension), where speed counts and no derivative is wanted."""
        return self.local(measurement, self.relative(x, y))

    def linearize_between(self, x: Tensor, y: Tensor, measurement: Tensor) -> tuple[Tensor, Tensor]:
        """``local(z, x⁻¹ · y)`` and its derivatives in ``x`` and ``y`` side by side, (m, dimension, 2 dimension)."""
        between = self.relative(x, y)
        outer = self.local_jacobian(measurement, between)
        return self.local(measurement, between), torch.cat([outer @ self.relative_jacobian(x, y), outer], -1)


class Singleton(LieGroup):
    """A group of which there is one object, a global of its module by its name."""

    def __reduce__(self) -> str:
        return self.name


def _derivative(function: Callable[..., Tensor], dimension: int, x: Tensor, y: Tensor) -> Tensor:
    return batched_derivative(function, argnums=0, in_dims=(None, 0, 0))(x.new_zeros(dimension), x, y)
