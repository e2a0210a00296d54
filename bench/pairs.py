"""This checkout against another one, in pairs: is anything slower than it was?

``python -m bench.pairs OTHER`` times the public solve of both checkouts on the same systems, in processes that take
turns, and prints the median over the pairs of this one's time over the other's: above 1, this one is slower. Both need
their compiled extension in place, as an editable installation has it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from bench.problems import PROBLEMS
from gabp.compare.table import markdown_table

HERE = Path(__file__).resolve().parent
QUICK = (
    "grid 2-D + 0.1",
    "Poisson 2-D",
    "Poisson 3-D",
    "grid 3-D + 0.1",
    "anisotropic",
    "random",
    "terrain",
    "elasticity",
)


def time_checkout(root: Path, systems: str) -> dict[str, float]:
    """The seconds of every case in one process that runs the sources under ``root``."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-P", str(HERE / "pairs_worker.py"), systems]
    output = subprocess.run(command, env=environment, cwd=systems, check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def main() -> int:
    """Print the table; 1 if the median ratio of a case exceeds the limit."""
    parser = argparse.ArgumentParser(description="Time this checkout against another one.")
    parser.add_argument("other", type=Path, help="root of the other checkout, built in place")
    parser.add_argument("--scale", type=float, default=0.01, help="share of the full number of unknowns")
    parser.add_argument("--rounds", type=int, default=9, help="pairs")
    parser.add_argument("--limit", type=float, default=1.03, help="ratio from which a case counts as slower")
    parser.add_argument("--problems", nargs="*", default=QUICK, metavar="NAME", help=f"from {', '.join(PROBLEMS)}")
    arguments = parser.parse_args()
    ours: list[dict[str, float]] = []
    others: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as systems:
        for name in arguments.problems:
            problem = PROBLEMS[name](arguments.scale)
            A = problem.A
            np.savez(Path(systems, f"{name}.npz"), data=A.data, indices=A.indices, indptr=A.indptr, b=problem.b)
        for round_ in range(arguments.rounds):
            turns = [(ours, HERE.parent), (others, arguments.other.resolve())]
            for times, root in turns if round_ % 2 == 0 else reversed(turns):
                times.append(time_checkout(root, systems))
    rows, slower = [], []
    for case in ours[0]:
        ratios = [mine[case] / other[case] for mine, other in zip(ours, others, strict=True)]
        ratio = median(ratios)
        if ratio > arguments.limit:
            slower.append(case)
        milliseconds = (1e3 * median(times[case] for times in sample) for sample in (ours, others))
        rows.append(
            [
                case,
                *(f"{value:.3g}" for value in milliseconds),
                f"{ratio:.3f}",
                f"{min(ratios):.2f} – {max(ratios):.2f}",
            ]
        )
    print(markdown_table(["case", "this, ms", "other, ms", "ratio", "range"], rows))
    print(f"\nslower than {arguments.limit}: {', '.join(slower) or 'none'}")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
