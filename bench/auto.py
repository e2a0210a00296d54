"""``auto`` against sparse factorisation libraries, on systems of many fields.

``python -m bench.auto`` writes ``auto.md`` and ``auto.json`` to bench/results/; Matrix Market files on the command line
are added, or alone with ``--only none``. Every answer's residual is recomputed; gabp's must meet the tolerance, or
be called stagnated at a backward error of rounding level.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import gabp
from bench.problems import problem_with_file
from bench.run import CHECKOUT, RESULTS, describe_run
from bench.systems import SYSTEMS, systems
from gabp.cli.json_text import json_text
from gabp.compare.comparison import Comparison, Plan, Problem, Timed, compare
from gabp.compare.peers import PEERS, pick_peers
from gabp.compare.record import comparison_record
from gabp.compare.table import geometric_mean, markdown_table, seconds

SUPERLU = ("scipy spsolve", "scipy splu symmetric")
FACTORS = {"PARDISO": "PARDISO", "CHOLMOD (cholespy)": "CHOLMOD", "CHOLMOD (scikit-sparse)": "CHOLMOD"}
SHORT = 0.02  # seconds of SuperLU below which milliseconds count, not ratios
RIGHT_SIDES = ("random", "A·1")


@dataclass(frozen=True)
class Verdict:
    """How gabp ended on one right-hand side, by its own word and by the residual recomputed here."""

    right_side: str
    status: str
    method: str
    iterations: int
    residual: float
    backward_error: float

    @property
    def is_true(self) -> bool:
        """Whether what it said is true: converged, or as good as float64 can be."""
        if self.status == "CONVERGED":
            return self.residual <= 1e-8 * (1 + 1e-6)
        return self.status == "STAGNATED" and self.backward_error <= 10 * np.finfo(float).eps


@dataclass(frozen=True)
class Report:
    """What was found on one system."""

    comparison: Comparison
    verdicts: tuple[Verdict, ...]

    def seconds(self, *peers: str) -> float | None:
        """The fastest of some peers, None where none was right in time."""
        entries = [entry.total.median for entry in self.comparison.timed if entry.peer in peers]
        return min(entries, default=None)

    def timed(self, peer: str) -> Timed | None:
        """A peer that was timed."""
        return next((entry for entry in self.comparison.timed if entry.peer == peer), None)


def judge(A: sp.csr_array) -> tuple[Verdict, ...]:
    """Solve for a smooth and a rough right-hand side, and recompute the verdicts."""
    verdicts = []
    for name in RIGHT_SIDES:
        b = right_side(A, name)
        solution = gabp.solve(A, b, throw=False)
        residual = b - A @ solution.x
        size = abs(A).sum(axis=1).max() * abs(solution.x).max() + abs(b).max()
        verdicts.append(
            Verdict(
                name,
                solution.status.name,
                solution.method,
                solution.iterations,
                float(np.linalg.norm(residual) / np.linalg.norm(b)),
                float(abs(residual).max() / size),
            )
        )
    return tuple(verdicts)


def right_side(A: sp.csr_array, name: str) -> np.ndarray:
    """``"A·1"``, smooth; or ``"random"``, of every frequency."""
    n = A.shape[0]
    return A @ np.ones(n) if name == "A·1" else np.random.default_rng(0).standard_normal(n)


def problems(names: list[str], files: list[str]) -> Iterator[Problem]:
    """The named systems and those of some files."""
    for name, A in systems(names):
        yield Problem(name, A, right_side(A, "random"))
    for path in files:
        problem = problem_with_file(path)
        yield Problem(Path(path).stem, sp.csr_array(0.5 * (problem.A + problem.A.T)), problem.b)


def report(problem: Problem, plan: Plan, report_line: Callable[[str], None]) -> Report:
    """Judge, then time: ``auto`` and elimination of gabp, SuperLU in two ways, and what else is installed.

    The right-hand side that is timed is one for which float64 can reach the accuracy: random if possible, else A·1.
    """
    verdicts = judge(problem.A)
    reachable = [verdict.right_side for verdict in verdicts if verdict.status == "CONVERGED"]
    if reachable and "random" not in reachable:
        problem = Problem(problem.name, problem.A, right_side(problem.A, reachable[0]))
    peers = pick_peers(("gabp", "gabp-elimination", "spsolve", "splu", "pardiso", "cholmod", "cholespy"), PEERS)
    return Report(compare(problem, peers, plan, report_line), verdicts)


def table(reports: list[Report]) -> str:
    """One row per system."""
    header = (
        "system", "unknowns", "entries", "method", "iterations", "auto", "SuperLU", "ratio", "gabp factor", "PARDISO",
        "CHOLMOD", "residual", "verdict",
    )  # fmt: skip
    return markdown_table(header, [_row(each) for each in reports])


def _row(each: Report) -> list[str]:
    worst = max(each.verdicts, key=lambda verdict: (not verdict.is_true, verdict.residual))
    auto, superlu = each.seconds("gabp"), each.seconds(*SUPERLU)
    times = [auto, superlu, each.seconds("gabp elimination"), each.seconds("PARDISO")]
    times += [each.seconds("CHOLMOD (cholespy)", "CHOLMOD (scikit-sparse)")]
    shown = ["–" if value is None else seconds(value) for value in times]
    shown.insert(2, "–" if auto is None or superlu is None else f"{superlu / auto:.2f}")
    return [
        each.comparison.problem,
        f"{each.comparison.n:,}",
        f"{each.comparison.nnz:,}",
        each.verdicts[0].method,
        str(each.verdicts[0].iterations),
        *shown,
        f"{worst.residual:.0e}",
        (worst.status.lower() if worst.is_true else f"**{worst.status}, not true**"),
    ]


def summary(reports: list[Report]) -> str:
    """Counts of what was asked for, and geometric means."""
    pairs = [(each.seconds("gabp"), each.seconds(*SUPERLU)) for each in reports]
    long = [(auto, lu) for auto, lu in pairs if auto is not None and lu is not None and lu > SHORT]
    short = [(auto, lu) for auto, lu in pairs if auto is not None and lu is not None and lu <= SHORT]
    is_true = [verdict.is_true for each in reports for verdict in each.verdicts]
    converged = [verdict.status == "CONVERGED" for each in reports for verdict in each.verdicts]
    lines = [
        f"- {sum(converged)} of {len(is_true)} solves ({len(reports)} systems, two right-hand sides each) met 1e-8; "
        f"{sum(is_true)} have a true status: converged, or stagnated at a backward error of rounding level.",
        f"- SuperLU here: the faster of spsolve and splu in symmetric mode. Where it takes over {SHORT * 1e3:g} ms "
        f"({len(long)} systems), auto takes at most 1.15 times as long on {sum(a <= 1.15 * lu for a, lu in long)}"
        + (f"; geometric mean {geometric_mean([lu / a for a, lu in long]):.1f} times faster." if long else "."),
        f"- On the {len(short)} others auto is at most 5 ms slower on {sum(a <= lu + 0.005 for a, lu in short)}.",
    ]
    for rival, names in {
        "SuperLU": SUPERLU,
        "PARDISO": ("PARDISO",),
        "CHOLMOD": ("CHOLMOD (cholespy)", "CHOLMOD (scikit-sparse)"),
    }.items():
        both = [(each.seconds("gabp elimination"), each.seconds(*names)) for each in reports]
        ratios = [(theirs / ours, theirs) for ours, theirs in both if ours is not None and theirs is not None]
        for label, chosen in {
            f"over {SHORT * 1e3:g} ms": [ratio for ratio, theirs in ratios if theirs > SHORT],
            "shorter": [ratio for ratio, theirs in ratios if theirs <= SHORT],
        }.items():
            if chosen:
                lines.append(
                    f"- gabp's own factor against {rival}, where that takes {label}: {geometric_mean(chosen):.2f} "
                    f"times as fast on {len(chosen)} systems ({min(chosen):.2f} to {max(chosen):.2f})."
                )
    return "\n".join(lines)


def write(reports: list[Report], plan: Plan, folder: Path) -> None:
    """auto.md and auto.json."""
    folder.mkdir(parents=True, exist_ok=True)
    note = (
        "Medians of set-up and solve to a true relative residual of 1e-8. Ratio: SuperLU over auto, above 1 auto is "
        "faster. –: not right, not installed, or ended for taking many times as long. Residual and verdict: the worse "
        "of two right-hand sides, random and A·1."
    )
    text = "\n\n".join(["# auto on systems of many fields", describe_run(), summary(reports), note, table(reports)])
    (folder / "auto.md").write_text(text + "\n")
    record = comparison_record([each.comparison for each in reports], plan, tuple(PEERS.values()), CHECKOUT)
    record["verdicts"] = {each.comparison.problem: [asdict(verdict) for verdict in each.verdicts] for each in reports}
    (folder / "auto.json").write_text(json_text(record) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Run it; 0 if every status is true."""
    parser = argparse.ArgumentParser(prog="python -m bench.auto", description=__doc__)
    parser.add_argument("matrices", metavar="MATRIX.mtx", nargs="*", help="further systems")
    parser.add_argument("--only", metavar="TEXT", action="append", help="systems with this in their names; or 'none'")
    parser.add_argument("--rounds", type=int, default=3, help="pairs per peer")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    plan = Plan(rounds=arguments.rounds, times_first=6.0, trial_seconds=10.0, peer_seconds=1.0)
    names = [name for name in SYSTEMS if arguments.only is None or any(text in name for text in arguments.only)]
    reports = []
    for problem in problems(names, arguments.matrices):
        reports.append(report(problem, plan, logging.info))
        write(reports, plan, arguments.out)
    print(summary(reports), table(reports), sep="\n\n")
    return int(not all(verdict.is_true for each in reports for verdict in each.verdicts))


if __name__ == "__main__":
    sys.exit(main())
