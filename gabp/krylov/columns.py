"""Products of columns, for numpy arrays and torch tensors alike."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Columns = Any
"""A numpy array or a torch tensor, shape (n, k), float64."""
Operator = Callable[[Columns], Columns]
"""A linear map of columns, (n, k) to a new (n, k)."""


def library(x: Columns) -> Any:
    """The module, numpy or torch, whose functions take ``x``."""
    return torch if isinstance(x, Tensor) else np


def dot(x: Columns, y: Columns) -> Any:
    """``xᵀ y`` of each column, shape (k,); in numpy bitwise identical for any number of threads."""
    return torch.linalg.vecdot(x, y, dim=0) if isinstance(x, Tensor) else np.einsum("nk,nk->k", x, y)
