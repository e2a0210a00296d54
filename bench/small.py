"""Small systems, where overhead is all there is: milliseconds a call, beside scipy's SuperLU.

``python -m bench.small`` writes bench/results/small.md: medians of repeated calls that take turns in one process, and
medians of the first call in fresh processes, after the imports.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg
import torch

import gabp
from bench.problems import grid_laplacian
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.table import markdown_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results") / "small.md"
SHIFT = 0.1  # of the diagonal of a graph's Laplacian
FIRST = ("tree, 32", "grid, 10 × 10")  # timed in fresh processes


def graph_laplacian(n: int, source: np.ndarray, destination: np.ndarray) -> sp.csr_array:
    """The shifted Laplacian of a graph, each edge given once."""
    adjacency = sp.coo_array((np.ones(len(source)), (source, destination)), shape=(n, n)).tocsr()
    adjacency = adjacency + adjacency.T
    return sp.csr_array(sp.diags_array(adjacency.sum(axis=1) + SHIFT) - adjacency)


def small_systems() -> dict[str, sp.csr_array]:
    """Trees, chains, grids, a random graph and a full matrix, of at most 500 unknowns."""
    rng = np.random.default_rng(0)
    source, destination = rng.integers(0, 200, (2, 600))
    edges = source != destination
    factor = rng.standard_normal((30, 30))
    children = np.arange(1, 32)
    return {
        "tree, 32": graph_laplacian(32, children, (children - 1) // 2),
        "chain, 100": graph_laplacian(100, np.arange(99), np.arange(1, 100)),
        "chain, 500": graph_laplacian(500, np.arange(499), np.arange(1, 500)),
        "grid, 10 × 10": grid_laplacian((10, 10), (1.0, 1.0)),
        "grid, 22 × 22": grid_laplacian((22, 22), (1.0, 1.0)),
        "random, 200": graph_laplacian(200, source[edges], destination[edges]),
        "full, 30 × 30": sp.csr_array(factor @ factor.T + 30 * np.eye(30)),
    }


def torch_csr(A: sp.csr_array) -> torch.Tensor:
    """The same matrix as a torch tensor."""
    parts = (torch.from_numpy(part) for part in (A.indptr, A.indices, A.data))
    return torch.sparse_csr_tensor(*parts, A.shape, check_invariants=True)


def runs(A: sp.csr_array, b: np.ndarray) -> dict[str, Callable[[], object]]:
    """What is timed on one system, by column of the table."""
    A_torch, b_torch, by_columns = torch_csr(A), torch.from_numpy(b), A.tocsc()
    solver, hierarchy = gabp.Solver(A), gabp.Solver(A, method="hierarchy")
    factor = scipy.sparse.linalg.splu(by_columns)
    return {
        "gabp": lambda: gabp.solve(A, b),
        "torch": lambda: gabp.solve(A_torch, b_torch),
        "solve alone": lambda: solver.solve(b),
        "torch, solve alone": lambda: solver.solve(b_torch),
        "hierarchy": lambda: gabp.solve(A, b, method="hierarchy"),
        "hierarchy, solve alone": lambda: hierarchy.solve(b),
        "splu": lambda: scipy.sparse.linalg.splu(by_columns).solve(b),
        "splu, solve alone": lambda: factor.solve(b),
    }


def right_hand_side(A: sp.csr_array) -> np.ndarray:
    """Independent standard normals, shape (n,)."""
    return np.random.default_rng(1).standard_normal(A.shape[0])


def milliseconds(run: Callable[[], object]) -> float:
    """The time of one call."""
    began = perf_counter()
    run()
    return 1e3 * (perf_counter() - began)


def time_repeated(A: sp.csr_array, repeats: int) -> dict[str, float]:
    """The median time of each run, in milliseconds."""
    timed = runs(A, right_hand_side(A))
    samples: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(repeats):
        for name, run in timed.items():
            samples[name].append(milliseconds(run))
    return {name: median(sample) for name, sample in samples.items()}


def time_first(name: str) -> tuple[float, float, float]:
    """The first call of gabp in this process, the second one, and the first of SuperLU, in milliseconds."""
    A = small_systems()[name]
    b, by_columns = right_hand_side(A), A.tocsc()
    splu = milliseconds(lambda: scipy.sparse.linalg.splu(by_columns).solve(b))
    first, second = (milliseconds(lambda: gabp.solve(A, b)) for _ in range(2))
    return first, second, splu


def first_calls(name: str, processes: int) -> list[float]:
    """Medians of `time_first` over fresh processes."""
    command = [sys.executable, "-m", "bench.small", "--first", name]
    times = []
    for _ in range(processes):
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        times.append([float(time) for time in output.split()])
    return [median(sample) for sample in zip(*times, strict=True)]


def main(argv: list[str] | None = None) -> None:
    """Run it and write the table."""
    parser = argparse.ArgumentParser(description="Time small systems.")
    parser.add_argument("--repeats", type=int, default=200, help="calls of each kind")
    parser.add_argument("--processes", type=int, default=9, help="fresh ones, for the first call")
    parser.add_argument("--first", metavar="SYSTEM", help="only print the times of first calls in this process")
    arguments = parser.parse_args(argv)
    if arguments.first is not None:
        print(*time_first(arguments.first))
        return
    repeated = {name: time_repeated(A, arguments.repeats) for name, A in small_systems().items()}
    columns = list(next(iter(repeated.values())))
    rows = [[name, *(f"{times[column]:.3f}" for column in columns)] for name, times in repeated.items()]
    first = [[name, *(f"{time:.2f}" for time in first_calls(name, arguments.processes))] for name in FIRST]
    machine, commit = describe_machine(), describe_commit().get("commit", "unknown")[:12]
    text = [
        "# Small systems",
        f"{date.today()}, commit {commit}: milliseconds a call, medians of {arguments.repeats}. *gabp* is "
        "`gabp.solve(A, b)` of scipy and numpy arrays, *torch* of a sparse CSR tensor; *hierarchy* the method of this "
        "name, which `auto` leaves to larger systems; *splu* scipy's SuperLU, from A by columns.",
        markdown_table(["system", *columns], rows),
        f"The first call in a fresh process, imports done; medians of {arguments.processes} processes.",
        markdown_table(["system", "gabp, first call", "second call", "splu, first call"], first),
        ", ".join(f"{name}: {value}" for name, value in machine.items()),
    ]
    RESULTS.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print("\n\n".join(text[2:5]))


if __name__ == "__main__":
    main()
