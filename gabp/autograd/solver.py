"""The solver, with gradients through its solutions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gabp import solvers
from gabp.autograd.implicit import requires_gradient, solve_differentiably
from gabp.solvers import Progress, Solution


class Solver(solvers.Solver):
    __doc__ = solvers.Solver.__doc__  # one text for the two of them

    def __init__(self, A: Any, **settings: Any) -> None:
        super().__init__(A, **settings)
        self._attached = A  # the values that gradients flow to

    def update(self, values: Any) -> "Solver":
        updated = super().update(values)
        assert isinstance(updated, Solver)
        updated._attached = _with_values(self._given, values)
        return updated

    update.__doc__ = solvers.Solver.update.__doc__

    def solve(
        self,
        b: Any,
        x0: Any = None,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        maxiter: int | None = None,
        callback: Callable[[Progress], Any] | None = None,
        throw: bool = True,
    ) -> Solution:
        """Solve ``A x = b``; the arguments are those of `gabp.solve`.

        Where b is a torch tensor and b or A's values require grad, so does ``x``.
        """
        solution = super().solve(b, x0, rtol=rtol, atol=atol, maxiter=maxiter, callback=callback, throw=throw)
        if isinstance(b, Tensor) and requires_gradient(self._attached, b):
            return solve_differentiably(self._attached, b, self, solution, rtol=rtol, atol=atol, maxiter=maxiter)
        return solution


def _with_values(A: Any, values: Any) -> Any:
    """The matrix that stores ``values`` on A's pattern, as far as gradients need it."""
    if getattr(values, "ndim", 1) == 2 or not requires_gradient(values):
        return values
    if A.layout == torch.sparse_coo:
        return torch.sparse_coo_tensor(A._indices(), values, A.shape, check_invariants=False)
    by_rows = A.layout == torch.sparse_csr
    place = (A.crow_indices(), A.col_indices()) if by_rows else (A.ccol_indices(), A.row_indices())
    return torch.sparse_compressed_tensor(*place, values, A.shape, layout=A.layout, check_invariants=False)
