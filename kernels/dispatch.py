"""Which backend runs: by device and dtype, nothing else."""

import functools
import warnings
from typing import cast

import torch
from torch import Tensor

from gabp.kernels import cpu, eager
from gabp.kernels.cpu import engine
from gabp.kernels.types import Kernels


def choose(device: torch.device | str, dtype: torch.dtype) -> Kernels:
    """The fastest backend for tensors of ``dtype`` on ``device``."""
    if torch.device(device).type == "cpu" and dtype in (torch.float32, torch.float64):
        if cpu.extension is not None:
            return cast(Kernels, engine)
        _warn_missing_extension()
    return cast(Kernels, eager)


def split_symmetric(start: Tensor, column: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """``(start, source, weight, diagonal)`` of a matrix by rows that equals its transpose entry by entry.

    None where it does not, or where no compiled kernel can tell; stored zeros are no edges.
    """
    if cpu.extension is None or value.device.type != "cpu" or value.requires_grad:
        return None
    return cast(
        "tuple[Tensor, Tensor, Tensor, Tensor] | None",
        cpu.extension.split_symmetric(start, column, value, torch.get_num_threads()),
    )


@functools.cache
def _warn_missing_extension() -> None:
    warnings.warn(
        f"gabp's compiled CPU kernels are missing ({cpu.missing_because}): sweeps run in plain torch, 15 to 40 "
        "times slower. To get them, reinstall gabp where a C++17 compiler and CMake are present.",
        RuntimeWarning,
        stacklevel=3,
    )
