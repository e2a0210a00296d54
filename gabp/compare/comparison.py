"""Comparison of solvers on one system: correctness first, then timings in pairs.

Every peer first has a trial (`gabp.compare.benchmark_run`); one whose answer is wrong is shown as wrong and never
timed. The others are timed in this process, in pairs with the first of them in alternating order: disturbances of the
machine affect both runs of a pair, and the ratio of a pair is what is reported. The residual of every timed solution
is recomputed, outside the timed section.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from gabp.compare.benchmark_run import Trial, relative_residual, run_trial, warm_up
from gabp.compare.peers import Peer, PeerError, Run

__all__ = ["Comparison", "Entry", "Plan", "Problem", "Quartiles", "Timed", "compare"]

LEAST_SECONDS = 3.0  # time limit of a trial at least: MPI peers take a second or two to start


@dataclass(frozen=True, eq=False)
class Problem:
    """A system to compare solvers on.

    Parameters
    ----------
    name : str
    A : csr_array, shape (n, n)
    b : ndarray, shape (n,)
    note : str
        Where it comes from.
    """

    name: str
    A: sp.csr_array
    b: np.ndarray
    note: str = ""

    @property
    def symmetric(self) -> bool:
        """Whether A is symmetric to rounding."""
        difference = abs(self.A - self.A.T)
        return bool(difference.max() <= 1e-12 * abs(self.A).max())


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long.

    Parameters
    ----------
    rtol : float
        The true relative residual that every solver has to reach.
    rounds : int
        Pairs per peer.
    trial_seconds : float
        Time limit of a peer's trial.
    times_first : float
        The same in multiples of the first correct peer's time, at least `LEAST_SECONDS`.
    peer_seconds : float
        Time budget of one peer's pairs; at least one pair is run.
    accuracies : tuple of float
        Other relative residuals to time once each, for the picture of residual against time.
    """

    rtol: float = 1e-8
    rounds: int = 5
    trial_seconds: float = 20.0
    times_first: float = 30.0
    peer_seconds: float = 10.0
    accuracies: tuple[float, ...] = ()


