"""Derivatives by the implicit function theorem: each backward pass is the same kind of solve again.

Every function takes the entries of A as tensors, ``diagonal`` (n,) and ``weight`` (m,) in the slots of a
graph, treats them as independent, and is differentiable twice: a backward pass calls the same functions and
saves only inputs and outputs. With ``Z = A⁻¹``:

    x = Z b                 dx = Z (db - dA x)
    log det A               d = tr(Z dA)
    Z on A's pattern        dZ = -Z dA Z
    x ~ N(0, Z)             dx = -½ Z dA x, which moves the distribution as dZ says
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gabp.autograd.entries import Entries, as_tensor
from gabp.autograd.pairs import PairGraph
from gabp.kernels import reference
from gabp.kernels.torch.offsets import row_offsets
from gabp.messages import SparseFactor
from gabp.solvers import Solution, Solver
from gabp.system import System

_CHUNK = 64  # columns of the inverse held at a time
_LOOSEST = 1e-3  # relative tolerance of a backward solve, however loose the forward one was


@dataclass(frozen=True, eq=False)
class SetUp:
    """Everything that was prepared for the values of A at which derivatives are taken."""

    system: System
    solver: Solver | None = None
    factor: SparseFactor | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def solve(self, b: Tensor, transposed: bool) -> Tensor:
        """``A⁻¹ b``, or ``A⁻ᵀ b``, for (n, k)."""
        if self.solver is None:
            assert self.factor is not None
            x = self.factor.solve(b)
            return x + self.factor.solve(self.system.residual(x, b))  # refined once, for the last digits
        solver = self._transposed_solver if transposed and not self.system.symmetric else self.solver
        return solver.solve(b.detach().double(), **self.settings).x

    @cached_property
    def pairs(self) -> PairGraph:
        return PairGraph.of(self.system.graph)

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
    """``solution`` with an ``x`` that carries gradients to the values of ``A`` and to ``b``, once and twice.

    Parameters
    ----------
    A, b
        As they were given to the solver. ``b`` is a torch tensor.
    solver : Solver
        Set up for ``A``; it serves the backward passes too.
    solution : Solution
        Of ``solver.solve(b)``.
    rtol, atol, maxiter
        Of that solve. The backward solves have right-hand sides of other units, so they meet the relative
        tolerance that the forward one was held to.
    """
    system = solver.system
    entries = Entries.of(A, system)
    columns = b.to(system.device).double().reshape(system.n, -1)
    settings = {"rtol": _relative_tolerance(rtol, atol, columns, solution), "maxiter": maxiter}
    given = solution.x.detach().to(system.device).double().reshape(system.n, -1)
    x = _Solve.apply(entries.diagonal, entries.weight, columns, SetUp(system, solver, None, settings), False, given)
    return replace(solution, x=x.reshape(b.shape).to(device=b.device, dtype=solution.x.dtype))


def _relative_tolerance(rtol: float | None, atol: float, columns: Tensor, solution: Solution) -> float:
    if rtol is None:
        rtol = 1e-5 if solution.x.dtype == torch.float32 else 1e-8
    size = columns.detach().norm(dim=0)
    smallest = float(size[size > 0].min()) if bool((size > 0).any()) else 1.0
    return max(rtol, min(atol / smallest, _LOOSEST))


def wants_gradient(*tensors: Any) -> bool:
    """Whether any of them is a tensor that requires grad, where gradients are recorded."""
    return torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in tensors)


def solve(entries: Entries, b: Tensor, setup: SetUp) -> Tensor:
    """``A⁻¹ b`` for ``b`` of shape (n, k)."""
    return _Solve.apply(entries.diagonal, entries.weight, b, setup, False, None)


def log_determinant(entries: Entries, setup: SetUp) -> Tensor:
    """``log det A``, shape ()."""
    return _LogDeterminant.apply(entries.diagonal, entries.weight, setup)


def selected_inverse(entries: Entries, setup: SetUp) -> tuple[Tensor, Tensor]:
    """``diag(A⁻¹)`` and ``A⁻¹`` in A's slots."""
    return _SelectedInverse.apply(entries.diagonal, entries.weight, setup)


def transport(entries: Entries, samples: Tensor, setup: SetUp) -> Tensor:
    """``samples`` (n, k) of N(0, A⁻¹), carrying the gradient of their distribution."""
    return _Transport.apply(entries.diagonal, entries.weight, samples, setup)


