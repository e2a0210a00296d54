"""Variables of one manifold, as one array."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.factors.manifolds import Manifold
from gabp.factors.reading import InvalidFactorError, read_array, require_finite
from gabp.system import InvalidSystemError


@dataclass(frozen=True, eq=False, repr=False)
class Variables:
    """The handle of variables that were added to a graph together.

    Attributes
    ----------
    manifold : Manifold
    count : int
    position : int
        Among the graph's sets of variables.
    labels : ndarray, shape (count,), int64, or None
        Their identifiers in a file.
    """

    manifold: Manifold
    count: int
    position: int
    labels: np.ndarray | None
    initial: Tensor = field(repr=False)
    restore: Callable[[Tensor], Any] = field(repr=False)

    def __repr__(self) -> str:
        return f"Variables({self.manifold.name}, {self.count})"

    def named(self, index: int) -> str:
        """One of the variables, in messages."""
        label = "" if self.labels is None else f", id {self.labels[index]} in the file"
        return f"variable {index} of set {self.position} ({self.manifold.name}{label})"


def read_variables(manifold: Any, values: Any, position: int, labels: Any = None) -> Variables:
    """Read the initial values of variables.

    Raises
    ------
    TypeError, InvalidSystemError
        See `gabp.FactorGraph.variables`.
    """
    if not isinstance(manifold, Manifold):
        raise TypeError(f"manifold must be a gabp.factors.Manifold such as gabp.SE2, not {manifold!r}")
    initial = read_manifold_values(manifold, values, "values")
    if labels is not None:
        labels = np.asarray(labels, dtype=np.int64)
        if labels.shape != (len(initial),):
            raise InvalidSystemError(f"labels has shape {labels.shape}; expected ({len(initial)},)")
    return Variables(manifold, len(initial), position, labels, initial, _way_back(values))


def read_manifold_values(manifold: Manifold, values: Any, name: str) -> Tensor:
    """Values of a manifold, normalised, (N, width) in float64; a copy."""
    read = read_array(values, name)
    if read.ndim != 2 or read.shape[1] != manifold.width:
        shape = tuple(read.shape)
        raise InvalidSystemError(f"{name} has shape {shape}; {manifold.name} needs (N, {manifold.width})")
    require_finite(read, name)
    return normalized(manifold.normalize, read.clone(memory_format=torch.contiguous_format), name)


def normalized(normalize: Callable[[Tensor], Tensor], values: Tensor, name: str) -> Tensor:
    """The canonical form of values, or an error that names the first that has none."""
    try:
        return normalize(values)
    except ValueError as error:
        if len(error.args) != 2:
            raise
        raise InvalidFactorError(f"{name}[{error.args[1]}] {error.args[0]}", error.args[1]) from None


def _way_back(given: Any) -> Callable[[Tensor], Any]:
    """From float64 on the CPU to the array library, device and float dtype of the caller."""
    if isinstance(given, Tensor):
        dtype = given.dtype if given.dtype.is_floating_point else torch.float64
        return partial(Tensor.to, device=given.device, dtype=dtype, copy=True)
    return partial(_as_numpy, np.float32 if getattr(given, "dtype", None) == np.float32 else np.float64)


def _as_numpy(dtype: Any, x: Tensor) -> np.ndarray:
    return x.detach().numpy().astype(dtype, copy=True)
