"""Coercion of node indices."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.system.errors import InvalidSystemError


def read_pairs(pairs: Any, n: int) -> Tensor:
    """Pairs of nodes of a graph of ``n``, shape (p, 2), int64.

    Raises
    ------
    TypeError, InvalidSystemError
        See `read_nodes`; or another shape, or no nodes of the graph.
    """
    pairs = read_nodes(pairs, "pairs", "(p, 2)")
    if pairs.shape == (0,):
        pairs = pairs.reshape(0, 2)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InvalidSystemError(f"pairs must be integers of shape (p, 2), not {tuple(pairs.shape)}")
    outside = (pairs < 0) | (pairs >= n)
    if bool(outside.any()):
        raise InvalidSystemError(f"pairs has node {int(pairs[outside][0])}; the model has nodes 0 to {n - 1}")
    return pairs


def read_nodes(nodes: Any, name: str, shape: str) -> Tensor:
    """Node indices from a list, an array or a tensor, as int64 of the same shape.

    Parameters
    ----------
    nodes : list, tuple, range, numpy array or torch tensor of integers
    name, shape : str
        As error messages name the argument and its expected shape.

    Raises
    ------
    TypeError
        Another kind of object, or of numbers.
    InvalidSystemError
        A ragged list, or floating point numbers.
    """
    if isinstance(nodes, (list, tuple, range)):
        try:
            nodes = np.asarray(nodes) if len(nodes) else np.zeros(0, dtype=np.int64)
        except ValueError:
            raise InvalidSystemError(
                f"{name} must be integers of shape {shape}, not rows of different lengths"
            ) from None
    if isinstance(nodes, np.ndarray) and nodes.dtype.kind in "iuf":
        nodes = torch.from_numpy(nodes.astype(np.float64 if nodes.dtype.kind == "f" else np.int64))
    if not isinstance(nodes, Tensor) or nodes.dtype == torch.bool or nodes.dtype.is_complex:
        raise TypeError(
            f"{name} must be integers of shape {shape}, not {getattr(nodes, 'dtype', type(nodes).__name__)}"
        )
    if nodes.dtype.is_floating_point:
        raise InvalidSystemError(f"{name} must be integers of shape {shape}, not {nodes.dtype}")
    return nodes.long()