@dataclass(frozen=True)
class Quartiles:
    """The median of a sample, and the quartiles beside it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, sample: Sequence[float]) -> "Quartiles":
        return cls(*(float(value) for value in np.percentile(sample, [25, 50, 75])))


@dataclass(frozen=True)
class Entry:
    """A peer whose trial was run; it has no timings unless the trial was right."""

    peer: str
    family: str
    trial: Trial


@dataclass(frozen=True)
class Timed(Entry):
    """A peer that was right and has been timed.

    Attributes
    ----------
    setup, solve, total : Quartiles
        Seconds.
    ratio : Quartiles or None
        Its total over that of the first peer that is right, pair by pair; None for that one.
    rounds : int
        Runs that were timed.
    accuracy : tuple of (float, float)
        True relative residual reached, and total seconds taken, loosest first.
    """

    setup: Quartiles
    solve: Quartiles
    total: Quartiles
    ratio: Quartiles | None
    rounds: int
    accuracy: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Comparison:
    """All peers on one problem; `absent` maps the peers that were not run to the reason."""

    problem: str
    note: str
    n: int
    nnz: int
    matrix_bytes: int
    rtol: float
    entries: tuple[Entry, ...]
    absent: dict[str, str]

    @property
    def timed(self) -> list[Timed]:
        """The peers that were timed, fastest first."""
        return sorted((e for e in self.entries if isinstance(e, Timed)), key=lambda e: e.total.median)

    @property
    def untimed(self) -> list[Entry]:
        """The peers that failed their trial, or a later run."""
        return [entry for entry in self.entries if not isinstance(entry, Timed)]

    @property
    def first(self) -> Timed | None:
        """The peer that the others are paired with."""
        return next((entry for entry in self.timed if entry.ratio is None), None)

    @property
    def best_of_others(self) -> Timed | None:
        """The fastest that is not gabp."""
        return next((entry for entry in self.timed if entry.family != "gabp"), None)


@dataclass
class _Samples:
    """The timed runs of one peer so far."""

    peer: Peer
    trial: Trial
    setup: list[float] = field(default_factory=list)
    solve: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    accuracy: list[tuple[float, float]] = field(default_factory=list)

    @property
    def right(self) -> bool:
        return self.trial.status == "right"

    @property
    def total(self) -> list[float]:
        return [setup + solve for setup, solve in zip(self.setup, self.solve, strict=True)]

    def time(self, problem: Problem, rtol: float) -> float:
        """One more run at the accuracy of the trial; returns its seconds."""
        run = self._run(problem, rtol)
        residual = relative_residual(problem.A, run.x, problem.b)
        if residual > rtol:
            self.trial = replace(self.trial, status="wrong", detail=f"residual {residual:.1e} in a later run")
        self.setup.append(run.setup_seconds)
        self.solve.append(run.solve_seconds)
        return run.seconds

    def time_accuracy(self, problem: Problem, rtol: float) -> None:
        """One run at another accuracy, if the peer can reach it."""
        try:
            run = self._run(problem, rtol)
        except PeerError:
            return
        self.accuracy.append((relative_residual(problem.A, run.x, problem.b), run.seconds))

    def _run(self, problem: Problem, rtol: float) -> Run:
        run = self.peer.run(problem.A, problem.b, self.trial.share * rtol)
        gc.collect(1)  # the young generations: all that a run can have left behind
        time.sleep(self.peer.spin_seconds)  # its threads must not slow the next run
        return run

    def entry(self) -> Entry:
        if not (self.right and self.setup):
            return Entry(self.peer.name, self.peer.family, self.trial)
        assert self.trial.residual is not None
        accuracy = self.accuracy or [(self.trial.residual, Quartiles.of(self.total).median)]
        return Timed(
            self.peer.name,
            self.peer.family,
            self.trial,
            setup=Quartiles.of(self.setup),
            solve=Quartiles.of(self.solve),
            total=Quartiles.of(self.total),
            ratio=Quartiles.of(self.ratio) if self.ratio else None,
            rounds=len(self.setup),
            accuracy=tuple(accuracy),
        )


def compare(
    problem: Problem, peers: Sequence[Peer], plan: Plan, report: Callable[[str], None] = lambda line: None
) -> Comparison:
    """Try every peer, then time those that are right.

    Parameters
    ----------
    problem : Problem
    peers : sequence of Peer
        The first that is right is the one that the others are paired with.
    plan : Plan
    report : callable
        Receives lines of progress.
    """
    absent = {peer.name: reason for peer in peers if (reason := _reason_to_leave_out(peer, problem))}
    samples: list[_Samples] = []
    limit = plan.trial_seconds
    for peer in peers:
        if peer.name in absent:
            continue
        report(f"{problem.name}: trying {peer.name}")
        sample = _Samples(peer, run_trial(peer, problem.A, problem.b, plan.rtol, limit))
        if sample.trial.seconds is not None and sample.right and not any(other.right for other in samples):
            limit = min(limit, max(LEAST_SECONDS, plan.times_first * sample.trial.seconds))
        samples.append(sample)
    racing = [sample for sample in samples if sample.right]
    for sample in racing:
        warm_up(sample.peer)
    _time_pairs(problem, racing, plan, report)
    _time_accuracies(problem, [sample for sample in racing if sample.right], plan, report)
    A = problem.A
    return Comparison(
        problem=problem.name,
        note=problem.note,
        n=A.shape[0],
        nnz=A.nnz,
        matrix_bytes=A.data.nbytes + A.indices.nbytes + A.indptr.nbytes,
        rtol=plan.rtol,
        entries=tuple(sample.entry() for sample in samples),
        absent=absent,
    )


def _reason_to_leave_out(peer: Peer, problem: Problem) -> str:
    if peer.missing:
        return f"not installed: {peer.missing}"
    return "for symmetric matrices" if peer.symmetric_only and not problem.symmetric else ""


def _time_pairs(problem: Problem, racing: list[_Samples], plan: Plan, report: Callable[[str], None]) -> None:
    """Rounds over all pairs, so that a drift over minutes affects all peers alike."""
    if not racing:
        return
    first, others = racing[0], racing[1:]
    for round_ in range(plan.rounds):
        report(f"{problem.name}: round {round_ + 1} of {plan.rounds}")
        if not others:
            first.time(problem, plan.rtol)
        for other in others:
            spent = sum(other.total)
            if not other.right or (round_ > 0 and spent * (round_ + 1) / round_ > plan.peer_seconds):
                continue
            pair = (first, other) if round_ % 2 == 0 else (other, first)
            seconds = {id(sample): sample.time(problem, plan.rtol) for sample in pair}
            other.ratio.append(seconds[id(other)] / seconds[id(first)])


def _time_accuracies(problem: Problem, racing: list[_Samples], plan: Plan, report: Callable[[str], None]) -> None:
    """One run per iterative peer and accuracy; a direct solver has one accuracy."""
    for rtol in sorted(plan.accuracies, reverse=True):
        report(f"{problem.name}: to {rtol:.0e}")
        for sample in racing:
            if sample.trial.iterations is not None:
                sample.time_accuracy(problem, rtol)
