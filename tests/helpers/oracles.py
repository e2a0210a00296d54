"""Dense numpy oracles: the equations of belief propagation, literally and without code of gabp.

Every function takes a dense ``(n, n)`` array ``A``; the off-diagonal nonzeros are the edges. Messages live in
``(n, n)`` arrays whose entry ``[i, j]`` is the message that node ``i`` sends to node ``j``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sweep:
    """Messages and beliefs after a number of sweeps."""

    precision: np.ndarray  # (n, n) messages P_{i->j}
    potential: np.ndarray  # (n, n) messages h_{i->j}
    belief_precision: np.ndarray  # (n,) J_i
    belief_potential: np.ndarray  # (n,) h_i
    smallest_cavity: float  # over the cavities that this sweep's messages came from

    @property
    def mean(self) -> np.ndarray:
        """``h_i / J_i``, and 0 where ``J_i = 0``."""
        mean = np.zeros_like(self.belief_potential)
        for i in range(len(mean)):
            if self.belief_precision[i] != 0:
                mean[i] = self.belief_potential[i] / self.belief_precision[i]
        return mean

    @property
    def valid(self) -> bool:
        """Every cavity and every belief is a positive precision."""
        return self.smallest_cavity > 0 and bool((self.belief_precision > 0).all())


def cavity(
    A: np.ndarray, b: np.ndarray, P: np.ndarray, h: np.ndarray, edge: tuple[int, int], near: list[list[int]]
) -> tuple[float, float]:
    """``P_{i\\j}`` and ``h_{i\\j}``: precision and potential of node i without the message from node j."""
    i, j = edge
    others = [k for k in near[i] if k != j]
    return A[i, i] + sum(P[k, i] for k in others), b[i] + sum(h[k, i] for k in others)


def neighbours(A: np.ndarray) -> list[list[int]]:
    """For each node, the nodes it shares an edge with, in ascending order."""
    pattern = (A != 0) | (A.T != 0)
    np.fill_diagonal(pattern, False)
    return [np.flatnonzero(row).tolist() for row in pattern]


def starting_precisions(A: np.ndarray, start: str | np.ndarray) -> np.ndarray:
    """``P = 0``, the constant start ``-|A_ij|``, or for an array ``d`` the scaled ``-|A_ij| d_i / d_j``."""
    if isinstance(start, np.ndarray):
        P = -np.abs(A) * start[:, None] / start[None, :]
    elif start == "constant":
        P = -np.abs(A)
    elif start == "zero":
        P = np.zeros_like(A)
    else:
        raise ValueError(f"no start named {start!r}")
    np.fill_diagonal(P, 0.0)
    return P


def _beliefs(A: np.ndarray, b: np.ndarray, P: np.ndarray, h: np.ndarray, smallest_cavity: float) -> Sweep:
    near = neighbours(A)
    J = np.array([A[i, i] + sum(P[k, i] for k in near[i]) for i in range(len(A))])
    H = np.array([b[i] + sum(h[k, i] for k in near[i]) for i in range(len(A))])
    return Sweep(P.copy(), h.copy(), J, H, smallest_cavity)


def flooding(
    A: np.ndarray,
    b: np.ndarray,
    start: str | np.ndarray = "zero",
    damping: float = 0.0,
    precision: np.ndarray | None = None,
) -> Iterator[Sweep]:
    """Synchronous sweeps; the first item is the start itself.

    Every message of a sweep is computed from the messages of the sweep before. ``damping`` keeps that share
    of the old potential message; precision messages are never damped. With ``precision``, the precision
    messages are fixed.
    """
    A, b = np.asarray(A, dtype=float), np.asarray(b, dtype=float)
    near = neighbours(A)
    P = starting_precisions(A, start) if precision is None else precision
    h = np.zeros_like(A)
    yield _beliefs(A, b, P, h, np.inf)
    while True:
        new_P, new_h, smallest = np.zeros_like(P), np.zeros_like(h), np.inf
        for i in range(len(A)):
            for j in near[i]:
                cavity_precision, cavity_potential = cavity(A, b, P, h, (i, j), near)
                smallest = min(smallest, cavity_precision)
                with np.errstate(all="ignore"):
                    new_P[i, j] = -A[j, i] * A[i, j] / cavity_precision
                    message = -A[j, i] * cavity_potential / cavity_precision
                new_h[i, j] = damping * h[i, j] + (1 - damping) * message
        P, h = new_P if precision is None else precision, new_h
        yield _beliefs(A, b, P, h, smallest)


def sequential(A: np.ndarray, b: np.ndarray, precision: np.ndarray | None = None) -> Iterator[Sweep]:
    """In-place sweeps from zero messages; the first item is the start itself.

    In row order, each node sends to all its neighbours from the newest incoming messages. With ``precision``, the
    precision messages are fixed.
    """
    A, b = np.asarray(A, dtype=float), np.asarray(b, dtype=float)
    near = neighbours(A)
    P = np.zeros_like(A) if precision is None else precision.copy()
    h = np.zeros_like(A)
    yield _beliefs(A, b, P, h, np.inf)
    while True:
        smallest = np.inf
        for i in range(len(A)):
            for j in near[i]:
                cavity_precision, cavity_potential = cavity(A, b, P, h, (i, j), near)
                smallest = min(smallest, cavity_precision)
                with np.errstate(all="ignore"):
                    if precision is None:
                        P[i, j] = -A[j, i] * A[i, j] / cavity_precision
                    h[i, j] = -A[j, i] * cavity_potential / cavity_precision
        yield _beliefs(A, b, P, h, smallest)


def converged_precisions(A: np.ndarray, limit: int = 10_000) -> Sweep:
    """The fixed point of the precision messages from zero."""
    before = None
    for t, sweep in enumerate(flooding(A, np.zeros(len(A)))):
        if not sweep.valid:
            raise ArithmeticError(f"not a precision in sweep {t}")
        if before is not None and np.allclose(sweep.precision, before, rtol=1e-15, atol=0):
            return sweep
        if t == limit:
            raise ArithmeticError("the precision messages did not converge")
        before = sweep.precision
    raise AssertionError("sweeps never end")


def sweeps_until_converged(sweeps: Iterator[Sweep], tolerance: float) -> int:
    """Sweeps until ``‖x_t - x_{t-1}‖ / ‖x_t‖ < tolerance``."""
    return first_converged((sweep.mean for sweep in sweeps), tolerance)


def first_converged(means: Iterator[np.ndarray], tolerance: float) -> int:
    """Index of the first of the means, counted from 0, that is within ``tolerance`` of the one before."""
    before = next(means)
    for t, mean in enumerate(means, start=1):
        if np.linalg.norm(mean - before) < tolerance * np.linalg.norm(mean):
            return t
        before = mean
    raise AssertionError("the means ended before they converged")


def first_invalid_sweep(sweeps: Iterator[Sweep], limit: int) -> int | None:
    """The first sweep that meets a cavity or belief that is not positive, or None within ``limit``."""
    for t, sweep in enumerate(sweeps):
        if not sweep.valid:
            return t
        if t == limit:
            return None
    raise AssertionError("sweeps never end")


def bethe_variances(A: np.ndarray) -> np.ndarray:
    """``1 / J_i`` at the fixed point of the precision messages, started from zero."""
    return 1 / converged_precisions(A).belief_precision


def mean_operator(A: np.ndarray) -> np.ndarray:
    """``M[(i->j), (k->i)] = -A_ij / P_{i\\j}``, ``k != j``, at the precision fixed point.

    The means of flooding converge iff ``ρ(M) < 1``.
    """
    near, sweep = neighbours(A), converged_precisions(A)
    edges = [(i, j) for i in range(len(A)) for j in near[i]]
    position = {edge: e for e, edge in enumerate(edges)}
    M = np.zeros((len(edges), len(edges)))
    for i, j in edges:
        cavity_precision = sweep.belief_precision[i] - sweep.precision[j, i]
        for k in near[i]:
            if k != j:
                M[position[i, j], position[k, i]] = -A[i, j] / cavity_precision
    return M


def spectral_radius(M: np.ndarray) -> float:
    """Largest modulus of an eigenvalue."""
    return float(np.abs(np.linalg.eigvals(M)).max()) if len(M) else 0.0


def walk_radius(A: np.ndarray) -> float:
    """``ρ(|R|)``, ``R = I - D^-1/2 A D^-1/2``, for a positive diagonal: walk-summable iff below 1."""
    scale = 1 / np.sqrt(np.diag(A))
    R = np.abs(np.eye(len(A)) - scale[:, None] * A * scale[None, :])
    np.fill_diagonal(R, 0.0)
    return float(np.abs(np.linalg.eigvalsh(R)).max())


def is_forest(A: np.ndarray) -> bool:
    """No cycle: peeling nodes of degree at most one leaves nothing."""
    near = [set(row) for row in neighbours(A)]
    left = set(range(len(A)))
    while leaves := [i for i in left if len(near[i]) <= 1]:
        for i in leaves:
            for j in near[i]:
                near[j].discard(i)
            near[i] = set()
        left.difference_update(leaves)
    return not left


def is_spd(A: np.ndarray) -> bool:
    """Symmetric positive definite beyond rounding, whatever the scaling of the variables."""
    if not (np.diag(A) > 0).all():
        return False
    scale = 1 / np.sqrt(np.diag(A))
    return bool(np.linalg.eigvalsh(scale[:, None] * A * scale[None, :])[0] > 1e-12 * len(A))


def solve(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``A⁻¹ b`` by LU, refined on residuals in extended precision until it is good to rounding."""
    A = np.asarray(A, dtype=float)
    wide, b_wide = A.astype(np.longdouble), np.asarray(b).astype(np.longdouble)
    x = np.linalg.solve(A, np.asarray(b, dtype=float)).astype(np.longdouble)
    for _ in range(3):
        x = x + np.linalg.solve(A, (b_wide - wide @ x).astype(float))
    return x.astype(float)
