"""Coercion of right-hand sides and starting points, and its inverse for solutions."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.system.errors import InvalidSystemError
from gabp.system.scalars import as_numbers, converted

_MODERATE = 16  # binary exponents of a column's largest entry that need no rescaling


@dataclass(frozen=True, eq=False)
class Columns:
    """Vectors as columns, and the conversion back to the caller's array library, device, dtype and shape.

    Attributes
    ----------
    values : Tensor, shape (n, k), float64
    largest : list of float
        The largest magnitude in each column.
    dtype : torch.dtype
        float32 or float64: the caller's, and that of the result.
    restore : callable
        Converts (n, k) to the caller's array library, device, dtype and shape.
    single : bool
        Whether the caller's array was one-dimensional.
    """

    values: Tensor
    largest: list[float]
    dtype: torch.dtype
    restore: Callable[[Tensor], Any]
    single: bool

    @cached_property
    def exponent(self) -> Tensor | None:
        """Binary exponents of the columns' units, in which their largest entries are moderate; shape (k,), int.

        None where all are 0, as they mostly are.
        """
        exponents = [math.frexp(largest)[1] for largest in self.largest]
        if all(abs(exponent) <= _MODERATE for exponent in exponents):
            return None
        units = [0 if abs(exponent) <= _MODERATE else exponent for exponent in exponents]
        return torch.tensor(units, dtype=torch.int32, device=self.values.device)

    def from_units(self, x: Tensor) -> Tensor:
        """Convert from the columns' units, shape (n, k) or (k,)."""
        return times_power_of_two(x, self.exponent)

    def to_units(self, x: Tensor) -> Tensor:
        """Convert to the columns' units: exact, and squares and norms neither overflow nor underflow."""
        return over_power_of_two(x, self.exponent)

    @cached_property
    def in_units(self) -> Tensor:
        """The values in the columns' units."""
        return self.to_units(self.values)

    @property
    def answer_exponent(self) -> Tensor | None:
        """Binary exponents of the units in which the solution's columns are computed; shape (k,), int, or None."""
        return self.exponent


def times_power_of_two(x: Tensor, exponent: Tensor | None) -> Tensor:
    """``x * 2**exponent``, exact unless the result is subnormal; ``x`` itself where all exponents are 0, or None."""
    if exponent is None or not bool(exponent.any()):
        return x
    half = torch.div(exponent, 2, rounding_mode="floor")
    return torch.ldexp(torch.ldexp(x, half), exponent - half)  # one factor of its own could overflow


def over_power_of_two(x: Tensor, exponent: Tensor | None) -> Tensor:
    """``x / 2**exponent``; see `times_power_of_two`."""
    return x if exponent is None else times_power_of_two(x, -exponent)


def largest_entries(x: Tensor) -> Tensor:
    """The largest magnitude in each column of ``x``, shape (n, k): (k,); NaN where there is one."""
    return dispatch.backend(x.device).rows.largest_entries(x)


def column_norms(x: Tensor) -> Tensor:
    """The Euclidean norm of each column of ``x``, shape (n, k): (k,)."""
    return dispatch.backend(x.device).rows.column_norms(x)


def read_columns(b: Any, n: int, name: str = "b", device: Any = "cpu") -> Columns:
    """Read vectors of length ``n``.

    Parameters
    ----------
    b : numpy array or dense torch tensor, shape (n,) or (n, k)
    n : int
    name : str
        For error messages.
    device : torch.device or str

    Raises
    ------
    TypeError
        Another type of object, or another dtype.
    InvalidSystemError
        The shape does not fit, the values are complex, or one is NaN or infinite (named by its place).
    """
    is_torch = isinstance(b, Tensor) and b.layout == torch.strided
    if not is_torch and (not isinstance(b, np.ndarray) or isinstance(b, np.ma.MaskedArray)):
        raise TypeError(f"{name} must be a numpy array or a dense torch tensor, not {type(b).__name__}")
    shape = tuple(b.shape)
    if len(shape) not in (1, 2) or shape[0] != n:
        raise InvalidSystemError(f"{name} has shape {shape}, but A is {n} × {n}: expected ({n},) or ({n}, k)")
    if len(shape) == 2 and shape[1] == 0:
        raise InvalidSystemError(f"{name} is empty (shape {shape})")
    numbers = as_numbers(b, name)
    values = numbers.to(device=device, dtype=torch.float64).reshape(n, -1).contiguous()
    largest = largest_entries(values).tolist()
    if not all(map(math.isfinite, largest)):
        place = tuple(int(index) for index in values.isfinite().logical_not().nonzero()[0])
        shown = f"[{place[0]}]" if len(shape) == 1 else f"[{place[0]}, {place[1]}]"
        raise InvalidSystemError(f"{name}{shown} is {float(values[place])}; every value must be finite")

    def restore(x: Tensor) -> Any:
        x = converted(x.reshape(shape), numbers.dtype, copy=True)  # callers may write to it
        return x.to(b.device) if is_torch else x.cpu().numpy()

    return Columns(values, largest, numbers.dtype, restore, len(shape) == 1)
