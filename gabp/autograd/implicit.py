"""Derivatives by the implicit function theorem: each backward pass is a linear solve with the same matrix.

Every function takes the nonzeros of A as tensors, ``diagonal`` (n,) and ``weight`` (m,) in the order of a graph's
directed edges, treats them as independent, and is twice differentiable: a backward pass calls the same
functions and saves only inputs and outputs. With ``Z = A⁻¹``:

    x = Z b                 dx = Z (db - dA x)
    log det A               d = tr(Z dA)
    Z on A's pattern        dZ = -Z dA Z
    x ~ N(0, Z)             dx = -½ Z dA x, whose second moment changes by dZ
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gabp.autograd.inverse_derivative import CoupledCopies
from gabp.autograd.nonzeros import Nonzeros, as_tensor
from gabp.kernels import reference
from gabp.kernels.torch.offsets import row_offsets
from gabp.messages import SparseFactor
from gabp.solvers import Solution, Solver
from gabp.system import System

_COLUMNS = 64  # of the inverse, computed together
_LARGEST_RTOL = 1e-3  # of a backward solve, whatever the tolerance of the forward one


@dataclass(frozen=True, eq=False)
class InverseOperator:
    """``A⁻¹`` as an operator, by a solver or by a sparse factor, at the values at which derivatives are taken.

    Attributes
    ----------
    system : System
    solver : Solver or None
    factor : SparseFactor or None
        Used where there is no solver.
    settings : dict
        Keyword arguments of ``solver.solve``.
    """

    system: System
    solver: Solver | None = None
    factor: SparseFactor | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def solve(self, b: Tensor, transposed: bool) -> Tensor:
        """``A⁻¹ b`` or ``A⁻ᵀ b`` for ``b`` of shape (n, k)."""
        if self.solver is None:
            assert self.factor is not None
            x = self.factor.solve(b)
            return x + self.factor.solve(self.system.residual(x, b))  # one step of iterative refinement
        solver = self._transposed_solver if transposed and not self.system.symmetric else self.solver
        return solver.solve(b.detach().double(), **self.settings).x

    @cached_property
    def copies(self) -> CoupledCopies:
        return CoupledCopies.of(self.system.graph)

    @cached_property
    def _transposed_solver(self) -> Solver:
        assert self.solver is not None
        transposed = replace(self.system, weight=self.system.weight[self.system.graph.reverse])
        return Solver(as_tensor(transposed), symmetric=False)


def solve_differentiably(
    A: Any,
    b: Any,
    solver: Solver,
    solution: Solution,
    *,
    rtol: float | None = None,
    atol: float = 0.0,
    maxiter: int | None = None,
) -> Solution:
    """Attach ``solution.x`` to the autograd graphs of ``A``'s values and of ``b``, twice differentiable.

    Parameters
    ----------
    A, b
        The arguments of the forward solve. ``b`` is a torch tensor.
    solver : Solver
        Set up for ``A``; it also serves the backward passes.
    solution : Solution
        The result of ``solver.solve(b)``.
    rtol, atol, maxiter
        Of the forward solve. Right-hand sides of backward solves have other units than ``b``, so that they are
        solved to the relative tolerance that these amount to.

    Returns
    -------
    Solution
    """
    system = solver.system
    nonzeros = Nonzeros.of(A, system)
    columns = b.to(system.device).double().reshape(system.n, -1)
    settings = {"rtol": _relative_tolerance(rtol, atol, columns, solution), "maxiter": maxiter}
    inverse = InverseOperator(system, solver, None, settings)
    computed = solution.x.detach().to(system.device).double().reshape(system.n, -1)
    x = _Solve.apply(nonzeros.diagonal, nonzeros.weight, columns, inverse, False, computed)
    return replace(solution, x=x.reshape(b.shape).to(device=b.device, dtype=solution.x.dtype))


def _relative_tolerance(rtol: float | None, atol: float, columns: Tensor, solution: Solution) -> float:
    if rtol is None:
        rtol = 1e-5 if solution.x.dtype == torch.float32 else 1e-8
    size = columns.detach().norm(dim=0)
    smallest = float(size[size > 0].min()) if bool((size > 0).any()) else 1.0
    return max(rtol, min(atol / smallest, _LARGEST_RTOL))


def requires_gradient(*tensors: Any) -> bool:
    """Whether gradients are recorded and any argument is a tensor that requires grad."""
    return torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in tensors)


def solve(nonzeros: Nonzeros, b: Tensor, inverse: InverseOperator) -> Tensor:
    """``A⁻¹ b`` for ``b`` of shape (n, k)."""
    return _Solve.apply(nonzeros.diagonal, nonzeros.weight, b, inverse, False, None)


def log_determinant(nonzeros: Nonzeros, inverse: InverseOperator) -> Tensor:
    """``log det A``, shape ()."""
    return _LogDeterminant.apply(nonzeros.diagonal, nonzeros.weight, inverse)


def selected_inverse(nonzeros: Nonzeros, inverse: InverseOperator) -> tuple[Tensor, Tensor]:
    """``diag(A⁻¹)``, shape (n,), and ``A⁻¹`` on the directed edges, shape (m,)."""
    return _SelectedInverse.apply(nonzeros.diagonal, nonzeros.weight, inverse)


def reparametrise(nonzeros: Nonzeros, samples: Tensor, inverse: InverseOperator) -> Tensor:
    """``samples`` (n, k) of N(0, A⁻¹) with the pathwise gradient of their distribution."""
    return _Reparametrised.apply(nonzeros.diagonal, nonzeros.weight, samples, inverse)


class _Solve(Function):
    @staticmethod
    def forward(
        ctx: Any,
        diagonal: Tensor,
        weight: Tensor,
        b: Tensor,
        inverse: InverseOperator,
        transposed: bool,
        computed: Tensor | None,
    ) -> Tensor:
        x = inverse.solve(b, transposed) if computed is None else computed.clone()
        ctx.save_for_backward(diagonal, weight, x)
        ctx.inverse, ctx.transposed = inverse, transposed
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        diagonal, weight, x = ctx.saved_tensors
        graph = ctx.inverse.system.graph
        adjoint = _Solve.apply(diagonal, weight, gradient, ctx.inverse, not ctx.transposed, None)
        source, destination = graph.source.long(), graph.destination
        row, column = (source, destination) if ctx.transposed else (destination, source)
        weight_gradient = -(adjoint[row] * x[column]).sum(1)
        return -(adjoint * x).sum(1), weight_gradient, adjoint, None, None, None


class _LogDeterminant(Function):
    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, weight: Tensor, inverse: InverseOperator) -> Tensor:
        ctx.save_for_backward(diagonal, weight)
        ctx.inverse = inverse
        return diagonal.new_tensor(inverse.factor.log_determinant)  # type: ignore[union-attr]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        variance, covariance = _SelectedInverse.apply(*ctx.saved_tensors, ctx.inverse)
        return gradient * variance, gradient * covariance, None


class _SelectedInverse(Function):
    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, weight: Tensor, inverse: InverseOperator) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(diagonal, weight)
        ctx.inverse = inverse
        variance, covariance = inverse.factor.selected_inverse  # type: ignore[union-attr]
        return variance.clone(), covariance.clone()

    @staticmethod
    def backward(ctx: Any, g_diagonal: Tensor, g_weight: Tensor) -> tuple:
        return *_InverseDerivative.apply(*ctx.saved_tensors, g_diagonal, g_weight, ctx.inverse), None


class _InverseDerivative(Function):
    """``-Z G Z`` on A's pattern, for G on A's pattern: the derivative of the selected inverse along G."""

    @staticmethod
    def forward(
        ctx: Any, diagonal: Tensor, weight: Tensor, g_diagonal: Tensor, g_weight: Tensor, inverse: InverseOperator
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(diagonal, weight, g_diagonal, g_weight)
        ctx.inverse = inverse
        return inverse.copies.inverse_derivative(inverse.system, g_diagonal, g_weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, h_diagonal: Tensor, h_weight: Tensor) -> tuple:
        """Takes n solves."""
        _, _, g_diagonal, g_weight = ctx.saved_tensors
        system = ctx.inverse.system
        Z = ctx.inverse.factor.solve
        G = _operator(system, g_diagonal, g_weight[system.graph.reverse])  # transposed
        H = _operator(system, h_diagonal, h_weight)

        def second_derivative(unit: Tensor) -> Tensor:
            column = Z(unit)
            return Z(H(Z(G(column)))) + Z(G(Z(H(column))))

        gradient_in_a = _on_pattern(system, second_derivative)
        gradient_in_g = ctx.inverse.copies.inverse_derivative(system, h_diagonal, h_weight)
        return *gradient_in_a, *gradient_in_g, None


class _Reparametrised(Function):
    """Pathwise derivative of samples of N(0, A⁻¹): ``dx = -½ A⁻¹ dA x`` gives ``d E[x xᵀ] = -A⁻¹ dA A⁻¹``."""

    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, weight: Tensor, samples: Tensor, inverse: InverseOperator) -> Tensor:
        x = samples.clone()
        ctx.save_for_backward(diagonal, weight, x)
        ctx.inverse = inverse
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        diagonal, weight, x = ctx.saved_tensors
        graph = ctx.inverse.system.graph
        adjoint = _Solve.apply(diagonal, weight, gradient, ctx.inverse, False, None)
        product = (adjoint[graph.destination] * x[graph.source.long()]).sum(1)
        return -0.5 * (adjoint * x).sum(1), -0.5 * product, None, None


def _operator(system: System, diagonal: Tensor, weight: Tensor) -> Callable[[Tensor], Tensor]:
    source, destination = system.graph.source.long(), system.graph.destination
    return lambda x: reference.multiply(diagonal, weight, source, destination, x)


def _on_pattern(system: System, operator: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Diagonal (n,) and off-diagonal part (m,) on A's pattern of a matrix given as an ``operator`` on (n, k)."""
    graph, n = system.graph, system.n
    source, destination = graph.source.long(), graph.destination
    diagonal = torch.empty(n, dtype=torch.float64, device=system.device)
    weight = torch.empty(graph.edges, dtype=torch.float64, device=system.device)
    by_source = torch.argsort(source, stable=True)
    bounds = row_offsets(source, n)
    for first in range(0, n, _COLUMNS):
        node = torch.arange(first, min(first + _COLUMNS, n), device=system.device)
        unit = torch.zeros((n, len(node)), dtype=torch.float64, device=system.device)
        unit[node, node - first] = 1.0
        columns = operator(unit)
        diagonal[node] = columns[node, node - first]
        edge = by_source[int(bounds[first]) : int(bounds[int(node[-1]) + 1])]
        weight[edge] = columns[destination[edge], source[edge] - first]
    return diagonal, weight
