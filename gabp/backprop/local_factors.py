"""The two messages of a deterministic factor: a delta forward, a derivative of the log-potential backward."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gabp.backprop.program import Factor


class LocalFactor:
    """One operator at the values of its parents, with its own vector–Jacobian product and no one else's.

    Parameters
    ----------
    factor : Factor
    values : sequence of Tensor
        Where the deltas of the parents sit.
    """

    def __init__(self, factor: Factor, values: Sequence[Tensor]) -> None:
        self.factor = factor
        with torch.enable_grad():
            self._parents = [
                value.detach().requires_grad_(value.is_floating_point() or value.is_complex()) for value in values
            ]
            self._results = factor.evaluate(self._parents)

    def forward(self) -> dict[int, Tensor]:
        """By output variable, the point at which the delta message to it sits: ``f(x_parents)``."""
        return {
            variable: result.detach()
            for variable, result in zip(self.factor.outputs, self._results, strict=True)
            if variable >= 0
        }

    def backward(self, adjoints: dict[int, Tensor]) -> dict[int, Tensor]:
        """By parent variable, the log-derivative ``Σ_out (∂f_out/∂x_parent)ᵀ λ_out`` of the message to it.

        Parameters
        ----------
        adjoints : dict of int to Tensor
            ``λ`` of those outputs that have one; a parent that none of them depends on gets no message.
        """
        reached = [
            (result, adjoints[variable])
            for variable, result in zip(self.factor.outputs, self._results, strict=True)
            if variable in adjoints and result.requires_grad
        ]
        wanted = [(i, leaf) for i, leaf in enumerate(self._parents) if leaf.requires_grad]
        if not reached or not wanted:
            return {}
        outputs, incoming = zip(*reached, strict=True)
        derivatives = torch.autograd.grad(
            outputs, [leaf for _, leaf in wanted], incoming, retain_graph=True, allow_unused=True
        )
        return {
            self.factor.parents[i]: derivative.detach()
            for (i, _), derivative in zip(wanted, derivatives, strict=True)
            if derivative is not None
        }
