"""``gabp bench``: gabp beside other solvers on your matrices."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from gabp.app.comparison import Plan, Problem, compare
from gabp.app.comparison_figure import problem_figure, save_comparison_figure
from gabp.app.comparison_record import comparison_record
from gabp.app.comparison_table import comparison_table
from gabp.app.demo import TRUST, load_terrain, smoothness_precision
from gabp.app.errors import CommandError
from gabp.app.files import check_writable, read_matrix, told_as_file_error, write_text
from gabp.app.json_text import json_text
from gabp.app.peers import PEERS, Peer, pick_peers

HELP = "compare with other solvers on your matrices"
ACCURACIES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)


def _peer_list(text: str) -> list[Peer]:
    try:
        return pick_peers([name.strip() for name in text.split(",") if name.strip()], PEERS)
    except KeyError as error:
        raise argparse.ArgumentTypeError(error.args[0]) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``gabp bench``."""
    parser.add_argument(
        "matrices", metavar="MATRIX.mtx", nargs="*", help="A (default: the terrain of gabp demo); b is A·1"
    )
    parser.add_argument(
        "--peers", type=_peer_list, metavar="LIST", default=list(PEERS.values()),
        help=f"with commas between, from {', '.join(PEERS)} (default: all that are installed)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--plot", metavar="FILE.png", help="draw time to accuracy, and residual against time")


def problem_from_file(path: str) -> Problem:
    """A of a file, with b = A·1.

    Raises
    ------
    CommandError
        The file cannot be read, or its matrix cannot be solved with.
    """
    A = read_matrix(path)
    if A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise CommandError(f"{path}: a system needs a square matrix, this one is {A.shape[0]}×{A.shape[1]}")
    A = sp.csr_array(A).astype(np.float64)
    if not np.isfinite(A.data).all():
        raise CommandError(f"{path}: holds NaN or infinite entries")
    b = A @ np.ones(A.shape[0])
    if not b.any():
        raise CommandError(f"{path}: A·1 is 0, so there is nothing to solve")
    return Problem(Path(path).name, A, b)


def terrain_problem(fraction: float = 0.05, seed: int = 0) -> Problem:
    """The system of ``gabp demo``."""
    height = load_terrain().height
    given = np.zeros(height.size, dtype=bool)
    given[np.random.default_rng(seed).choice(height.size, size=round(fraction * height.size), replace=False)] = True
    A = smoothness_precision(given.reshape(height.shape))
    b = TRUST * given * (height.ravel() - height.mean()) / height.std()
    return Problem("terrain", sp.csr_array(A), b, "a real landscape from one height in twenty (gabp demo)")


def _teller() -> Callable[[str], None]:
    """Progress on stderr, where somebody is watching."""
    if sys.stderr is None or not sys.stderr.isatty():
        return lambda line: None
    return lambda line: print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace) -> int:
    """Compare, print a table for each matrix; 0 if gabp solved them all, else 1."""
    if arguments.plot is not None:
        check_writable(arguments.plot, (".png",))
    if arguments.json is not None:
        check_writable(arguments.json, (".json",))
    problems = [problem_from_file(path) for path in arguments.matrices] or [terrain_problem()]
    plan = Plan(accuracies=ACCURACIES if arguments.plot is not None else ())
    return _compare_all(problems, arguments, plan)


def _compare_all(problems: Sequence[Problem], arguments: argparse.Namespace, plan: Plan) -> int:
    tell = _teller()
    comparisons = []
    for problem in problems:
        comparisons.append(compare(problem, arguments.peers, plan, tell))
        tell("")
        print(comparison_table(comparisons[-1]), end="\n\n", flush=True)
    if arguments.json is not None:
        write_text(arguments.json, json_text(comparison_record(comparisons, plan)) + "\n")
    if arguments.plot is not None:
        with told_as_file_error(arguments.plot, "written"):
            save_comparison_figure(problem_figure(comparisons), arguments.plot)
    ours = [entry for comparison in comparisons for entry in comparison.entries if entry.peer == "gabp"]
    return int(any(entry.trial.status != "right" for entry in ours))
