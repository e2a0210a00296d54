"""Restarted generalised minimal residuals."""

import torch
from torch import Tensor

from gabp.krylov.columns import Operator

_RESTART = 40  # vectors of a basis
_NEGLIGIBLE = 64 * torch.finfo(torch.float64).eps  # share of a vector that is left after projection: rounding


class GMRES:
    """GMRES(40) on ``A y = r`` for every column at once (Saad and Schultz 1986).

    Preconditioned from the right; the Hessenberg matrices are kept triangular by Givens rotations. The parameters are
    those of `BiCGSTAB`.

    Attributes
    ----------
    residual_norms : Tensor, shape (k,)
        By the rotations.
    """

    def __init__(self, multiply: Operator, r: Tensor, target: Tensor, precondition: Operator) -> None:
        self._multiply, self._precondition, self._target = multiply, precondition, target
        self._r, self._base = r, torch.zeros_like(r)
        self._basis = r.new_empty((_RESTART + 1, *r.shape))
        self._triangle = r.new_zeros((r.shape[1], _RESTART, _RESTART))
        self._restart(r)

    @property
    def active(self) -> Tensor:
        """The columns that have not met their target, shape (k,)."""
        return self.residual_norms > self._target

    def solution(self) -> Tensor:
        """The current ``y``, shape (n, k): the smallest residual over the basis."""
        j = self._size
        if j == 0:
            return self._base
        triangle = self._triangle[:, :j, :j]
        diagonal = triangle.diagonal(dim1=1, dim2=2)
        # a vector that adds nothing to the basis has a zero column: its weight is 0
        filled = triangle + torch.diag_embed((diagonal == 0).to(triangle))
        weight = torch.linalg.solve_triangular(
            filled, self._start_norms[:, None, None] * self._rotation[:, :j, :1], upper=True
        )
        combined = torch.einsum("jnk,kj->nk", self._basis[:j], weight[:, :, 0])
        return self._base + self._precondition(combined)

    def iterate(self) -> None:
        """One iteration: one product with ``A``."""
        if self._size == _RESTART:
            self._base = self.solution()
            self._restart(self._r - self._multiply(self._base))
        j = self._size
        basis = self._basis[: j + 1]
        w = self._multiply(self._precondition(self._basis[j]))
        projection = w.new_zeros((w.shape[1], j + 1))
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            part = torch.einsum("jnk,nk->kj", basis, w)
            w = w - torch.einsum("jnk,kj->nk", basis, part)
            projection = projection + part
        length = w.norm(dim=0)
        adds = self._rotate(projection, length)
        self._basis[j + 1] = torch.where(adds, w / torch.where(length > 0, length, 1.0), 0.0)

    def _restart(self, residual: Tensor) -> None:
        self._start_norms = residual.norm(dim=0)
        self.residual_norms = self._start_norms
        self._basis[0] = residual / torch.where(self._start_norms > 0, self._start_norms, 1.0)
        self._rotation = torch.eye(_RESTART + 1, dtype=residual.dtype, device=residual.device).repeat(
            residual.shape[1], 1, 1
        )
        self._size = 0

    def _rotate(self, projection: Tensor, length: Tensor) -> Tensor:
        """Append ``(projection, length)`` to the Hessenberg matrix, and rotate ``length`` away.

        Parameters
        ----------
        projection : Tensor, shape (k, j + 1)
            Of the new vector onto the basis.
        length : Tensor, shape (k,)
            Of what is left of it.

        Returns
        -------
        Tensor, bool, shape (k,)
            Whether the vector adds to the range of ``A`` on the basis; where not, the basis of the column is complete.
        """
        j, Q = self._size, self._rotation
        column = (Q[:, : j + 1, : j + 1] @ projection[:, :, None])[:, :, 0]
        diagonal = torch.hypot(column[:, j], length)
        size = torch.hypot(column.norm(dim=1), length)
        adds = diagonal > _NEGLIGIBLE * size
        safe = torch.where(adds, diagonal, 1.0)
        cosine, sine = torch.where(adds, column[:, j] / safe, 0.0), torch.where(adds, length / safe, 1.0)
        column[:, j] = torch.where(adds, diagonal, 0.0)
        self._triangle[:, : j + 1, j] = column
        upper, lower = Q[:, j], Q[:, j + 1]
        Q[:, j], Q[:, j + 1] = (
            cosine[:, None] * upper + sine[:, None] * lower,
            cosine[:, None] * lower - sine[:, None] * upper,
        )
        self._size = j + 1
        self.residual_norms = self._start_norms * Q[:, j + 1, 0].abs()
        return adds
