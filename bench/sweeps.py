"""What a sweep costs: in sparse products, in bytes, against the textbook, on one thread and on a busy machine.

``python -m bench.sweeps`` writes Markdown, JSON and a picture to bench/results/; ``--quick`` does small problems.
Every kernel is checked against the textbook before it is timed, and all are timed in turn, round by round.
"""

import argparse
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

import gabp
from bench.problems import PROBLEMS
from bench.sweep_timings import (
    COLUMNS,
    YARDSTICK,
    Timing,
    kernel_timings,
    one_core_busy,
    torch_csr,
    triad_bandwidth,
)
from bench.sweeps_figure import sweeps_figure
from gabp.cli.json_text import json_text
from gabp.compare.benchmark_run import run_trial
from gabp.compare.comparison import Problem, Quartiles
from gabp.compare.figure import save_comparison_figure
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.peers import PEERS
from gabp.compare.table import markdown_table, seconds
from gabp.messages import solve_precision_fixed_point
from gabp.system import make_system, read_matrix

RESULTS = Path(__file__).with_name("results")
SHOWN = ("grid 2-D + 0.1", "grid 3-D + 0.1", "random")


@dataclass(frozen=True)
class SweepReport:
    """What was measured on one problem.

    Attributes
    ----------
    sweeps : dict
        Seconds per sweep of each kernel.
    ratios : dict
        The same in CSR products of the same round.
    bandwidth : dict
        Bytes per second by each kernel's necessary traffic.
    figures : dict
        The other ratios, by name.
    """

    problem: str
    n: int
    edges: int
    slots_per_edge: float
    sweeps: dict[str, Quartiles]
    ratios: dict[str, Quartiles]
    bytes_per_edge: dict[str, float]
    bandwidth: dict[str, float]
    figures: dict[str, float | None]


def measure(problem: Problem, rounds: int, count: int, limit: float) -> SweepReport:
    """Time all kernels on a problem, and a solve by them."""
    system = make_system(read_matrix(problem.A))
    timings = kernel_timings(problem, system, count)
    for timing in timings:  # the first run meets cold pages
        timing.run()
    for _ in range(rounds):
        for timing in timings:
            timing.sample()
    yardstick = timings[0].samples
    edges, n = system.graph.edges, system.n
    traffic = {t.name: t.traffic.edge * edges + t.traffic.node * n for t in timings if t.traffic is not None}
    medians = {t.name: float(np.median(t.samples)) for t in timings}
    figures: dict[str, float | None] = {
        "textbook / mean": medians["textbook: mean"] / medians["mean"],
        "textbook / precision + mean": medians["textbook: precision + mean"] / medians["precision + mean"],
        "float32 / float64, mean": medians["mean, float32"] / medians["mean"],
        **{f"{k} columns / 1, mean": medians[f"mean, {k} columns"] / medians["mean"] for k in COLUMNS},
        "1 thread / all, mean": medians["mean, 1 thread"] / medians["mean"],
    }
    figures |= _busy_figures(timings, medians, rounds)
    figures |= _setup_figures(problem, medians[YARDSTICK])
    figures |= _solve_figures(problem, rounds, limit)
    return SweepReport(
        problem=problem.name,
        n=n,
        edges=edges,
        slots_per_edge=len(getattr(system.layout, "column", system.graph.source)) / edges,
        sweeps={t.name: Quartiles.of(t.samples) for t in timings},
        ratios={t.name: Quartiles.of(np.divide(t.samples, yardstick).tolist()) for t in timings},
        bytes_per_edge={name: total / edges for name, total in traffic.items()},
        bandwidth={name: total / medians[name] for name, total in traffic.items()},
        figures=figures,
    )


def _busy_figures(timings: list[Timing], medians: dict[str, float], rounds: int) -> dict[str, float | None]:
    """The mean sweep on all threads beside a busy process, over the single-threaded one on a quiet machine."""
    mean = next(timing for timing in timings if timing.name == "mean")
    beside = Timing("mean beside a busy core", mean.run, mean.count)
    with one_core_busy():
        for _ in range(rounds):
            beside.sample()
    return {"mean beside a busy core / 1 thread": float(np.median(beside.samples)) / medians["mean, 1 thread"]}


def _setup_figures(problem: Problem, product: float, repeats: int = 3) -> dict[str, float | None]:
    """What comes before the first sweep, in products of `product` seconds."""
    samples: list[tuple[float, ...]] = []
    for _ in range(repeats):
        began = perf_counter()
        system = make_system(read_matrix(problem.A))
        read = perf_counter()
        _ = system.layout
        laid_out = perf_counter()
        solve_precision_fixed_point(system)
        fixed_point = perf_counter()
        rounded = system.astype(torch.float32)
        rounding = perf_counter()
        solve_precision_fixed_point(rounded)
        samples.append((read - began, laid_out - began, fixed_point - laid_out, perf_counter() - rounding))
    names = (
        "reading, symmetry test, edge graph",
        "the same and the layout",
        "settling precisions",
        "the same in float32",
    )
    medians = np.median(samples, axis=0) / product
    return {f"{name} / CSR product": float(median) for name, median in zip(names, medians, strict=True)}


