"""Markov blankets, compiled: see `gabp.kernels.torch.markov_blankets`."""

from typing import Any

from torch import Tensor

from gabp.kernels.cpu import extension
from gabp.kernels.torch.markov_blankets import Limits, Model

_cpu: Any = extension


def conditional_variances(model: Model, limits: Limits, variance: Tensor, blanket_start: Tensor, threads: int) -> int:
    """See `gabp.kernels.torch.markov_blankets.conditional_variances`."""
    return _cpu.patch_rims(*model, *limits, variance, blanket_start, threads)


def conditional_means(
    model: Model, limits: Limits, blanket_start: Tensor, blanket: Tensor, coefficient: Tensor, threads: int
) -> None:
    """See `gabp.kernels.torch.markov_blankets.conditional_means`."""
    _cpu.patch_coefficients(*model, *limits, blanket_start, blanket, coefficient, threads)
