"""The linear systems of pose graphs: elimination and hierarchies, of unknowns and of poses.

``python -m bench.pose_graphs GRAPH.g2o ...`` writes bench/results/pose_graphs.md: set-up and solve of the normal
equations at the optimum, to a true relative residual of 1e-8, medians of alternating runs.
"""

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import scipy.sparse as sp
import torch

import gabp
from bench.run import RESULTS, describe_run
from gabp.compare.benchmark_run import relative_residual
from gabp.compare.table import markdown_table, seconds
from gabp.factors.linearization import linearize
from gabp.factors.structure import Structure

MOST_ITERATIONS = 1000
NOTE = "Set-up and solve of the normal equations at the optimum, to a true relative residual of 1e-8, medians."


def normal_equations(path: str) -> tuple[sp.csr_array, int, torch.Tensor | None]:
    """The matrix at the optimum, the unknowns of a pose, and the motions of the whole graph."""
    graph = gabp.read_g2o(path)
    result = graph.optimize("gauss-newton", throw=False)
    structure = Structure.of(graph.sets, graph.factors, result.fixed)
    made = linearize(structure, result.estimate)
    return sp.csr_array(made.system.to_scipy()), graph.sets[0].manifold.dimension, made.common_motions()


def main() -> None:
    """Run it and write the table."""
    parser = argparse.ArgumentParser(description="Time the linear systems of pose graphs.")
    parser.add_argument("graphs", metavar="GRAPH.g2o", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    for path in arguments.graphs:
        A, size, motions = normal_equations(path)
        b = np.random.default_rng(0).standard_normal(A.shape[0])
        iterate = {"method": "hierarchy", "maxiter": MOST_ITERATIONS, "throw": False}
        ways = {
            "auto": {},
            "elimination": {"method": "elimination"},
            "elimination, poses": {"method": "elimination", "blocks": size},
            "hierarchy": iterate,
            "hierarchy, poses": iterate | {"blocks": size},
            "hierarchy, poses and motions": iterate | {"blocks": size, "near_nullspace": motions},
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        ends = {}
        for _ in range(arguments.rounds):
            for way, settings in ways.items():
                began = perf_counter()
                ends[way] = gabp.solve(A, b, **settings)
                times[way].append(perf_counter() - began)
        for way, solution in ends.items():
            residual = relative_residual(A, solution.x, b)
            ratio = median(times[way]) / median(times["elimination"])
            cells = [Path(path).name.split(".")[0], f"{A.shape[0]:,}", way, f"{solution.iterations}"]
            rows.append([*cells, seconds(median(times[way])), f"{ratio:.2f}", f"{residual:.0e}"])
            print(*rows[-1], sep="  ", flush=True)
    heads = ["graph", "unknowns", "method", "iterations", "set-up + solve", "over elimination", "residual"]
    text = ["# Linear systems of pose graphs", describe_run(), NOTE, markdown_table(heads, rows)]
    (RESULTS / "pose_graphs.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
