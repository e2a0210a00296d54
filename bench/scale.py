"""How time, memory and iterations grow with the size: Poisson's equation on grids up to 4000².

``python -m bench.scale`` writes ``scale.md`` and ``scale.json`` to bench/results/. The largest grid has 16 million
unknowns and 80 million entries; making and solving it needs about 16 GiB of memory, ``--largest 2000`` a quarter.
"""

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from bench.run import CHECKOUT, RESULTS, describe_run
from gabp.cli.json_text import json_text
from gabp.compare.benchmark_run import run_trial
from gabp.compare.comparison import Quartiles
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.peers import PEERS
from gabp.compare.table import markdown_table, seconds

SIDES = (250, 500, 1000, 2000, 4000)
LIMIT = 600.0  # seconds for one solve


def poisson(side: int) -> sp.csr_array:
    """The five-point Laplacian with zero boundary values, made without a copy more than need be."""
    n = side * side
    across = np.full(n, -1.0)
    across[side - 1 :: side] = 0.0  # the last node of a row is no neighbour of the next row's first
    diagonals = [np.full(n, 4.0), across[:-1], across[:-1], np.full(n - side, -1.0), np.full(n - side, -1.0)]
    A = sp.diags_array(diagonals, offsets=[0, 1, -1, side, -side]).tocsr()
    A.eliminate_zeros()
    A.indices, A.indptr = A.indices.astype(np.int32, copy=False), A.indptr.astype(np.int32, copy=False)
    return A


def measure(side: int, rounds: int) -> dict:
    """Medians over solves, each in a process of its own, for a random right-hand side."""
    A = poisson(side)
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    trials = [run_trial(PEERS["gabp-hierarchy"], A, b, 1e-8, LIMIT) for _ in range(rounds)]
    for trial in trials:
        if trial.status != "right":
            raise RuntimeError(f"{side}²: {trial.status}, {trial.detail}")
    time = Quartiles.of([trial.seconds for trial in trials if trial.seconds is not None])
    return {
        "side": side,
        "n": A.shape[0],
        "nnz": A.nnz,
        "matrix_bytes": A.data.nbytes + A.indices.nbytes + A.indptr.nbytes,
        "seconds": [time.low, time.median, time.high],
        "iterations": trials[0].iterations,
        "residual": max(trial.residual for trial in trials if trial.residual is not None),
        "peak_bytes": max((trial.peak_bytes for trial in trials if trial.peak_bytes is not None), default=None),
    }


def table(results: list[dict]) -> str:
    """One row per size."""
    rows = []
    for result in results:
        memory, median = result["peak_bytes"], result["seconds"][1]
        rows.append(
            [
                f"{result['side']}²",
                f"{result['n']:,}",
                f"{result['nnz']:,}",
                seconds(median),
                f"{seconds(result['seconds'][0])} – {seconds(result['seconds'][2])}",
                f"{median / result['n'] * 1e9:.0f} ns",
                str(result["iterations"]),
                f"{result['residual']:.0e}",
                "" if memory is None else f"{memory / 2**30:.2f} GiB",
                "" if memory is None else f"{memory / result['matrix_bytes']:.1f} A",
            ]
        )
    header = (
        "grid",
        "unknowns",
        "entries",
        "total",
        "quartiles",
        "per unknown",
        "iterations",
        "residual",
        "memory",
        "",
    )
    return markdown_table(header, rows)


def main(argv: list[str] | None = None) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--largest", type=int, default=SIDES[-1], help="nodes along the side of the largest grid")
    parser.add_argument("--rounds", type=int, default=3, help="solves of each size")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = []
    for side in (side for side in SIDES if side <= arguments.largest):
        logging.info("%d²", side)
        results.append(measure(side, arguments.rounds))
        text = "\n\n".join(
            [
                "# Poisson's equation on grids up to 4000²",
                describe_run(),
                "Set-up and solve by the hierarchy to a true relative residual of 1e-8, each in a new process. Memory: "
                "peak beside A and b, also in sizes of A in CSR. Each: total per unknown.",
                table(results),
            ]
        )
        (arguments.out / "scale.md").write_text(text + "\n")
        record = {"machine": describe_machine(), "code": describe_commit(CHECKOUT), "results": results}
        (arguments.out / "scale.json").write_text(json_text(record) + "\n")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
