"""Offsets of consecutive segments: rows of a matrix, the edges into a node, slices of a layout."""

import numpy as np
import torch
from torch import Tensor


def offsets(counts: Tensor) -> Tensor:
    """Where each of consecutive segments of ``counts`` ``(n,)`` begins, and the last one ends: ``(n + 1,)`` int64."""
    start = torch.zeros(len(counts) + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, 0, out=start[1:])
    return start


def row_offsets(row: Tensor, n: int) -> Tensor:
    """``start`` ``(n + 1,)`` of nonzeros sorted by their ``row``."""
    return offsets(torch.bincount(row, minlength=n))


def destinations(start: Tensor) -> Tensor:
    """The row of each nonzero, or the destination of each directed edge: ``(m,)`` int64."""
    if start.device.type == "cpu":  # torch's own wakes its threads for the smallest array, and waits for them
        return torch.from_numpy(np.repeat(np.arange(len(start) - 1), np.diff(start.numpy())))
    return torch.repeat_interleave(torch.arange(len(start) - 1, device=start.device), start.diff().long())
