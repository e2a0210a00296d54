"""Which backend runs: by device and dtype, nothing else."""

import functools
import warnings
from typing import cast

import torch

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


@functools.cache
def _warn_missing_extension() -> None:
    warnings.warn(
        f"gabp's compiled CPU kernels are missing ({cpu.missing_because}): sweeps run in plain torch, 15 to 40 "
        "times slower. To get them, reinstall gabp where a C++17 compiler and CMake are present.",
        RuntimeWarning,
        stacklevel=3,
    )
