"""Which backend runs: by device and dtype, nothing else."""

import functools
import warnings
from typing import Any, cast

import torch

from gabp.kernels import cpu, cuda
from gabp.kernels.cpu import bounds as compiled_bounds
from gabp.kernels.cpu import messages as compiled_messages
from gabp.kernels.cpu import rows as compiled_rows
from gabp.kernels.torch import bounds, factor, messages, multigrid_cycle, rows
from gabp.kernels.types import Kernels


def choose(device: torch.device | str, dtype: torch.dtype) -> Kernels:
    """The fastest backend for tensors of ``dtype`` on ``device``."""
    where = torch.device(device).type
    if dtype in (torch.float32, torch.float64):
        if where == "cuda" and triton_is_there():
            return cast(Kernels, cuda.load("messages"))
        if where == "cpu":
            if cpu.extension is not None:
                return cast(Kernels, compiled_messages)
            _warn_missing_extension()
    return cast(Kernels, messages)


def choose_coloured(device: torch.device | str) -> Any:
    """The sequential schedule in the order of colours, fused; None where it cannot be."""
    return cuda.load("coloured") if torch.device(device).type == "cuda" and triton_is_there() else None


def choose_rows(device: torch.device | str) -> Any:
    """The functions of `gabp.kernels.torch.rows`, compiled where they can be."""
    return compiled_rows if torch.device(device).type == "cpu" and cpu.extension is not None else rows


def choose_bounds() -> Any:
    """The functions of `gabp.kernels.torch.bounds`, compiled where they can be."""
    return compiled_bounds if cpu.extension is not None else bounds


def choose_factor() -> Any:
    """What has ``Symbolic`` and ``Factor``: sparse and compiled, or dense where the extension is missing."""
    return cpu.extension if cpu.extension is not None else factor


def choose_cycle(device: torch.device | str) -> Any:
    """The functions of `gabp.kernels.torch.multigrid_cycle`, fused where they can be."""
    return (
        cuda.load("multigrid_cycle") if torch.device(device).type == "cuda" and triton_is_there() else multigrid_cycle
    )


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
    on_cuda = cuda_missing_because()
    if on_cuda is None:
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        missing = cuda.triton_missing_because()
        kernels = (
            "fused sweeps in Triton" if missing is None else f"sweeps in plain torch, as Triton is missing ({missing})"
        )
        on_cuda = f"available: {names}; {kernels}"
    return {"torch": f"available: torch {torch.__version__}", "cpu": compiled, "cuda": on_cuda}


def triton_is_there() -> bool:
    """Whether kernels for CUDA can be compiled here; a warning says once where they cannot."""
    if cuda.triton_missing_because() is None:
        return True
    _warn_missing_triton()
    return False


@functools.cache
def _warn_missing_extension() -> None:
    warnings.warn(
        f"gabp's compiled CPU kernels are missing ({cpu.missing_because}): sweeps run in plain torch, 15 to 40 "
        "times slower. To get them, reinstall gabp where a C++17 compiler and CMake are present.",
        RuntimeWarning,
        stacklevel=3,
    )


@functools.cache
def _warn_missing_triton() -> None:
    warnings.warn(
        f"Triton is missing ({cuda.triton_missing_because()}): sweeps on CUDA run in plain torch, many times slower. "
        "It comes with torch for CUDA on Linux; elsewhere, try pip install 'gabp[cuda]'.",
        RuntimeWarning,
        stacklevel=3,
    )
