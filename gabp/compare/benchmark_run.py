"""A peer's first run, in a process of its own: correctness, peak memory, time limit.

Only a peer that passes its trial is timed. A separate process has a peak memory that belongs to the peer alone, and
can be ended when it exceeds its time or memory.
"""

import math
import multiprocessing
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from time import perf_counter

import numpy as np
import scipy.sparse as sp
import torch

from gabp.compare.peers import Peer, Run, TimedInProcess

__all__ = ["TIGHTER", "Trial", "relative_residual", "run_trial", "warm_up"]

# What a peer is asked for, as a share of the accuracy wanted: the loosest that gives a true residual in bounds.
TIGHTER = (1.0, 0.3, 0.1, 0.01, 1e-3)
_PRELOADED = ("gabp", "pyamg")


@dataclass(frozen=True)
class Trial:
    """How a peer's first run ended.

    Attributes
    ----------
    status : {"right", "wrong", "failed", "too slow"}
    detail : str
        Why, where it is not right.
    residual : float or None
        ‖b - A x‖ / ‖b‖ in float64, of the answer.
    seconds : float or None
        Set-up and solve of the last run.
    iterations : int or None
    share : float
        Of the accuracy wanted, as the tolerance that the peer was given.
    peak_bytes : int or None
        Most memory that set-up and solve held at a time, beside A and b and what the libraries take; None for
        a peer that runs in processes of its own.
    """

    status: str
    detail: str = ""
    residual: float | None = None
    seconds: float | None = None
    iterations: int | None = None
    share: float = 1.0
    peak_bytes: int | None = None


def relative_residual(A: sp.csr_array, x: np.ndarray, b: np.ndarray) -> float:
    """‖b - A x‖₂ / ‖b‖₂ in float64; infinite where x is not finite."""
    left = b - A @ x.astype(np.float64)
    with np.errstate(over="ignore"):
        residual = math.sqrt(np.square(left).sum() / np.square(b).sum())  # not by BLAS, whose threads would spin on
    return residual if np.isfinite(residual) else np.inf


def warm_up(peer: Peer) -> None:
    """Let a peer import and initialise what it needs, on a small grid."""
    path = sp.diags_array([-np.ones(15), 2.1 * np.ones(16), -np.ones(15)], offsets=[-1, 0, 1])
    A = sp.csr_array(sp.kron(path, sp.eye_array(16)) + sp.kron(sp.eye_array(16), path))
    peer.run(A, np.ones(256), 1e-6)


def _resident_bytes(what: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (the peak) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no field {what}")


class _Peak:
    """Growth of this process's resident memory to its peak."""

    def __init__(self) -> None:
        self.linux = Path("/proc/self/clear_refs").exists()
        if self.linux:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
            self.before = _resident_bytes("VmRSS")

    def growth(self) -> int | None:
        return _resident_bytes("VmHWM") - self.before if self.linux else None


def _limit_memory() -> None:
    with Path("/proc/meminfo").open() as lines:
        total = int(lines.readline().split()[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (total, total))


def _try_in_child(
    connection: Connection, peer: Peer, A: sp.csr_array, b: np.ndarray, rtol: float, threads: int
) -> None:
    torch.set_num_threads(threads)
    if Path("/proc/meminfo").exists():
        _limit_memory()  # more than the machine has is a MemoryError, not swapping
    try:
        warm_up(peer)
    except Exception as error:
        connection.send(Trial("failed", f"on a small grid: {_one_line(error)}"))
        return
    connection.send(None)
    peak = _Peak()
    try:
        run, share = _run_to_accuracy(peer, A, b, rtol)
    except Exception as error:
        connection.send(Trial("failed", _one_line(error)))
        return
    grown = peak.growth() if isinstance(peer.run, TimedInProcess) else None
    residual = relative_residual(A, run.x, b)
    right = residual <= rtol
    detail = "" if right else f"residual {residual:.1e} where {rtol:.0e} was asked for"
    status = "right" if right else "wrong"
    connection.send(Trial(status, detail, residual, run.seconds, run.iterations, share, grown))


def _run_to_accuracy(peer: Peer, A: sp.csr_array, b: np.ndarray, rtol: float) -> tuple[Run, float]:
    """The run with the loosest tolerance whose true residual is in bounds: peers stop by tests of their own."""
    for share in TIGHTER:
        run = peer.run(A, b, share * rtol)
        if run.iterations is None or relative_residual(A, run.x, b) <= rtol:
            break
    return run, share


def _one_line(error: Exception) -> str:
    """An exception as one line of text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__


def _processes() -> BaseContext:
    """The start method of trials: forks of a server that has imported the same modules, so that they start at once."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.partition(".")[0] in _PRELOADED])
    return context


def _end(process: int) -> None:
    """Kill a process and its descendants, which would slow down later runs."""
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended meanwhile
            for child in thread.read_text().split():
                _end(int(child))
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def run_trial(peer: Peer, A: sp.csr_array, b: np.ndarray, rtol: float, limit: float) -> Trial:
    """Run a peer once, in a process of its own.

    Parameters
    ----------
    peer : Peer
    A : csr_array, shape (n, n)
    b : ndarray, shape (n,)
    rtol : float
        The relative residual that counts as right.
    limit : float
        Seconds after which it is ended; importing libraries does not count.
    """
    processes = _processes()
    ours, theirs = processes.Pipe()
    arguments = (theirs, peer, A, b, rtol, torch.get_num_threads())
    child = processes.Process(target=_try_in_child, args=arguments, daemon=False)  # type: ignore[attr-defined]
    child.start()
    theirs.close()
    try:
        early = ours.recv()
        if early is not None:
            return early
        began = perf_counter()
        if not ours.poll(limit):
            return Trial("too slow", f"not done after {perf_counter() - began:.0f} s")
        return ours.recv()
    except EOFError:
        child.join()
        return Trial("failed", f"its process ended with code {child.exitcode}")
    finally:
        _end(child.pid)
        child.join()
        ours.close()
