"""What a factor graph keeps of belief propagation, from one optimisation to the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.linearization import Values
from gabp.factors.variables import Variables
from gabp.system import InvalidSystemError


@dataclass(frozen=True)
class Messages:
    """The messages from the factors of a batch to their variables, packed as in `gabp.kernels.torch.factor_messages`.

    Attributes
    ----------
    precision : Tensor, shape (m, Σ d_p²)
    potential : Tensor, shape (m, D)
    """

    precision: Tensor
    potential: Tensor

    @staticmethod
    def none(count: int, dimensions: Sequence[int]) -> "Messages":
        """Messages without information."""
        packed = sum(size * size for size in dimensions)
        return Messages(*(torch.zeros(count, width, dtype=torch.float64) for width in (packed, sum(dimensions))))


class Beliefs:
    """The Gaussian beliefs of all variables and the messages that they are made of, after ``optimize(method="gbp")``.

    A factor graph has one, `gabp.FactorGraph.beliefs`, empty before the first such optimisation and after one
    that diverged. Messages are in the tangent spaces at ``values``.

    Attributes
    ----------
    sets : tuple of Variables
        Of which there are beliefs.
    values : tuple of Tensor
        The means.
    messages : dict from Factors to Messages
    precision : tuple of Tensor, shape (N, d, d)
        Of the beliefs, for each set; the identity for variables that are held.
    held : tuple of Tensor, shape (N,), bool

    Examples
    --------
    Three numbers, of which the first is measured and the others by their differences; then the last is measured too.

    >>> import gabp
    >>> graph = gabp.FactorGraph()
    >>> x = graph.variables(gabp.Euclidean(1), [[0.0], [0.0], [0.0]])
    >>> prior = graph.add(gabp.factors.Prior, x, [0], [[1.0]], 1.0)
    >>> steps = graph.add(gabp.factors.Between, (x, x), ([0, 1], [1, 2]), [[2.0], [2.0]], 1.0)
    >>> graph.optimize("gbp", damping=0).values(x).ravel().round(6)
    array([1., 3., 5.])
    >>> graph.beliefs.covariance(x).ravel().round(6)
    array([1., 2., 3.])
    >>> position = graph.add(gabp.factors.Prior, x, [2], [[9.0]], 1.0)
    >>> graph.optimize("gbp", damping=0).values(x).ravel().round(6)
    array([2., 5., 8.])
    >>> graph.beliefs.covariance(x).ravel().round(6)
    array([0.75, 1.  , 0.75])
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all messages."""
        self.sets: tuple[Variables, ...] = ()
        self.values: Values = ()
        self.messages: dict[Factors, Messages] = {}
        self.precision: tuple[Tensor, ...] = ()
        self.held: tuple[Tensor, ...] = ()

    def forget(self, factors: Factors) -> None:
        """Forget the messages of factors that were removed."""
        self.messages.pop(factors, None)

    def covariance(self, variables: Variables) -> Any:
        """The covariances of the beliefs, (N, d, d), in the tangent spaces at their means.

        They are exact on a linear graph without loops; loops make them too small, as a rule.

        Returns
        -------
        array
            In the array library, device and float dtype of the initial values; 0 for variables that are held.

        Raises
        ------
        InvalidSystemError
            There are no beliefs of the variables.
        """
        if variables.position >= len(self.sets) or self.sets[variables.position] is not variables:
            raise InvalidSystemError(f"there are no beliefs of {variables!r}; run optimize(method='gbp') first")
        covariance = torch.linalg.inv(self.precision[variables.position])
        covariance[self.held[variables.position]] = 0.0
        return variables.restore((covariance + covariance.mT) / 2)
