"""Floor 1: coercion of matrices and vectors, the edge graph, forests, node blocks."""

from gabp.system.device import read_device
from gabp.system.errors import InvalidSystemError, NotPositiveDefiniteError
from gabp.system.graph import EdgeGraph, Forest
from gabp.system.matrix import SparseMatrix, read_matrix, read_rectangular, read_values
from gabp.system.model import (
    STRICT_DOMINANCE,
    WEAK_DOMINANCE,
    System,
    largest_asymmetry,
    make_system,
    require_positive_diagonal,
)
from gabp.system.scalars import require_damping, require_nonnegative, require_number, working_dtype
from gabp.system.vectors import Columns, read_columns, times_power_of_two

__all__ = [
    "STRICT_DOMINANCE",
    "WEAK_DOMINANCE",
    "Columns",
    "EdgeGraph",
    "Forest",
    "InvalidSystemError",
    "NotPositiveDefiniteError",
    "SparseMatrix",
    "System",
    "largest_asymmetry",
    "make_system",
    "read_columns",
    "read_device",
    "read_matrix",
    "read_rectangular",
    "read_values",
    "require_damping",
    "require_nonnegative",
    "require_number",
    "require_positive_diagonal",
    "times_power_of_two",
    "working_dtype",
]
