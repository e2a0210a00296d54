"""Sums of products over factors, compiled: see `gabp.kernels.torch.normal_equations`."""

from typing import Any

from torch import Tensor

from gabp.kernels.cpu import extension
from gabp.kernels.torch.normal_equations import Factors, Places

_cpu: Any = extension


def add_products(factors: Factors, places: Places, weight: Tensor, diagonal: Tensor, gradient: Tensor) -> None:
    """See `gabp.kernels.torch.normal_equations.add_products`; the sums are the same for any number of threads."""
    arrays = (None if array is None else array.contiguous() for array in factors)
    _cpu.add_products(*arrays, *places, weight, diagonal, gradient)
