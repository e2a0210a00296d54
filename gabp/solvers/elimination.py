"""Exact belief propagation on the junction tree, by a sparse factor."""

from dataclasses import dataclass, field

import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.messages import SparseFactor
from gabp.solvers.device_factorization import Solve, device_factorization
from gabp.solvers.protocol import InnerSolve, MethodSetup
from gabp.solvers.schedules import DirectCorrection
from gabp.solvers.solution import Status
from gabp.system import NotPositiveDefiniteError, System


@dataclass(frozen=True, eq=False)
class Elimination(MethodSetup):
    """A sparse Cholesky factor where A is positive definite, scipy's SuperLU with pivoting where it is not.

    On a GPU a factor by its own library, where one is installed: see `gabp.solvers.device_factorization`.

    Raises
    ------
    MemoryError
        The factor would not fit.
    """

    system: System
    on_device: Solve | None = field(init=False, repr=False)
    cholesky: SparseFactor | None = field(init=False)
    pivoted: "scipy.sparse.linalg.SuperLU | None" = field(init=False)
    _notes: str = field(init=False, repr=False)
    exact = True
    stops_itself = True

    def __post_init__(self) -> None:
        on_device, where = device_factorization(self.system)
        cholesky, why_not = _cholesky(self.system) if on_device is None else (None, "")
        needs_pivoting = on_device is None and cholesky is None
        object.__setattr__(self, "on_device", on_device)
        object.__setattr__(self, "cholesky", cholesky)
        object.__setattr__(self, "pivoted", _superlu(self.system) if needs_pivoting else None)
        object.__setattr__(self, "_notes", "; ".join(filter(None, (where, why_not))))

    @property
    def notes(self) -> str:
        return self._notes

    @property
    def failure(self) -> Status | None:
        return None if self.on_device or self.cholesky or self.pivoted else Status.SINGULAR

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        if self.on_device is not None:
            return DirectCorrection(self.on_device(r))
        if self.cholesky is not None:
            return DirectCorrection(self.cholesky.solve(r))
        assert self.pivoted is not None
        return DirectCorrection(torch.from_numpy(self.pivoted.solve(r.cpu().numpy())).to(r.device))

    def __reduce__(self) -> tuple:  # a factor cannot be pickled; it is computed again
        return Elimination, (self.system,)


def _cholesky(system: System) -> tuple[SparseFactor | None, str]:
    """The factor of a positive definite matrix, or why there is none."""
    if not system.symmetric or not system.smallest_diagonal > 0 or not dispatch.backend("cpu").compiled:
        return None, ""
    try:
        return SparseFactor(system), ""
    except NotPositiveDefiniteError as error:
        return None, (
            f"A is not positive definite to working precision (pivot at node {error.node}): "
            "solved as a linear system, with pivoting"
        )


def _superlu(system: System) -> "scipy.sparse.linalg.SuperLU | None":
    """The factor with partial pivoting, or None where A is exactly singular."""
    try:
        return scipy.sparse.linalg.splu(system.to_scipy("csc"))
    except RuntimeError:  # "Factor is exactly singular"
        return None
