"""Right-hand sides and starting points: read into columns, and solutions given back in kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.system.errors import InvalidSystemError
from gabp.system.scalars import as_numbers


@dataclass(frozen=True, eq=False)
class Columns:
    """Vectors of one length side by side, and the way back to the form they came in.

    Each column is held in units of a power of two of its own, in which its largest entry is near 1: squares and
    norms of data near the ends of the floating-point range neither overflow nor vanish, and no digit is lost.

    Attributes
    ----------
    values : Tensor, shape (n, k), float64
        The columns in their units.
    exponent : Tensor, shape (k,), int
        The units are ``2**exponent``.
    dtype : torch.dtype
        float32 or float64: what the caller's numbers are, and what he gets back.
    restore : callable
        Takes (n, k) in these units and returns the caller's family, device, dtype and shape.
    single : bool
        Whether the caller's array was one-dimensional.
    """

    values: Tensor
    exponent: Tensor
    dtype: torch.dtype
    restore: Callable[[Tensor], Any]
    single: bool

    def holds(self, x: Tensor) -> bool:
        """Whether the caller's dtype has every value of ``x`` (already rounded to it, in these units) in range."""
        given_back = times_power_of_two(x, self.exponent).to(self.dtype).double()
        return torch.equal(times_power_of_two(given_back, -self.exponent), x)


def times_power_of_two(x: Tensor, exponent: Tensor) -> Tensor:
    """``x * 2**exponent``, exact wherever the result is a normal number."""
    half = torch.div(exponent, 2, rounding_mode="floor")
    return torch.ldexp(torch.ldexp(x, half), exponent - half)  # one factor of its own could overflow


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
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        place = tuple(int(index) for index in finite.logical_not().nonzero()[0])
        shown = f"[{place[0]}]" if len(shape) == 1 else f"[{place[0]}, {place[1]}]"
        raise InvalidSystemError(f"{name}{shown} is {float(values[place])}; every value must be finite")

    exponent = torch.frexp(values.abs().amax(0)).exponent

    def restore(x: Tensor) -> Any:
        x = (
            times_power_of_two(x, exponent).reshape(shape).to(numbers.dtype, copy=True)
        )  # the caller may write to what he gets
        return x.to(b.device) if is_torch else x.cpu().numpy()

    return Columns(times_power_of_two(values, -exponent), exponent, numbers.dtype, restore, len(shape) == 1)
