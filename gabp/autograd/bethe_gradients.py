"""Derivatives of the Bethe approximation through the fixed point of the precision messages.

At the fixed point ``P = F(P)`` with ``P_{k→i} = -A_ik A_ki / P_{k\\i}`` and ``c = A_ik A_ki / P_{k\\i}²``,

    dP_e = c_e ( dA_kk + (B dP)_e ) - d(A_ik A_ki) / P_{k\\i} ,    (B P)_{k→i} = Σ_{l≠i} P_{l→k} ,

with ``B`` the non-backtracking matrix. The adjoint of a gradient g is the fixed point ``λ = g + Bᵀ(c λ)``.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gabp.autograd.nonzeros import Nonzeros
from gabp.kernels.reference import gather_messages
from gabp.marginals import Bethe, bethe_beliefs, precision_fixed_point
from gabp.system import EdgeGraph, System

_LIMIT = 100_000  # sweeps; the adjoint converges at the rate of the precision messages themselves
_ROUNDINGS = 4  # of the largest entry, by which the adjoint changes in a sweep once it has converged


def bethe_approximation(nonzeros: Nonzeros, system: System) -> Bethe:
    """The Bethe approximation of ``system``, twice differentiable in its nonzeros.

    The messages run on the equilibrated system, so that they neither overflow nor underflow in any unit.

    Raises
    ------
    ArithmeticError
        The precision messages have no valid fixed point.
    """
    graph, (scaled, unit) = system.graph, system.equilibrated()
    source, destination = graph.source.long(), graph.destination
    diagonal = nonzeros.diagonal * unit * unit
    weight = nonzeros.weight * unit[destination] * unit[source]
    message = _PrecisionFixedPoint.apply(diagonal, weight, scaled)
    belief = diagonal + gather_messages(message, destination, graph.n)
    beliefs = bethe_beliefs(graph, belief, _cavity(diagonal, message, graph), weight)
    return Bethe(
        beliefs.variance * unit * unit,
        beliefs.covariance * unit[destination] * unit[source],
        beliefs.log_determinant - 2 * unit.log().sum(),
    )


class _PrecisionFixedPoint(Function):
    """``P`` of a symmetric system, shape (m,), from its diagonal (n,) and its weights (m,)."""

    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, weight: Tensor, system: System) -> Tensor:
        message = precision_fixed_point(system).message
        ctx.save_for_backward(diagonal, weight, message)
        ctx.graph = system.graph
        return message

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        diagonal, weight, message = ctx.saved_tensors
        graph: EdgeGraph = ctx.graph
        reverse, source = graph.reverse, graph.source.long()
        cavity = _cavity(diagonal, message, graph)
        response = weight * weight[reverse] / cavity**2
        adjoint = _AdjointFixedPoint.apply(response, gradient, graph, True)
        product_gradient = -adjoint / cavity
        diagonal_gradient = gather_messages(response * adjoint, source, graph.n)
        weight_gradient = (product_gradient + product_gradient[reverse]) * weight[reverse]
        return diagonal_gradient, weight_gradient, None


class _AdjointFixedPoint(Function):
    """``(I - Bᵀ diag(c))⁻¹ g``, or ``(I - diag(c) B)⁻¹ g`` if not transposed; each is the other's derivative."""

    @staticmethod
    def forward(ctx: Any, response: Tensor, g: Tensor, graph: EdgeGraph, transposed: bool) -> Tensor:
        rounding = _ROUNDINGS * torch.finfo(g.dtype).eps
        y = g.clone()
        for _ in range(_LIMIT):
            product = _adjoint_product(response * y, graph) if transposed else response * _product(y, graph)
            new = g + product
            converged = bool((new - y).abs().amax() <= rounding * new.abs().amax()) if len(g) else True
            y = new
            if converged:
                break
        ctx.save_for_backward(response, y)
        ctx.graph, ctx.transposed = graph, transposed
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        response, y = ctx.saved_tensors
        other = _AdjointFixedPoint.apply(response, gradient, ctx.graph, not ctx.transposed)
        response_gradient = y * _product(other, ctx.graph) if ctx.transposed else other * _product(y, ctx.graph)
        return response_gradient, other, None, None


def _cavity(diagonal: Tensor, message: Tensor, graph: EdgeGraph) -> Tensor:
    return diagonal[graph.source.long()] + _product(message, graph)


def _product(message: Tensor, graph: EdgeGraph) -> Tensor:
    """``(B P)_{k→i} = Σ_{l≠i} P_{l→k}``, shape (m,)."""
    return gather_messages(message, graph.destination, graph.n)[graph.source.long()] - message[graph.reverse]


def _adjoint_product(message: Tensor, graph: EdgeGraph) -> Tensor:
    """``Bᵀ P``, shape (m,)."""
    return gather_messages(message, graph.source.long(), graph.n)[graph.destination] - message[graph.reverse]
