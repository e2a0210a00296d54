"""Coercion of matrices: scipy, torch and numpy, sparse and dense, into one canonical form."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.torch.offsets import row_offsets
from gabp.system.device import read_device
from gabp.system.errors import InvalidSystemError
from gabp.system.scalars import as_numbers, converted, require_number_kind, shared

_TORCH_SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """A square real matrix in compressed rows: columns ascending in each row, no duplicates.

    Attributes
    ----------
    n : int
        Rows and columns.
    start : Tensor, shape (n + 1,), int64
        Entries of row ``i`` are ``start[i]:start[i + 1]``.
    column : Tensor, shape (nnz,), int32
    value : Tensor, shape (nnz,), float32 or float64
        May share memory with the caller's matrix; never written to.
    """

    n: int
    start: Tensor
    column: Tensor
    value: Tensor


def read_matrix(A: Any, device: Any = None) -> SparseMatrix:
    """Read any supported matrix.

    Parameters
    ----------
    A : scipy sparse array or matrix, torch sparse (COO, CSR, CSC) or dense tensor, 2-D numpy array; shape (n, n)
        Not modified. Duplicates are summed; integers and booleans become float64.
    device : torch.device or str, optional
        Where the result is stored; by default where ``A`` is.

    Raises
    ------
    TypeError
        ``A`` is another type of object, or of another dtype.
    InvalidSystemError
        ``A`` is empty, not square, complex, or has a NaN or infinite entry (named by its place).
    RuntimeError
        ``device`` is CUDA and cannot be used here.
    """
    device = read_device(device)
    if scipy.sparse.issparse(A):
        _require_square(A.shape)
        return _from_scipy(A, device)
    if isinstance(A, Tensor):
        read_device(A.device)
        _require_square(tuple(A.shape))
        return _from_torch(A, None, device)
    if isinstance(A, np.ndarray) and not isinstance(A, np.ma.MaskedArray):
        _require_square(A.shape)
        return _from_dense(as_numbers(A, "A"), device)
    raise TypeError(
        f"A must be a scipy sparse array or matrix, a torch tensor or a 2-D numpy array, not {type(A).__name__}"
    )


def read_values(A: Any, values: Any, device: Any = None) -> SparseMatrix:
    """Read other ``values`` on the sparsity pattern of ``A``.

    Parameters
    ----------
    A : matrix, shape (n, n)
        As for `read_matrix`.
    values : array or tensor, shape (nnz,), or matrix, shape (n, n)
        One value per stored entry, in the order of ``A``'s format (scipy CSR, CSC and COO; torch COO, CSR and CSC); or
        a whole matrix, for any format.
    device : torch.device or str, optional

    Raises
    ------
    TypeError
        ``A`` is dense or of a format without a list of stored entries, and ``values`` is no matrix; or as
        `read_matrix`.
    InvalidSystemError
        The shape of ``values`` does not fit; or as `read_matrix`.
    """
    device = read_device(device)
    if scipy.sparse.issparse(values) or getattr(values, "ndim", 1) == 2:
        if tuple(values.shape) != tuple(A.shape):
            raise InvalidSystemError(_misfit(values, A))
        return read_matrix(values, device)
    if scipy.sparse.issparse(A) and A.format in ("csr", "csc", "coo"):
        _require_alike(values, A.data, A)
        place = (A.coords,) if A.format == "coo" else (A.indices, A.indptr)
        return _from_scipy(type(A)((values, *place), shape=A.shape), device)
    if isinstance(A, Tensor) and A.layout in _TORCH_SPARSE:
        _require_alike(values, A._values() if A.layout == torch.sparse_coo else A.values(), A)
        return _from_torch(A, values, device)
    raise TypeError("the values of this kind of matrix have no order of their own; pass a whole matrix to update")


def read_rectangular(F: Any, name: str) -> scipy.sparse.csr_array:
    """Read a matrix of any shape: scipy sparse, torch sparse or dense, numpy 2-D.

    Returns
    -------
    csr_array, shape (m, n), float64
        Without duplicates or stored zeros; a copy.

    Raises
    ------
    TypeError
        ``F`` is of another kind, or holds anything but real numbers.
    InvalidSystemError
        ``F`` is empty, not two-dimensional, or has a NaN or infinite entry (named by its place).
    """
    if isinstance(F, Tensor):
        F = F.detach().cpu()
        if F.layout == torch.strided:
            F = F.numpy()
        else:
            entries = F.to_sparse_coo().coalesce()
            row, column = entries.indices().numpy()
            F = scipy.sparse.coo_array((entries.values().numpy(), (row, column)), tuple(entries.shape))
    if not scipy.sparse.issparse(F) and not isinstance(F, np.ndarray):
        raise TypeError(f"{name} must be a scipy sparse, torch or numpy matrix, not {type(F).__name__}")
    if F.ndim != 2 or 0 in F.shape:
        raise InvalidSystemError(f"{name} has shape {tuple(F.shape)}; expected (m, n)")
    if F.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, not {F.dtype}")
    rows = scipy.sparse.csr_array(F, dtype=np.float64, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    if not np.isfinite(rows.data).all():
        e = int(np.flatnonzero(~np.isfinite(rows.data))[0])
        i = int(np.searchsorted(rows.indptr, e, side="right")) - 1
        raise InvalidSystemError(f"{name}[{i}, {rows.indices[e]}] is {rows.data[e]}; every value must be finite")
    return rows


def _from_scipy(A: Any, device: Any) -> SparseMatrix:
    require_number_kind(A.dtype, "A")
    if A.dtype.kind in "biu":  # before duplicates are summed: 1 + 1 = 2, also for booleans and int8
        A = A.astype(np.float64)
    csr = A.tocsr()
    return _from_rows(shared(csr.indptr), shared(csr.indices), as_numbers(csr.data, "A"), device)


def _from_torch(A: Tensor, values: Tensor | None, device: Any) -> SparseMatrix:
    if A.layout == torch.strided:
        return _from_dense(as_numbers(A, "A"), device)
    if A.layout not in _TORCH_SPARSE:
        raise TypeError(f"A has the torch layout {A.layout}; gabp takes dense, COO, CSR and CSC tensors")
    stored = A._values() if A.layout == torch.sparse_coo else A.values()
    numbers = as_numbers(stored if values is None else values, "A").contiguous()
    if A.layout == torch.sparse_csr:
        return _from_rows(A.crow_indices(), A.col_indices(), numbers, device)
    if A.layout == torch.sparse_coo:
        row, column = A._indices()
    else:
        start, row = A.ccol_indices(), A.row_indices()
        column = torch.repeat_interleave(torch.arange(len(start) - 1, device=A.device), start.diff())
    return _from_triplets(A.shape[0], row, column, numbers, device)


def _from_dense(A: Tensor, device: Any) -> SparseMatrix:
    row, column = A.nonzero(as_tuple=True)
    return _from_triplets(A.shape[0], row, column, A[row, column], device)


def _from_triplets(n: int, row: Tensor, column: Tensor, value: Tensor, device: Any) -> SparseMatrix:
    if bool(((row < 0) | (row >= n)).any()):
        raise InvalidSystemError(f"A has an entry in a row outside 0…{n - 1}")
    by_row = torch.argsort(row, stable=True)
    return _from_rows(row_offsets(row, n), column[by_row], value[by_row], device)


def _from_rows(start: Tensor, column: Tensor, value: Tensor, device: Any) -> SparseMatrix:
    """Check compressed rows, sort their columns, sum duplicates and move them to ``device``."""
    n = len(start) - 1
    rows = dispatch.backend(value.device).rows
    infinite, outside, in_order = rows.inspect_rows(start, column, value)
    if outside >= 0:
        raise InvalidSystemError(f"A has an entry in column {int(column[outside])}, outside 0…{n - 1}")
    start, column = converted(start, torch.int64), converted(column, torch.int32)
    if infinite < 0 and not in_order:
        start, column, value = rows.sort_rows(start, column, value)
        infinite = rows.inspect_rows(start, column, value)[0]  # a sum of duplicates may overflow
    if infinite >= 0:
        i = int(torch.searchsorted(start, infinite, right=True)) - 1
        j = int(column[infinite])
        raise InvalidSystemError(f"A[{i}, {j}] is {float(value[infinite])}; every entry must be finite")
    if device is None:
        return SparseMatrix(n, start, column, value)
    return SparseMatrix(n, start.to(device), column.to(device), value.to(device))


def _require_square(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise InvalidSystemError(f"A must be square, not of shape {tuple(shape)}")
    if shape[0] == 0:
        raise InvalidSystemError("A is empty (0 × 0)")
    if shape[0] >= 2**31:
        raise InvalidSystemError(f"A has {shape[0]} rows; node indices are 32-bit (at most {2**31 - 1})")


def _require_alike(values: Any, stored: Any, A: Any) -> None:
    if not isinstance(values, type(stored)):
        raise TypeError(f"values must be a {type(stored).__name__} or a whole matrix, not {type(values).__name__}")
    if tuple(values.shape) != tuple(stored.shape):
        raise InvalidSystemError(_misfit(values, A))


def _misfit(values: Any, A: Any) -> str:
    n = A.shape[0]
    count = ""
    if isinstance(A, Tensor) and A.layout in _TORCH_SPARSE:
        count = f"one-dimensional with {A._nnz()} entries, one for each that A stores, or "
    elif scipy.sparse.issparse(A) and A.format in ("csr", "csc", "coo"):
        count = f"one-dimensional with {A.nnz} entries, one for each that A stores, or "
    return f"values must be {count}a whole {n} × {n} matrix, not of shape {tuple(values.shape)}"
