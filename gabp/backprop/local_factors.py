"""Local factors of a program: a delta message forward, the derivative of a log-potential backward."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gabp.backprop.program import Factor


class LocalFactor:
    """One operator, linearised at the values of its parents: a vector–Jacobian product of this operator alone.

    Parameters
    ----------
    factor : Factor
    values : sequence of Tensor
        The points of the parents' delta messages.
    """

    def __init__(self, factor: Factor, values: Sequence[Tensor]) -> None:
        self.factor = factor
        with torch.enable_grad():
            self._parents = [
                value.detach().requires_grad_(value.is_floating_point() or value.is_complex()) for value in values
            ]
            self._results = factor.evaluate(self._parents)

    def forward(self) -> dict[int, Tensor]:
        """The point ``f(x_parents)`` of the delta message to each output variable."""
        return {
            variable: result.detach()
            for variable, result in zip(self.factor.outputs, self._results, strict=True)
            if variable >= 0
        }

    def backward(self, adjoints: dict[int, Tensor]) -> dict[int, Tensor]:
        """The log-derivative ``Σ_out (∂f_out/∂x_parent)ᵀ λ_out`` of the message to each parent variable.

        Parameters
        ----------
        adjoints : dict of int to Tensor
            ``λ`` of the outputs that have one.

        Returns
        -------
        dict of int to Tensor
            Without the parents on which none of these outputs depends.
        """
        outgoing = [
            (result, adjoints[variable])
            for variable, result in zip(self.factor.outputs, self._results, strict=True)
            if variable in adjoints and result.requires_grad
        ]
        leaves = [(i, leaf) for i, leaf in enumerate(self._parents) if leaf.requires_grad]
        if not outgoing or not leaves:
            return {}
        outputs, incoming = zip(*outgoing, strict=True)
        derivatives = torch.autograd.grad(
            outputs, [leaf for _, leaf in leaves], incoming, retain_graph=True, allow_unused=True
        )
        return {
            self.factor.parents[i]: derivative.detach()
            for (i, _), derivative in zip(leaves, derivatives, strict=True)
            if derivative is not None
        }
