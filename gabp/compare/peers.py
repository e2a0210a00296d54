"""The solvers of a comparison: gabp's own methods and those of other libraries, behind one call.

A peer is given A in CSR and b, and times its own set-up (what depends on A) and solve (what depends on b).
Conversions of A to the library's own format count; importing the library does not.
"""

import importlib.util
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module, metadata
from time import perf_counter
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

import gabp

__all__ = ["PEERS", "Peer", "PeerError", "Run", "Solve", "TimedInProcess", "pick_peers", "versions"]

MAXITER = 100_000  # a peer is ended by the clock of its trial, not by a count


class PeerError(ArithmeticError):
    """A peer reports that it has not solved the system; the message is its reason."""


@dataclass(frozen=True)
class Run:
    """One solve by a peer: its solution, its own timings in seconds, its iterations."""

    x: np.ndarray
    setup_seconds: float
    solve_seconds: float
    iterations: int | None

    @property
    def seconds(self) -> float:
        """Set-up and solve together."""
        return self.setup_seconds + self.solve_seconds


@dataclass(frozen=True)
class Peer:
    """A solver that can be compared.

    Parameters
    ----------
    name : str
    family : {"gabp", "krylov", "multigrid", "direct", "petsc", "message passing"}
        Groups peers in figures.
    run : callable
        ``run(A, b, rtol) -> Run`` for A in CSR; any exception is a failure. Must be picklable.
    modules : tuple of str
        Modules that must be importable.
    symmetric_only : bool
    absence : callable
        Reason why it cannot run here, beyond missing modules; empty if it can.
    spin_seconds : float
        How long its threads go on spinning after a run.
    """

    name: str
    family: str
    run: Callable[[sp.csr_array, np.ndarray, float], Run]
    modules: tuple[str, ...] = ()
    symmetric_only: bool = True
    absence: Callable[[], str] = str
    spin_seconds: float = 0.05  # OpenBLAS and OpenMP need some 20 ms

    @property
    def missing(self) -> str:
        """Modules to install, or another reason why the peer cannot run; empty if it can."""
        absent = [module for module in self.modules if importlib.util.find_spec(module) is None]
        return ", ".join(absent) or self.absence()


Solve = Callable[[np.ndarray], tuple[np.ndarray, int | None]]
Prepare = Callable[[sp.csr_array, float], Solve]


@dataclass(frozen=True)
class TimedInProcess:
    """Times ``prepare(A, rtol)``, which returns ``solve(b) -> (x, iterations)``, in this process."""

    prepare: Prepare

    def __call__(self, A: sp.csr_array, b: np.ndarray, rtol: float) -> Run:
        began = perf_counter()
        solve = self.prepare(A, rtol)
        ready = perf_counter()
        x, iterations = solve(b)
        return Run(np.asarray(x), ready - began, perf_counter() - ready, iterations)


def prepare_gabp(A: sp.csr_array, rtol: float, *, method: str) -> Solve:
    """gabp itself, in its nonsymmetric form where A is not symmetric."""
    try:
        solver = gabp.Solver(A, method=method)
    except gabp.InvalidSystemError:
        solver = gabp.Solver(A, method=method, symmetric=False)

    def solve(b: np.ndarray) -> tuple[np.ndarray, int]:
        solution = solver.solve(b, rtol=rtol, maxiter=MAXITER, throw=False)
        if not solution.converged:
            raise PeerError(solution.status.name)
        return solution.x, solution.iterations

    return solve


def prepare_krylov(A: sp.csr_array, rtol: float, *, method: str, jacobi: bool = False, maxiter: int = MAXITER) -> Solve:
    """One of scipy's iterative solvers."""
    options: dict[str, Any] = {"rtol": rtol, "maxiter": maxiter}
    if method == "gmres":
        # gmres counts restarts, not iterations, and calls back with a norm
        options |= {"callback_type": "pr_norm", "restart": 30}
    if jacobi:
        options["M"] = sp.diags_array(1.0 / A.diagonal()).tocsr()
    solver = getattr(spla, method)

    def solve(b: np.ndarray) -> tuple[np.ndarray, int]:
        iterations = 0

        def count(_: Any) -> None:
            nonlocal iterations
            iterations += 1

        x, info = solver(A, b, callback=count, **options)
        if info:
            raise PeerError(f"not converged after {iterations} iterations")
        return x, iterations

    return solve


def prepare_spsolve(A: sp.csr_array, rtol: float) -> Solve:
    """scipy's default direct solver, which keeps no factor: everything counts as solve."""

    def solve(b: np.ndarray) -> tuple[np.ndarray, None]:
        with warnings.catch_warnings():
            warnings.simplefilter("error", spla.MatrixRankWarning)
            return spla.spsolve(A, b), None

    return solve


def prepare_splu(A: sp.csr_array, rtol: float) -> Solve:
    """SuperLU in symmetric mode on a minimum degree ordering. The transpose is a CSC view of a symmetric A."""
    factor = spla.splu(
        A.T, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True, "Equil": False}
    )
    return lambda b: (factor.solve(b), None)


