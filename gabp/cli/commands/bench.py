"""``gabp bench``: compare gabp with other solvers on given matrices."""

import argparse
import sys
from collections.abc import Callable, Sequence

from gabp.cli.json_text import json_text
from gabp.compare.comparison import Plan, Problem, compare
from gabp.compare.figure import problem_figure, save_comparison_figure
from gabp.compare.peers import PEERS, Peer, pick_peers
from gabp.compare.problems import problem_from_file, terrain_problem
from gabp.compare.record import comparison_record
from gabp.compare.table import comparison_table
from gabp.files import check_writable, reraise_as_file_error, write_text

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


def _progress_line() -> Callable[[str], None]:
    """A function that shows one line of progress on stderr, if that is a terminal."""
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
    report = _progress_line()
    comparisons = []
    for problem in problems:
        comparisons.append(compare(problem, arguments.peers, plan, report))
        report("")
        print(comparison_table(comparisons[-1]), end="\n\n", flush=True)
    if arguments.json is not None:
        write_text(arguments.json, json_text(comparison_record(comparisons, plan)) + "\n")
    if arguments.plot is not None:
        with reraise_as_file_error(arguments.plot, "written"):
            save_comparison_figure(problem_figure(comparisons), arguments.plot)
    ours = [entry for comparison in comparisons for entry in comparison.entries if entry.peer == "gabp"]
    return int(any(entry.trial.status != "right" for entry in ours))
