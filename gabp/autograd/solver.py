"""The solver, with gradients through its solutions."""

from typing import Any

import torch
from torch import Tensor

from gabp import solvers
from gabp.autograd.implicit import requires_gradient, solve_differentiably
from gabp.solvers import Solution, Tolerances


class Solver(solvers.Solver):
    __doc__ = solvers.Solver.__doc__  # one text for both

    def _attach(self, values: Any) -> None:
        self._attached = _with_values(self._given, values)

    def _with_gradients(self, b: Any, solution: Solution, tolerances: Tolerances) -> Solution:
        if not (isinstance(b, Tensor) and requires_gradient(self._attached, b)):
            return solution
        return solve_differentiably(
            self._attached,
            b,
            self,
            solution,
            rtol=tolerances.rtol,
            atol=tolerances.atol,
            maxiter=tolerances.maxiter,
        )


def _with_values(A: Any, values: Any) -> Any:
    """The matrix that stores ``values`` on A's pattern, as far as gradients need it."""
    if getattr(values, "ndim", 1) == 2 or not requires_gradient(values):
        return values
    if A.layout == torch.sparse_coo:
        return torch.sparse_coo_tensor(A._indices(), values, A.shape, check_invariants=False)
    by_rows = A.layout == torch.sparse_csr
    place = (A.crow_indices(), A.col_indices()) if by_rows else (A.ccol_indices(), A.row_indices())
    return torch.sparse_compressed_tensor(*place, values, A.shape, layout=A.layout, check_invariants=False)
