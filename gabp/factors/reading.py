"""Coercion of the arrays that a graph is made of: values, indices, measurements, informations."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.system import InvalidSystemError
from gabp.system.scalars import as_numbers


class InvalidFactorError(InvalidSystemError):
    """A factor has content that no method accepts.

    Attributes
    ----------
    factor : int
        Among those that were added together; 0 for what they share.
    """

    def __init__(self, message: str, factor: int) -> None:
        super().__init__(message)
        self.factor = factor

    def __reduce__(self) -> tuple:
        return InvalidFactorError, (str(self), self.factor)


_ASYMMETRY = 1e-9  # of an information, relative to its diagonal: files print few digits
_NEGATIVE = 1e-9  # eigenvalue relative to the largest, that rounding of a file's digits explains


def read_array(values: Any, name: str) -> Tensor:
    """Real numbers as a float64 tensor on the CPU; may share memory.

    Raises
    ------
    TypeError, InvalidSystemError
        ``values`` is no array of real numbers.
    """
    if not isinstance(values, Tensor):
        try:
            values = np.asarray(values)
        except ValueError as error:
            raise InvalidSystemError(f"{name} is no array: {error}") from None
    return as_numbers(values, name).cpu().double()


def require_finite(values: Tensor, name: str) -> None:
    """Raise `InvalidSystemError` naming the first entry that is not finite."""
    if bool(torch.isfinite(values).all()):
        return
    place = (~torch.isfinite(values)).nonzero()[0].tolist()
    message = f"{name}{place} is {float(values[tuple(place)])}; every number must be finite"
    raise InvalidFactorError(message, place[0] if place else 0)


def read_index(index: Any, count: int, name: str, of: str = "factor") -> Tensor:
    """Indices of variables, (m,) int64, checked against the number of variables; ``of`` is what has one each.

    Raises
    ------
    TypeError, InvalidSystemError
        They are no integers, or one is out of range, which is named with its factor.
    """
    if not isinstance(index, Tensor):
        index = np.asarray(index)
        if index.size == 0:
            index = index.astype(np.int64)
        if index.dtype.kind not in "iu":
            raise TypeError(f"{name} must hold integers, not {index.dtype}")
        index = torch.from_numpy(np.array(index, dtype=np.int64))
    if index.dtype.is_floating_point or index.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise TypeError(f"{name} must hold integers, not {index.dtype}")
    index = torch.atleast_1d(index.detach().cpu().long())
    if index.ndim != 1:
        raise InvalidSystemError(f"{name} has shape {tuple(index.shape)}; expected (m,)")
    outside = (index < 0) | (index >= count)
    if bool(outside.any()):
        factor = int(outside.nonzero()[0])
        raise InvalidFactorError(f"{name} of {of} {factor} is {int(index[factor])}, outside 0…{count - 1}", factor)
    return index


def read_information(information: Any, factors: int, dimension: int) -> Tensor:
    """Informations as (1, d, d), shared by all factors, or (m, d, d); exactly symmetric.

    Parameters
    ----------
    information : scalar, or array of shape (d,), (d, d) or (m, d, d)
        A scalar multiplies the identity, a vector is a diagonal.

    Raises
    ------
    TypeError, InvalidSystemError
        The shape does not fit, or one is not finite or not symmetric; the factor is named.
    """
    read = as_matrices(read_array(information, "information"), dimension)
    shared = read.shape == (dimension, dimension)
    if not shared and read.shape != (factors, dimension, dimension):
        raise InvalidSystemError(
            f"information has shape {tuple(read.shape)}; the {factors} factors with residuals of dimension {dimension} "
            f"need ({dimension}, {dimension}) or ({factors}, {dimension}, {dimension})"
        )
    require_finite(read, "information")
    read = read.reshape(-1, dimension, dimension)
    size = torch.diagonal(read, dim1=1, dim2=2).abs().amax(1)
    skew = (read - read.mT).abs().amax((1, 2)) > _ASYMMETRY * size
    if bool(skew.any()):
        raise InvalidFactorError(f"the information{_of_factor(skew, shared)} is not symmetric", _first(skew))
    return (read + read.mT) / 2


def as_matrices(information: Tensor, dimension: int) -> Tensor:
    """A number as a multiple of the identity, a vector as a diagonal; others as they are."""
    if information.ndim == 0:
        return information * torch.eye(dimension, dtype=torch.float64)
    return torch.diag(information) if information.shape == (dimension,) else information


def square_root(information: Tensor) -> Tensor | None:
    """``W`` with ``Ω = WᵀW`` for each information, or None where all are the identity.

    Raises
    ------
    InvalidSystemError
        One is not positive semidefinite; the factor is named.
    """
    shared = len(information) == 1
    identity = torch.eye(information.shape[1], dtype=torch.float64)
    if torch.equal(information, identity.expand_as(information)):
        return None
    lower, failed = torch.linalg.cholesky_ex(information)
    root = lower.mT.contiguous()
    bad = failed != 0
    if bool(bad.any()):
        eigenvalues, vectors = torch.linalg.eigh(information[bad])
        negative = eigenvalues[:, 0] < -_NEGATIVE * eigenvalues.abs().amax(1)
        if bool(negative.any()):
            bad[bad.clone()] = negative
            message = (
                f"the information{_of_factor(bad, shared)} is not positive semidefinite: "
                f"it has the eigenvalue {float(eigenvalues[negative][0, 0]):.6g}"
            )
            raise InvalidFactorError(message, _first(bad))
        root[bad] = eigenvalues.clamp(min=0).sqrt()[..., None] * vectors.mT
    return root


def _of_factor(where: Tensor, shared: bool) -> str:
    return "" if shared else f" of factor {_first(where)}"


def _first(where: Tensor) -> int:
    return int(where.nonzero()[0])
