"""The full benchmark: every problem, every peer.

``python -m bench.run`` writes Markdown, JSON and pictures to bench/results/: the seven problems of the headline in
some minutes, or ``--problems all``. ``--quick`` does small ones in about a minute. A solver that takes many times as
long as gabp is ended, and shown as too slow.
"""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from bench.peers import SUITE_PEERS
from bench.problems import PROBLEMS, problem_with_file
from gabp.cli.json_text import json_text
from gabp.compare.comparison import LEAST_SECONDS, Comparison, Plan, Problem, compare
from gabp.compare.figure import overview_figure, problem_figure, save_comparison_figure
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.peers import pick_peers
from gabp.compare.record import comparison_record
from gabp.compare.table import comparison_table, headline_table

RESULTS = Path(__file__).with_name("results")
CHECKOUT = RESULTS.parent.parent
ACCURACIES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)
WITH_CURVES = ("Poisson 2-D", "anisotropic")
HEADLINE = (
    "grid 2-D + 0.1", "Poisson 2-D", "Poisson 3-D", "grid 3-D + 0.1", "anisotropic", "inclusions", "channels",
    "elasticity 3-D", "random", "barabasi-albert", "terrain",
)  # fmt: skip
OTHERS = (
    "cg", "jacobi-cg", "minres", "spsolve", "splu", "pyamg-rs", "pyamg-sa", "pardiso", "cholmod", "cholespy",
    "petsc-icc", "petsc-hypre", "petsc-gamg",
)  # fmt: skip
# shown at a small scale with peers of every family
QUICK_PROBLEMS = ("grid 2-D + 0.1", "Poisson 3-D", "anisotropic", "frustrated")
QUICK_PEERS = ("gabp", "cg", "jacobi-cg", "splu", "pyamg-rs", "petsc-icc")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("matrices", metavar="MATRIX.mtx", nargs="*", help="further problems")
    parser.add_argument("--quick", action="store_true", help="small problems, few peers: about a minute")
    parser.add_argument(
        "--problems",
        metavar="LIST",
        help=f"with commas between, from {', '.join(PROBLEMS)}; 'all' or 'none' (default: {', '.join(HEADLINE)})",
    )
    parser.add_argument("--peers", metavar="LIST", help=f"with commas between, from {', '.join(SUITE_PEERS)}")
    parser.add_argument("--scale", type=float, help="share of the full number of unknowns (default: 1; quick: 0.01)")
    parser.add_argument("--rounds", type=int, help="pairs per peer (default: 3; quick: 2)")
    parser.add_argument("--times", type=float, default=6.0, help="times of gabp after which a trial is ended")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds after which a trial is ended anyway")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    quick = arguments.quick
    arguments.scale = arguments.scale or (0.01 if quick else 1.0)
    arguments.rounds = arguments.rounds or (2 if quick else 3)
    arguments.problems = _names(arguments.problems, QUICK_PROBLEMS if quick else HEADLINE)
    if arguments.problems == ("all",):
        arguments.problems = tuple(PROBLEMS)
    arguments.peers = _names(arguments.peers, QUICK_PEERS if quick else ("gabp", *OTHERS))
    for name in arguments.problems:
        if name not in PROBLEMS:
            parser.error(f"there is no problem {name!r}; choose from {', '.join(PROBLEMS)}")
    try:
        arguments.peers = pick_peers(arguments.peers, SUITE_PEERS)
    except KeyError as error:
        parser.error(error.args[0])
    return arguments


def _names(text: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    if text is None:
        return default
    return tuple(name.strip() for name in text.split(",") if name.strip() not in ("", "none"))


def describe_run() -> str:
    """Date, machine and code in a line."""
    machine, code = describe_machine(), describe_commit(CHECKOUT)
    state = (
        f"commit {code['commit'][:10]}" + (" with changes" if code["changed_files"] else "") if code else "installed"
    )
    return (
        f"{machine['date'][:10]}  ·  {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB  ·  "
        f"{machine['threads']} threads  ·  gabp {machine['versions']['gabp']}, {state}"
    )


def write_results(comparisons: list[Comparison], arguments: argparse.Namespace, plan: Plan) -> None:
    """solve.md, solve.json, solve.png (all problems) and accuracy-PROBLEM.png (residual against time)."""
    folder = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    caption = describe_run()
    text = "\n\n".join(
        [
            "# Time to solve",
            caption,
            "Ratio: the other solver's total over gabp's, the median over pairs run one after the other. PETSc runs on "
            f"two MPI ranks, its assembly not counted. A trial that takes over {arguments.times:g} times as long as "
            f"gabp's (and over {LEAST_SECONDS:g} s) is ended.",
            headline_table(comparisons),
            *(comparison_table(comparison) for comparison in comparisons),
        ]
    )
    (folder / "solve.md").write_text(text + "\n")
    record = comparison_record(comparisons, plan, arguments.peers, CHECKOUT)
    (folder / "solve.json").write_text(json_text(record) + "\n")
    save_comparison_figure(overview_figure(comparisons, caption), folder / "solve.png")
    for comparison in comparisons:
        if any(len(entry.accuracy) > 1 for entry in comparison.timed):
            name = comparison.problem.lower().replace(" ", "-")
            save_comparison_figure(problem_figure([comparison]), folder / f"accuracy-{name}.png")


def _plan_for(problem: Problem, plan: Plan) -> Plan:
    return replace(plan, accuracies=ACCURACIES) if problem.name in WITH_CURVES else plan


def main(argv: list[str] | None = None) -> int:
    """Run it; 0 if gabp is right wherever it ran."""
    arguments = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    plan = Plan(
        rounds=arguments.rounds,
        trial_seconds=arguments.limit,
        times_first=arguments.times,
        peer_seconds=arguments.limit / 10,
    )
    builders = [lambda name=name: PROBLEMS[name](arguments.scale) for name in arguments.problems]
    builders += [lambda path=path: problem_with_file(path) for path in arguments.matrices]
    comparisons = []
    for build in builders:
        problem = build()
        comparisons.append(compare(problem, arguments.peers, _plan_for(problem, plan), logging.info))
        print(comparison_table(comparisons[-1]), end="\n\n", flush=True)
        write_results(comparisons, arguments, plan)  # after each: a run that is cut short leaves what it has
    print(headline_table(comparisons))
    ours = [entry for comparison in comparisons for entry in comparison.entries if entry.peer == "gabp"]
    return int(any(entry.trial.status != "right" for entry in ours))


if __name__ == "__main__":
    sys.exit(main())
