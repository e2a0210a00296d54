"""The stored values of a torch sparse tensor, twice differentiable.

Torch differentiates through a sparse tensor's values only once: the backward passes of its accessors and constructors
detach. Here the accessor is a function whose backward builds the sparse gradient from attached values, and the node of
the caller's constructor, if there is one, gets a hook that returns these values attached. No value changes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_CONSTRUCTORS = ("SparseCooTensorWithDimsAndTensors", "SparseCompressedTensor")
_MARK = "gabp.stored_values"


def stored_values(A: Tensor) -> Tensor:
    """The values of ``A`` in the order of its indices; of ``A.coalesce()`` for the COO layout."""
    node = A.grad_fn
    marks: Any = None if node is None else node.metadata
    if node is not None and node.name().startswith(_CONSTRUCTORS) and _MARK not in marks:
        marks[_MARK] = True
        node.register_hook(_values_of_gradient(_indices(A, raw=True)))
    return _StoredValues.apply(A)


class _StoredValues(Function):
    @staticmethod
    def forward(ctx: Any, A: Tensor) -> Tensor:
        A = A.coalesce() if A.layout == torch.sparse_coo else A
        ctx.indices, ctx.layout, ctx.shape = _indices(A), A.layout, A.shape
        return A.values().clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        if ctx.layout == torch.sparse_coo:
            (place,) = ctx.indices
            return torch.sparse_coo_tensor(place, gradient, ctx.shape, is_coalesced=True, check_invariants=False)
        outer, inner = ctx.indices
        return torch.sparse_compressed_tensor(
            outer, inner, gradient, ctx.shape, layout=ctx.layout, check_invariants=False
        )


def _values_of_gradient(indices: tuple[Tensor, ...]) -> Any:
    """A hook for a constructor's node: the gradient in the values, attached to the gradient in the tensor."""

    def attach(to_inputs: tuple[Tensor | None, ...], from_outputs: tuple[Tensor | None, ...]) -> Any:
        gradient = from_outputs[0]
        if gradient is None or not gradient.requires_grad:
            return None
        if gradient.layout == torch.sparse_coo:
            width = gradient.shape[1]
            known = gradient.coalesce().indices()
            place = torch.searchsorted(known[0] * width + known[1], indices[0][0] * width + indices[0][1])
            values = _StoredValues.apply(gradient)[place]
        else:
            values = _StoredValues.apply(gradient)
        return tuple(None if given is None else values for given in to_inputs)

    return attach


def _indices(A: Tensor, raw: bool = False) -> tuple[Tensor, ...]:
    if A.layout == torch.sparse_coo:
        return (A._indices() if raw else A.indices(),)
    if A.layout == torch.sparse_csr:
        return A.crow_indices(), A.col_indices()
    return A.ccol_indices(), A.row_indices()
