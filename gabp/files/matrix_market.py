"""Matrix Market text: parsed strictly, written so that every digit comes back.

The format is defined in Boisvert, Pozo and Remington, *The Matrix Market Exchange Formats: Initial Design*
(NISTIR 5935, 1996).
"""

import io
import re
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import scipy.io
import scipy.sparse as sp

__all__ = ["MatrixMarketError", "format_matrix_market", "parse_matrix_market"]

LARGEST_DIMENSION = 2**31 - 1  # node indices are 32-bit throughout
FIELDS = ("real", "double", "integer", "unsigned-integer", "pattern")
NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|infinity|nan)", re.IGNORECASE)
FORTRAN_EXPONENT = bytes.maketrans(b"dD", b"ee")  # 1.0D+02, as Fortran programs write it


class MatrixMarketError(ValueError):
    """The text is not a Matrix Market matrix that can be read; the message names the line."""


@dataclass(frozen=True)
class _Header:
    coordinate: bool
    pattern: bool
    symmetric: bool
    rows: int
    columns: int
    entries: int  # lines of the body
    line: int  # the size line, counted from 1

    @property
    def numbers_per_line(self) -> int:
        if not self.coordinate:
            return 1
        return 2 if self.pattern else 3


def _fail(line: int, problem: str) -> NoReturn:
    raise MatrixMarketError(f"line {line}: {problem}")


def _shown(text: bytes) -> str:
    """A piece of a line, safe to print."""
    printable = text.decode("latin-1").strip()
    return ascii(printable if len(printable) <= 40 else printable[:37] + "...")


def _is_data(line: bytes) -> bool:
    stripped = line.strip()
    return bool(stripped) and not stripped.startswith(b"%")


def _parse_banner(line: bytes) -> tuple[bool, bool, bool]:
    words = line.decode("latin-1").lower().split()
    if not words or words[0] != "%%matrixmarket":
        _fail(1, "not a Matrix Market file (it should start with %%MatrixMarket)")
    if len(words) != 5:
        _fail(
            1,
            f"the header has {len(words)} words; it needs five: %%MatrixMarket matrix FORMAT FIELD SYMMETRY",
        )
    _, kind, layout, field, symmetry = words
    if kind != "matrix":
        _fail(1, f"holds a {kind!r}; only a 'matrix' can be read")
    if layout not in ("coordinate", "array"):
        _fail(1, f"unknown format {layout!r}; coordinate and array can be read")
    if field == "complex":
        _fail(1, "complex matrices are not supported; real, integer and pattern can be read")
    if field not in FIELDS:
        _fail(1, f"unknown field {field!r}; real, integer and pattern can be read")
    if symmetry in ("skew-symmetric", "hermitian"):
        _fail(1, f"{symmetry} matrices are not supported; general and symmetric can be read")
    if symmetry not in ("general", "symmetric"):
        _fail(1, f"unknown symmetry {symmetry!r}; general and symmetric can be read")
    if layout == "array" and field == "pattern":
        _fail(1, "an array cannot be a pattern: it lists values")
    return layout == "coordinate", field == "pattern", symmetry == "symmetric"


def _parse_header(data: bytes) -> tuple[_Header, int]:
    """The header and where the body starts."""
    end = data.find(b"\n")
    coordinate, pattern, symmetric = _parse_banner(data if end < 0 else data[:end])
    line = 1
    while end >= 0:
        start, line = end + 1, line + 1
        end = data.find(b"\n", start)
        text = data[start:] if end < 0 else data[start:end]
        if _is_data(text):
            break
    else:
        _fail(line, "the file ends before the line with the sizes")
    wanted = ("rows", "columns", "entries")[: 3 if coordinate else 2]
    words = text.split()
    if len(words) != len(wanted) or not all(re.fullmatch(rb"\d{1,18}", word) for word in words):
        _fail(
            line,
            f"the size line should be {len(wanted)} whole numbers ({', '.join(wanted)}), not {_shown(text)}",
        )
    rows, columns = int(words[0]), int(words[1])
    if max(rows, columns) > LARGEST_DIMENSION:
        _fail(line, f"a {rows}×{columns} matrix is too large: indices are limited to {LARGEST_DIMENSION}")
    if symmetric and rows != columns:
        _fail(line, f"a symmetric matrix must be square, not {rows}×{columns}")
    stored = rows * (rows + 1) // 2 if symmetric else rows * columns
    entries = int(words[2]) if coordinate else stored
    header = _Header(coordinate, pattern, symmetric, rows, columns, entries, line)
    return header, len(data) if end < 0 else end + 1


def _line_of_entry(body: bytes, header: _Header, entry: int) -> int:
    """The line of the file that holds the body's entry number `entry` (from 0)."""
    data_lines = (number for number, line in enumerate(body.split(b"\n"), header.line + 1) if _is_data(line))
    return next(number for position, number in enumerate(data_lines) if position == entry)


