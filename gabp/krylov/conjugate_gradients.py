"""Flexible preconditioned conjugate gradients."""

from typing import Any

from gabp.krylov.columns import Columns, Operator, dot, library


class ConjugateGradients:
    """Conjugate gradients on ``A y = r`` for every column at once, in the array library of ``r``.

    A column that has met its target stays as it is while the others go on.

    Parameters
    ----------
    multiply : callable
        The symmetric ``A``, (n, k) to a new (n, k).
    r : array or Tensor, shape (n, k), float64
    target : float, or array or Tensor of shape (k,)
        Residual norms to stop at.
    precondition : callable, optional
        An approximation of ``A⁻¹``, (n, k) to (n, k), that may vary from iteration to iteration: directions follow
        Polak and Ribière (Notay 2000, "Flexible conjugate gradients"). Without it they follow Fletcher and Reeves.

    Attributes
    ----------
    solution, residual, direction : array or Tensor, shape (n, k)
        Updated in place by the next `iterate`.
    negative_curvature : array or Tensor, shape (n,), or None
        The direction ``p`` with ``pᵀAp <= 0``, as computed, that ended the iteration; of several the one of the
        smallest ``pᵀAp / pᵀp``.
    """

    def __init__(self, multiply: Operator, r: Columns, target: Any, precondition: Operator | None = None) -> None:
        library_of_r = library(r)
        self._multiply, self._precondition, self._where = multiply, precondition, library_of_r.where
        self._target = target
        self.solution = library_of_r.zeros_like(r)
        self.residual = r + 0.0
        self.direction: Columns = None
        self.negative_curvature: Columns | None = None
        self._previous_residual: Columns = None
        self._previous_match: Any = None  # zᵀr of the last iteration
        self._square: Any = None  # rᵀr, where it is known

    @property
    def residual_norms(self) -> Any:
        """Of the residuals by the recurrence, shape (k,)."""
        if self._square is None:
            self._square = dot(self.residual, self.residual)
        return self._square**0.5

    @property
    def converged(self) -> bool:
        """Whether every column has met its target."""
        return not bool((self.residual_norms > self._target).any())

    def iterate(self) -> None:
        """One iteration, if no direction of nonpositive curvature has been met."""
        if self.negative_curvature is not None:
            return
        active = self.residual_norms > self._target
        match = self._turn(active)
        image = self._multiply(self.direction)
        curvature = dot(self.direction, image)
        flat = active & (curvature <= 0)
        if bool(flat.any()):
            rayleigh = self._where(flat, curvature / self._where(flat, dot(self.direction, self.direction), 1.0), 1.0)
            self.negative_curvature = self.direction[:, rayleigh.argmin()]
            return
        length = self._where(active, match / self._where(active, curvature, 1.0), 0.0)
        self.solution += length * self.direction
        if self._precondition is None:
            image *= length
            self.residual -= image
        else:
            self._previous_residual, self.residual = self.residual, self.residual - length * image
        self._square = None

    def _turn(self, active: Any) -> Any:
        """Set the direction, conjugate to the last; returns its product with the residual, shape (k,)."""
        r = self.residual
        if self._precondition is None:
            z, match = r, self._square
        else:
            z = self._precondition(r)
            match = dot(z, r)
        if self.direction is None:
            self.direction = z + 0.0
        else:
            change = match if self._precondition is None else match - dot(z, self._previous_residual)
            self.direction *= self._where(active, change / self._previous_match, 0.0)
            self.direction += z
        self._previous_match = self._where(active, match, 1.0)
        return match if self._precondition is None else dot(self.direction, r)