class _Solve(Function):
    @staticmethod
    def forward(
        ctx: Any, diagonal: Tensor, weight: Tensor, b: Tensor, setup: SetUp, transposed: bool, given: Tensor | None
    ) -> Tensor:
        x = setup.solve(b, transposed) if given is None else given.clone()
        ctx.save_for_backward(diagonal, weight, x)
        ctx.setup, ctx.transposed = setup, transposed
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        diagonal, weight, x = ctx.saved_tensors
        graph = ctx.setup.system.graph
        adjoint = _Solve.apply(diagonal, weight, gradient, ctx.setup, not ctx.transposed, None)
        source, destination = graph.source.long(), graph.destination
        row, column = (source, destination) if ctx.transposed else (destination, source)
        along = -(adjoint[row] * x[column]).sum(1)
        return -(adjoint * x).sum(1), along, adjoint, None, None, None


class _LogDeterminant(Function):
    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, weight: Tensor, setup: SetUp) -> Tensor:
        ctx.save_for_backward(diagonal, weight)
        ctx.setup = setup
        return diagonal.new_tensor(setup.factor.log_determinant)  # type: ignore[union-attr]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        variance, covariance = _SelectedInverse.apply(*ctx.saved_tensors, ctx.setup)
        return gradient * variance, gradient * covariance, None


class _SelectedInverse(Function):
    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, weight: Tensor, setup: SetUp) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(diagonal, weight)
        ctx.setup = setup
        variance, covariance = setup.factor.selected_inverse  # type: ignore[union-attr]
        return variance.clone(), covariance.clone()

    @staticmethod
    def backward(ctx: Any, on_diagonal: Tensor, on_weight: Tensor) -> tuple:
        return *_Sandwich.apply(*ctx.saved_tensors, on_diagonal, on_weight, ctx.setup), None


class _Sandwich(Function):
    """``-Z G Z`` on A's pattern, for G on A's pattern: the derivative of the selected inverse along G."""

    @staticmethod
    def forward(
        ctx: Any, diagonal: Tensor, weight: Tensor, g_diagonal: Tensor, g_weight: Tensor, setup: SetUp
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(diagonal, weight, g_diagonal, g_weight)
        ctx.setup = setup
        return setup.pairs.sandwich(setup.system, g_diagonal, g_weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, h_diagonal: Tensor, h_weight: Tensor) -> tuple:
        """Takes n solves."""
        _, _, g_diagonal, g_weight = ctx.saved_tensors
        system = ctx.setup.system
        Z = ctx.setup.factor.solve
        G = _operator(system, g_diagonal, g_weight[system.graph.reverse])  # transposed
        H = _operator(system, h_diagonal, h_weight)

        def both_ways(unit: Tensor) -> Tensor:
            column = Z(unit)
            return Z(H(Z(G(column)))) + Z(G(Z(H(column))))

        along_a = _on_pattern(system, both_ways)
        along_g = ctx.setup.pairs.sandwich(system, h_diagonal, h_weight)
        return *along_a, *along_g, None


class _Transport(Function):
    """Samples of N(0, A⁻¹) moved along with A: ``dx = -½ A⁻¹ dA x`` gives ``d E[x xᵀ] = -A⁻¹ dA A⁻¹``."""

    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, weight: Tensor, samples: Tensor, setup: SetUp) -> Tensor:
        x = samples.clone()
        ctx.save_for_backward(diagonal, weight, x)
        ctx.setup = setup
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        diagonal, weight, x = ctx.saved_tensors
        graph = ctx.setup.system.graph
        adjoint = _Solve.apply(diagonal, weight, gradient, ctx.setup, False, None)
        along = (adjoint[graph.destination] * x[graph.source.long()]).sum(1)
        return -0.5 * (adjoint * x).sum(1), -0.5 * along, None, None


def _operator(system: System, diagonal: Tensor, weight: Tensor) -> Any:
    source, destination = system.graph.source.long(), system.graph.destination
    return lambda x: reference.multiply(diagonal, weight, source, destination, x)


def _on_pattern(system: System, operator: Any) -> tuple[Tensor, Tensor]:
    """The entries on A's pattern of a matrix known by its product with unit vectors."""
    graph, n = system.graph, system.n
    source, destination = graph.source.long(), graph.destination
    diagonal = torch.empty(n, dtype=torch.float64, device=system.device)
    weight = torch.empty(graph.edges, dtype=torch.float64, device=system.device)
    by_source = torch.argsort(source, stable=True)
    bounds = row_offsets(source, n)
    for first in range(0, n, _CHUNK):
        node = torch.arange(first, min(first + _CHUNK, n), device=system.device)
        unit = torch.zeros((n, len(node)), dtype=torch.float64, device=system.device)
        unit[node, node - first] = 1.0
        columns = operator(unit)
        diagonal[node] = columns[node, node - first]
        slot = by_source[int(bounds[first]) : int(bounds[int(node[-1]) + 1])]
        weight[slot] = columns[destination[slot], source[slot] - first]
    return diagonal, weight
