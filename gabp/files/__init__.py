"""Floor 7: files of matrices, vectors and factor graphs. Every fault of a file is a `FileError` of one line."""

from gabp.files.bal import parse_bal, read_bal
from gabp.files.errors import FileError
from gabp.files.factor_graphs import read_factor_graph
from gabp.files.g2o import parse_g2o, read_g2o
from gabp.files.g2o_writing import format_g2o, write_g2o
from gabp.files.lines import GraphFileError
from gabp.files.matrices import (
    check_writable,
    make_folder,
    read_matrix,
    read_right_hand_side,
    write_dense,
    write_text,
)
from gabp.files.matrix_market import MatrixMarketError, format_matrix_market, parse_matrix_market
from gabp.files.raw import reraise_as_file_error

__all__ = [
    "FileError",
    "GraphFileError",
    "MatrixMarketError",
    "check_writable",
    "format_g2o",
    "format_matrix_market",
    "make_folder",
    "parse_bal",
    "parse_g2o",
    "parse_matrix_market",
    "read_bal",
    "read_factor_graph",
    "read_g2o",
    "read_matrix",
    "read_right_hand_side",
    "reraise_as_file_error",
    "write_dense",
    "write_g2o",
    "write_text",
]
