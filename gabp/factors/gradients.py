"""Derivatives of an optimum in measurements, informations and scales of losses, by the implicit function theorem.

At an optimum ``∂F/∂δ (x*, p) = 0``, so that in the tangent space ``dx* = -H⁻¹ ∂²F/∂δ∂p dp`` with the Hessian
``H = ∂²F/∂δ²``; the derivative of ``F(x*(p), p)`` itself is ``∂F/∂p``. H is not the matrix ``Σ w JᵀΩJ`` of the
steps, which lacks the second derivatives of residuals and losses: systems with H are solved by conjugate gradients,
preconditioned by the factor of that matrix (A. Griewank and A. Walther, *Evaluating Derivatives*,
2nd edition, SIAM (2008), chapter 15; J. Nocedal and S. Wright, *Numerical Optimization*, chapter 10).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from gabp.autograd.implicit import requires_gradient
from gabp.factors.batches import Factors
from gabp.factors.differentiable_objective import DifferentiableObjective
from gabp.factors.information import Information
from gabp.factors.optimizers.result import OptimizationResult
from gabp.factors.parameters import NO_PARAMETERS, Parameters
from gabp.factors.structure import Structure
from gabp.krylov import ConjugateGradients
from gabp.krylov.columns import Operator

_RTOL = 1e-11  # of a solve with the Hessian, where rounding permits
_LOOSEST = 1e-6  # of one that rounding ends
_LIMIT = 300  # iterations
_WITHOUT_GAIN = 20  # iterations without a smaller residual, after which rounding has ended the solve


def attach(result: OptimizationResult, factors: Sequence[Factors]) -> OptimizationResult:
    """Put a converged result on the autograd graphs of the factors' parameters, if any requires grad."""
    tensors = [tensor for batch in factors for tensor in batch.parameters if tensor is not None]
    if not (result.converged and requires_gradient(*tensors)):
        return result
    objective, *values = _Attached.apply(_Optimum(result, tuple(factors)), *tensors)
    return replace(result, objective=objective, attached=tuple(values))


@dataclass(frozen=True, eq=False)
class _Optimum:
    """A converged result, and how it answers to its parameters."""

    result: OptimizationResult
    factors: tuple[Factors, ...]

    def pull_back(self, parameters: Sequence[Tensor], g_objective: Tensor | None, g_values: Sequence) -> list[Tensor]:
        """The gradients in the parameters, from those in the objective and in the values of all sets."""
        own = [p.detach().to(device="cpu", dtype=torch.float64).requires_grad_() for p in parameters]
        adjoint = torch.zeros(self._objective.structure.n, dtype=torch.float64)
        if any(g is not None for g in g_values):
            adjoint = self._solve(self._in_tangent_space(g_values))
        with torch.enable_grad():
            objective = replace(self._objective, parameters=_in_batches(own, self.factors))
            delta = torch.zeros_like(adjoint, requires_grad=True)
            value = objective.at(delta)
            scalar = value * (0.0 if g_objective is None else g_objective)
            if bool(adjoint.any()):
                slope = torch.autograd.grad(value, delta, create_graph=True)[0]
                scalar = scalar - slope @ adjoint
            gradients = torch.autograd.grad(scalar, own, allow_unused=True, materialize_grads=True)
        return [g.to(device=p.device, dtype=p.dtype) for g, p in zip(gradients, parameters, strict=True)]

    def _in_tangent_space(self, g_values: Sequence[Tensor | None]) -> Tensor:
        with torch.enable_grad():
            delta = torch.zeros(self._objective.structure.n, dtype=torch.float64, requires_grad=True)
            pairs = zip(self._objective.moved(delta), g_values, strict=True)
            used = [(value, g) for value, g in pairs if g is not None and value.requires_grad]
            if not used:
                return torch.zeros_like(delta)
            return torch.autograd.grad([value for value, _ in used], delta, [g for _, g in used])[0]

    def _solve(self, gradient: Tensor) -> Tensor:
        """``H⁻¹ g``.

        Raises
        ------
        InvalidSystemError
            A direction is undetermined; the variable is named.
        ArithmeticError
            The Hessian is not positive definite, or no solution is found.
        """
        if not bool(gradient.any()):
            return gradient
        if not bool(torch.isfinite(gradient).all()):
            return torch.full_like(gradient, torch.nan)
        prepared, unit = self._information.prepared, self._unit
        assert prepared is not None

        def multiply(v: Tensor) -> Tensor:
            return unit * self._objective.multiply_hessian(unit * v)

        def precondition(r: Tensor) -> Tensor:
            return prepared.solve(r / unit) / unit

        return (unit * _conjugate_gradients(multiply, unit * gradient[:, None], precondition))[:, 0]

    @cached_property
    def _unit(self) -> Tensor:
        """Gives unknowns of all units one size, (n, 1)."""
        return self._information.linearization.system.diagonal.rsqrt()[:, None]

    @cached_property
    def _information(self) -> Information:
        return Information.at(self.result, self.factors)

    @cached_property
    def _objective(self) -> DifferentiableObjective:
        structure = Structure.of(self.result.sets, self.factors, self.result.fixed)
        return DifferentiableObjective(structure, self.result.estimate, [NO_PARAMETERS] * len(self.factors))


def _in_batches(tensors: Sequence[Tensor], factors: Sequence[Factors]) -> list[Parameters]:
    """Tensors in the order of the factors' parameters, in their places."""
    left = iter(tensors)
    return [Parameters(*(None if p is None else next(left) for p in batch.parameters)) for batch in factors]


def _conjugate_gradients(multiply: Operator, right: Tensor, precondition: Operator) -> Tensor:
    """Solve for one column, (n, 1), to rounding."""
    size = float(torch.linalg.vector_norm(right))
    iteration = ConjugateGradients(multiply, right, _RTOL * size, precondition)
    smallest, x, since = size, iteration.solution.clone(), 0
    for _ in range(_LIMIT):
        if iteration.converged or since > _WITHOUT_GAIN or iteration.negative_curvature is not None:
            break
        iteration.iterate()
        norm, since = float(iteration.residual_norms), since + 1
        if norm < smallest:
            smallest, x, since = norm, iteration.solution.clone(), 0
    reached = float(torch.linalg.vector_norm(right - multiply(x))) / size
    if reached <= _LOOSEST:
        return x
    if iteration.negative_curvature is not None:
        raise ArithmeticError(
            "the Hessian of the objective is not positive definite at the estimate, which is no strict minimum: the "
            "optimum has no derivative there"
        )
    raise ArithmeticError(
        f"the derivative of the optimum was not found: conjugate gradients reached {reached:.1e} of the right-hand "
        "side; check the derivatives of your own functions"
    )


class _Attached(Function):
    """The objective, and the values of all sets, as functions of the parameters."""

    @staticmethod
    def forward(ctx: Any, optimum: _Optimum, *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*parameters)
        ctx.optimum = optimum
        objective = torch.tensor(optimum.result.objective, dtype=torch.float64)
        return objective, *(value.clone() for value in optimum.result.estimate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_objective: Tensor | None, *g_values: Tensor | None) -> tuple:
        return None, *ctx.optimum.pull_back(ctx.saved_tensors, g_objective, g_values)
