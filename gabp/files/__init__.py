"""Floor 7: matrix and vector files. Every fault of a file is a `FileError` of one line."""

from gabp.files.errors import FileError
from gabp.files.matrices import (
    check_writable,
    make_folder,
    read_matrix,
    read_right_hand_side,
    reraise_as_file_error,
    write_dense,
    write_text,
)
from gabp.files.matrix_market import MatrixMarketError, format_matrix_market, parse_matrix_market

__all__ = [
    "FileError",
    "MatrixMarketError",
    "check_writable",
    "format_matrix_market",
    "make_folder",
    "parse_matrix_market",
    "read_matrix",
    "read_right_hand_side",
    "reraise_as_file_error",
    "write_dense",
    "write_text",
]
