"""Pose graphs: gabp's Gauss–Newton beside GTSAM's, from the values of the file and from chordal initialisation.

``python -m bench.factor_graphs FILE.g2o ...`` writes bench/results/factor_graphs.md: initialisation, set-up and
iterations to a relative decrease of 1e-9, medians of runs that take turns. ``--peer-python`` names the Python of
another environment that has gtsam.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import gabp
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.table import markdown_table, seconds

RTOL = 1e-9
RESULTS = Path(__file__).with_name("results") / "factor_graphs.md"
WORKER = Path(__file__).with_name("gtsam_worker.py")
STARTS = {"file": None, "chordal": "chordal"}
WORSE = 1e-3  # of an objective, relative: the residuals of the two differ by less on these files
CONVENTIONS = """\
Objectives are ½ Σ rᵀΩr. gabp's residual takes translation and rotation apart, R_zᵀ (t_ij - t_z) and log(R_zᵀ R_ij), as
the g2o format defines them; GTSAM takes the logarithm of the whole element of SE(3) or SE(2), whose translation is
V(ω)⁻¹ times that of g2o, V(ω) = I + O(ω). The two differ where residual rotations ω are large: on smallGrid3D, whose
median is 0.26 rad, gabp's estimate of objective 516.947 has 517.931 in GTSAM's convention, 1e-5 above the minimum
517.925. Each program finds the minimum of its own objective; the last column evaluates gabp's objective at GTSAM's
estimate. GTSAM has a chordal start, InitializePose3, in space only."""


@dataclass
class Runs:
    """What was measured of one program from one start."""

    times: list[float] = field(default_factory=list)
    iterations: int = 0
    objective: float = float("nan")
    reached: bool = True
    values: np.ndarray | None = None


def time_gabp(graph: gabp.FactorGraph, start: str, runs: Runs | None) -> None:
    """Optimise once; ``None`` for a run that is not counted."""
    began = perf_counter()
    result = graph.optimize("gauss-newton", init=STARTS[start], rtol=RTOL, throw=False)
    took = perf_counter() - began
    if runs is not None:
        runs.times.append(took)
        runs.iterations, runs.objective, runs.reached = result.iterations, result.objective, result.converged


def time_gtsam(python: str, folder: Path, start: str, runs: Runs) -> None:
    """Optimise once in a process of its own."""
    command = [python, str(WORKER), str(folder), start, str(RTOL)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"gtsam failed: {done.stderr.strip().splitlines()[-1:]}")
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    runs.times.append(record["seconds"])
    runs.iterations, runs.objective = record["iterations"], record["objective"]
    runs.values = np.load(folder / "estimate.npz")["values"]


def save_graph(graph: gabp.FactorGraph, path: Path) -> None:
    """The arrays of a graph of one set of poses, for the worker."""
    batches = graph.factors
    if len(graph.sets) != 1 or any(type(batch.kind) is not gabp.factors.Between for batch in batches):
        raise SystemExit(f"{path}: only graphs of poses and the measurements between them can be compared")
    shape = (-1, *batches[0].information.shape[1:])
    np.savez(
        path,
        values=graph.sets[0].initial.numpy(),
        edges=np.concatenate([batch.index.numpy() for batch in batches]),
        measurement=np.concatenate([batch.measurement.numpy() for batch in batches]),
        information=np.concatenate([batch.information.expand(len(batch), *shape[1:]).numpy() for batch in batches]),
    )


def compare(path: Path, start: str, python: str | None, rounds: int) -> list[str]:
    """The row of one file and start."""
    graph = gabp.read_g2o(path)
    ours, theirs = Runs(), Runs()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_graph(graph, folder / "graph.npz")
        time_gabp(graph, start, None)
        for _ in range(rounds):
            time_gabp(graph, start, ours)
            if python is not None and not (start == "chordal" and graph.sets[0].manifold is gabp.SE2):
                time_gtsam(python, folder, start, theirs)
    poses, edges = graph.sets[0].count, sum(map(len, graph.factors))
    row = [path.name.split(".")[0], f"{poses:,}", f"{edges:,}", start, *_cells(ours, float("inf"))]
    if theirs.values is None:
        return [*row, "", "", "", ""]
    there = graph.objective({graph.sets[0]: theirs.values})
    theirs.reached = there <= ours.objective * (1 + WORSE) or not ours.reached
    ours.reached = ours.reached and ours.objective <= there * (1 + WORSE)
    row = [*row[:4], *_cells(ours, there), *_cells(theirs, ours.objective)]
    both = ours.reached and theirs.reached
    return [*row, f"{median(ours.times) / median(theirs.times):.2f}" if both else "", f"{there:.8g}"]


def _cells(runs: Runs, best: float) -> list[str]:
    """Time with iterations, and objective; marked where another minimum, or none, was reached."""
    mark = "" if runs.reached else " (not reached)"
    return [f"{seconds(median(runs.times))} ({runs.iterations})", f"{runs.objective:.8g}{mark}"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run it and write the table."""
    parser = argparse.ArgumentParser(description="Time Gauss–Newton on pose graphs.")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.g2o", help="g2o files, compressed or not")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS), help="where to start")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer-python", metavar="PYTHON", help="of an environment with gtsam (default: this one's)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to write the table")
    arguments = parser.parse_args(argv)
    python = arguments.peer_python
    if python is None and importlib.util.find_spec("gtsam") is not None:
        python = sys.executable
    rows = []
    for path in arguments.files:
        for start in arguments.starts:
            rows.append(compare(path, start, python, arguments.rounds))
            print("  ".join(rows[-1]), flush=True)
    heads = ["file", "poses", "edges", "start", "gabp", "objective", "GTSAM", "its objective", "ratio", "gabp's there"]
    machine, commit = describe_machine(), describe_commit().get("commit", "unknown")[:12]
    text = [
        "# Pose graphs",
        f"{date.today()}, commit {commit}: Gauss–Newton to a relative decrease of {RTOL:g}, the first pose held; time "
        "(iterations) of initialisation, analysis and iterations together, medians of "
        f"{arguments.rounds} runs in turns; the files are read before. The ratio is gabp's time over GTSAM's, where "
        "both reach the same minimum.",
        markdown_table(heads, rows),
        CONVENTIONS,
        ", ".join(f"{name}: {value}" for name, value in machine.items()),
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
