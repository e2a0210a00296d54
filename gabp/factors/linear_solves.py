"""The linear systems of the steps: an exact factor where it is affordable, gabp's iterative methods elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gabp.factors.structure import Structure
from gabp.messages import SparseFactor, factor_cost
from gabp.solvers import Solver
from gabp.solvers.near_nullspace import TAKE_NEAR_NULLSPACE
from gabp.system import System

_MOST_FLOPS = 1e12  # of a factor, some 40 seconds; iterations take less from there on most graphs
_RTOL = 1e-8  # of iterative solves


class SystemSolve(Protocol):
    """A linear system that is ready to be solved."""

    def solve(self, b: Tensor) -> Tensor:
        """``A⁻¹ b`` for ``b`` of shape (n, k)."""


@dataclass(frozen=True)
class LinearMethod:
    """How the linear systems of one structure are solved.

    Attributes
    ----------
    method : str
        ``"elimination"``, or another method of `gabp.solve`.
    reason : str
    blocks : ndarray, shape (n,), int64
        The variable of each unknown.
    """

    method: str
    reason: str
    blocks: np.ndarray

    @staticmethod
    def choose(structure: Structure, method: str = "auto") -> "LinearMethod":
        """The method named, or the one that the predicted cost of a factor suggests."""
        blocks = _blocks(structure.unknown, [s.manifold.dimension for s in structure.sets])
        if structure.n == 0:
            return LinearMethod("none", "there are no unknowns", blocks)
        if method != "auto":
            return LinearMethod(method, "chosen by the caller", blocks)
        if factor_cost.is_affordable(structure.graph, _MOST_FLOPS):
            entries = structure.graph.symbolic.entries
            return LinearMethod("elimination", f"a sparse factor of {entries:.3g} nonzeros", blocks)
        return LinearMethod("auto", "a factor would take too much memory or time", blocks)

    def prepare(self, system: System, common_motions: Callable[[], Tensor | None] = lambda: None) -> SystemSolve:
        """Set up for one matrix, symmetric and positive definite.

        Parameters
        ----------
        system : System
        common_motions : callable
            To near-null vectors of it, where there are some; for a hierarchy.

        Raises
        ------
        NotPositiveDefiniteError
            It is not, to working precision; found by elimination.
        """
        if self.method == "elimination":
            return SparseFactor(system)
        motions = common_motions() if self.method in TAKE_NEAR_NULLSPACE else None
        return _Iterative(Solver(system.to_scipy(), method=self.method, blocks=self.blocks, near_nullspace=motions))


@dataclass(frozen=True, eq=False)
class _Iterative:
    solver: Solver

    def solve(self, b: Tensor) -> Tensor:
        return self.solver.solve(b, rtol=_RTOL, throw=False).x


def _blocks(unknown: Sequence[np.ndarray], dimensions: Sequence[int]) -> np.ndarray:
    """The variable of each unknown, numbered in order."""
    sizes = [np.full((first >= 0).sum(), size) for first, size in zip(unknown, dimensions, strict=True)]
    size = np.concatenate(sizes).astype(np.int64)
    return np.repeat(np.arange(len(size)), size)


def smallest_direction(system: System, prepared: SystemSolve, iterations: int = 2) -> tuple[float, Tensor]:
    """The smallest eigenvalue of ``D^{-½} A D^{-½}`` with ``D = diag(A)``, and its direction, by inverse iteration.

    Parameters
    ----------
    system : System
    prepared : SystemSolve
        Of ``A``, or of it with a small loading.

    Returns
    -------
    float
        ``vᵀAv / vᵀDv``, an upper bound.
    Tensor, shape (n,)
        ``v``, with ``vᵀDv = 1``.
    """
    diagonal = system.diagonal[:, None]
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(system.n, 1, dtype=torch.float64, generator=generator)
    for _ in range(iterations):
        v = prepared.solve(diagonal * v)
        size = (diagonal * v * v).sum().sqrt()
        if not bool(torch.isfinite(size)) or not bool(size > 0):
            return 0.0, torch.nan_to_num(v[:, 0])
        v = v / size
    return float((v * system.multiply(v)).sum()), v[:, 0]
