"""3-D elasticity: gabp with and without node blocks and rigid-body modes, beside pyamg and PETSc.

``python -m bench.elasticity_table`` writes bench/results/elasticity.md: set-up and solve to a true relative residual of
1e-8, medians of alternating runs. PETSc runs on two MPI ranks with the nodes' block size and rigid-body modes; its
assembly is not counted.
"""

import argparse
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pyamg
import scipy.sparse as sp

import gabp
from bench.elasticity import ElasticBody, elastic_box
from bench.peers import petsc_absence, run_petsc
from gabp.compare.benchmark_run import relative_residual
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.peers import Run
from gabp.compare.table import markdown_table

RTOL = 1e-8
RESULTS = Path(__file__).with_name("results") / "elasticity.md"
OURS = "gabp, rigid-body modes"


def by_gabp(body: ElasticBody, b: np.ndarray, *, modes: bool = False, **settings: object) -> Run:
    """By gabp, with rigid-body modes or without."""
    began = perf_counter()
    if modes:
        settings["near_nullspace"] = gabp.rigid_body_modes(body.coordinates)
    solver = gabp.Solver(body.A, **settings)
    ready = perf_counter()
    solution = solver.solve(b)
    return Run(solution.x, ready - began, perf_counter() - ready, solution.iterations)


def by_pyamg(body: ElasticBody, b: np.ndarray) -> Run:
    """Smoothed aggregation with rigid-body modes inside conjugate gradients."""
    began = perf_counter()
    blocks = sp.bsr_matrix(body.A, blocksize=(3, 3))
    hierarchy = pyamg.smoothed_aggregation_solver(blocks, B=gabp.rigid_body_modes(body.coordinates))
    ready = perf_counter()
    residuals: list[float] = []
    x = hierarchy.solve(b, tol=RTOL, maxiter=500, accel="cg", residuals=residuals)
    return Run(x, ready - began, perf_counter() - ready, len(residuals) - 1)


def by_petsc(body: ElasticBody, b: np.ndarray, *, preconditioner: str) -> Run:
    """Conjugate gradients of PETSc, told of the nodes."""
    return run_petsc(body.A, b, RTOL, preconditioner=preconditioner, coordinates=body.coordinates)


METHODS: dict[str, Callable[[ElasticBody, np.ndarray], Run]] = {
    "gabp, auto": by_gabp,
    "gabp, blocks=3": partial(by_gabp, blocks=3),
    OURS: partial(by_gabp, modes=True),
    "pyamg smoothed aggregation, modes": by_pyamg,
}
PETSC = {
    "PETSc block ICC, 2 ranks": partial(by_petsc, preconditioner="bjacobi-icc"),
    "PETSc GAMG, modes, 2 ranks": partial(by_petsc, preconditioner="gamg"),
    "PETSc hypre, 2 ranks": partial(by_petsc, preconditioner="hypre"),
}


def main() -> None:
    """Run it and write the table."""
    parser = argparse.ArgumentParser(description="Time 3-D elasticity.")
    parser.add_argument("--sides", type=int, nargs="*", default=[24, 32, 40, 48])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    methods = METHODS if petsc_absence() else METHODS | PETSC
    rows = []
    for side in arguments.sides:
        body = elastic_box(side)
        b = np.random.default_rng(0).standard_normal(body.A.shape[0])
        runs: dict[str, list[Run]] = {name: [] for name in methods}
        for _ in range(arguments.rounds):
            for name, run in methods.items():
                runs[name].append(run(body, b))
        best = median(run.seconds for run in runs[OURS])
        for name, all_runs in runs.items():
            setup = median(run.setup_seconds for run in all_runs)
            total = median(run.seconds for run in all_runs)
            residual = max(relative_residual(body.A, run.x, b) for run in all_runs)
            row = [f"{side}³", f"{body.A.shape[0]:,}", name, f"{all_runs[0].iterations}", f"{setup:.2f} s"]
            rows.append([*row, f"{total:.2f} s", f"{total / best:.2f}", f"{residual:.0e}"])
            print(*rows[-1], sep="  ", flush=True)
    heads = ["elements", "unknowns", "solver", "iterations", "set-up", "set-up + solve", "ratio", "residual"]
    machine, commit = describe_machine(), describe_commit().get("commit", "unknown")[:12]
    text = [
        "# 3-D elasticity",
        f"{date.today()}, commit {commit}: trilinear hexahedra, Poisson's ratio 0.3, "
        "one face clamped, a random load. The ratio is the time over that of gabp with rigid-body modes. "
        "PETSc knows the block size and the modes; its assembly is not counted.",
        markdown_table(heads, rows),
        ", ".join(f"{name}: {value}" for name, value in machine.items()),
    ]
    RESULTS.write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
