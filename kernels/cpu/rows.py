"""Compressed rows and directed edges, compiled: see `gabp.kernels.torch.rows`."""

from typing import Any

import torch
from torch import Tensor

from gabp.kernels.cpu import extension

_cpu: Any = extension


def inspect_rows(start: Tensor, column: Tensor, value: Tensor) -> tuple[int, int, bool]:
    """See `gabp.kernels.torch.rows.inspect_rows`."""
    return _cpu.inspect_rows(start, column, value, torch.get_num_threads())


def sort_rows(start: Tensor, column: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `gabp.kernels.torch.rows.sort_rows`."""
    return _cpu.sort_rows(start, column, value, torch.get_num_threads())[:3]


def compare_mirrors(start: Tensor, column: Tensor, value: Tensor, tolerance: float) -> tuple[bool, int, int, int]:
    """See `gabp.kernels.torch.rows.compare_mirrors`."""
    return _cpu.compare_mirrors(start, column, value, tolerance, torch.get_num_threads())


def split_rows(
    start: Tensor, column: Tensor, value: Tensor, *, exact: bool, average: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `gabp.kernels.torch.rows.split_rows`."""
    return _cpu.split_rows(start, column, value, exact, average, torch.get_num_threads())


def summarize_rows(start: Tensor, weight: Tensor, diagonal: Tensor) -> tuple[float, float, float]:
    """See `gabp.kernels.torch.rows.summarize_rows`."""
    return _cpu.summarize_rows(start, weight, diagonal, torch.get_num_threads())


def reverse_edges(start: Tensor, source: Tensor) -> Tensor:
    """See `gabp.kernels.torch.rows.reverse_edges`."""
    reverse = torch.empty(len(source), dtype=torch.int64)
    _cpu.reverse_slots(start, source, reverse, torch.get_num_threads())
    return reverse


def residual(start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor, x: Tensor, b: Tensor) -> Tensor:
    """See `gabp.kernels.torch.rows.residual`."""
    return _residual(start, source, weight, diagonal, x, b, extended=False)


def extended_precision_residual(
    start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor, x: Tensor, b: Tensor
) -> Tensor:
    """See `gabp.kernels.torch.rows.extended_precision_residual`."""
    return _residual(start, source, weight, diagonal, x, b, extended=True)


def _residual(
    start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor, x: Tensor, b: Tensor, extended: bool
) -> Tensor:
    x, b = x.double().contiguous(), b.double().contiguous()
    r = torch.empty_like(b)
    _cpu.slot_residual(start, source, weight, diagonal, x, b, r, extended, torch.get_num_threads())
    return r


# Not torch's own: its threads spin for a while after each operation, on the cores that the sweeps need.
def column_norms(x: Tensor) -> Tensor:
    """See `gabp.kernels.torch.rows.column_norms`."""
    return _reduced(_cpu.column_norms, x)


def largest_entries(x: Tensor) -> Tensor:
    """See `gabp.kernels.torch.rows.largest_entries`."""
    return _reduced(_cpu.largest_entries, x)


def _reduced(kernel: Any, x: Tensor) -> Tensor:
    out = torch.empty(x.shape[1], dtype=torch.float64)
    kernel(x.detach().double().contiguous(), out, torch.get_num_threads())
    return out.to(x.dtype)
