"""The passes of convergence proofs, compiled: see `gabp.kernels.torch.bounds`."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gabp.kernels.cpu import extension
from gabp.kernels.torch.bounds import Nodes, Numbers, Offsets

_cpu: Any = extension


def multiply(start: Offsets, source: Nodes, weight: Numbers, x: Numbers) -> Numbers:
    """See `gabp.kernels.torch.bounds.multiply`."""
    out = np.empty(len(start) - 1)
    _cpu.multiply(start, source, weight, x, out, torch.get_num_threads())
    return out


def quotients(
    start: Offsets, source: Nodes, weight: Numbers, diagonal: Numbers, d: Numbers
) -> tuple[Numbers, float, float, float, float]:
    """See `gabp.kernels.torch.bounds.quotients`."""
    pull = np.empty(len(start) - 1)
    return pull, *_cpu.quotients(start, source, weight, diagonal, d, pull, torch.get_num_threads())


def non_backtracking(
    start: Offsets, source: Nodes, reverse: Offsets, ratio: Numbers, message: Numbers, base: Numbers, out: Numbers
) -> Numbers:
    """See `gabp.kernels.torch.bounds.non_backtracking`."""
    _cpu.non_backtracking(start, source, reverse, ratio, message, base, out, torch.get_num_threads())
    return out


def growth(start: Offsets, source: Nodes, reverse: Offsets, ratio: Numbers, w: Numbers) -> float:
    """See `gabp.kernels.torch.bounds.growth`."""
    return _cpu.growth(start, source, reverse, ratio, w, torch.get_num_threads())


def floor_cavities(
    start: Offsets, source: Nodes, reverse: Offsets, square: Numbers, diagonal: Numbers, floor: Numbers
) -> Numbers | None:
    """See `gabp.kernels.torch.bounds.floor_cavities`."""
    low = np.empty(len(source))
    is_floor = _cpu.floor_cavities(start, source, reverse, square, diagonal, floor, low, torch.get_num_threads())
    return low if is_floor else None


def ceiling_sweep(
    start: Offsets, source: Nodes, reverse: Offsets, square: Numbers, diagonal: Numbers, message: Numbers
) -> tuple[Numbers, float]:
    """See `gabp.kernels.torch.bounds.ceiling_sweep`."""
    out = np.empty(len(source))
    return out, _cpu.ceiling_sweep(start, source, reverse, square, diagonal, message, out, torch.get_num_threads())


def comparison_messages(start: Offsets, source: Nodes, weight: Numbers, ratio: Numbers, x: Numbers) -> Numbers:
    """See `gabp.kernels.torch.bounds.comparison_messages`."""
    out = np.empty(len(source))
    _cpu.comparison_messages(start, source, weight, ratio, x, out, torch.get_num_threads())
    return out


def bethe_form(
    start: Offsets, source: Nodes, ratio: Numbers, root: Numbers, y: Numbers, radius: float
) -> tuple[float, float]:
    """See `gabp.kernels.torch.bounds.bethe_form`."""
    return _cpu.bethe_form(start, source, ratio, root, y, radius, torch.get_num_threads())


def peel_leaves(start: Offsets, source: Nodes) -> NDArray[np.bool_]:
    """See `gabp.kernels.torch.bounds.peel_leaves`."""
    kept = np.empty(len(start) - 1, dtype=np.uint8)
    _cpu.peel_leaves(start, source, kept)
    return kept.view(np.bool_)


def components_and_signs(start: Offsets, source: Nodes, weight: Numbers) -> tuple[NDArray[np.int32], Numbers | None]:
    """See `gabp.kernels.torch.bounds.components_and_signs`."""
    label, sign = np.empty(len(start) - 1, dtype=np.int32), np.empty(len(start) - 1)
    balanced = _cpu.balance(start, source, weight, label, sign)
    return label, sign if balanced else None
