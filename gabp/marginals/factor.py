"""The sparse Cholesky factor of a precision matrix, and what is exact because of it."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import cpu, dense_factor
from gabp.marginals.errors import NotPositiveDefiniteError
from gabp.system import EdgeGraph, System

_kernels: Any = cpu.extension if cpu.extension is not None else dense_factor

_SHARE_OF_MEMORY = 0.8  # that a factor may claim of what the machine has to give
_WORTH_THREADS = 3e7  # operations


@dataclass(frozen=True, eq=False)
class Analysis:
    """The shape of the factor, from the graph alone: it serves every matrix on this graph.

    Attributes
    ----------
    graph : EdgeGraph
    symbolic
        The kernels' own: ``entries`` of the factor, ``flops`` to compute it, ``peak_bytes`` to invert by it.
    """

    graph: EdgeGraph
    symbolic: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        start, source = self.graph.start.cpu(), self.graph.source.cpu()
        object.__setattr__(self, "symbolic", _kernels.Symbolic.of(start, source))

    @property
    def fits(self) -> bool:
        """Whether factor and selected inverse fit in this machine's memory."""
        return self.symbolic.peak_bytes <= _SHARE_OF_MEMORY * available_bytes()

    def require_memory(self, otherwise: str) -> None:
        """Refuse before anything is allocated.

        Raises
        ------
        MemoryError
            With the figures and what to do ``otherwise``.
        """
        if self.fits:
            return
        raise MemoryError(
            f"the factor of this matrix has {self.symbolic.entries:.3g} entries and its selected inverse needs about "
            f"{self.symbolic.peak_bytes / 2**30:.1f} GiB, of which {available_bytes() / 2**30:.1f} GiB are there; "
            f"{otherwise}"
        )

    def __reduce__(self) -> tuple:
        return Analysis, (self.graph,)


@dataclass(frozen=True, eq=False)
class SparseFactor:
    """``A = Pᵀ L Lᵀ P`` with a fill-reducing order ``P``, for symmetric positive definite A, in float64.

    Parameters
    ----------
    system : System
    analysis : Analysis
        Of the system's graph.

    Raises
    ------
    NotPositiveDefiniteError
    MemoryError
        The factor would not fit; see `Analysis.require_memory`.
    """

    system: System
    analysis: Analysis
    factor: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.analysis.require_memory("ask for variance='corrected' or kind='bethe', which need no factor")
        graph, system = self.system.graph, self.system
        factor = _kernels.Factor.of(
            self.analysis.symbolic,
            graph.start.cpu(),
            graph.source.cpu(),
            system.diagonal.double().cpu(),
            system.weight.double().cpu(),
            self._threads(1.0),
        )
        if factor.bad_node >= 0:
            raise NotPositiveDefiniteError(factor.bad_node)
        object.__setattr__(self, "factor", factor)

    @staticmethod
    def of(system: System) -> "SparseFactor":
        return SparseFactor(system, Analysis(system.graph))

    def with_values(self, system: System) -> "SparseFactor":
        """The factor of another matrix on the same graph."""
        return SparseFactor(system, self.analysis)

    @property
    def log_determinant(self) -> float:
        return self.factor.log_determinant

    def solve(self, b: Tensor) -> Tensor:
        """``A⁻¹ b`` for ``b`` of shape (n, k), in float64."""
        x = b.detach().to(device="cpu", dtype=torch.float64).clone(memory_format=torch.contiguous_format)
        self.factor.solve(x, self._threads(x.shape[1] / 8))
        return x.to(b.device)

    def colour(self, white: Tensor) -> Tensor:
        """``Pᵀ L⁻ᵀ z``, of covariance ``A⁻¹``, for white noise ``z`` of shape (n, k)."""
        x = white.to(device="cpu", dtype=torch.float64).clone(memory_format=torch.contiguous_format)
        self.factor.solve_upper(x, self._threads(x.shape[1] / 8))
        return x.to(white.device)

    @cached_property
    def selected_inverse(self) -> tuple[Tensor, Tensor]:
        """``diag(A⁻¹)``, shape (n,), and ``A⁻¹`` in A's slots, shape (m,) (Takahashi, Fagan and Chen 1973)."""
        graph = self.system.graph
        diagonal = torch.empty(graph.n, dtype=torch.float64)
        weight = torch.empty(graph.edges, dtype=torch.float64)
        self.factor.selected_inverse(
            graph.start.cpu(), graph.source.cpu(), graph.reverse.cpu(), diagonal, weight, self._threads(3.0)
        )
        return diagonal.to(self.system.device), weight.to(self.system.device)

    def _threads(self, share: float) -> int:
        worth = share * self.analysis.symbolic.flops > _WORTH_THREADS
        return torch.get_num_threads() if worth else 1

    def __reduce__(self) -> tuple:
        return SparseFactor, (self.system, self.analysis)


def available_bytes() -> float:
    """Memory that can be had without pushing others out."""
    information = Path("/proc/meminfo")
    if information.exists():
        for line in information.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * float(line.split()[1])
    return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
