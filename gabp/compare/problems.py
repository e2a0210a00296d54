"""What ``gabp bench`` compares on: matrices from files, and the demonstration's landscape."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from gabp.compare.comparison import Problem
from gabp.demos.terrain import TRUST, load_terrain, smoothness_precision
from gabp.files import FileError, read_matrix

__all__ = ["problem_from_file", "terrain_problem"]


def problem_from_file(path: str) -> Problem:
    """A of a file, with b = A·1.

    Raises
    ------
    FileError
        The file cannot be read, or its matrix cannot be solved with.
    """
    A = read_matrix(path)
    if A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise FileError(f"{path}: a system needs a square matrix, this one is {A.shape[0]}×{A.shape[1]}")
    A = sp.csr_array(A).astype(np.float64)
    if not np.isfinite(A.data).all():
        raise FileError(f"{path}: holds NaN or infinite entries")
    b = A @ np.ones(A.shape[0])
    if not b.any():
        raise FileError(f"{path}: A·1 is 0, so there is nothing to solve")
    return Problem(Path(path).name, A, b)


def terrain_problem(fraction: float = 0.05, seed: int = 0) -> Problem:
    """The system of ``gabp demo``."""
    height = load_terrain().height
    given = np.zeros(height.size, dtype=bool)
    given[np.random.default_rng(seed).choice(height.size, size=round(fraction * height.size), replace=False)] = True
    A = smoothness_precision(given.reshape(height.shape))
    b = TRUST * given * (height.ravel() - height.mean()) / height.std()
    return Problem("terrain", sp.csr_array(A), b, "a real landscape from one height in twenty (gabp demo)")
