"""3-D elasticity: gabp with and without node blocks and rigid-body modes, beside pyamg's smoothed aggregation.

``python -m bench.elasticity_table`` writes bench/results/elasticity.md: set-up and solve to a true relative residual of
1e-8, medians of alternating runs in one process.
"""

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pyamg
import scipy.sparse as sp

import gabp
from bench.elasticity import ElasticBody, elastic_box
from gabp.compare.benchmark_run import relative_residual
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.table import markdown_table

RTOL = 1e-8
RESULTS = Path(__file__).with_name("results") / "elasticity.md"
Run = Callable[[ElasticBody, np.ndarray], tuple[np.ndarray, int]]


def by_gabp(**settings: object) -> Run:
    """Set-up and solve by gabp."""

    def run(body: ElasticBody, b: np.ndarray) -> tuple[np.ndarray, int]:
        modes = {"near_nullspace": gabp.rigid_body_modes(body.coordinates)} if settings.get("modes") else {}
        options = {name: value for name, value in settings.items() if name != "modes"}
        solution = gabp.solve(body.A, b, **options, **modes)
        return solution.x, solution.iterations

    return run


def by_pyamg(body: ElasticBody, b: np.ndarray) -> tuple[np.ndarray, int]:
    """Smoothed aggregation with rigid-body modes inside conjugate gradients."""
    blocks = sp.bsr_matrix(body.A, blocksize=(3, 3))
    hierarchy = pyamg.smoothed_aggregation_solver(blocks, B=gabp.rigid_body_modes(body.coordinates))
    residuals: list[float] = []
    x = hierarchy.solve(b, tol=RTOL, maxiter=500, accel="cg", residuals=residuals)
    return x, len(residuals) - 1


METHODS: dict[str, Run] = {
    "gabp, auto": by_gabp(),
    "gabp, blocks=3": by_gabp(blocks=3),
    "gabp, blocks=3 and rigid-body modes": by_gabp(blocks=3, modes=True),
    "pyamg smoothed aggregation, modes": by_pyamg,
}


def main() -> None:
    """Run it and write the table."""
    parser = argparse.ArgumentParser(description="Time 3-D elasticity.")
    parser.add_argument("--sides", type=int, nargs="*", default=[24, 32, 40])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for side in arguments.sides:
        body = elastic_box(side)
        b = np.random.default_rng(0).standard_normal(body.A.shape[0])
        seconds: dict[str, list[float]] = {name: [] for name in METHODS}
        iterations, residual = {}, {}
        for _ in range(arguments.rounds):
            for name, run in METHODS.items():
                began = perf_counter()
                x, iterations[name] = run(body, b)
                seconds[name].append(perf_counter() - began)
                residual[name] = relative_residual(body.A, x, b)
        best = median(seconds["gabp, blocks=3 and rigid-body modes"])
        for name in METHODS:
            total = median(seconds[name])
            size = [f"{side}³", f"{body.A.shape[0]:,}"]
            rows.append(
                [*size, name, f"{iterations[name]}", f"{total:.2f} s", f"{total / best:.2f}", f"{residual[name]:.0e}"]
            )
    heads = ["elements", "unknowns", "solver", "iterations", "set-up + solve", "ratio", "residual"]
    machine, commit = describe_machine(), describe_commit().get("commit", "unknown")[:12]
    text = [
        "# 3-D elasticity",
        f"{date.today()}, commit {commit}: trilinear hexahedra, Poisson's ratio 0.3, "
        "one face clamped, a random load. The ratio is the time over that of gabp with blocks and rigid-body modes.",
        markdown_table(heads, rows),
        ", ".join(f"{name}: {value}" for name, value in machine.items()),
    ]
    RESULTS.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(text[2])


if __name__ == "__main__":
    main()
