"""What the caller differentiates an optimum in: measurements, informations and scales that require grad."""

from typing import Any, NamedTuple

from torch import Tensor

from gabp.autograd.implicit import requires_gradient
from gabp.factors.losses import Loss


class Parameters(NamedTuple):
    """What defines a batch of factors, as the caller gave it, on the caller's autograd graph; None where it is on none.

    Copies: the caller may go on to write into the tensors.

    Attributes
    ----------
    measurement : Tensor or None
    information : Tensor or None
    scale : Tensor or None
        Of the loss.
    """

    measurement: Tensor | None
    information: Tensor | None
    scale: Tensor | None

    @staticmethod
    def of(measurement: Any, information: Any, loss: Loss | None) -> "Parameters":
        """Keep what requires grad, if gradients are recorded."""
        scale = None if loss is None else loss.attached
        return Parameters(_kept(measurement), _kept(information), _kept(scale))


def _kept(given: Any) -> Tensor | None:
    return given.clone() if requires_gradient(given) else None


NO_PARAMETERS = Parameters(None, None, None)
