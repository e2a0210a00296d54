"""Which backend runs: by device and dtype, nothing else."""

import functools
import warnings
from typing import Any, cast

import torch

from gabp.kernels import bounds, cpu, dense_factor, eager, rows
from gabp.kernels.cpu import bounds as compiled_bounds
from gabp.kernels.cpu import engine
from gabp.kernels.cpu import rows as compiled_rows
from gabp.kernels.types import Kernels


def choose(device: torch.device | str, dtype: torch.dtype) -> Kernels:
    """The fastest backend for tensors of ``dtype`` on ``device``."""
    if torch.device(device).type == "cpu" and dtype in (torch.float32, torch.float64):
        if cpu.extension is not None:
            return cast(Kernels, engine)
        _warn_missing_extension()
    return cast(Kernels, eager)


def choose_rows(device: torch.device | str) -> Any:
    """The functions of `gabp.kernels.rows`, compiled where they can be."""
    return compiled_rows if torch.device(device).type == "cpu" and cpu.extension is not None else rows


def choose_bounds() -> Any:
    """The functions of `gabp.kernels.bounds`, compiled where they can be."""
    return compiled_bounds if cpu.extension is not None else bounds


def choose_factor() -> Any:
    """What has ``Symbolic`` and ``Factor``: sparse and compiled, or dense where the extension is missing."""
    return cpu.extension if cpu.extension is not None else dense_factor


def cuda_missing_because() -> str | None:
    """Why nothing can run on a CUDA device here; None where it can."""
    if not torch.backends.cuda.is_built():
        return f"CUDA cannot be used: torch {torch.__version__} is built without it"
    if not torch.cuda.is_available():
        return f"CUDA cannot be used: torch {torch.__version__} has it, but sees no device or no working driver"
    return None


def backends() -> dict[str, str]:
    """What can run here, and why not where it cannot; see `gabp.backends`."""
    compiled = f"missing ({cpu.missing_because}); sweeps on the CPU run in plain torch"
    if cpu.extension is not None:
        compiled = "available: compiled sweeps, factors and hierarchies for float32 and float64"
    cuda = cuda_missing_because()
    if cuda is None:
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        cuda = f"available: {names}; sweeps run in plain torch, as there are no kernels for CUDA yet"
    return {"torch": f"available: torch {torch.__version__}", "cpu": compiled, "cuda": cuda}


@functools.cache
def _warn_missing_extension() -> None:
    warnings.warn(
        f"gabp's compiled CPU kernels are missing ({cpu.missing_because}): sweeps run in plain torch, 15 to 40 "
        "times slower. To get them, reinstall gabp where a C++17 compiler and CMake are present.",
        RuntimeWarning,
        stacklevel=3,
    )
