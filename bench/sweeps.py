"""What a sweep costs: in sparse products, in bytes, against the textbook, on one thread and on a busy machine.

``python -m bench.sweeps`` writes Markdown, JSON and a picture to bench/results/; ``--quick`` does small problems.
Every kernel is checked against the textbook before it is timed, and all are timed in turn, round by round.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

import gabp
from bench import textbook
from bench.problems import PROBLEMS
from bench.sweeps_figure import sweeps_figure
from gabp.app.comparison import Problem, Quartiles
from gabp.app.comparison_figure import save_comparison_figure
from gabp.app.comparison_table import markdown_table, seconds
from gabp.app.json_text import json_text
from gabp.app.machine import describe_commit, describe_machine
from gabp.app.peers import PEERS
from gabp.app.trial import run_trial
from gabp.kernels.dispatch import choose
from gabp.system import System, make_system, read_matrix

RESULTS = Path(__file__).with_name("results")
SHOWN = ("grid 2-D + 0.1", "grid 3-D + 0.1", "random")
YARDSTICK = "CSR product"
COLUMNS = 8
BUSY = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"


@dataclass(frozen=True)
class Traffic:
    """Bytes that a kernel cannot do without, counting each array once: per directed edge and per node."""

    edge: float
    node: float


# Coefficient, index, message read and written; of the nodes the potential and the beliefs of two sweeps.
def mean_traffic(size: int, columns: int = 1) -> Traffic:
    """Of a mean sweep, for numbers of `size` bytes."""
    return Traffic(size + 4 + 2 * size * columns, 5 * size * columns)


def joint_traffic(size: int) -> Traffic:
    """Of a sweep of precisions and means: one weight, two messages, two sets of beliefs."""
    return Traffic(size + 4 + 4 * size, 10 * size)


def product_traffic(size: int, edges: int, n: int) -> Traffic:
    """Of a CSR product, whose diagonal counts as one more edge per node."""
    return Traffic(size + 4, (size + 4) + 2 * size + 4)


@dataclass
class Timing:
    """A kernel and its samples in seconds per sweep; `run` does `count` sweeps."""

    name: str
    run: Callable[[], object]
    count: int
    traffic: Traffic | None = None
    threads: int | None = None
    samples: list[float] = field(default_factory=list)

    def sample(self) -> None:
        """Time `count` more sweeps."""
        with threads_set(self.threads):
            began = perf_counter()
            self.run()
            self.samples.append((perf_counter() - began) / self.count)


@contextmanager
def threads_set(count: int | None) -> Iterator[None]:
    """With `count` threads, where one is given."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_core_busy() -> Iterator[None]:
    """With another process keeping one core busy."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as busy:
        try:
            yield
        finally:
            busy.kill()


def triad_bandwidth(n: int = 20_000_000, repeats: int = 7) -> float:
    """Bytes per second of ``a = b + 3 c`` on arrays that no cache holds, two read and one written; the best."""
    a, b, c = (torch.ones(n, dtype=torch.float64) for _ in range(3))
    times = []
    for _ in range(repeats):
        began = perf_counter()
        torch.add(b, c, alpha=3.0, out=a)
        times.append(perf_counter() - began)
    return 24 * n / min(times)


def torch_csr(A: sp.csr_array, dtype: torch.dtype) -> torch.Tensor:
    """A as torch has it, with 32-bit indices."""
    arrays = (torch.from_numpy(array.astype(np.int32)) for array in (A.indptr, A.indices))
    return torch.sparse_csr_tensor(*arrays, torch.from_numpy(A.data).to(dtype), size=A.shape, check_invariants=True)


class Kernels:
    """The kernels for one system in one dtype."""

    def __init__(self, system: System, b: torch.Tensor, dtype: torch.dtype) -> None:
        graph = system.graph
        self.dtype, self.b = dtype, b.to(dtype)
        self.of = choose("cpu", dtype)
        self.layout = self.of.layout(graph.start, graph.source, system.weight.to(dtype), system.diagonal.to(dtype))
        self.fixed = self.of.precision_fixed_point(self.layout, limit=10_000)

    def mean_run(self, columns: int, count: int) -> Callable[[], None]:
        """`count` mean sweeps at a time, on and on."""
        state = self.of.mean_state(self.layout, self.fixed, self.b[:, None].repeat(1, columns))
        return lambda: self.of.mean_sweeps(state, count)

    def joint_run(self, count: int) -> Callable[[], object]:
        """`count` sweeps of both kinds at a time, on and on."""
        state = self.of.joint_state(self.layout, self.b[:, None])
        return lambda: self.of.joint_sweeps(state, count)

    def check(self, model: textbook.Model, sweeps: int = 5) -> float:
        """The largest difference from the textbook after some joint sweeps, relative to the largest mean."""
        P = h = torch.zeros_like(model.weight)
        for _ in range(sweeps):
            P, h = textbook.joint_sweep(model, P, h)
        wanted = textbook.mean(model, P, h)
        state = self.of.joint_state(self.layout, self.b[:, None])
        self.of.joint_sweeps(state, sweeps)
        mean, _ = self.of.joint_estimate(state)
        return float((mean[:, 0] - wanted).abs().max() / wanted.abs().max())


def kernel_timings(problem: Problem, system: System, count: int) -> list[Timing]:
    """Everything that is timed on a problem, right kernels only.

    Raises
    ------
    ArithmeticError
        A kernel disagrees with the textbook.
    """
    A, b = problem.A, torch.from_numpy(problem.b)
    model = textbook.Model.of(A, problem.b)
    double, single = Kernels(system, b, torch.float64), Kernels(system, b, torch.float32)
    for kernels, allowed in ((double, 1e-12), (single, 1e-4)):
        if not (difference := kernels.check(model)) <= allowed:
            raise ArithmeticError(f"{kernels.dtype} differs from the textbook by {difference:.1e} on {problem.name}")
    P, cavity = textbook.precision_sweep(model, torch.zeros_like(model.weight))
    csr, x = torch_csr(A, torch.float64), b.clone()
    edges, n = system.graph.edges, system.n
    one = double.mean_run(1, count)
    repeated = range(count)
    timings = [
        Timing(YARDSTICK, lambda: [csr @ x for _ in repeated], count, product_traffic(8, edges, n)),
        Timing("mean", one, count, mean_traffic(8)),
        Timing("mean, float32", single.mean_run(1, count), count, mean_traffic(4)),
        Timing(f"mean, {COLUMNS} columns", double.mean_run(COLUMNS, count), count, mean_traffic(8, COLUMNS)),
        Timing("precision + mean", double.joint_run(count), count, joint_traffic(8)),
        Timing("precision + mean, float32", single.joint_run(count), count, joint_traffic(4)),
        Timing("textbook: mean", lambda: textbook.mean_sweep(model, cavity, P), 1),
        Timing("textbook: precision + mean", lambda: textbook.joint_sweep(model, P, P), 1),
        Timing("CSR product, 1 thread", lambda: [csr @ x for _ in repeated], count, threads=1),
        Timing("mean, 1 thread", one, count, threads=1),
    ]
    return timings


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
    began = perf_counter()
    system = make_system(read_matrix(problem.A))
    system_seconds = perf_counter() - began
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
    began = perf_counter()
    layout = Kernels(system, torch.from_numpy(problem.b), torch.float64).layout
    kernels_seconds = perf_counter() - began
    figures: dict[str, float | None] = {
        "textbook / mean": medians["textbook: mean"] / medians["mean"],
        "textbook / precision + mean": medians["textbook: precision + mean"] / medians["precision + mean"],
        "float32 / float64, mean": medians["mean, float32"] / medians["mean"],
        f"{COLUMNS} columns / 1": medians[f"mean, {COLUMNS} columns"] / medians["mean"],
        "1 thread / all, mean": medians["mean, 1 thread"] / medians["mean"],
        "system and edge graph / CSR product": system_seconds / medians[YARDSTICK],
        "layout and precisions / CSR product": kernels_seconds / medians[YARDSTICK],
    }
    figures |= _busy_figures(timings, medians, rounds)
    figures |= _solve_figures(problem, rounds, limit)
    return SweepReport(
        problem=problem.name,
        n=n,
        edges=edges,
        slots_per_edge=len(getattr(layout, "column", system.graph.source)) / edges,
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


def _solve_figures(problem: Problem, rounds: int, limit: float) -> dict[str, float | None]:
    """A sweep inside a solve (stopping tests included), set-up, and memory."""
    trial = run_trial(PEERS["gabp-flooding"], problem.A, problem.b, 1e-8, limit)
    names = ("sweep in a solve / CSR product", "set-up of flooding / CSR product", "peak memory of flooding / A")
    if trial.status != "right":
        return dict.fromkeys(names)
    csr, x = torch_csr(problem.A, torch.float64), torch.from_numpy(problem.b)
    sweep, setup = [], []
    for _ in range(min(rounds, 3)):
        solver = gabp.Solver(problem.A, method="flooding")
        solution = solver.solve(problem.b)
        yardstick = Timing(YARDSTICK, lambda: [csr @ x for _ in range(10)], 10)
        yardstick.sample()
        yardstick.sample()
        sweep.append(solution.solve_seconds / solution.iterations / yardstick.samples[-1])
        setup.append(solver.setup_seconds / yardstick.samples[-1])
    A = problem.A
    stored = A.data.nbytes + A.indices.nbytes + A.indptr.nbytes
    memory = None if trial.peak_bytes is None else trial.peak_bytes / stored
    return dict(zip(names, (float(np.median(sweep)), float(np.median(setup)), memory), strict=True))


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
    """Run it; an exception says which kernel is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweeps", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small problems: seconds")
    parser.add_argument("--problems", default=",".join(SHOWN), help=f"from {', '.join(PROBLEMS)}")
    parser.add_argument("--scale", type=float, help="share of the full number of unknowns (default: 1; quick: 0.01)")
    parser.add_argument("--rounds", type=int, help="samples of each (default: 9; quick: 3)")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for a solve by flooding")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
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
