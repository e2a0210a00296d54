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
from gabp.kernels.torch.normal_equations import Places


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
            step = torch.zeros(len(value), manifold.dimension, dtype=torch.float64)
            if bool(free.any()):
                begin, end = int(first[first >= 0][0]), int(first.max()) + manifold.dimension
                step = step.index_put((free,), delta[begin:end].view(-1, manifold.dimension))
            moved.append(manifold.retract(value, step))
        return tuple(moved)

    def at(self, delta: Tensor) -> Tensor:
        """``F(δ)``, shape ()."""
        values = self.moved(delta)
        pairs = zip(self.structure.factors, self.parameters, strict=True)
        return torch.stack([_objective(batch, _gather(batch, values), own) for batch, own in pairs]).sum()

    def multiply_hessian(self, direction: Tensor) -> Tensor:
        """``∂²F/∂δ² v`` at 0 for directions (n, k), second derivatives of the residuals included."""
        padded = torch.cat([direction, torch.zeros_like(direction[:1])])  # held variables do not move
        product = torch.zeros_like(padded)
        for unknown, hessian in self._factor_hessians:
            columns = hessian @ padded[unknown]
            product.index_add_(0, unknown.reshape(-1), columns.reshape(-1, direction.shape[1]))
        return product[:-1]

    @cached_property
    def _factor_hessians(self) -> list[tuple[Tensor, Tensor]]:
        """For each batch the unknowns of each factor, (m, D), n where held, and its second derivatives, (m, D, D)."""
        structure = self.structure
        batches = zip(structure.factors, structure.places, self.parameters, strict=True)
        return [(_unknowns(places, structure.n), self._hessians(batch, own)) for batch, places, own in batches]

    def _hessians(self, batch: Factors, parameters: Parameters) -> Tensor:
        manifolds = [variables.manifold for variables in batch.variables]
        sizes = [manifold.dimension for manifold in manifolds]
        with torch.enable_grad():
            delta = torch.zeros(len(batch), sum(sizes), dtype=torch.float64, requires_grad=True)
            pairs = zip(manifolds, _gather(batch, self.values), delta.split(sizes, 1), strict=True)
            moved = [manifold.retract(value, step) for manifold, value, step in pairs]
            value = _objective(batch, moved, parameters) + 0.0 * delta.square().sum()  # depends on it in any case
            gradient = torch.autograd.grad(value, delta, create_graph=True)[0]
            rows = [
                torch.autograd.grad(column.sum(), delta, retain_graph=True)[0]
                for column in gradient.unbind(1)  # factors do not depend on each other: one pass for all of them
            ]
        return torch.stack(rows, 1)


def _gather(batch: Factors, values: Values) -> list[Tensor]:
    return [values[s.position][index] for s, index in zip(batch.variables, batch.index.unbind(1), strict=True)]


def _unknowns(places: Places, n: int) -> Tensor:
    """The unknowns of each factor, (m, D); ``n`` where a variable is held."""
    columns = []
    for first, dimension in zip(places.unknown.unbind(1), places.dimension.tolist(), strict=True):
        held = (first < 0)[:, None]
        columns.append(torch.where(held, n, first[:, None] + torch.arange(dimension)))
    return torch.cat(columns, 1)


def _objective(batch: Factors, x: Sequence[Tensor], parameters: Parameters) -> Tensor:
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
