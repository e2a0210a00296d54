"""Derivatives of settled precision messages: the adjoint of a fixed point is a fixed point of adjoint messages.

At the fixed point ``P = F(P)`` with ``P_{k→i} = -A_ik A_ki / P_{k\\i}`` and ``c = A_ik A_ki / P_{k\\i}²``,

    dP_e = c_e ( dA_kk + (B dP)_e ) - d(A_ik A_ki) / P_{k\\i} ,    (B P)_{k→i} = Σ_{l≠i} P_{l→k} ,

so the adjoint of a gradient g solves ``λ = g + Bᵀ(c λ)``, again by sweeping.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gabp.autograd.entries import Entries
from gabp.kernels.reference import gather_messages
from gabp.marginals import Bethe, bethe_beliefs, settled_precisions
from gabp.system import EdgeGraph, System

_LIMIT = 100_000  # sweeps; the adjoint converges at the rate of the precision messages themselves


def bethe(entries: Entries, system: System) -> Bethe:
    """The Bethe approximation of ``system``, differentiable in its entries, once and twice.

    The messages run on the equilibrated system, so that no unit makes them overflow or vanish.

    Raises
    ------
    ArithmeticError
        The precision messages have no valid fixed point.
    """
    graph, (scaled, unit) = system.graph, system.equilibrated()
    source, destination = graph.source.long(), graph.destination
    diagonal = entries.diagonal * unit * unit
    weight = entries.weight * unit[destination] * unit[source]
    message = _SettledPrecisions.apply(diagonal, weight, scaled)
    belief = diagonal + gather_messages(message, destination, graph.n)
    beliefs = bethe_beliefs(belief, _cavity(diagonal, message, graph), weight, source, graph.reverse, destination)
    return Bethe(
        beliefs.variance * unit * unit,
        beliefs.covariance * unit[destination] * unit[source],
        beliefs.log_determinant - 2 * unit.log().sum(),
    )


class _SettledPrecisions(Function):
    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, weight: Tensor, system: System) -> Tensor:
        message = settled_precisions(system).message
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
        adjoint = _Adjoint.apply(response, gradient, graph, True)
        on_product = -adjoint / cavity
        on_diagonal = gather_messages(response * adjoint, source, graph.n)
        on_weight = (on_product + on_product[reverse]) * weight[reverse]
        return on_diagonal, on_weight, None


class _Adjoint(Function):
    """``(I - Bᵀ diag(c))⁻¹ g``, or ``(I - diag(c) B)⁻¹ g``: each is what the other's derivative takes."""

    @staticmethod
    def forward(ctx: Any, response: Tensor, g: Tensor, graph: EdgeGraph, backwards: bool) -> Tensor:
        still = 4 * torch.finfo(g.dtype).eps
        y = g.clone()
        for _ in range(_LIMIT):
            new = g + (_heard_back(response * y, graph) if backwards else response * _heard(y, graph))
            settled = bool((new - y).abs().amax() <= still * new.abs().amax()) if len(g) else True
            y = new
            if settled:
                break
        ctx.save_for_backward(response, y)
        ctx.graph, ctx.backwards = graph, backwards
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        response, y = ctx.saved_tensors
        other = _Adjoint.apply(response, gradient, ctx.graph, not ctx.backwards)
        on_response = y * _heard(other, ctx.graph) if ctx.backwards else other * _heard(y, ctx.graph)
        return on_response, other, None, None


def _cavity(diagonal: Tensor, message: Tensor, graph: EdgeGraph) -> Tensor:
    return diagonal[graph.source.long()] + _heard(message, graph)


def _heard(message: Tensor, graph: EdgeGraph) -> Tensor:
    """``(B P)_{k→i}``: what the sender has heard from its other neighbours."""
    return gather_messages(message, graph.destination, graph.n)[graph.source.long()] - message[graph.reverse]


def _heard_back(message: Tensor, graph: EdgeGraph) -> Tensor:
    """``Bᵀ``."""
    return gather_messages(message, graph.source.long(), graph.n)[graph.destination] - message[graph.reverse]
