"""Residuals of measured relative poses, compiled: see `gabp.kernels.torch.poses`."""

from typing import Any

import torch
from torch import Tensor

from gabp.kernels.cpu import extension
from gabp.kernels.cpu.arrays import arrays

_cpu: Any = extension


def between_se2(first: Tensor, second: Tensor, measurement: Tensor) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.torch.poses.between_se2`."""
    return _between(_cpu.between_se2, 3, first, second, measurement)


def between_se3(first: Tensor, second: Tensor, measurement: Tensor) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.torch.poses.between_se3`."""
    return _between(_cpu.between_se3, 6, first, second, measurement)


def retract_se2(poses: Tensor, delta: Tensor) -> Tensor:
    """See `gabp.kernels.torch.poses.retract_se2`."""
    moved = torch.empty_like(poses, memory_format=torch.contiguous_format)
    _cpu.retract_se2(*arrays(poses, delta, moved))
    return moved


def retract_se3(poses: Tensor, delta: Tensor) -> Tensor:
    """See `gabp.kernels.torch.poses.retract_se3`."""
    moved = torch.empty_like(poses, memory_format=torch.contiguous_format)
    _cpu.retract_se3(*arrays(poses, delta, moved))
    return moved


def _between(kernel: Any, dimension: int, *poses: Tensor) -> tuple[Tensor, Tensor]:
    residual = poses[0].new_empty(len(poses[0]), dimension)
    jacobian = poses[0].new_empty(len(poses[0]), dimension, 2 * dimension)
    kernel(*arrays(*poses, residual, jacobian))
    return residual, jacobian
