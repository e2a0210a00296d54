"""The backend for a device and a dtype, and why a backend is missing."""

import functools
import warnings
from dataclasses import replace
from typing import cast

import torch

from gabp.kernels import cpu, cuda, reference
from gabp.kernels.cpu import bounds as compiled_bounds
from gabp.kernels.cpu import cameras as compiled_cameras
from gabp.kernels.cpu import factor_messages as compiled_factor_messages
from gabp.kernels.cpu import markov_blankets as compiled_markov_blankets
from gabp.kernels.cpu import messages as compiled_messages
from gabp.kernels.cpu import normal_equations as compiled_normal_equations
from gabp.kernels.cpu import poses as compiled_poses
from gabp.kernels.cpu import rows as compiled_rows
from gabp.kernels.torch import (
    bayes_tree,
    bounds,
    cameras,
    distance_colouring,
    factor,
    factor_messages,
    markov_blankets,
    messages,
    multigrid_cycle,
    normal_equations,
    poses,
    rows,
)
from gabp.kernels.types import Backend, MessageKernels

_COMPILED_DTYPES = frozenset({torch.float32, torch.float64})
_TORCH = Backend(
    name="torch",
    messages=cast(MessageKernels, messages),
    sequential=reference,
    coloured=None,
    rows=rows,
    bounds=bounds,
    factor=factor,
    hierarchy=None,
    multigrid_cycle=multigrid_cycle,
    markov_blankets=markov_blankets,
    distance_colouring=distance_colouring,
    bayes_tree=bayes_tree,
    cameras=cameras,
    poses=poses,
    normal_equations=normal_equations,
    factor_messages=factor_messages,
)


def backend(device: torch.device | str, dtype: torch.dtype = torch.float64) -> Backend:
    """The fastest backend for tensors of ``dtype`` on ``device``.

    What runs on the host wherever the system is (``sequential``, ``bounds``, ``factor``,
    ``hierarchy``, ``markov_blankets``, ``distance_colouring``, ``bayes_tree``, ``cameras``, ``poses``,
    ``normal_equations`` and ``factor_messages``) takes tensors of the CPU, and is asked of its backend.
    """
    where = device.type if isinstance(device, torch.device) else torch.device(device).type
    if dtype in _COMPILED_DTYPES:
        if where == "cpu":
            if cpu.extension is not None:
                return _compiled()
            _warn_missing_extension()
        elif where == "cuda":
            if cuda.triton_missing_because() is None:
                return _fused()
            _warn_missing_triton()
    return _TORCH


@functools.cache
def _compiled() -> Backend:
    assert cpu.extension is not None
    return replace(
        _TORCH,
        name="cpu",
        messages=cast(MessageKernels, compiled_messages),
        sequential=cpu.extension,
        rows=compiled_rows,
        bounds=compiled_bounds,
        factor=cpu.extension,
        hierarchy=cpu.extension,
        markov_blankets=compiled_markov_blankets,
        distance_colouring=cpu.extension,
        bayes_tree=cpu.extension,
        cameras=compiled_cameras,
        poses=compiled_poses,
        normal_equations=compiled_normal_equations,
        factor_messages=compiled_factor_messages,
    )


@functools.cache
def _fused() -> Backend:
    return replace(
        _TORCH,
        name="cuda",
        messages=cast(MessageKernels, cuda.load("messages")),
        coloured=cuda.load("coloured"),
        multigrid_cycle=cuda.load("multigrid_cycle"),
    )


def extension_missing_because() -> str | None:
    """Why there are no compiled kernels for the CPU; None where there are."""
    return cpu.missing_because


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
