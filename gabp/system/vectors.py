"""Right-hand sides and starting points: read into columns, and solutions given back in kind."""

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

_MODERATE = 16  # binary digits that the entries of a column may be away from 1 and need no unit


@dataclass(frozen=True, eq=False)
class Columns:
    """Vectors of one length side by side, and the way back to the form they came in.

    Attributes
    ----------
    values : Tensor, shape (n, k), float64
    dtype : torch.dtype
        float32 or float64: what the caller's numbers are, and what he gets back.
    restore : callable
        Takes (n, k) and returns the caller's family, device, dtype and shape.
    single : bool
        Whether the caller's array was one-dimensional.
    """

    values: Tensor
    dtype: torch.dtype
    restore: Callable[[Tensor], Any]
    single: bool

    @cached_property
    def exponent(self) -> Tensor:
        """Each column's unit is ``2**exponent``, in which its largest entry is of moderate size; shape (k,), int."""
        exponent = torch.frexp(largest_entries(self.values)).exponent
        return torch.where(exponent.abs() <= _MODERATE, 0, exponent)

    def from_units(self, x: Tensor) -> Tensor:
        """Values given in the columns' units."""
        return times_power_of_two(x, self.exponent)

    def to_units(self, x: Tensor) -> Tensor:
        """Values in the columns' units: no digit is lost, and squares and norms neither overflow nor vanish."""
        return times_power_of_two(x, -self.exponent)

    @cached_property
    def in_units(self) -> Tensor:
        """The values in the columns' units."""
        return self.to_units(self.values)

    @property
    def answer_exponent(self) -> Tensor:
        """The unit that the solution of a column is found in is ``2**answer_exponent``; shape (k,), int."""
        return self.exponent


def times_power_of_two(x: Tensor, exponent: Tensor) -> Tensor:
    """``x * 2**exponent``, exact wherever the result is a normal number; ``x`` itself where all exponents are 0."""
    if not bool(exponent.any()):
        return x
    half = torch.div(exponent, 2, rounding_mode="floor")
    return torch.ldexp(torch.ldexp(x, half), exponent - half)  # one factor of its own could overflow


def largest_entries(x: Tensor) -> Tensor:
    """The largest magnitude in each column of ``x``, shape (n, k): (k,); NaN where there is one."""
    return dispatch.backend(x.device).rows.largest_entries(x)


def column_norms(x: Tensor) -> Tensor:
    """The Euclidean norm of each column of ``x``, shape (n, k): (k,)."""
    return dispatch.backend(x.device).rows.column_norms(x)


def read_columns(b: Any, n: int, name: str = "b", device: Any = "cpu") -> Columns:
    """Read ``b``, numpy or torch, of shape (n,) or (n, k).

    Raises
    ------
    TypeError
        Another kind of object, or numbers of another kind.
    InvalidSystemError
        The shape does not fit, a value is complex, NaN or infinite (named by its place).
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
    if not bool(largest_entries(values).isfinite().all()):
        place = tuple(int(index) for index in values.isfinite().logical_not().nonzero()[0])
        shown = f"[{place[0]}]" if len(shape) == 1 else f"[{place[0]}, {place[1]}]"
        raise InvalidSystemError(f"{name}{shown} is {float(values[place])}; every value must be finite")

    def restore(x: Tensor) -> Any:
        x = converted(x.reshape(shape), numbers.dtype, copy=True)  # the caller may write to what he gets
        return x.to(b.device) if is_torch else x.cpu().numpy()

    return Columns(values, numbers.dtype, restore, len(shape) == 1)
