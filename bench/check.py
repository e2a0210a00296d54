"""What `gabp.check` costs, in solves of the same matrix: set-up and solution by `auto` to 1e-8."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import scipy.sparse as sp

import gabp
from bench.problems import PROBLEMS
from gabp.cli.json_text import json_text
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.table import markdown_table, seconds

RESULTS = Path(__file__).with_name("results")
SHOWN = ("Poisson 2-D", "grid 2-D + 0.1", "Poisson 3-D")


def frustrated(n: int, degree: int = 6, radius: float = 1.002) -> sp.csr_array:
    """A random graph with couplings of random sign and equal size, scaled to ``ρ(|R|) = radius``."""
    rng = np.random.default_rng(0)
    ends = rng.integers(0, n, (n * degree // 2, 2))
    i, j = ends[ends[:, 0] != ends[:, 1]].T
    upper = sp.coo_array((rng.choice([-1.0, 1.0], len(i)), (np.minimum(i, j), np.maximum(i, j))), (n, n)).tocsr()
    couplings = upper + upper.T
    largest = sp.linalg.eigsh(abs(couplings), 1, which="LA", v0=np.ones(n), return_eigenvectors=False)[0]
    return sp.csr_array(sp.eye_array(n) + couplings * (radius / largest))


def median_seconds(run: Callable[[], object], rounds: int) -> float:
    """The median of the times of ``rounds`` runs, after one that meets cold pages."""
    run()
    times = []
    for _ in range(rounds):
        began = perf_counter()
        run()
        times.append(perf_counter() - began)
    return float(np.median(times))


def measure(name: str, A: sp.csr_array, rounds: int) -> dict[str, object]:
    """Seconds of a solve and of a check, and what the check found."""
    b = A @ np.ones(A.shape[0])
    solve = median_seconds(lambda: gabp.solve(A, b), rounds)
    check = median_seconds(lambda: gabp.check(A), rounds)
    report = gabp.check(A)
    return {
        "problem": name,
        "n": report.n,
        "solve_seconds": solve,
        "check_seconds": check,
        "solves": check / solve,
        "walk_summable": report.walk_summable.value,
        "walk_radius": report.walk_radius,
        "positive_definite": report.positive_definite.value,
        "flooding_converges": report.flooding_converges.value,
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write check.md and check.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small problems: seconds")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    scale = 0.01 if arguments.quick else 1.0
    matrices = {name: PROBLEMS[name](scale).A for name in SHOWN}
    matrices["frustrated random, ρ(|R|) = 1.002"] = frustrated(int(20_000 * max(scale, 0.05)))
    found = [measure(name, sp.csr_array(A), arguments.rounds) for name, A in matrices.items()]
    header = ("system", "unknowns", "solve", "check", "in solves", "walk-summable", "positive definite")
    rows = [
        [
            str(row["problem"]),
            f"{row['n']:,}",
            seconds(row["solve_seconds"]),
            seconds(row["check_seconds"]),
            f"{row['solves']:.1f}",
            str(row["walk_summable"]),
            str(row["positive_definite"]),
        ]
        for row in found
    ]
    machine = describe_machine()
    caption = f"{machine['date'][:10]}, {machine['processor']}, {machine['threads']} threads; medians."
    text = "\n\n".join(["# What a check costs", caption, markdown_table(header, rows)])
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "check.md").write_text(text + "\n")
    record = {"machine": machine, "code": describe_commit(RESULTS.parent.parent), "found": found}
    (arguments.out / "check.json").write_text(json_text(record) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
