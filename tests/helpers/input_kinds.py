"""Every kind of object that A or b may be, made from a scipy `csr_array` or a numpy array of float64."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch


@dataclass(frozen=True)
class MatrixKind:
    """``convert`` makes it of a scipy ``csr_array``; ``parts`` are its arrays, which a solve must not change."""

    name: str
    convert: Callable[[sp.csr_array], Any]
    parts: Callable[[Any], tuple]

    def __repr__(self) -> str:
        return self.name


def _compressed(A) -> tuple:
    return A.data, A.indices, A.indptr


def _lists(A) -> tuple:
    return tuple(np.array(row) for row in (*A.rows, *A.data))


def _bsr(A: sp.csr_array) -> sp.bsr_array:
    return sp.bsr_array(A, blocksize=(1, 1))


def _duplicated(A: sp.csr_array) -> sp.coo_array:
    """Every entry in two halves, which are far apart and sum to it exactly."""
    coo = A.tocoo()
    rows, columns = np.tile(coo.row, 2), np.tile(coo.col, 2)
    return sp.coo_array((np.tile(coo.data / 2, 2), (rows, columns)), shape=A.shape)


def _duplicated_csr(A: sp.csr_array) -> sp.csr_array:
    """Rows in which every column appears twice and in descending order."""
    data, indices = [], []
    for i in range(A.shape[0]):
        row = slice(A.indptr[i], A.indptr[i + 1])
        data += [np.repeat(A.data[row][::-1] / 2, 2)]
        indices += [np.repeat(A.indices[row][::-1], 2)]
    return sp.csr_array((np.concatenate(data), np.concatenate(indices), 2 * A.indptr), shape=A.shape)


def _unsorted(A: sp.csr_array) -> sp.csr_array:
    data, indices = A.data.copy(), A.indices.copy()
    for i in range(A.shape[0]):
        row = slice(A.indptr[i], A.indptr[i + 1])
        data[row], indices[row] = data[row][::-1].copy(), indices[row][::-1].copy()
    return sp.csr_array((data, indices, A.indptr.copy()), shape=A.shape)


def _explicit_zeros(A: sp.csr_array) -> sp.coo_array:
    """Stored zeros on both sides of the diagonal, some of them on one side only: they are no edges."""
    n = A.shape[0]
    coo = A.tocoo()
    i, j = np.array([0, n - 1, 0]), np.array([n - 1, 0, n // 2])
    entries = (np.append(coo.data, np.zeros(3)), (np.append(coo.row, i), np.append(coo.col, j)))
    return sp.coo_array(entries, shape=A.shape)


def _read_only(A: sp.csr_array) -> sp.csr_array:
    A = A.copy()
    for part in _compressed(A):
        part.flags.writeable = False
    return A


def _wide_indices(A: sp.csr_array) -> sp.csr_array:
    A = A.copy()
    A.indices, A.indptr = A.indices.astype(np.int64), A.indptr.astype(np.int64)
    return A


def torch_coo(A: sp.csr_array) -> torch.Tensor:
    coo = A.tocoo()
    place = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(place, torch.from_numpy(coo.data.copy()), A.shape, check_invariants=True).coalesce()


def _torch_uncoalesced(A: sp.csr_array) -> torch.Tensor:
    coo = _duplicated(A)
    place = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(place, torch.from_numpy(coo.data.copy()), A.shape, check_invariants=True)


def torch_csr(A: sp.csr_array, index: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.sparse_csr_tensor(
        torch.from_numpy(A.indptr.copy()).to(index),
        torch.from_numpy(A.indices.copy()).to(index),
        torch.from_numpy(A.data.copy()),
        A.shape,
        check_invariants=True,
    )


def _torch_csc(A: sp.csr_array) -> torch.Tensor:
    csc = A.tocsc()
    return torch.sparse_csc_tensor(
        torch.from_numpy(csc.indptr.astype(np.int64)),
        torch.from_numpy(csc.indices.astype(np.int64)),
        torch.from_numpy(csc.data.copy()),
        A.shape,
        check_invariants=True,
    )


def _dense(A: sp.csr_array) -> np.ndarray:
    return np.ascontiguousarray(A.toarray())


def _strided(A: sp.csr_array) -> np.ndarray:
    """A view with a step in both directions into an array full of NaN."""
    n = A.shape[0]
    spacious = np.full((2 * n, 2 * n), np.nan, dtype=A.dtype)
    spacious[::-2, ::2] = A.toarray()
    return spacious[::-2, ::2]


def _whole(A) -> tuple:
    return (A,)


def _torch_coo_parts(A: torch.Tensor) -> tuple:
    return A._indices(), A._values()


MATRIX_KINDS = [
    MatrixKind("csr_array", lambda A: A.copy(), _compressed),
    MatrixKind("csr_matrix", sp.csr_matrix, _compressed),
    MatrixKind("csr_unsorted", _unsorted, _compressed),
    MatrixKind("csr_duplicated", _duplicated_csr, _compressed),
    MatrixKind("csr_read_only", _read_only, _compressed),
    MatrixKind("csr_int64_indices", _wide_indices, _compressed),
    MatrixKind("csc_array", sp.csc_array, _compressed),
    MatrixKind("csc_matrix", sp.csc_matrix, _compressed),
    MatrixKind("coo_array", sp.coo_array, lambda A: (A.data, A.row, A.col)),
    MatrixKind("coo_duplicated", _duplicated, lambda A: (A.data, A.row, A.col)),
    MatrixKind("coo_explicit_zeros", _explicit_zeros, lambda A: (A.data, A.row, A.col)),
    MatrixKind("dia_array", sp.dia_array, lambda A: (A.data, A.offsets)),
    MatrixKind("dia_matrix", sp.dia_matrix, lambda A: (A.data, A.offsets)),
    MatrixKind("bsr_array", _bsr, _compressed),
    MatrixKind("lil_array", sp.lil_array, _lists),
    MatrixKind("lil_matrix", sp.lil_matrix, _lists),
    MatrixKind("dok_array", sp.dok_array, lambda A: (A.toarray(),)),
    MatrixKind("numpy", _dense, _whole),
    MatrixKind("numpy_fortran", lambda A: np.asfortranarray(A.toarray()), _whole),
    MatrixKind("numpy_strided", _strided, lambda A: (A.base,)),
    MatrixKind("torch_dense", lambda A: torch.from_numpy(A.toarray()), _whole),
    MatrixKind("torch_transposed", lambda A: torch.from_numpy(A.toarray()).T, _whole),
    MatrixKind("torch_coo", torch_coo, _torch_coo_parts),
    MatrixKind("torch_coo_uncoalesced", _torch_uncoalesced, _torch_coo_parts),
    MatrixKind("torch_csr", torch_csr, lambda A: (A.crow_indices(), A.col_indices(), A.values())),
    MatrixKind(
        "torch_csr_int32",
        lambda A: torch_csr(A, torch.int32),
        lambda A: (A.crow_indices(), A.col_indices(), A.values()),
    ),
    MatrixKind("torch_csc", _torch_csc, lambda A: (A.ccol_indices(), A.row_indices(), A.values())),
]


@dataclass(frozen=True)
class VectorKind:
    """``convert`` makes it of a float64 array of right-hand sides."""

    name: str
    convert: Callable[[np.ndarray], Any]

    def __repr__(self) -> str:
        return self.name


def _with_gaps(b: np.ndarray) -> np.ndarray:
    """Every second entry of an array full of NaN, backwards."""
    spacious = np.full((2 * len(b), *b.shape[1:]), np.nan)
    spacious[::-2] = b
    return spacious[::-2]


def _frozen(b: np.ndarray) -> np.ndarray:
    b = b.copy()
    b.flags.writeable = False
    return b


def _torch_with_gaps(b: np.ndarray) -> torch.Tensor:
    spacious = torch.full((2 * len(b), *b.shape[1:]), torch.nan, dtype=torch.float64)
    spacious[::2] = torch.from_numpy(b)
    return spacious[::2]


VECTOR_KINDS = [
    VectorKind("numpy_float64", lambda b: b.copy()),
    VectorKind("numpy_float32", lambda b: b.astype(np.float32)),
    VectorKind("numpy_int64", lambda b: np.rint(10 * b).astype(np.int64)),
    VectorKind("numpy_int8", lambda b: np.rint(10 * b).astype(np.int8)),
    VectorKind("numpy_bool", lambda b: b > 0),
    VectorKind("numpy_fortran", np.asfortranarray),
    VectorKind("numpy_with_gaps", _with_gaps),
    VectorKind("numpy_read_only", _frozen),
    VectorKind("torch_float64", lambda b: torch.from_numpy(b.copy())),
    VectorKind("torch_float32", lambda b: torch.from_numpy(b.astype(np.float32))),
    VectorKind("torch_int32", lambda b: torch.from_numpy(np.rint(10 * b).astype(np.int32))),
    VectorKind("torch_bool", lambda b: torch.from_numpy(b > 0)),
    VectorKind("torch_with_gaps", _torch_with_gaps),
]


def expected_dtype(b) -> Any:
    """The dtype of x: b's own when that is a float, else float64 of b's array library."""
    if isinstance(b, torch.Tensor):
        return b.dtype if b.dtype.is_floating_point else torch.float64
    return b.dtype if b.dtype.kind == "f" else np.dtype(np.float64)


def snapshot(parts: tuple) -> list[bytes]:
    """The bytes of arrays and tensors, to be compared later."""
    return [np.asarray(part).tobytes() for part in parts]
