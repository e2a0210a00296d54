"""Residuals of measured relative poses, compiled: see `gabp.kernels.torch.poses`."""

from typing import Any

from torch import Tensor

from gabp.kernels.cpu import extension

_cpu: Any = extension


def between_se2(first: Tensor, second: Tensor, measurement: Tensor) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.torch.poses.between_se2`."""
    return _between(_cpu.between_se2, 3, first, second, measurement)


def between_se3(first: Tensor, second: Tensor, measurement: Tensor) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.torch.poses.between_se3`."""
    return _between(_cpu.between_se3, 6, first, second, measurement)


def _between(kernel: Any, dimension: int, *poses: Tensor) -> tuple[Tensor, Tensor]:
    residual = poses[0].new_empty(len(poses[0]), dimension)
    jacobian = poses[0].new_empty(len(poses[0]), dimension, 2 * dimension)
    kernel(*(pose.contiguous() for pose in poses), residual, jacobian)
    return residual, jacobian
