"""Do the precision messages settle? Iterated from zero, with a proof that does not wait for the end.

``F(P) = -A_ij² / P_{i\\j}`` is increasing in ``P`` where cavities are positive, and from ``P = 0`` its iterates
decrease. So any ``floor`` with positive cavities and ``F(floor) >= floor`` stays below all of them: one such
vector proves convergence, even where the iteration itself crawls (near the threshold it needs of the order
of ``1/sqrt(gap)`` sweeps to pass). A cavity or a belief that is not positive proves failure.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gabp.conditions.slots import ROUNDOFF, Slots, Vector

Outcome = Literal["converged", "invalid", "not converged"]

_NEARLY_STILL = 1e-9  # relative change below which rounding may be all that moves the messages
_WORK = 2e8  # edge updates to spend, within the limits below
_FEWEST, _MOST = 200, 30_000


@dataclass(frozen=True, eq=False)
class PrecisionMessages:
    """Where the precision iteration from ``P = 0`` leads.

    Attributes
    ----------
    outcome : {"converged", "invalid", "not converged"}
    message, cavity : array, shape (m,)
        The last iterate; at or above the fixed point, if there is one.
    belief : array, shape (n,)
    floor_cavity : array, shape (m,), or None
        Proven lower bounds of the cavities at the fixed point.
    sweeps : int
    """

    outcome: Outcome
    message: Vector
    cavity: Vector
    belief: Vector
    floor_cavity: Vector | None
    sweeps: int


class PrecisionIteration:
    """One model's precision map ``F`` and what can be proven with it."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self._squares = slots.weight * slots.weight[slots.reverse]

    def flood(self, message: Vector) -> tuple[Vector, Vector]:
        """``F(message)`` and the cavities it came from."""
        cavity = self.belief(message)[self.slots.source] - message[self.slots.reverse]
        with np.errstate(divide="ignore", invalid="ignore"):
            return -self._squares / cavity, cavity

    def rounding(self, message: Vector) -> Vector:
        """A bound of the rounding errors of the beliefs, shape (n,)."""
        size = np.abs(self.slots.diagonal) + self.slots.gather(np.abs(message))
        return 4 * (self.slots.degree + 2) * ROUNDOFF * size

    def is_still(self, message: Vector, new: Vector, cavity: Vector) -> bool:
        """Whether ``new = F(message)`` differs from ``message`` by rounding only."""
        drop = np.abs(message - new)
        if np.any(drop > _NEARLY_STILL * np.abs(new)):
            return False
        noise = self.rounding(message)[self.slots.source] / np.abs(cavity) + 8 * ROUNDOFF
        return bool(np.all(drop <= noise * np.abs(new)))

    def belief(self, message: Vector) -> Vector:
        return self.slots.diagonal + self.slots.gather(message)

    def floor_cavity(self, floor: Vector) -> Vector | None:
        """The cavities of ``floor``, rounded down, if ``F(floor) >= floor`` and all beliefs are positive."""
        if not self.slots.symmetric or not np.all(np.isfinite(floor)):
            return None
        slots = self.slots
        _, cavity = self.flood(floor)
        belief = self.belief(floor)
        doubt = self.rounding(floor)
        if not np.all(belief > doubt):
            return None
        low = cavity - doubt[slots.source]
        if not np.all(low > 0):
            return None
        return low if np.all(-self._squares / low * (1 + 8 * ROUNDOFF) >= floor) else None

    def derivative(self, cavity: Vector, v: Vector) -> Vector:
        """``F'(P) v`` at the messages with these cavities."""
        total = self.slots.gather(v)
        return self._squares / cavity**2 * (total[self.slots.source] - v[self.slots.reverse])


def settle(slots: Slots, scaling: Vector | None = None) -> PrecisionMessages:
    """Flood the precision messages from zero until they settle, fail or exhaust the work allowed.

    Parameters
    ----------
    slots : Slots
        With a positive diagonal.
    scaling : array, shape (n,), optional
        A ``d > 0`` with ``(D - |O|) d > 0``: then ``P_{i→j} = -|A_ij| d_i / d_j`` is a floor.
    """
    iteration = PrecisionIteration(slots)
    limit = int(np.clip(_WORK / max(slots.edges, 1), _FEWEST, _MOST))
    message = np.zeros(slots.edges)
    cavity = slots.diagonal[slots.source]
    floor = None
    if scaling is not None:
        floor = iteration.floor_cavity(-np.abs(slots.weight) * scaling[slots.source] / scaling[slots.destination])
    settled, sweeps, last_drop, next_proof = slots.edges == 0, 0, np.inf, 8
    while not settled and sweeps < limit:
        new, cavity = iteration.flood(message)
        sweeps += 1
        if not _all_valid(cavity, slots.symmetric):
            return PrecisionMessages("invalid", message, cavity, iteration.belief(message), None, sweeps)
        drop = message - new
        settled = iteration.is_still(message, new, cavity)
        message = new
        if sweeps >= next_proof:
            largest = float(np.abs(drop).max())
            if floor is None:
                floor = _extrapolated_floor(iteration, message, drop, largest, last_drop)
            next_proof = 1 + sweeps * 5 // 4
        if sweeps + 1 == next_proof:
            last_drop = float(np.abs(drop).max())
    belief = iteration.belief(message)
    cavity = belief[slots.source] - message[slots.reverse]
    if not (_all_valid(belief, slots.symmetric) and _all_valid(cavity, slots.symmetric)):
        return PrecisionMessages("invalid", message, cavity, belief, None, sweeps)
    closer = _close_floor(iteration, message, cavity)
    if closer is not None:
        floor = closer
    proven = settled or floor is not None
    return PrecisionMessages("converged" if proven else "not converged", message, cavity, belief, floor, sweeps)


def _all_valid(precision: Vector, must_be_positive: bool) -> bool:
    if must_be_positive:
        return bool(np.all(precision > 0))
    return bool(np.all(np.isfinite(precision)) and np.all(precision != 0))


def _extrapolated_floor(
    iteration: PrecisionIteration, message: Vector, drop: Vector, largest: float, last: float
) -> Vector | None:
    """A floor where the iteration seems to go, and somewhat beyond: ``P - κ·drop·q/(1-q)``."""
    q = largest / last
    if not q < 1:
        return None
    for overshoot in (1.5, 3.0):
        floor = iteration.floor_cavity(message - overshoot * q / (1 - q) * drop)
        if floor is not None:
            return floor
    return None


def _close_floor(iteration: PrecisionIteration, message: Vector, cavity: Vector) -> Vector | None:
    """A floor just below the settled messages: ``P - εv`` with ``v`` near the solution of ``(I - F')v = |P|``."""
    if not iteration.slots.symmetric:
        return None  # it has no floor
    own = np.abs(message)
    v = own
    for _ in range(300):
        pushed = iteration.derivative(cavity, v)
        if np.all(pushed <= 0.9 * v):
            break
        v = own + pushed
    for epsilon in (1e-13, 1e-11, 1e-9, 1e-7, 1e-5, 1e-3):
        floor = iteration.floor_cavity(message - epsilon * v)
        if floor is not None:
            return floor
    return None
