"""The peers of the suite: those of ``gabp bench``, and those that need more than a package beside gabp."""

import json
import os
import shutil
import subprocess
import tempfile
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

from gabp.compare.peers import PEERS, Peer, PeerError, Run, Solve, TimedInProcess
from gabp.kernels import reference
from gabp.system import make_system, read_matrix

__all__ = ["SUITE_PEERS"]

PETSC_PYTHON = os.environ.get("PETSC_PYTHON", "/usr/bin/python3")
PETSC_WORKER = Path(__file__).with_name("petsc_worker.py")
RANKS = 2


def _petsc_environment() -> dict[str, str]:
    """Where Debian keeps PETSc for real numbers; one thread a rank, and no second solver on the machine's cores."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    homes = sorted(Path("/usr/lib/petscdir").glob("*/*-real"))
    if homes and "PETSC_DIR" not in environment:
        environment["PETSC_DIR"] = str(homes[-1])
    return environment


@cache
def petsc_absence() -> str:
    """What is missing for PETSc."""
    if shutil.which("mpiexec") is None:
        return "mpiexec"
    probe = [PETSC_PYTHON, "-c", "from petsc4py import PETSc"]
    try:
        done = subprocess.run(probe, env=_petsc_environment(), capture_output=True, check=False)
    except OSError:
        return PETSC_PYTHON
    return "" if done.returncode == 0 else f"petsc4py for {PETSC_PYTHON}"


def run_petsc(
    A: sp.csr_array, b: np.ndarray, rtol: float, *, preconditioner: str, coordinates: np.ndarray | None = None
) -> Run:
    """Conjugate gradients of PETSc on MPI ranks, which read the system from files; the ranks' own clock counts.

    ``coordinates``, shape (N, d), are those of the nodes whose displacements are the unknowns.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = {"indptr": A.indptr, "indices": A.indices, "data": A.data, "b": b, "coordinates": coordinates}
        for array, values in arrays.items():
            if values is not None:
                np.save(folder / f"{array}.npy", values)
        command = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS), PETSC_PYTHON]
        command += [str(PETSC_WORKER), str(folder), repr(rtol), preconditioner]
        done = subprocess.run(command, env=_petsc_environment(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no word"]
            raise PeerError(f"mpiexec ended with {done.returncode}: {lines[-1]}")
        times = json.loads((folder / "times.json").read_text())
        if times["reason"] < 0:
            raise PeerError(f"PETSc's reason {times['reason']} after {times['iterations']} iterations")
        x = np.load(folder / "x.npy")
    return Run(x, times["setup_seconds"], times["solve_seconds"], times["iterations"])


def prepare_torch_sla(A: sp.csr_array, rtol: float, *, backend: str) -> Solve:
    """torch-sla, all of it in the solve. Its cache is emptied first: it would find the factor of the run before."""
    torch_sla = import_module("torch_sla")
    torch_sla.SOLVER_CACHE.clear()

    def solve(b: np.ndarray) -> tuple[np.ndarray, None]:
        return torch_sla.solve(A, torch.from_numpy(b), backend=backend, rtol=rtol, atol=0.0).numpy(), None

    return solve


def prepare_reference(A: sp.csr_array, rtol: float) -> Solve:
    """Flooding on the literal torch kernels: precision fixed point, then means, a residual check every 8 sweeps."""
    system = make_system(read_matrix(A))
    graph = system.graph
    source, slots = graph.source.long(), (graph.source.long(), graph.destination, graph.reverse)
    precision = torch.zeros_like(system.weight)
    while True:
        new, cavity = reference.flood_precisions(system.diagonal, system.weight, *slots, precision)
        if not bool((cavity > 0).all()):
            raise PeerError("a cavity precision is not positive")
        converged = bool(((new - precision).abs() <= 1e-15 * new.abs()).all())
        precision = new
        if converged:
            break
    belief = system.diagonal + reference.gather_messages(precision, graph.destination, graph.n)
    cavity = belief[source] - precision[graph.reverse]

    def solve(b: np.ndarray) -> tuple[np.ndarray, int]:
        h = torch.from_numpy(b)[:, None]
        potential = h.new_zeros((graph.edges, 1))
        sweeps, wanted, residual = 0, rtol * float(h.norm()), float("inf")
        while residual > wanted:
            if not residual < float("inf") and sweeps:
                raise PeerError(f"diverged after {sweeps} sweeps")
            for _ in range(8):
                potential = reference.flood_potentials(h, system.weight, *slots, cavity, potential)
            sweeps += 8
            x = (h + reference.gather_messages(potential, graph.destination, graph.n)) / belief[:, None]
            product = reference.multiply(system.diagonal, system.weight, source, graph.destination, x)
            residual = float((h - product).norm())
        return x[:, 0].numpy(), sweeps

    return solve


def _petsc(name: str, preconditioner: str) -> Peer:
    return Peer(name, "petsc", partial(run_petsc, preconditioner=preconditioner), absence=petsc_absence)


def _torch_sla(name: str, family: str, backend: str) -> Peer:
    run = TimedInProcess(partial(prepare_torch_sla, backend=backend))
    return Peer(name, family, run, ("torch_sla", "pyamg") if backend == "pyamg" else ("torch_sla",))


SUITE_PEERS: dict[str, Peer] = PEERS | {
    "petsc-icc": _petsc("PETSc cg + block ICC, 2 ranks", "bjacobi-icc"),
    "petsc-hypre": _petsc("PETSc cg + hypre, 2 ranks", "hypre"),
    "petsc-gamg": _petsc("PETSc cg + GAMG, 2 ranks", "gamg"),
    "torch-sla": _torch_sla("torch-sla (SuperLU)", "direct", "scipy"),
    "torch-sla-pyamg": _torch_sla("torch-sla (pyamg)", "multigrid", "pyamg"),
    "reference": Peer("flooding, torch reference", "message passing", TimedInProcess(prepare_reference)),
}