def _diagnose(body: bytes, header: _Header, problem: ValueError) -> NoReturn:
    """Name the first line of the body that is not made of the right numbers."""
    form = "a value" if not header.coordinate else "row column" if header.pattern else "row column value"
    for number, line in enumerate(body.split(b"\n"), header.line + 1):
        if not _is_data(line):
            continue
        words = line.split()
        if len(words) != header.numbers_per_line:
            _fail(number, f"expected '{form}', found {_shown(line)}")
        for word in words:
            if not NUMBER.fullmatch(word.translate(FORTRAN_EXPONENT)):
                _fail(number, f"{_shown(word)} is not a number")
    raise MatrixMarketError(f"after line {header.line}: {problem}")


def _parse_body(body: bytes, header: _Header) -> np.ndarray:
    """The body's numbers, shape (entries, numbers per line)."""
    text = body
    if b"%" in text:
        text = b"\n".join(line for line in text.split(b"\n") if _is_data(line))
    if not text.strip():
        numbers = np.empty((0, header.numbers_per_line))
    else:
        stream = io.BytesIO(text.translate(FORTRAN_EXPONENT))
        try:
            numbers = np.loadtxt(stream, ndmin=2, comments=None, encoding="latin-1")
        except ValueError as problem:
            _diagnose(body, header, problem)
        if numbers.shape[1] != header.numbers_per_line:
            _diagnose(body, header, ValueError(f"{numbers.shape[1]} numbers on each line"))
    found = len(numbers)
    if found < header.entries:
        raise MatrixMarketError(
            f"truncated: the size line (line {header.line}) declares {header.entries} entries, the file holds {found}"
        )
    if found > header.entries:
        line = _line_of_entry(body, header, header.entries)
        _fail(line, f"more entries than the {header.entries} that the size line (line {header.line}) declares")
    return numbers


def _indices(numbers: np.ndarray, body: bytes, header: _Header) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each entry, from 0."""
    found = []
    for axis, (name, size) in enumerate((("row", header.rows), ("column", header.columns))):
        index = numbers[:, axis]
        bad = ~((index >= 1) & (index <= size) & (index == np.floor(index)))
        if bad.any():
            entry = int(bad.argmax())
            _fail(_line_of_entry(body, header, entry), f"{name} {index[entry]:.15g} is outside 1…{size}")
        found.append(index.astype(np.int64) - 1)
    return found[0], found[1]


def _mirror(row: np.ndarray, column: np.ndarray, value: np.ndarray, body: bytes, header: _Header) -> sp.coo_array:
    """The whole of a symmetric matrix of which one triangle was stored."""
    key = np.maximum(row, column) * header.rows + np.minimum(row, column)
    below, above = row > column, row < column
    if below.any() and above.any():
        twice = above & np.isin(key, key[below])
        if twice.any():
            entry = int(twice.argmax())
            i, j = row[entry] + 1, column[entry] + 1
            line = _line_of_entry(body, header, entry)
            _fail(line, f"a symmetric file stores each pair once, but both ({i}, {j}) and ({j}, {i}) are there")
    off = row != column
    return sp.coo_array(
        (
            np.concatenate([value, value[off]]),
            (np.concatenate([row, column[off]]), np.concatenate([column, row[off]])),
        ),
        shape=(header.rows, header.columns),
    )


def parse_matrix_market(data: bytes) -> sp.csr_array | np.ndarray:
    """Read a Matrix Market matrix of real numbers.

    Parameters
    ----------
    data : bytes
        The text: coordinate or array; real, integer or pattern (a pattern's values are 1); general or
        symmetric. Blank lines, comments between entries and Fortran exponents (``1.0D+02``) are accepted.

    Returns
    -------
    csr_array or ndarray, float64
        ``coordinate`` gives a sparse array with duplicates summed, ``array`` a dense (rows, columns) one.

    Raises
    ------
    MatrixMarketError
        With the line, for anything else. Nothing is guessed: a value with a tail (``1.0abc``), a surplus
        column or a symmetric file with both triangles is refused, not read as something it may not mean.
    """
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    header, start = _parse_header(data)
    body = data[start:]
    numbers = _parse_body(body, header)
    if not header.coordinate:
        return _fill_array(numbers[:, 0], header)
    row, column = _indices(numbers, body, header)
    value = np.ones(len(row)) if header.pattern else numbers[:, 2]
    if header.symmetric:
        return _mirror(row, column, value, body, header).tocsr()
    return sp.coo_array((value, (row, column)), shape=(header.rows, header.columns)).tocsr()


def _fill_array(values: np.ndarray, header: _Header) -> np.ndarray:
    """Values listed column by column (of a symmetric matrix: the lower triangle) as a dense array."""
    if not header.symmetric:
        return values.reshape((header.rows, header.columns), order="F")
    column, row = np.triu_indices(header.rows)
    dense = np.empty((header.rows, header.rows))
    dense[row, column] = dense[column, row] = values
    return dense


def format_matrix_market(x: np.ndarray, comment: str = "") -> bytes:
    """The text of a dense (n,) or (n, k) array, with as many digits as bring back the same floats."""
    stream = io.BytesIO()
    scipy.io.mmwrite(stream, x.reshape(len(x), -1), comment=comment, symmetry="general")
    return stream.getvalue()
