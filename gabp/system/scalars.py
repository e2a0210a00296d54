"""Coercion of dtypes and scalar parameters."""

from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.system.errors import InvalidSystemError

_FLOATS = {"float32": torch.float32, "float64": torch.float64}
_USUAL = (np.dtype(np.float64), torch.float64)


def working_dtype(dtype: Any) -> torch.dtype:
    """Read a dtype, numpy or torch or by name, as torch.float32 or torch.float64."""
    name = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else _numpy_name(dtype)
    if name not in _FLOATS:
        raise TypeError(f"dtype must be float32 or float64, not {dtype!r}")
    return _FLOATS[name]


def _numpy_name(dtype: Any) -> str:
    try:
        return np.dtype(dtype).name
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64, not {dtype!r}") from None


def as_numbers(values: np.ndarray | Tensor, name: str) -> Tensor:
    """Convert ``values`` to a float32 or float64 tensor: floats share memory, integers and booleans become float64.

    Raises
    ------
    InvalidSystemError
        Complex values: a Gaussian model is real.
    TypeError
        Any other dtype (half precision, extended precision, objects, text).
    """
    require_number_kind(values.dtype, name)
    if isinstance(values, Tensor):
        values = values.detach()
        return values if values.dtype.is_floating_point else values.to(torch.float64)
    if values.dtype.kind in "biu":
        values = values.astype(np.float64)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return shared(values)


def shared(array: np.ndarray) -> Tensor:
    """A tensor on the memory of ``array``, or on a copy where torch cannot share it (read-only, reversed)."""
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def converted(values: Tensor, dtype: torch.dtype, copy: bool = False) -> Tensor:
    """The values in another dtype; on the CPU by numpy, which leaves no threads spinning on the cores sweeps need."""
    if values.device.type != "cpu":
        return values.to(dtype, copy=copy)
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    return torch.from_numpy(values.detach().numpy().astype(kind, copy=copy))


def require_number_kind(dtype: np.dtype | torch.dtype, name: str) -> None:
    """Raise for unsupported dtypes; see `as_numbers`."""
    if dtype in _USUAL:  # the names of numpy's dtypes take longer than small arrays
        return
    kind = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else dtype.newbyteorder("=").name
    if kind.startswith("complex"):
        raise InvalidSystemError(f"{name} is complex; gabp works on real systems")
    if kind not in _FLOATS and not kind.startswith(("bool", "int", "uint")):
        raise TypeError(f"{name} holds {kind}; gabp takes float32, float64, integers and booleans")


def require_number(value: Any, name: str, *, integer: bool = False) -> None:
    """Raise `TypeError` for a parameter that is no number, or no integer; booleans are neither."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral if integer else Real):
        raise TypeError(f"{name} must be {'an integer' if integer else 'a number'}, not {type(value).__name__}")


def require_nonnegative(value: Any, name: str, *, integer: bool = False) -> None:
    """Raise for anything but a finite number >= 0; see `require_number`."""
    require_number(value, name, integer=integer)
    if not value >= 0 or value == float("inf"):
        raise InvalidSystemError(f"{name} must be a finite number >= 0, got {value}")


def require_damping(value: Any) -> None:
    """Raise for anything but a number in [0, 1)."""
    require_number(value, "damping")
    if not 0.0 <= value < 1.0:
        raise InvalidSystemError(f"damping must be in [0, 1), not {value}")
