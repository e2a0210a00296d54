"""Factors of one kind, as arrays."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.factors.kinds import FactorKind, FunctionKind
from gabp.factors.losses import Loss
from gabp.factors.parameters import NO_PARAMETERS, Parameters
from gabp.factors.reading import read_array, read_index, read_information, require_finite, square_root
from gabp.factors.variables import Variables, normalized
from gabp.kernels import dispatch
from gabp.kernels.torch.normal_equations import Factors as NormalFactors
from gabp.system import InvalidSystemError


@dataclass(frozen=True, eq=False, repr=False)
class Factors:
    """The handle of factors that were added to a graph together.

    Attributes
    ----------
    kind : FactorKind
    variables : tuple of Variables
        The set that each variable of a factor is from.
    index : Tensor, shape (m, len(variables)), int64
    measurement : Tensor, shape (m, …)
    information : Tensor, shape (1, d, d) or (m, d, d)
    root : Tensor or None
        ``W`` with ``Ω = WᵀW``; None for the identity.
    loss : Loss or None
        None for the squared residual.
    parameters : Parameters
        What of them is on the caller's autograd graph.
    """

    kind: FactorKind
    variables: tuple[Variables, ...]
    index: Tensor
    measurement: Tensor
    information: Tensor
    loss: Loss | None
    parameters: Parameters = NO_PARAMETERS
    root: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", square_root(self.information))

    def __len__(self) -> int:
        return self.index.shape[0]

    def __repr__(self) -> str:
        sets = ", ".join(variables.manifold.name for variables in self.variables)
        return f"Factors({self.kind.name} of ({sets}), {len(self)})"

    def gather(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The values of each factor's variables, from those of all sets."""
        pairs = zip(self.variables, self.index.unbind(1), strict=True)
        # by numpy, which leaves no threads spinning on the cores that factors need
        return [torch.from_numpy(values[v.position].numpy().take(index.numpy(), 0)) for v, index in pairs]

    def squared_residuals(self, values: Sequence[Tensor]) -> Tensor:
        """``rᵀ Ω r`` of each factor, (m,)."""
        return self._whiten(self.kind.residual_all(self.gather(values), self.measurement))[1]

    def objective(self, values: Sequence[Tensor]) -> Tensor:
        """``½ ρ(rᵀ Ω r)`` of each factor, (m,)."""
        return self._half_loss(self.squared_residuals(values))

    def linearize(self, values: Sequence[Tensor]) -> tuple[Tensor, NormalFactors]:
        """The objectives, (m,), and the quadratic model: residuals, derivatives and the weights of the loss."""
        residual, jacobian = self.kind.linearize(self.gather(values), self.measurement)
        whitened, squared = self._whiten(residual)
        weight = None if self.loss is None else self.loss.weight(squared)
        return self._half_loss(squared), NormalFactors(self.root, whitened, jacobian, weight)

    def weights(self, values: Sequence[Tensor]) -> Tensor:
        """``ρ'(rᵀ Ω r)`` of each factor, (m,): 1 without a loss."""
        squared = self.squared_residuals(values)
        return torch.ones_like(squared) if self.loss is None else self.loss.weight(squared)

    def with_loss(self, loss: Loss | None) -> "Factors":
        """The same factors with another loss."""
        twin = copy.copy(self)
        object.__setattr__(twin, "loss", loss)
        return twin

    def weighted(self, weight: np.ndarray) -> "Factors":
        """The same factors with their informations multiplied by ``weight``, (m,)."""
        scale = torch.from_numpy(weight)[:, None, None]
        root = torch.eye(self.kind.dimension, dtype=torch.float64)[None] if self.root is None else self.root
        twin = copy.copy(self)
        object.__setattr__(twin, "information", scale * self.information)
        object.__setattr__(twin, "root", scale.sqrt() * root)
        return twin

    def subset(self, chosen: np.ndarray) -> "Factors":
        """The factors where ``chosen``, (m,) bool, is true."""
        rows = torch.from_numpy(np.flatnonzero(chosen))
        twin = copy.copy(self)
        for name in ("index", "measurement", "information", "root"):
            array = getattr(self, name)
            shared = array is None or (len(array) == 1 and name in ("information", "root"))
            object.__setattr__(twin, name, array if shared else array[rows])
        return twin

    def named(self, factor: int) -> str:
        """One of the factors, in messages."""
        pairs = zip(self.variables, self.index[factor].tolist(), strict=True)
        return f"factor {factor} of {self!r}, on " + " and ".join(variables.named(index) for variables, index in pairs)

    def _whiten(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """``W r`` and its squared norm."""
        return dispatch.backend("cpu").normal_equations.whiten(self.root, residual)

    def _half_loss(self, squared: Tensor) -> Tensor:
        return 0.5 * (squared if self.loss is None else self.loss.rho(squared))


def read_factors(
    kind: Any, variables: Any, indices: Any, measurement: Any, information: Any, loss: Any, sets: Sequence[Variables]
) -> Factors:
    """Read a batch of factors.

    Raises
    ------
    TypeError, InvalidSystemError
        See `gabp.FactorGraph.add`.
    """
    if isinstance(variables, Variables):
        variables, indices = (variables,), (indices,) if not _is_single(indices) else indices
    variables = tuple(variables)
    for handle in variables:
        if not isinstance(handle, Variables):
            raise TypeError(f"handles must be what `variables` returned, not {type(handle).__name__}")
        if handle.position >= len(sets) or sets[handle.position] is not handle:
            raise InvalidSystemError(f"{handle!r} is a set of another graph")
    if loss is not None and not isinstance(loss, Loss):
        raise TypeError(f"loss must be one of gabp.losses, such as gabp.losses.Huber(1.0), not {loss!r}")
    if len(indices) != len(variables):
        raise InvalidSystemError(f"{len(variables)} handles need as many arrays of indices, not {len(indices)}")
    columns = [
        read_index(index, handle.count, f"index {place}").numpy()
        for place, (handle, index) in enumerate(zip(variables, indices, strict=True))
    ]
    if len({len(column) for column in columns}) != 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise InvalidSystemError(f"the arrays of indices have different lengths: {lengths}")
    index, count = torch.from_numpy(np.array(columns).T.copy()), len(columns[0])
    made = _make_kind(kind, variables)
    read = _read_measurement(made, measurement, count)
    if isinstance(made, FunctionKind):
        made.measure([handle.initial[i] for handle, i in zip(variables, columns, strict=True)], read)
    omega = read_information(information, count, made.dimension)
    return Factors(made, variables, index, read, omega, loss, Parameters.of(measurement, information, loss))


def _is_single(indices: Any) -> bool:
    """Whether the indices of one variable are wrapped in a tuple, as those of several are."""
    return (
        isinstance(indices, tuple) and len(indices) == 1 and getattr(indices[0], "ndim", isinstance(indices[0], list))
    )


def _make_kind(kind: Any, variables: tuple[Variables, ...]) -> FactorKind:
    manifolds = [handle.manifold for handle in variables]
    if isinstance(kind, type) and issubclass(kind, FactorKind):
        return kind(manifolds)
    if isinstance(kind, Callable):  # type: ignore[arg-type]
        return FunctionKind(kind, manifolds)
    raise TypeError(f"a kind of factor is a class such as gabp.factors.Between or a function, not {kind!r}")


def _read_measurement(kind: FactorKind, measurement: Any, factors: int) -> Tensor:
    read = read_array(measurement, "measurement")
    if factors == 0:
        raise InvalidSystemError("there are no factors to add: the arrays of indices are empty")
    if isinstance(kind, FunctionKind):
        if read.ndim == 0 or read.shape[0] != factors:
            raise InvalidSystemError(f"measurement has shape {tuple(read.shape)}; expected ({factors}, …)")
    else:
        wanted = kind.measurement_shape
        if wanted == (1,) and read.ndim == 1:
            read = read[:, None]
        fits = read.ndim == len(wanted) + 1 and read.shape[0] == factors
        if not fits or any(w not in (-1, s) for w, s in zip(wanted, read.shape[1:], strict=True)):
            shape = ", ".join("d" if size < 0 else str(size) for size in wanted)
            raise InvalidSystemError(
                f"measurement has shape {tuple(read.shape)}; {factors} {kind.name} factors need ({factors}, {shape})"
            )
    require_finite(read, "measurement")
    own = read.clone(memory_format=torch.contiguous_format)  # the caller may go on to write into the array
    return normalized(kind.normalize, own, "measurement")
