"""Robust losses ρ of the squared, whitened residual ``s = rᵀΩr``, normalised so that ``ρ(s) ≈ s`` at 0.

The objective is ``½ Σ ρ(s)``; ``weight`` is ``ρ'(s)``, by which a factor's information is multiplied at a linearisation
(iteratively reweighted least squares). Definitions: Z. Zhang, *Parameter estimation techniques*, Image and Vision
Computing 15 (1997), table 1; ``scale`` is in standard deviations of the residual.
"""

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gabp.system import InvalidSystemError
from gabp.system.scalars import require_number

__all__ = ["Cauchy", "GemanMcClure", "Huber", "Loss", "Truncated", "Tukey"]


@dataclass(frozen=True)
class Loss(ABC):
    """A loss of the squared residual, with its scale.

    Parameters
    ----------
    scale : float
        The whitened residual norm, in standard deviations, from which the loss is no longer near quadratic. A torch
        tensor of one number that requires grad is a parameter in which an optimum is differentiable.

    Attributes
    ----------
    attached : Tensor or None
        The scale on the caller's autograd graph, where it requires grad.

    Raises
    ------
    TypeError, InvalidSystemError
        ``scale`` is no finite number above 0.
    """

    scale: float
    attached: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.scale, Tensor) and self.scale.numel() == 1:
            object.__setattr__(self, "attached", self.scale.clone() if self.scale.requires_grad else None)
            object.__setattr__(self, "scale", float(self.scale.detach()))
        require_number(self.scale, "scale")
        if not 0 < self.scale < math.inf:
            raise InvalidSystemError(f"the scale of a loss must be a finite number > 0, got {self.scale}")

    def scaled(self, scale: Tensor) -> "Loss":
        """The same loss with ``scale`` as a tensor, of shape (), that derivatives pass through."""
        loss = copy.copy(self)
        object.__setattr__(loss, "scale", scale)
        return loss

    @abstractmethod
    def rho(self, s: Tensor) -> Tensor:
        """``ρ(s)`` for ``s >= 0``."""

    @abstractmethod
    def weight(self, s: Tensor) -> Tensor:
        """``ρ'(s)`` for ``s >= 0``."""


class Huber(Loss):
    """``s`` up to ``scale²``, ``2 scale √s - scale²`` from there.

    Examples
    --------
    >>> import torch, gabp
    >>> gabp.losses.Huber(1.0).rho(torch.tensor([0.25, 9.0]))
    tensor([0.2500, 5.0000])
    """

    def rho(self, s: Tensor) -> Tensor:
        outside = s.clamp(min=self.scale**2)
        return torch.where(s <= self.scale**2, s, 2 * self.scale * outside.sqrt() - self.scale**2)

    def weight(self, s: Tensor) -> Tensor:
        return self.scale / s.clamp(min=self.scale**2).sqrt()


class Cauchy(Loss):
    """``scale² log(1 + s / scale²)``."""

    def rho(self, s: Tensor) -> Tensor:
        return self.scale**2 * torch.log1p(s / self.scale**2)

    def weight(self, s: Tensor) -> Tensor:
        return 1 / (1 + s / self.scale**2)


class Tukey(Loss):
    """``scale²/3 (1 - (1 - s / scale²)³)`` up to ``scale²``, constant from there: outliers have weight 0."""

    def rho(self, s: Tensor) -> Tensor:
        share = (s / self.scale**2).clamp(max=1)
        return self.scale**2 * share * (1 - share * (1 - share / 3))

    def weight(self, s: Tensor) -> Tensor:
        return (1 - (s / self.scale**2).clamp(max=1)) ** 2


class GemanMcClure(Loss):
    """``s / (1 + s / scale²)``."""

    def rho(self, s: Tensor) -> Tensor:
        return s / (1 + s / self.scale**2)

    def weight(self, s: Tensor) -> Tensor:
        return 1 / (1 + s / self.scale**2) ** 2


@dataclass(frozen=True)
class Truncated(Loss):
    """``min(s, scale²)``: outliers have weight 0.

    A finite ``control`` μ gives the surrogate of H. Yang, P. Antonante, V. Tzoumas and L. Carlone, *Graduated
    non-convexity for robust spatial perception*, IEEE Robotics and Automation Letters 5 (2020), equation 12: ``s`` up
    to ``scale² μ/(μ+1)``, constant from ``scale² (μ+1)/μ``, concave in between, the closer to convex the smaller μ.
    """

    control: float = math.inf

    def rho(self, s: Tensor) -> Tensor:
        if math.isinf(self.control):
            return s.clamp(max=self.scale**2)
        low, high = self._ends
        between = 2 * self._slope * s.sqrt() - self.control * (self.scale**2 + s)
        return torch.where(s <= low, s, torch.where(s >= high, self.scale**2, between))

    def weight(self, s: Tensor) -> Tensor:
        if math.isinf(self.control):
            return (s <= self.scale**2).to(s.dtype)
        low, high = self._ends
        between = self._slope / s.clamp(min=low).sqrt() - self.control
        return torch.where(s <= low, 1.0, torch.where(s >= high, 0.0, between))

    def is_decided(self, s: Tensor) -> bool:
        """Whether every weight is 0 or 1."""
        low, high = self._ends
        return not bool(((s > low) & (s < high)).any())

    @property
    def _ends(self) -> tuple[float, float]:
        return self.scale**2 * self.control / (self.control + 1), self.scale**2 * (self.control + 1) / self.control

    @property
    def _slope(self) -> float:
        return self.scale * math.sqrt(self.control * (self.control + 1))
