"""What a kind of factor offers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from gabp.factors.manifolds import Manifold
from gabp.system import InvalidSystemError


class FactorKind(ABC):
    """The residuals of factors that differ in their variables and measurements alone.

    A subclass is instantiated by `gabp.FactorGraph.add` with the manifolds of its variables.

    Parameters
    ----------
    manifolds : sequence of Manifold
        One for each variable of a factor.

    Attributes
    ----------
    relative : bool
        Whether the residual stays the same when one transformation, such as a rigid motion, moves all variables: such
        factors alone leave that transformation undetermined.
    dimension : int
        Of the residual.
    measurement_shape : tuple of int
        Of one factor's measurement.

    Raises
    ------
    InvalidSystemError
        The kind does not apply to such variables; those that it takes are named.
    """

    relative: ClassVar[bool] = False
    dimension: int
    measurement_shape: tuple[int, ...]

    def __init__(self, manifolds: Sequence[Manifold]) -> None:
        self.manifolds = tuple(manifolds)

    @property
    def name(self) -> str:
        """The name in error messages."""
        return type(self).__name__

    def normalize(self, measurement: Tensor) -> Tensor:
        """Bring finite measurements into the canonical form; raises as `Manifold.normalize`."""
        return measurement

    @abstractmethod
    def residual(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        """Residuals, (m, dimension), for values of the variables (m, width) each, measurements (m, …).

        In torch operations: gradients of an optimum pass through it, twice.
        """

    def residual_all(self, x: Sequence[Tensor], measurement: Tensor) -> Tensor:
        """`residual`, where speed counts and no derivative is wanted."""
        return self.residual(x, measurement)

    @abstractmethod
    def linearize(self, x: Sequence[Tensor], measurement: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals, and their derivatives in the tangent spaces of the variables side by side, (m, dimension, D)."""

    def refuse(self, wanted: str) -> InvalidSystemError:
        """The error of a kind that does not apply to its variables."""
        given = ", ".join(manifold.name for manifold in self.manifolds)
        return InvalidSystemError(f"{self.name} takes {wanted}, not ({given})")
