"""Variables of one manifold, as one array."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.factors.growing import GrowingArray
from gabp.factors.manifolds import Manifold
from gabp.factors.reading import InvalidFactorError, read_array, require_finite
from gabp.system import InvalidSystemError


@dataclass(frozen=True, eq=False, repr=False)
class Variables:
    """The handle of a set of variables, which `gabp.FactorGraph.extend` may add to.

    Attributes
    ----------
    manifold : Manifold
    position : int
        Among the graph's sets of variables.
    count : int
        Variables so far.
    labels : ndarray, shape (count,), int64, or None
        Their identifiers in a file.
    initial : Tensor, shape (count, width)
        Their initial values.
    """

    manifold: Manifold
    position: int
    restore: Callable[[Tensor], Any] = field(repr=False)
    _initial: GrowingArray = field(repr=False)
    _labels: GrowingArray | None = field(repr=False)

    @property
    def count(self) -> int:
        return len(self._initial)

    @property
    def initial(self) -> Tensor:
        return torch.from_numpy(self._initial.rows)

    @property
    def labels(self) -> np.ndarray | None:
        return None if self._labels is None else self._labels.rows

    def extend(self, values: Any, labels: Any = None) -> np.ndarray:
        """Add variables; their indices. See `gabp.FactorGraph.extend`."""
        initial = read_manifold_values(self.manifold, values, "values").numpy()
        if self._labels is None and labels is not None:
            raise InvalidSystemError(f"{self!r} has no labels; it cannot be extended by labelled variables")
        if self._labels is not None:
            if labels is None:
                labels = self._labels.rows.max(initial=-1) + 1 + np.arange(len(initial))
            self._labels.append(_read_labels(labels, len(initial)))
        first = self.count
        self._initial.append(initial)
        return np.arange(first, self.count)

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
    known = None if labels is None else GrowingArray(_read_labels(labels, len(initial)))
    return Variables(manifold, position, _way_back(values), GrowingArray(initial.numpy()), known)


def _read_labels(labels: Any, count: int) -> np.ndarray:
    read = np.array(labels, dtype=np.int64)
    if read.shape != (count,):
        raise InvalidSystemError(f"labels has shape {read.shape}; expected ({count},)")
    return read


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
