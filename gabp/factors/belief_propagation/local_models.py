"""The quadratic models of the factors of a batch, each at the values where it was linearised last."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.linearization import Values
from gabp.kernels import dispatch
from gabp.kernels.torch.factor_messages import slices


class LocalModels:
    """``½ ρ(‖r + Jδ‖²)`` of each factor, with δ in the tangent spaces at the reference values of its variables.

    Attributes
    ----------
    batch : Factors
    dimensions : list of int
        Of the tangent space of each variable.
    parts : list of tuple of slice
        The rows and the packed block of each variable, see `gabp.kernels.torch.factor_messages`.
    residual : Tensor, shape (m, d)
        Whitened.
    jacobian : Tensor, shape (m, d, D)
        Whitened; 0 for variables that are held.
    precision : Tensor, shape (m, D, D)
        ``JᵀJ``.
    potential : Tensor, shape (m, D)
        ``-Jᵀr``.
    """

    def __init__(self, batch: Factors, values: Values, held: Sequence[np.ndarray]) -> None:
        self.batch = batch
        self.dimensions = [variables.manifold.dimension for variables in batch.variables]
        self.parts = slices(self.dimensions)
        columns = zip(batch.variables, batch.index.numpy().T, strict=True)
        self._held = torch.from_numpy(np.stack([held[v.position][index] for v, index in columns], 1))
        m, width = len(batch), sum(self.dimensions)
        self.residual = batch.information.new_empty(m, batch.kind.dimension)
        self.jacobian = batch.information.new_empty(m, batch.kind.dimension, width)
        self.precision, self.potential = self.residual.new_empty(m, width, width), self.residual.new_empty(m, width)
        self.relinearize(torch.arange(m), values)

    def relinearize(self, chosen: Tensor, values: Values) -> None:
        """Linearise the factors ``chosen``, (k,) int64, at the values of all sets."""
        batch = self.batch
        columns = zip(batch.variables, batch.index[chosen].unbind(1), strict=True)
        x = [values[variables.position][index] for variables, index in columns]
        residual, jacobian = batch.kind.linearize(x, batch.measurement[chosen])
        root = batch.root if batch.root is None or len(batch.root) == 1 else batch.root[chosen]
        residual, _ = dispatch.backend("cpu").normal_equations.whiten(root, residual)
        jacobian = jacobian.clone() if root is None else root @ jacobian
        for p, (rows, _block) in enumerate(self.parts):
            jacobian[self._held[chosen, p], :, rows] = 0.0
        self.residual[chosen], self.jacobian[chosen] = residual, jacobian
        self.precision[chosen] = jacobian.mT @ jacobian
        self.potential[chosen] = -(jacobian.mT @ residual[..., None])[..., 0]

    def weighted(self, chosen: Tensor | None, means: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Precisions and potentials with the weights of the loss at the means, (N, dimension), of all sets."""
        precision, potential = rows_of(self.precision, chosen), rows_of(self.potential, chosen)
        if self.batch.loss is None:
            return precision, potential
        columns = zip(self.batch.variables, rows_of(self.batch.index, chosen).unbind(1), strict=True)
        delta = torch.cat([means[variables.position][index] for variables, index in columns], 1)
        predicted = rows_of(self.residual, chosen) + (rows_of(self.jacobian, chosen) @ delta[..., None])[..., 0]
        weight = self.batch.loss.weight((predicted * predicted).sum(1))
        return weight[:, None, None] * precision, weight[:, None] * potential


def rows_of(array: Tensor, chosen: Tensor | None) -> Tensor:
    """The chosen rows, (k,) int64, or the array itself where all are."""
    return array if chosen is None else array[chosen]
