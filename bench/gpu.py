"""The sweeps on a GPU: checked, timed, and held against what they must move.

``python -m bench.gpu`` writes Markdown to bench/results/gpu.md. Without a GPU it prints what the model predicts, and
says so: *modelled, not measured*. Bytes are counted from the layout, operations and registers from the code that is
compiled for sm_90; see ``kernels/cuda/traffic.py``. A GPU's own bandwidth is that of a large copy, measured first.
"""

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from unittest import mock

import torch

import gabp
from bench.problems import PROBLEMS
from gabp.compare.machine import describe_commit
from gabp.compare.table import markdown_table
from gabp.kernels import cuda
from gabp.kernels.cuda.graph_capture import record
from gabp.kernels.torch import messages
from gabp.solvers.hierarchy import DeviceHierarchy
from gabp.solvers.hierarchy.device import DeviceSolve
from gabp.system import System, make_system, read_matrix

RESULTS = Path(__file__).with_name("results") / "gpu.md"
SHOWN = ("grid 2-D + 0.1", "grid 3-D + 0.1", "random")
NUMBERS = {"fp64": torch.float64, "fp32": torch.float32}
SWEEPS = (("mean_sweep", 1), ("mean_sweep", 8), ("damped_sweep", 1), ("precision_sweep", 1), ("joint_sweep", 1))
SWEEPS += (("residual_sweep", 1),)
COUNT = 64  # sweeps of a sample
GAP = 2e-6  # seconds from one kernel to the next within a CUDA graph: assumed
RTOL = 1e-8
Run = Callable[[int], object]  # so many sweeps, on and on


class Sweeps:
    """The sweeps of one system in one number type, where the system is."""

    def __init__(self, system: System, number: str) -> None:
        self.engine, graph = cuda.load("messages"), system.graph
        dtype = NUMBERS[number]
        self.model = (graph.start, graph.source, system.weight.to(dtype), system.diagonal.to(dtype))
        self.layout = self.engine.layout(*self.model)

    def runs(self) -> dict[tuple[str, int], Run]:
        """By kernel and columns."""
        engine, layout = self.engine, self.layout
        fixed = engine.precision_fixed_point(layout, limit=1000)
        b = torch.ones(len(layout.position), 8, dtype=torch.float64, device=layout.node.device)
        mean, means, damped = (engine.mean_state(layout, fixed, b[:, :columns]) for columns in (1, 8, 1))
        joint = engine.joint_state(layout, b[:, :1])
        return {
            ("mean_sweep", 1): lambda count: engine.mean_sweeps(mean, count),
            ("mean_sweep", 8): lambda count: engine.mean_sweeps(means, count),
            ("damped_sweep", 1): lambda count: engine.mean_sweeps(damped, count, 0.1),
            ("precision_sweep", 1): lambda count: engine.precision_fixed_point(layout, limit=count, tolerance=-1.0),
            ("joint_sweep", 1): lambda count: engine.joint_sweeps(joint, count),
            ("residual_sweep", 1): lambda count: [engine.residual(layout, b[:, :1], b[:, :1]) for _ in range(count)],
        }

    def check(self) -> float:
        """The largest difference of means and residuals from plain torch after some sweeps, relative to the largest."""
        b = torch.ones(len(self.layout.position), 3, dtype=torch.float64, device=self.layout.node.device)
        answers = []
        for kernels in (self.engine, messages):
            layout = kernels.layout(*self.model)
            state = kernels.mean_state(layout, kernels.precision_fixed_point(layout, limit=1000), b)
            kernels.mean_sweeps(state, 5)
            joint = kernels.joint_state(layout, b)
            kernels.joint_sweeps(joint, 5)
            x = kernels.joint_estimate(joint)[0]
            answers.append((kernels.mean_estimate(state), x, kernels.residual(layout, x, b)[0]))
        return max(float((a - e).abs().max() / e.abs().max()) for a, e in zip(*answers, strict=True))