def prepare_pyamg(A: sp.csr_array, rtol: float, *, builder: str) -> Solve:
    """pyamg's multigrid inside conjugate gradients."""
    hierarchy = getattr(import_module("pyamg"), builder)(sp.csr_matrix(A))

    def solve(b: np.ndarray) -> tuple[np.ndarray, int]:
        residuals: list[float] = []
        x = hierarchy.solve(b, tol=rtol, maxiter=1000, accel="cg", residuals=residuals)
        return x, len(residuals) - 1

    return solve


def prepare_pardiso(A: sp.csr_array, rtol: float) -> Solve:
    """Intel's PARDISO for symmetric positive definite matrices."""
    solver = import_module("pypardiso").PyPardisoSolver(mtype=2)
    upper = sp.csr_matrix(sp.triu(A, format="csr"))
    solver.factorize(upper)

    def solve(b: np.ndarray) -> tuple[np.ndarray, None]:
        x = solver.solve(upper, b)
        solver.free_memory(everything=True)
        return x, None

    return solve


def prepare_cholespy(A: sp.csr_array, rtol: float) -> Solve:
    """CHOLMOD through cholespy, which sorts the indices it is given: it gets copies."""
    cholespy = import_module("cholespy")
    factor = cholespy.CholeskySolverD(
        A.shape[0], A.indptr.astype(np.int32), A.indices.astype(np.int32), A.data.copy(), cholespy.MatrixType.CSR
    )

    def solve(b: np.ndarray) -> tuple[np.ndarray, None]:
        x = np.zeros_like(b)
        factor.solve(np.ascontiguousarray(b), x)
        return x, None

    return solve


def prepare_cholmod(A: sp.csr_array, rtol: float) -> Solve:
    """CHOLMOD through scikit-sparse."""
    factor = import_module("sksparse.cholmod").cholesky(sp.csc_matrix(A.T))
    return lambda b: (factor(b), None)


def _gabp(method: str, name: str | None = None) -> Peer:
    run = TimedInProcess(partial(prepare_gabp, method=method))
    return Peer(name or f"gabp {method}", "gabp", run, symmetric_only=False)


def _scipy(method: str, jacobi: bool = False, symmetric_only: bool = True) -> Peer:
    prepare = partial(prepare_krylov, method=method, jacobi=jacobi)
    name = f"scipy {'Jacobi-' if jacobi else ''}{method}"
    return Peer(name, "krylov", TimedInProcess(prepare), symmetric_only=symmetric_only)


def _direct(name: str, prepare: Prepare, *modules: str, symmetric_only: bool = True) -> Peer:
    return Peer(name, "direct", TimedInProcess(prepare), modules, symmetric_only)


def _multigrid(name: str, builder: str) -> Peer:
    return Peer(name, "multigrid", TimedInProcess(partial(prepare_pyamg, builder=builder)), ("pyamg",))


# The first is the reference that the others are timed in pairs with.
PEERS: dict[str, Peer] = {
    "gabp": _gabp("auto", "gabp"),
    **{f"gabp-{method}": _gabp(method) for method in ("hierarchy", "elimination", "double-loop", "flooding")},
    "cg": _scipy("cg"),
    "jacobi-cg": _scipy("cg", jacobi=True),
    "minres": _scipy("minres"),
    "gmres": _scipy("gmres", symmetric_only=False),
    "spsolve": _direct("scipy spsolve", prepare_spsolve, symmetric_only=False),
    "splu": _direct("scipy splu symmetric", prepare_splu),
    "pyamg-rs": _multigrid("pyamg Ruge-Stüben + cg", "ruge_stuben_solver"),
    "pyamg-sa": _multigrid("pyamg smoothed aggregation + cg", "smoothed_aggregation_solver"),
    "pardiso": replace(_direct("PARDISO", prepare_pardiso, "pypardiso"), spin_seconds=0.2),  # MKL's default
    "cholmod": _direct("CHOLMOD (scikit-sparse)", prepare_cholmod, "sksparse"),
    "cholespy": _direct("CHOLMOD (cholespy)", prepare_cholespy, "cholespy"),
}


def pick_peers(wanted: Iterable[str], registry: dict[str, Peer]) -> list[Peer]:
    """The named peers, in the order of the registry and each once.

    Raises
    ------
    KeyError
        An unknown name; the message lists the known ones.
    """
    names = set(wanted)
    for name in sorted(names - registry.keys()):
        raise KeyError(f"there is no peer {name!r}; choose from {', '.join(registry)}")
    return [peer for key, peer in registry.items() if key in names]


def versions(peers: Iterable[Peer]) -> dict[str, str]:
    """The versions of the libraries behind some peers."""
    modules = {module for peer in peers for module in peer.modules}
    return {module: _version(module) for module in sorted(modules) if importlib.util.find_spec(module) is not None}


def _version(module: str) -> str:
    distributions = metadata.packages_distributions().get(module, [module])
    return metadata.version(distributions[0])
