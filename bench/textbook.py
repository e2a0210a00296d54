"""Flooding as a textbook has it, in eager torch: the baseline that speed-ups are stated against.

Frozen: it is the yardstick, so it is not to be made faster. One directed edge is one slot; the messages into a
node are summed with ``index_add``, and the message that came the other way is gathered through the permutation
``reverse`` (Weiss and Freeman, "Correctness of belief propagation in Gaussian graphical models of arbitrary
topology", Neural Computation 13, 2001).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["Model", "joint_sweep", "mean_sweep", "precision_sweep"]


@dataclass(frozen=True)
class Model:
    """``A`` as directed edges ``source -> target`` of weight ``A[target, source]``, and ``b``."""

    diagonal: Tensor
    source: Tensor
    target: Tensor
    weight: Tensor
    reverse: Tensor
    b: Tensor

    @classmethod
    def of(cls, A: sp.csr_array, b: np.ndarray) -> "Model":
        """From a symmetric matrix."""
        edges = A.tocoo()
        off = edges.row != edges.col
        target, source = edges.row[off].astype(np.int64), edges.col[off].astype(np.int64)
        order = np.lexsort((source, target))
        target, source, weight = target[order], source[order], edges.data[off][order]
        # sorted by (target, source), the slots in the order of (source, target) are the reverse ones
        reverse = np.lexsort((target, source))
        arrays = (A.diagonal(), source, target, weight, reverse, b)
        return cls(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


def precision_sweep(model: Model, P: Tensor) -> tuple[Tensor, Tensor]:
    """``P_{k→i} = -A_ik² / P_{k\\i}``; returns the messages and their cavities, shape (m,)."""
    J = model.diagonal.index_add(0, model.target, P)
    cavity = J[model.source] - P[model.reverse]
    return -(model.weight**2) / cavity, cavity


def mean_sweep(model: Model, cavity: Tensor, h: Tensor) -> Tensor:
    """``h_{k→i} = -A_ik h_{k\\i} / P_{k\\i}``, shape (m,)."""
    belief = model.b.index_add(0, model.target, h)
    return -model.weight * (belief[model.source] - h[model.reverse]) / cavity


def joint_sweep(model: Model, P: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Both at once, from the messages of the sweep before."""
    new, cavity = precision_sweep(model, P)
    return new, mean_sweep(model, cavity, h)


def mean(model: Model, P: Tensor, h: Tensor) -> Tensor:
    """The beliefs' means ``h_i / J_i``, shape (n,)."""
    return model.b.index_add(0, model.target, h) / model.diagonal.index_add(0, model.target, P)
