"""Cholesky factor and selected inverse in dense linear algebra: ground truth of the sparse factor, and fallback."""

import math

import torch
from torch import Tensor

from gabp.kernels.torch.offsets import destinations

_LARGEST = 5_000  # nodes for which dense storage is acceptable


def symbolic(start: Tensor, source: Tensor) -> tuple[float, float]:
    """Nonzeros of the (dense) factor and the operations to compute it."""
    n = float(len(start) - 1)
    return n * (n + 1) / 2, n * (n + 1) * (2 * n + 1) / 6


class Symbolic:
    """The symbolic factorisation: that of a full matrix."""

    def __init__(self, start: Tensor, source: Tensor) -> None:
        self.entries, self.flops = symbolic(start, source)
        self.peak_bytes = 24.0 * (len(start) - 1) ** 2

    @staticmethod
    def of(start: Tensor, source: Tensor, most_flops: float = math.inf, threads: int = 1) -> "Symbolic | None":
        symbolic = Symbolic(start, source)
        return symbolic if symbolic.flops <= most_flops else None


class Factor:
    """``A = L Lᵀ``; ``bad_node`` is the first node with a nonpositive pivot, or -1."""

    def __init__(self, start: Tensor, source: Tensor, diagonal: Tensor, weight: Tensor) -> None:
        n = len(diagonal)
        if n > _LARGEST:
            raise MemoryError(f"without the compiled kernels a factor is dense: at most {_LARGEST} nodes, not {n}")
        A = torch.diag(diagonal)
        A[destinations(start), source.long()] = weight
        self.lower, info = torch.linalg.cholesky_ex(A)
        self.bad_node = int(info) - 1
        self.log_determinant = 2 * float(self.lower.diagonal().log().sum())

    @staticmethod
    def of(
        symbolic: Symbolic, start: Tensor, source: Tensor, diagonal: Tensor, weight: Tensor, threads: int
    ) -> "Factor":
        return Factor(start, source, diagonal, weight)

    def solve(self, x: Tensor, threads: int) -> None:
        """Overwrite ``x`` of shape (n, k) by ``A⁻¹ x``."""
        x.copy_(torch.cholesky_solve(x, self.lower))

    def solve_upper(self, x: Tensor, threads: int) -> None:
        """Overwrite ``x`` by ``L⁻ᵀ x``: of covariance ``A⁻¹`` where ``x`` is white."""
        x.copy_(torch.linalg.solve_triangular(self.lower.T, x, upper=True))

    def selected_inverse(
        self, start: Tensor, source: Tensor, reverse: Tensor, diagonal: Tensor, weight: Tensor, threads: int
    ) -> None:
        """Write ``diag(A⁻¹)`` ``(n,)`` and the values of ``A⁻¹`` on A's edges ``(m,)``."""
        inverse = torch.cholesky_inverse(self.lower)
        diagonal.copy_(inverse.diagonal())
        weight.copy_(inverse[destinations(start), source.long()])
