"""Small loopy models with known thresholds of convergence, and dense flooding."""

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla


def chorded_square(r: float, flipped: bool = False) -> np.ndarray:
    """A 4-cycle with one chord, unit diagonal, all off-diagonals ``r``; ``flipped`` negates one outer edge.

    Walk-summable iff ``r < 2/(1 + √17)``. The flipped one is positive definite for ``r < 1/2``, its precision
    messages converge up to ``√((2√7 - 1)/27)`` and its means up to about 0.398654.
    """
    A = np.eye(4)
    for i, j in [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]:
        A[i, j] = A[j, i] = r
    if flipped:
        A[0, 1] = A[1, 0] = -r
    return A


WALK_SUMMABLE_UP_TO = 2 / (1 + np.sqrt(17))
PRECISIONS_UP_TO = np.sqrt((2 * np.sqrt(7) - 1) / 27)
MEANS_UP_TO = 0.398654


def grid(rows: int, columns: int | None = None, shift: float = 0.0) -> sp.csr_array:
    """The five-point Laplacian with Dirichlet boundary, plus ``shift`` on the diagonal."""
    columns = rows if columns is None else columns

    def path(n: int) -> sp.csr_array:
        return sp.csr_array(sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]))

    A = sp.kron(path(rows), sp.eye_array(columns)) + sp.kron(sp.eye_array(rows), path(columns))
    return sp.csr_array(A + shift * sp.eye_array(rows * columns))


def random_couplings(n: int, degree: int, rng: np.random.Generator, frustrated: bool = True) -> sp.csr_array:
    """A symmetric matrix with zero diagonal and about ``degree`` nonzeros in a row, of either sign if frustrated."""
    row = np.repeat(np.arange(n), max(1, degree // 2))
    column = rng.integers(0, n, len(row))
    value = rng.standard_normal(len(row))
    off = row != column
    couplings = sp.coo_array((value[off] if frustrated else -np.abs(value[off]), (row[off], column[off])), (n, n))
    couplings = sp.csr_array(couplings)
    return sp.csr_array(couplings + couplings.T)


def scaled_to_radius(couplings: sp.csr_array, radius: float) -> sp.csr_array:
    """``I + c·couplings`` with ``ρ(|R|) = radius``."""
    n = couplings.shape[0]
    if n <= 500:
        largest = np.linalg.eigvalsh(abs(couplings).toarray())[-1]
    else:  # by Lanczos: a dense spectrum of thousands of nodes takes seconds
        largest = spla.eigsh(abs(couplings), k=1, which="LA", v0=np.ones(n), return_eigenvectors=False)[0]
    return sp.csr_array(sp.eye_array(couplings.shape[0]) + couplings * (radius / largest))


class Flooding:
    """Dense flooding of precisions and potentials together. Entry ``[k, i]`` is the message from k to i."""

    def __init__(self, A: np.ndarray, b: np.ndarray, constant_start: bool) -> None:
        self.A, self.b = A, b
        self.edges = (A != 0) & ~np.eye(len(A), dtype=bool)
        self.P = np.where(self.edges, -np.abs(A), 0.0) if constant_start else np.zeros_like(A)
        self.h = np.zeros_like(A)

    def sweep(self) -> None:
        cavity = (np.diag(self.A) + self.P.sum(axis=0))[:, None] - self.P.T
        incoming = (self.b + self.h.sum(axis=0))[:, None] - self.h.T
        with np.errstate(divide="ignore", invalid="ignore"):
            self.P = np.where(self.edges, -(self.A**2) / cavity, 0.0)
            self.h = np.where(self.edges, -self.A * incoming / cavity, 0.0)

    @property
    def precision(self) -> np.ndarray:
        return np.diag(self.A) + self.P.sum(axis=0)

    @property
    def mean(self) -> np.ndarray:
        return (self.b + self.h.sum(axis=0)) / self.precision
