"""Pinhole cameras, compiled: see `gabp.kernels.torch.cameras`."""

from typing import Any

from torch import Tensor

from gabp.kernels.cpu import extension

_cpu: Any = extension


def reprojection_errors(camera: Tensor, point: Tensor, pixel: Tensor) -> Tensor:
    """See `gabp.kernels.torch.cameras.reprojection_errors`."""
    residual = camera.new_empty(len(camera), 2)
    _cpu.reprojection(camera.contiguous(), point.contiguous(), pixel.contiguous(), residual, None)
    return residual


def linearize_reprojection(camera: Tensor, point: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """See `gabp.kernels.torch.cameras.linearize_reprojection`."""
    residual, jacobian = camera.new_empty(len(camera), 2), camera.new_empty(len(camera), 2, 12)
    _cpu.reprojection(camera.contiguous(), point.contiguous(), pixel.contiguous(), residual, jacobian)
    return residual, jacobian
