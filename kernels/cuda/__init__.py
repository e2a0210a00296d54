"""Triton kernels: the sweeps of the CPU on a GPU, in the same edge-local form.

Importing Triton takes as long as importing torch, so nothing here imports it before a CUDA device is used.
"""

import functools
import importlib
from types import ModuleType


@functools.cache
def triton_missing_because() -> str | None:
    """Why Triton cannot be imported; None where it can."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        return str(error)
    return None


def load(module: str) -> ModuleType:
    """A module of this package that needs Triton."""
    return importlib.import_module(f"gabp.kernels.cuda.{module}")
