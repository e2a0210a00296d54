"""Exact belief propagation on the junction tree of a precision matrix: its sparse Cholesky factor."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.system import EdgeGraph, NotPositiveDefiniteError, System

_SHARE_OF_MEMORY = 0.8  # of the available memory, that a factor may take
_NEGLIGIBLE = 2**24  # bytes: what fits without asking, which takes longer than a small factor
_WORTH_THREADS = 3e8  # operations: fewer are not faster with a second thread, and slower where it shares a core


def fits_in_memory(graph: EdgeGraph) -> bool:
    """Whether factor and selected inverse on ``graph`` fit in this machine's memory."""
    peak = graph.symbolic.peak_bytes
    return peak <= _NEGLIGIBLE or peak <= _SHARE_OF_MEMORY * available_bytes()


@dataclass(frozen=True, eq=False)
class SparseFactor:
    """``A = Pᵀ L Lᵀ P`` with a fill-reducing order ``P``, for symmetric positive definite A, in float64.

    Raises
    ------
    NotPositiveDefiniteError
    MemoryError
        The factor would not fit; raised before anything is allocated.
    """

    system: System
    factor: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _require_memory(self.system.graph)
        graph, system = self.system.graph, self.system
        factor = dispatch.backend("cpu").factor.Factor.of(
            self.system.graph.symbolic,
            graph.start.cpu(),
            graph.source.cpu(),
            system.diagonal.double().cpu(),
            system.weight.double().cpu(),
            self._threads(1.0),
        )
        if factor.bad_node >= 0:
            raise NotPositiveDefiniteError(factor.bad_node)
        object.__setattr__(self, "factor", factor)

    @property
    def log_determinant(self) -> float:
        return self.factor.log_determinant

    def solve(self, b: Tensor) -> Tensor:
        """``A⁻¹ b`` for ``b`` of shape (n, k), in float64."""
        x = _copied(b)
        self.factor.solve(x, self._threads(x.shape[1] / 8))
        return x.to(b.device)

    def colour(self, white: Tensor) -> Tensor:
        """``Pᵀ L⁻ᵀ z``, of covariance ``A⁻¹``, for white noise ``z`` of shape (n, k)."""
        x = _copied(white)
        self.factor.solve_upper(x, self._threads(x.shape[1] / 8))
        return x.to(white.device)

    @cached_property
    def selected_inverse(self) -> tuple[Tensor, Tensor]:
        """``diag(A⁻¹)``, shape (n,), and ``A⁻¹`` on A's edges, shape (m,) (Takahashi, Fagan and Chen 1973)."""
        graph = self.system.graph
        diagonal = torch.empty(graph.n, dtype=torch.float64)
        weight = torch.empty(graph.edges, dtype=torch.float64)
        self.factor.selected_inverse(
            graph.start.cpu(), graph.source.cpu(), graph.reverse.cpu(), diagonal, weight, self._threads(3.0)
        )
        return diagonal.to(self.system.device), weight.to(self.system.device)

    def _threads(self, share: float) -> int:
        worth = share * self.system.graph.symbolic.flops > _WORTH_THREADS
        return torch.get_num_threads() if worth else 1

    def __reduce__(self) -> tuple:
        return SparseFactor, (self.system,)


def _copied(columns: Tensor) -> Tensor:
    """For the kernels to overwrite: in float64 and contiguous, on the CPU."""
    return torch.from_numpy(np.array(columns.detach().cpu().numpy(), dtype=np.float64, order="C"))


def _require_memory(graph: EdgeGraph) -> None:
    if fits_in_memory(graph):
        return
    raise MemoryError(
        f"the factor of this matrix has {graph.symbolic.entries:.3g} entries and its selected inverse needs about "
        f"{graph.symbolic.peak_bytes / 2**30:.1f} GiB, and {available_bytes() / 2**30:.1f} GiB are available; "
        "ask for variance='corrected' or kind='bethe', which need no factor, or solve by method='hierarchy'"
    )


def available_bytes() -> float:
    """Memory that can be allocated without swapping."""
    information = Path("/proc/meminfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * float(line.split()[1])
    return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
