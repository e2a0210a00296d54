"""The kernels of a sweep, right ones only, ready to be timed in turn with a sparse product and the textbook."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import scipy.sparse as sp
import torch

from bench import textbook
from gabp.compare.comparison import Problem
from gabp.kernels import dispatch
from gabp.system import System

__all__ = ["COLUMNS", "YARDSTICK", "Timing", "kernel_timings", "one_core_busy", "torch_csr", "triad_bandwidth"]

YARDSTICK = "CSR product"
COLUMNS = (4, 8)
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
        self.of = dispatch.backend("cpu", dtype).messages
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

    def check(self, model: textbook.Model, sweeps: int = 5, columns: int = 3) -> float:
        """The largest difference from the textbook after some sweeps of each kind, relative to the largest value."""
        P = h = torch.zeros_like(model.weight)
        for _ in range(sweeps):
            P, h = textbook.joint_sweep(model, P, h)
        b = self.b[:, None].repeat(1, columns)
        joint = self.of.joint_state(self.layout, b)
        self.of.joint_sweeps(joint, sweeps)
        differences = [_difference(self.of.joint_estimate(joint)[0], textbook.mean(model, P, h))]
        messages = self.of.precision_messages(self.layout, self.fixed).double()
        P, cavity = textbook.precision_sweep(model, messages)
        differences.append(_difference(messages[:, None], P))
        h = torch.zeros_like(P)
        for _ in range(sweeps):
            h = textbook.mean_sweep(model, cavity, h)
        for count in (1, columns):
            state = self.of.mean_state(self.layout, self.fixed, b[:, :count])
            self.of.mean_sweeps(state, sweeps)
            differences.append(_difference(self.of.mean_estimate(state), textbook.mean(model, P, h)))
        return max(differences)


def _difference(columns: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((columns - wanted[:, None]).abs().max() / wanted.abs().max())


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
        *(Timing(f"mean, {k} columns", double.mean_run(k, count), count, mean_traffic(8, k)) for k in COLUMNS),
        Timing("precision + mean", double.joint_run(count), count, joint_traffic(8)),
        Timing("precision + mean, float32", single.joint_run(count), count, joint_traffic(4)),
        Timing("textbook: mean", lambda: textbook.mean_sweep(model, cavity, P), 1),
        Timing("textbook: precision + mean", lambda: textbook.joint_sweep(model, P, P), 1),
        Timing("CSR product, 1 thread", lambda: [csr @ x for _ in repeated], count, threads=1),
        Timing("mean, 1 thread", one, count, threads=1),
    ]
    return timings