def compiled() -> dict[tuple[str, tuple[str, str], int], dict]:
    """What the compiler says of each kernel, by name, types and columns; in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "gabp.kernels.cuda.ahead_of_time", "--capability", "90", "--columns", "1", "8"]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    codes = map(json.loads, output.splitlines())
    return {(code["kernel"], (code["number"], code["column"]), code["constants"].get("K", 1)): code for code in codes}


def launches_and_waits() -> dict[tuple[str, int], tuple[float, float]]:
    """Launches of kernels, and waits for the device, per sweep of a call that does `COUNT`; counted on a small grid."""
    kernel, precisions = cuda.load("launch").Kernel, cuda.load("messages").PrecisionState
    call, progress = kernel.__call__, precisions.progress
    counts = {}
    for name, run in Sweeps(small_system(), "fp64").runs().items():
        launched, checked = [], []
        with (
            mock.patch.object(kernel, "__call__", lambda *a, **k: (a[1] and launched.append(1)) or call(*a, **k)),  # noqa: B023
            mock.patch.object(precisions, "progress", lambda p: checked.append(1) or progress(p)),  # noqa: B023
        ):
            run(COUNT)
        counts[name] = len(launched) / COUNT, len(checked) / COUNT
    return counts


def small_system(device: str = "cpu") -> System:
    """A grid of 64 nodes."""
    return make_system(read_matrix(PROBLEMS["grid 2-D + 0.1"](6.4e-5).A, device))


def model_table(systems: dict[str, System], number: str, codes: dict, counts: dict, bandwidth: dict[str, float]) -> str:
    """Bytes, operations and predicted times of each sweep on each problem."""
    cost, kernels = cuda.load("traffic"), {kernel.name: kernel for kernel in cuda.load("registry").KERNELS}
    rows = []
    for problem, system in systems.items():
        layout = Sweeps(system, number).layout
        types = cost.types_of(layout, number)
        for name, columns in SWEEPS:
            moved, code = cost.traffic(kernels[name], layout, number, columns), codes[name, types, columns]
            launches, waits = counts[name, columns]
            resident = cost.resident_threads(code["registers"], code["warps"])
            rows.append(
                [
                    problem,
                    name + (f", {columns} columns" if columns > 1 else ""),
                    f"{kernels[name].bytes_per_slot(types, columns)}",
                    f"{kernels[name].bytes_per_node(types, columns)}",
                    f"{layout.slots / system.graph.edges:.2f}",
                    f"{moved.total / 1e6:.0f}",
                    *(f"{1e6 * moved.seconds(bytes_per_second):.0f} µs" for bytes_per_second in bandwidth.values()),
                    f"{code['operations_in_loop'] if columns == 1 else ''}",
                    f"{code['registers']}",
                    f"{resident / 2048:.0%}",
                    f"{launches:.2g}",
                    f"{waits:.2g}",
                ]
            )
    heads = ["problem", "sweep", "bytes per slot", "bytes per node", "slots per edge", "MB"]
    heads += [_named(gpu, bytes_per_second) for gpu, bytes_per_second in bandwidth.items()]
    heads += ["operations per slot", "registers", "threads resident", "launches", "waits"]
    return markdown_table(heads, rows)


def hierarchy_table(systems: dict[str, System], bandwidth: dict[str, float], measured: bool) -> str:
    """Launches, bytes and predicted time of an iteration on the hierarchy, and the iterations of a solve."""
    rows = []
    for problem, system in systems.items():
        hierarchy = DeviceHierarchy(system)
        b = torch.ones(system.n, 1, dtype=torch.float64, device=system.device)
        with mock.patch.object(DeviceSolve, "_check", autospec=True, side_effect=DeviceSolve._check) as check:
            correction = hierarchy.correct(b, RTOL * b.norm(dim=0))
            iterations, failure = correction.advance(1000)
            waits = check.call_count
        if failure is not None:
            raise ArithmeticError(f"{failure.name} on {problem}")
        times = [f"{1e6 * hierarchy.cost.seconds(speed, GAP):.0f} µs" for speed in bandwidth.values()]
        if measured:
            iterate = record(correction.iterate, system.device)
            times.append(f"{1e6 * seconds_of(iterate):.0f} µs")
        size = [f"{len(hierarchy.levels)}", f"{hierarchy.cost.launches}", f"{hierarchy.cost.bytes_moved / 1e6:.0f}"]
        rows.append([problem, *size, *times, f"{iterations}", f"{waits}"])
    heads = ["problem", "levels", "launches", "MB", *(_named(gpu, speed) for gpu, speed in bandwidth.items())]
    heads += ["measured"] if measured else []
    return markdown_table([*heads, f"steps to {RTOL:g}", "waits in all"], rows)


def _named(gpu: str, bytes_per_second: float) -> str:
    return f"{gpu} ({bytes_per_second / 1e12:.1f} TB/s)"


def seconds_of(run: Callable[[], object], repeats: int = 7) -> float:
    """The median time of ``run`` on the GPU."""
    times = []
    for _ in range(repeats + 1):  # the first compiles
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return sorted(times[1:])[repeats // 2]


def copy_bandwidth(n: int = 1 << 28) -> float:
    """Bytes per second of a large copy, read and written."""
    a = torch.ones(n, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.nbytes / seconds_of(lambda: b.copy_(a))


def as_graph(run: Run) -> Callable[[], None]:
    """`COUNT` sweeps recorded once as a CUDA graph."""
    run(2)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(COUNT)
    return graph.replay


def measured_table(systems: dict[str, System], number: str, bandwidth: float) -> str:
    """Times on this GPU, over what the traffic takes at its copy bandwidth; peers beside them.

    Raises
    ------
    ArithmeticError
        A sweep disagrees with plain torch.
    """
    cost, kernels = cuda.load("traffic"), {kernel.name: kernel for kernel in cuda.load("registry").KERNELS}
    rows = []
    for problem, system in systems.items():
        sweeps = Sweeps(system, number)
        allowed = 1e-11 if number == "fp64" else 1e-4
        if not (difference := sweeps.check()) <= allowed:
            raise ArithmeticError(f"{number} differs from plain torch by {difference:.1e} on {problem}")
        runs = sweeps.runs()
        for name, columns in SWEEPS:
            run = runs[name, columns]
            modelled = cost.traffic(kernels[name], sweeps.layout, number, columns).seconds(bandwidth)
            taken = seconds_of(lambda: run(COUNT)) / COUNT  # noqa: B023
            label = name + (f", {columns} columns" if columns > 1 else "")
            rows.append(
                [problem, label, f"{1e6 * modelled:.0f} µs", f"{1e6 * taken:.0f} µs", f"{taken / modelled:.2f}"]
            )
            if name == "mean_sweep":
                taken = seconds_of(as_graph(run)) / COUNT
                rows.append(
                    [problem, f"{label}, as a CUDA graph", "", f"{1e6 * taken:.0f} µs", f"{taken / modelled:.2f}"]
                )
        for label, peer in peers(system, NUMBERS[number]).items():
            rows.append([problem, label, "", f"{1e6 * seconds_of(peer):.0f} µs", ""])
    return markdown_table(["problem", "", "modelled", "measured", "measured / modelled"], rows)


def peers(system: System, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """One product by torch's CSR, and conjugate gradients of CuPy where installed, per step."""
    n, graph = system.n, system.graph
    row = torch.cat([graph.destination, torch.arange(n, device=graph.start.device)])
    column = torch.cat([graph.source.long(), torch.arange(n, device=graph.start.device)])
    value = torch.cat([system.weight, system.diagonal]).to(dtype)
    csr = torch.sparse_coo_tensor(torch.stack([row, column]), value, (n, n)).coalesce().to_sparse_csr()
    x = torch.ones(n, dtype=dtype, device="cuda")
    found: dict[str, Callable[[], object]] = {"torch CSR product": lambda: csr @ x}
    if importlib.util.find_spec("cupyx"):
        cupy, sparse, linalg = (
            importlib.import_module(m) for m in ("cupy", "cupyx.scipy.sparse", "cupyx.scipy.sparse.linalg")
        )
        parts = tuple(map(cupy.from_dlpack, (csr.values(), csr.col_indices().int(), csr.crow_indices().int())))
        A, b = sparse.csr_matrix(parts, shape=(n, n)), cupy.from_dlpack(x)
        found["100 steps of CuPy's cg"] = lambda: linalg.cg(A, b, tol=0.0, maxiter=100)
    return found