def _solve_figures(problem: Problem, rounds: int, limit: float) -> dict[str, float | None]:
    """A sweep inside a solve (stopping tests included), set-up, and memory; as it is by default and in float64."""
    names = (
        "sweep in a solve / CSR product",
        "the same with float64 messages / CSR product",
        "solve with default / float64 messages",
        f"solve of {COLUMNS[0]} columns / 1",
        "set-up of flooding / CSR product",
        "peak memory of flooding / A",
    )
    A, b = problem.A, problem.b
    trial = run_trial(PEERS["gabp-flooding"], A, b, 1e-8, limit)
    if trial.status != "right":
        return dict.fromkeys(names)
    csr, x = torch_csr(A, torch.float64), torch.from_numpy(b)
    several = np.random.default_rng(0).permuted(np.tile(b, (COLUMNS[0], 1)), axis=1).T.copy()
    samples = []
    for _ in range(min(rounds, 3)):
        yardstick = Timing(YARDSTICK, lambda: [csr @ x for _ in range(10)], 10)
        yardstick.sample()
        yardstick.sample()
        product = yardstick.samples[-1]
        solver = gabp.Solver(A, method="flooding")
        solution, together = solver.solve(b), solver.solve(several)
        double = gabp.Solver(A, method="flooding", dtype=torch.float64).solve(b)
        one = solution.solve_seconds / solution.iterations
        samples.append(
            (
                one / product,
                double.solve_seconds / double.iterations / product,
                solution.solve_seconds / double.solve_seconds,
                together.solve_seconds / together.iterations / one,
                solver.setup_seconds / product,
            )
        )
    stored = A.data.nbytes + A.indices.nbytes + A.indptr.nbytes
    memory = None if trial.peak_bytes is None else trial.peak_bytes / stored
    return dict(zip(names, (*np.median(samples, axis=0).tolist(), memory), strict=True))


def report_table(report: SweepReport, triad: float) -> str:
    """One problem in Markdown."""
    rows = []
    for name, quartiles in report.sweeps.items():
        row = [name, seconds(quartiles.median), f"{seconds(quartiles.low)} – {seconds(quartiles.high)}"]
        row += [f"{report.ratios[name].median:.2f}"]
        if name in report.bandwidth:
            bandwidth = report.bandwidth[name]
            row += [f"{report.bytes_per_edge[name]:.0f}", f"{bandwidth / 1e9:.1f}", f"{bandwidth / triad:.0%}"]
        else:
            row += [""] * 3
        rows.append(row)
    header = ("per sweep", "median", "quartiles", "CSR products", "bytes per edge", "GB/s", "of triad")
    title = f"### {report.problem}: {report.n:,} nodes, {report.edges:,} directed edges"
    figures = [[name, "not solved" if value is None else f"{value:.2f}"] for name, value in report.figures.items()]
    slots = f"{report.slots_per_edge:.2f} slots stored per directed edge."
    return "\n\n".join([title, markdown_table(header, rows), slots, markdown_table(("ratio", "median"), figures)])


def write_results(reports: list[SweepReport], triad: float, folder: Path) -> None:
    """sweeps.md, sweeps.json and sweeps.png."""
    folder.mkdir(parents=True, exist_ok=True)
    machine, code = describe_machine(), describe_commit(RESULTS.parent.parent)
    caption = (
        f"{machine['date'][:10]}, {machine['processor']}, {machine['threads']} threads; triad {triad / 1e9:.1f} GB/s."
    )
    parts = ["# What a sweep costs", caption, *(report_table(report, triad) for report in reports)]
    (folder / "sweeps.md").write_text("\n\n".join(parts) + "\n")
    record: dict[str, Any] = {"machine": machine, "code": code, "triad_bytes_per_second": triad}
    record["reports"] = [asdict(report) for report in reports]
    (folder / "sweeps.json").write_text(json_text(record) + "\n")
    shown = {f"{r.problem}\n{r.edges:,} edges": {name: q.median for name, q in r.ratios.items()} for r in reports}
    save_comparison_figure(sweeps_figure(shown, caption), folder / "sweeps.png")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; an exception names a kernel whose result is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweeps", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small problems: seconds")
    parser.add_argument("--problems", default=",".join(SHOWN), help=f"from {', '.join(PROBLEMS)}")
    parser.add_argument("--scale", type=float, help="share of the full number of unknowns (default: 1; quick: 0.01)")
    parser.add_argument("--rounds", type=int, help="samples of each (default: 9; quick: 3)")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for a solve by flooding")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)  # the yardstick
    scale = arguments.scale or (0.01 if arguments.quick else 1.0)
    rounds = arguments.rounds or (3 if arguments.quick else 9)
    triad = triad_bandwidth()
    reports = []
    for name in arguments.problems.split(","):
        reports.append(measure(PROBLEMS[name](scale), rounds, 10, arguments.limit))
        print(report_table(reports[-1], triad), end="\n\n", flush=True)
        write_results(reports, triad, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
