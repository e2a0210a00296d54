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
_ROUNDING = 1e-12  # eigenvalue relative to the largest, from which on a matrix has a Cholesky factor
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
    finite = np.isfinite(values.numpy())
    if finite.all():
        return
    place = np.argwhere(~finite)[0].tolist()
    message = f"{name}{place} is {float(values[tuple(place)])}; every number must be finite"
    raise InvalidFactorError(message, place[0] if place else 0)


def read_index(index: Any, count: int, name: str, of: str = "factor") -> Tensor:
    """Indices of variables, (m,) int64, checked against the number of variables; ``of`` is what has one each.

    Raises
    ------
    TypeError, InvalidSystemError
        They are no integers, or one is out of range, which is named with its factor.
    """
    index = index.detach().cpu().numpy() if isinstance(index, Tensor) else np.asarray(index)
    if index.size == 0:
        index = index.astype(np.int64)
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, not {index.dtype}")
    index = np.atleast_1d(np.array(index, dtype=np.int64))
    if index.ndim != 1:
        raise InvalidSystemError(f"{name} has shape {index.shape}; expected (m,)")
    outside = (index < 0) | (index >= count)
    if outside.any():
        factor = int(outside.argmax())
        raise InvalidFactorError(f"{name} of {of} {factor} is {index[factor]}, outside 0…{count - 1}", factor)
    return torch.from_numpy(index)


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
    read = as_matrices(read_array(information, "information"), dimension).numpy()
    shared = read.shape == (dimension, dimension)
    if not shared and read.shape != (factors, dimension, dimension):
        raise InvalidSystemError(
            f"information has shape {read.shape}; the {factors} factors with residuals of dimension {dimension} "
            f"need ({dimension}, {dimension}) or ({factors}, {dimension}, {dimension})"
        )
    require_finite(torch.from_numpy(read), "information")
    read = read.reshape(-1, dimension, dimension)
    transposed = read.transpose(0, 2, 1)
    if (read == transposed).all():
        return torch.from_numpy(np.array(read, order="C"))
    size = np.abs(read.diagonal(0, 1, 2)).max(1)
    skew = np.abs(read - transposed).max((1, 2)) > _ASYMMETRY * size
    if skew.any():
        raise InvalidFactorError(f"the information{_of_factor(skew, shared)} is not symmetric", int(skew.argmax()))
    return torch.from_numpy((read + transposed) / 2)


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
    matrices = information.numpy()
    shared = len(matrices) == 1
    if (matrices == np.eye(matrices.shape[1])).all():
        return None
    try:
        root = np.linalg.cholesky(matrices).transpose(0, 2, 1)
    except np.linalg.LinAlgError:
        root = _semidefinite_root(matrices, shared)
    return torch.from_numpy(np.ascontiguousarray(root))


def _semidefinite_root(matrices: np.ndarray, shared: bool) -> np.ndarray:
    """Square roots, where not all matrices are definite."""
    eigenvalues, vectors = np.linalg.eigh(matrices)
    negative = eigenvalues[:, 0] < -_NEGATIVE * np.abs(eigenvalues).max(1)
    if negative.any():
        factor = int(negative.argmax())
        message = (
            f"the information{_of_factor(negative, shared)} is not positive semidefinite: "
            f"it has the eigenvalue {eigenvalues[factor, 0]:.6g}"
        )
        raise InvalidFactorError(message, factor)
    root = np.sqrt(eigenvalues.clip(min=0))[..., None] * vectors.transpose(0, 2, 1)
    definite = eigenvalues[:, 0] > _ROUNDING * eigenvalues[:, -1]
    root[definite] = np.linalg.cholesky(matrices[definite]).transpose(0, 2, 1)
    return root


def _of_factor(where: np.ndarray, shared: bool) -> str:
    return "" if shared else f" of factor {int(where.argmax())}"
