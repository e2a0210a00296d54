"""Sums of products over factors, compiled: see `gabp.kernels.torch.normal_equations`."""

from typing import Any

import torch
from torch import Tensor

from gabp.kernels.cpu import extension
from gabp.kernels.cpu.arrays import arrays
from gabp.kernels.torch.normal_equations import Factors, Places

_cpu: Any = extension


def whiten(root: Tensor | None, residual: Tensor) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.torch.normal_equations.whiten`."""
    whitened = torch.empty_like(residual, memory_format=torch.contiguous_format)
    squared = residual.new_empty(len(residual))
    _cpu.whiten(*arrays(root, residual, whitened, squared))
    return whitened, squared


def products(factors: Factors) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.torch.normal_equations.products`."""
    count, _, columns = factors.jacobian.shape
    product = factors.jacobian.new_empty(count, columns, columns)
    gradient = factors.jacobian.new_empty(count, columns)
    _cpu.products(*arrays(*factors, product, gradient))
    return product, gradient


def add_products(factors: Factors, places: Places, weight: Tensor, diagonal: Tensor, gradient: Tensor) -> None:
    """See `gabp.kernels.torch.normal_equations.add_products`; the sums are the same for any number of threads."""
    _cpu.add_products(*arrays(*factors, *places), *arrays(weight, diagonal, gradient))
