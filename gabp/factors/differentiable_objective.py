"""The objective of a factor graph in torch operations, differentiable in variables and parameters, and its Hessian."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.linearization import Values
from gabp.factors.parameters import Parameters
from gabp.factors.reading import as_matrices
from gabp.factors.structure import Structure


@dataclass(frozen=True, eq=False)
class DifferentiableObjective:
    """``F(δ, p) = ½ Σ ρ(‖r(x ⊞ δ)‖²_Ω)`` about values x, with parameters p in the place of the stored numbers.

    Attributes
    ----------
    structure : Structure
    values : tuple of Tensor
        ``x``.
    parameters : sequence of Parameters
        For each batch of factors.
    """

    structure: Structure
    values: Values
    parameters: Sequence[Parameters]

    def moved(self, delta: Tensor) -> Values:
        """``x ⊞ δ`` for ``δ`` of shape (n,), in which it is differentiable."""
        moved = []
        for variables, first, value in zip(self.structure.sets, self.structure.unknown, self.values, strict=True):
            manifold, free = variables.manifold, torch.from_numpy(first >= 0)
            step = torch.zeros(variables.count, manifold.dimension, dtype=torch.float64)
            if bool(free.any()):
                begin, end = int(first[first >= 0][0]), int(first.max()) + manifold.dimension
                step = step.index_put((free,), delta[begin:end].view(-1, manifold.dimension))
            moved.append(manifold.retract(value, step))
        return tuple(moved)

    def at(self, delta: Tensor) -> Tensor:
        """``F(δ)``, shape ()."""
        values = self.moved(delta)
        pairs = zip(self.structure.factors, self.parameters, strict=True)
        return torch.stack([_objective(batch, values, parameters) for batch, parameters in pairs]).sum()

    def multiply_hessian(self, direction: Tensor) -> Tensor:
        """``∂²F/∂δ² v`` at 0 for directions (n, k), second derivatives of the residuals included."""
        delta, gradient = self._gradient
        columns = [torch.autograd.grad(gradient, delta, v, retain_graph=True)[0] for v in direction.unbind(1)]
        return torch.stack(columns, 1)

    @cached_property
    def _gradient(self) -> tuple[Tensor, Tensor]:
        """``δ = 0``, and ``∂F/∂δ`` as a function of it."""
        with torch.enable_grad():
            delta = torch.zeros(self.structure.n, dtype=torch.float64, requires_grad=True)
            return delta, torch.autograd.grad(self.at(delta), delta, create_graph=True)[0]


def _objective(batch: Factors, values: Values, parameters: Parameters) -> Tensor:
    x = [values[s.position][index] for s, index in zip(batch.variables, batch.index.unbind(1), strict=True)]
    measurement, information, loss = batch.measurement, batch.information, batch.loss
    if parameters.measurement is not None:
        measurement = batch.kind.normalize(parameters.measurement.reshape(measurement.shape))
    if parameters.information is not None:
        information = as_matrices(parameters.information, batch.kind.dimension).reshape(information.shape)
    if parameters.scale is not None and loss is not None:
        loss = loss.scaled(parameters.scale.reshape(()))
    residual = batch.kind.residual(x, measurement)
    squared = (residual[:, None, :] @ information @ residual[:, :, None])[:, 0, 0]
    return 0.5 * (squared if loss is None else loss.rho(squared)).sum()
