"""Matrices and vectors from files and back; every fault of a file is a `FileError` of one line."""

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from gabp.files.errors import FileError
from gabp.files.matrix_market import MatrixMarketError, format_matrix_market, parse_matrix_market
from gabp.files.raw import read_bytes, reraise_as_file_error, write_bytes

__all__ = [
    "check_writable",
    "make_folder",
    "read_matrix",
    "read_right_hand_side",
    "write_dense",
    "write_text",
]


def _read_npz(path: Path) -> sp.csr_array:
    stream = io.BytesIO(read_bytes(path))
    not_ours = f"{path}: not a sparse matrix saved by scipy.sparse.save_npz"
    try:
        with zipfile.ZipFile(stream) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise FileError(f"{not_ours} (no zip archive, or one that is cut short)") from error
    missing = sorted({"data", "format", "shape"} - names)
    if missing:
        raise FileError(f"{not_ours} (it holds no array named {' nor '.join(missing)})")
    stream.seek(0)
    try:
        matrix = sp.load_npz(stream)  # never unpickles: scipy passes allow_pickle=False
        if matrix.format in ("csr", "csc", "bsr"):
            matrix.check_format(full_check=True)  # indices out of range would otherwise be believed
        matrix = sp.csr_array(matrix)
    except MemoryError:
        raise
    except Exception as error:
        # Untrusted bytes pass through zipfile, numpy's header parser and scipy's constructors: whatever they
        # raise means the same thing here.
        reason = "it holds Python objects, which are not loaded" if "allow_pickle" in str(error) else error
        raise FileError(f"{not_ours} ({reason})") from error
    if matrix.ndim != 2:
        raise FileError(f"{path}: holds a {matrix.ndim}-dimensional array, not a matrix")
    if matrix.dtype.kind not in "iub" and matrix.dtype not in (np.float32, np.float64):
        raise FileError(
            f"{path}: entries of type {matrix.dtype} are not supported; "
            "float32, float64, integers and booleans can be read"
        )
    return matrix


def read_matrix(path: str | os.PathLike[str]) -> sp.csr_array | np.ndarray:
    """Read a matrix from a ``.mtx``, ``.mtx.gz`` or scipy ``.npz`` file.

    Returns
    -------
    csr_array or ndarray, shape (rows, columns)
        Dense where the file is a Matrix Market array.

    Raises
    ------
    FileError
        The file is missing, unreadable, damaged, or holds something that is not supported.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".npz"):
        return _read_npz(path)
    if not name.endswith((".mtx", ".mtx.gz")):
        raise FileError(f"{path}: unknown kind of file; .mtx, .mtx.gz and .npz (scipy.sparse) can be read")
    data = read_bytes(path)
    if not data.strip():
        raise FileError(f"{path}: the file is empty")
    try:
        return parse_matrix_market(data)
    except MatrixMarketError as error:
        raise FileError(f"{path}: {error}") from error


def read_right_hand_side(path: str | os.PathLike[str], n: int) -> np.ndarray:
    """Read one or several right-hand sides for a system of `n` unknowns.

    Returns
    -------
    ndarray, shape (n,) or (n, k)
        One column gives a vector.

    Raises
    ------
    FileError
        As `read_matrix`, and where the file does not have `n` rows or has no column.
    """
    b = read_matrix(path)
    rows, columns = b.shape
    if rows != n:
        hint = " (a column vector is needed, this is a row)" if rows == 1 and columns == n else ""
        raise FileError(f"{path}: the right-hand side has {rows} rows, the matrix has {n}{hint}")
    if columns == 0:
        raise FileError(f"{path}: the right-hand side has no column")
    dense = b if isinstance(b, np.ndarray) else b.toarray()
    return dense[:, 0] if columns == 1 else dense


def check_writable(path: str | os.PathLike[str], suffixes: tuple[str, ...], *, spare: Sequence[str] = ()) -> None:
    """Check an output path before the computation that it is for.

    Raises
    ------
    FileError
        The name does not end in one of `suffixes`, its folder is missing or not writable, or it is one of the
        files to `spare`.
    """
    path = Path(path)
    for other in spare:
        if path.exists() and Path(other).exists() and path.samefile(other):
            raise FileError(f"{path}: cannot be written: it is the input")
    if not path.name.lower().endswith(suffixes):
        raise FileError(f"{path}: the output file must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise FileError(f"{path}: cannot be written: is a directory")
    if not path.parent.is_dir():
        raise FileError(f"{path}: cannot be written: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise FileError(f"{path}: cannot be written: permission denied")


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make sure that a folder is there."""
    with reraise_as_file_error(path, "made a folder"):
        Path(path).mkdir(parents=True, exist_ok=True)


def write_dense(path: str | os.PathLike[str], x: np.ndarray, comment: str = "") -> None:
    """Write a dense (n,) or (n, k) array as Matrix Market, compressed if the name ends in ``.gz``."""
    write_bytes(path, format_matrix_market(x, comment))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8."""
    write_bytes(path, text.encode())