def main(argv: list[str] | None = None) -> int:
    """Run it; an exception says which kernel is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--problems", default=",".join(SHOWN), help=f"from {', '.join(PROBLEMS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of unknowns")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to write")
    arguments = parser.parse_args(argv)
    measured = torch.cuda.is_available()
    if not measured:
        os.environ["TRITON_INTERPRET"] = "1"  # launches are counted by running them
    device = "cuda" if measured else "cpu"
    names = arguments.problems.split(",")
    systems = {name: make_system(read_matrix(PROBLEMS[name](arguments.scale).A, device)) for name in names}
    codes, counts, bandwidth = compiled(), launches_and_waits(), cuda.load("traffic").BANDWIDTH
    output = "Modelled, not measured: there was no GPU."
    if measured:
        bandwidth = {torch.cuda.get_device_name(): copy_bandwidth()}
        output = f"Measured on one {torch.cuda.get_device_name()}, whose copy bandwidth is given."
    commit = describe_commit().get("commit", "no checkout")[:10]
    lines = ["# Sweeps on a GPU", f"{date.today()}, gabp {gabp.__version__} ({commit}). {output}"]
    for number in NUMBERS:
        lines += [f"## {NUMBERS[number]}, model", model_table(systems, number, codes, counts, bandwidth)]
        if measured:
            (copied,) = bandwidth.values()
            lines += [f"## {NUMBERS[number]}, measured", measured_table(systems, number, copied)]
    lines += ["## An iteration of conjugate gradients on the hierarchy", hierarchy_table(systems, bandwidth, measured)]
    text = "\n\n".join([*lines, NOTES])
    print(text)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    return 0


NOTES = """*Bytes*: each array once, so a gathered node vector counts once for each node; every slot fetches it anew,
but the second-level cache holds it (beliefs of a million nodes in float64 take 8 MB). A slot is a directed edge or
padding. *Times* are bytes over bandwidth; launch latency is not in them. *Operations* are those of one pass through
the inner loop of the code for sm_90, a fused multiply-add counting as two; *threads resident* is the share of an SM's
threads that its registers allow. *Launches* and *waits* (of the host for the device) are those of a call that does 64
sweeps, per sweep. An iteration on the *hierarchy* keeps its cycle in float32 and the rest in float64; launches are
counted by recording an iteration, times are bytes over bandwidth and 2 µs (assumed) between kernels, as all of it is
one CUDA graph. The host waits only for residual checks."""


if __name__ == "__main__":
    sys.exit(main())
