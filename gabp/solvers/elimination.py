"""Exact belief propagation on the junction tree, by a sparse factorisation library."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from gabp.solvers.protocol import Correction
from gabp.solvers.schedules import DirectCorrection
from gabp.solvers.solution import Status
from gabp.system import System

# A factor without pivoting is kept when a solve by it has at most this backward error.
_TRUSTED_BACKWARD_ERROR = 1e-10


@dataclass(frozen=True, eq=False)
class Elimination:
    """SuperLU on a minimum degree ordering; indefinite and nonsymmetric systems are pivoted."""

    system: System
    factor: "scipy.sparse.linalg.SuperLU | None" = field(init=False)
    exact = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _factorise(self.system))

    @property
    def failure(self) -> Status | None:
        return Status.SINGULAR if self.factor is None else None

    def correct(self, r: Tensor, target: Tensor) -> Correction:
        assert self.factor is not None
        solution = torch.from_numpy(self.factor.solve(r.cpu().numpy()))
        return DirectCorrection(solution.to(r.device))

    def __reduce__(self) -> tuple:  # a SuperLU object cannot be pickled, but it can be made again
        return Elimination, (self.system,)


def _factorise(system: System) -> "scipy.sparse.linalg.SuperLU | None":
    A = _as_csc(system)
    if system.symmetric and bool((system.diagonal > 0).all()):
        factor = _superlu(A, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        if factor is not None and _trustworthy(factor, A, system.norm):
            return factor
    return _superlu(A)


def _superlu(A: scipy.sparse.csc_array, **settings: object) -> "scipy.sparse.linalg.SuperLU | None":
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.sparse.linalg.MatrixRankWarning)
            return scipy.sparse.linalg.splu(A, **settings)
    except RuntimeError:  # "Factor is exactly singular"
        return None


def _trustworthy(factor: "scipy.sparse.linalg.SuperLU", A: scipy.sparse.csc_array, norm: float) -> bool:
    b = np.ones(A.shape[0])
    x = factor.solve(b)
    return bool(np.abs(b - A @ x).max() <= _TRUSTED_BACKWARD_ERROR * (norm * np.abs(x).max() + 1.0))


def _as_csc(system: System) -> scipy.sparse.csc_array:
    n, graph = system.n, system.graph
    off_diagonal = scipy.sparse.csr_array(
        (system.weight.double().cpu().numpy(), graph.source.cpu().numpy(), graph.start.cpu().numpy()), (n, n)
    )
    return (off_diagonal + scipy.sparse.diags_array(system.diagonal.double().cpu().numpy())).tocsc()
