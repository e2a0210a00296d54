"""Every kind of matrix that users hold, read once into one canonical form."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from gabp.system.errors import InvalidSystemError
from gabp.system.scalars import as_numbers, require_number_kind, shared

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

    @property
    def row(self) -> Tensor:
        """Row of each entry, shape (nnz,), int64."""
        return torch.repeat_interleave(
            torch.arange(self.n, device=self.start.device), self.start.diff(), output_size=len(self.column)
        )


def read_matrix(A: Any, device: Any = None) -> SparseMatrix:
    """Read any supported matrix: scipy sparse, torch sparse (COO, CSR, CSC) or dense, numpy 2-D.

    Duplicates are summed, integers and booleans become float64, and ``A`` is left as it was.

    Raises
    ------
    TypeError
        ``A`` is of another kind, or holds numbers of another kind.
    InvalidSystemError
        ``A`` is empty, not square, complex, or has a NaN or infinite entry (named by its place).
    """
    if scipy.sparse.issparse(A):
        _require_square(A.shape)
        return _checked(_from_scipy(A), device)
    if isinstance(A, Tensor):
        _require_square(tuple(A.shape))
        return _checked(_from_torch(A), device)
    if isinstance(A, np.ndarray) and not isinstance(A, np.ma.MaskedArray):
        _require_square(A.shape)
        return _checked(_from_dense(as_numbers(A, "A")), device)
    raise TypeError(
        f"A must be a scipy sparse array or matrix, a torch tensor or a 2-D numpy array, not {type(A).__name__}"
    )


def read_values(A: Any, values: Any, device: Any = None) -> SparseMatrix:
    """Read other ``values`` for the stored entries of ``A``, in their order.

    ``values`` is one-dimensional for the formats that store a list of entries (scipy CSR, CSC and COO; torch
    COO, CSR and CSC), or a whole matrix for any format.

    Raises
    ------
    TypeError
        ``A`` has no list of stored entries, so only a whole matrix will do; or as `read_matrix`.
    InvalidSystemError
        The shape of ``values`` does not fit; or as `read_matrix`.
    """
    if scipy.sparse.issparse(values) or getattr(values, "ndim", 1) == 2:
        return read_matrix(values, device)
    if scipy.sparse.issparse(A) and A.format in ("csr", "csc", "coo"):
        _require_alike(values, A.data)
        place = (A.coords,) if A.format == "coo" else (A.indices, A.indptr)
        return _checked(_from_scipy(type(A)((values, *place), shape=A.shape)), device)
    if isinstance(A, Tensor) and A.layout in _TORCH_SPARSE:
        row, column, stored = _torch_triplets(A)
        _require_alike(values, stored)
        return _checked(from_triplets(A.shape[0], row, column, as_numbers(values, "values")), device)
    raise TypeError("the values of this kind of matrix have no order of their own; give update a whole matrix")


def from_triplets(n: int, row: Tensor, column: Tensor, value: Tensor) -> SparseMatrix:
    """The matrix with ``value`` summed at each place ``(row, column)``."""
    place, order = torch.sort(row.long() * n + column.long(), stable=True)
    value = value[order]
    place, group = torch.unique_consecutive(place, return_inverse=True)
    if len(place) < len(value):
        value = value.new_zeros(len(place)).index_add_(0, group, value)
    row = torch.div(place, n, rounding_mode="floor")
    start = torch.zeros(n + 1, dtype=torch.int64, device=value.device)
    torch.cumsum(torch.bincount(row, minlength=n), 0, out=start[1:])
    return SparseMatrix(n, start, (place - row * n).to(torch.int32), value)


def _from_scipy(A: Any) -> SparseMatrix:
    require_number_kind(A.dtype, "A")
    if A.dtype.kind in "biu":  # before duplicates are summed: 1 + 1 = 2, also for booleans and int8
        A = A.astype(np.float64)
    csr = A.tocsr()
    if not csr.has_canonical_format:
        csr = csr.copy() if csr is A else csr
        csr.sum_duplicates()
    return SparseMatrix(
        csr.shape[0],
        shared(csr.indptr.astype(np.int64, copy=False)),
        shared(csr.indices.astype(np.int32, copy=False)),
        as_numbers(csr.data, "A"),
    )


def _from_torch(A: Tensor) -> SparseMatrix:
    if A.layout == torch.strided:
        return _from_dense(as_numbers(A, "A"))
    if A.layout not in _TORCH_SPARSE:
        raise TypeError(f"A has the torch layout {A.layout}; gabp takes dense, COO, CSR and CSC tensors")
    row, column, values = _torch_triplets(A)
    return from_triplets(A.shape[0], row, column, as_numbers(values, "A"))


def _torch_triplets(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and value of each stored entry of a sparse tensor, in the order of its values."""
    if A.layout == torch.sparse_coo:
        row, column = A._indices()
        return row, column, A._values()
    by_row = A.layout == torch.sparse_csr
    start, inner = (A.crow_indices(), A.col_indices()) if by_row else (A.ccol_indices(), A.row_indices())
    outer = torch.repeat_interleave(torch.arange(len(start) - 1, device=A.device), start.diff())
    return (outer, inner, A.values()) if by_row else (inner, outer, A.values())


def _from_dense(A: Tensor) -> SparseMatrix:
    row, column = A.nonzero(as_tuple=True)
    return from_triplets(A.shape[0], row, column, A[row, column])


def _require_square(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise InvalidSystemError(f"A must be square, not of shape {tuple(shape)}")
    if shape[0] == 0:
        raise InvalidSystemError("A is empty (0 × 0)")
    if shape[0] >= 2**31:
        raise InvalidSystemError(f"A has {shape[0]} rows; node indices are 32-bit (at most {2**31 - 1})")


def _require_alike(values: Any, stored: Any) -> None:
    if not isinstance(values, type(stored)) or tuple(values.shape) != tuple(stored.shape):
        raise InvalidSystemError(
            f"values must be a {type(stored).__name__} of shape {tuple(stored.shape)}, one for each stored entry"
        )


def _checked(matrix: SparseMatrix, device: Any) -> SparseMatrix:
    """``matrix`` on ``device``, every entry finite."""
    finite = torch.isfinite(matrix.value)
    if not bool(finite.all()):
        entry = int(finite.logical_not().nonzero()[0])
        i, j = int(matrix.row[entry]), int(matrix.column[entry])
        raise InvalidSystemError(f"A[{i}, {j}] is {float(matrix.value[entry])}; every entry must be finite")
    if device is None:
        return matrix
    return SparseMatrix(matrix.n, matrix.start.to(device), matrix.column.to(device), matrix.value.to(device))
