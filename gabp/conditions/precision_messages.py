"""Do the precision messages settle? Flooded from zero, with a proof of either answer.

``F(P) = -A_ij² / P_{i\\j}`` is increasing in ``P`` where cavities are positive, and from ``P = 0`` its iterates
decrease. So any ``floor`` with positive cavities and ``F(floor) >= floor`` stays below all of them: one such
vector proves convergence, even where the iteration itself crawls (near the threshold it needs of the order
of ``1/sqrt(gap)`` sweeps to pass). A cavity or a belief that is not positive proves failure, if messages that are
rounded up meet one too.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gabp.conditions.host_edges import ROUNDOFF, Slots, Vector
from gabp.messages import GeneralPrecisions, Precisions, solve_general_fixed_point, solve_precision_fixed_point

Outcome = Literal["converged", "invalid", "not converged"]

_WORK = 2e8  # edge updates to spend, within the limits below
_FEWEST, _MOST = 60, 100_000
_TINY = 1e-300
_CLOSE = (1e-13, 1e-11, 1e-9, 1e-7, 1e-5, 1e-3)  # distances of a floor to try, relative to the messages


@dataclass(frozen=True, eq=False)
class PrecisionMessages:
    """Where the precision iteration from ``P = 0`` leads.

    Attributes
    ----------
    outcome : {"converged", "invalid", "not converged"}
    settled : Precisions or GeneralPrecisions
        The last iterate; at or above the fixed point, if there is one.
    valid : bool
        Whether all precisions of that are usable.
    cavity : array, shape (m,)
        ``P_{k\\i}`` in the slot of the message that ``i`` hears from ``k``; empty where not valid.
    belief : array, shape (n,)
    floor_cavity : array, shape (m,), or None
        Proven lower bounds of the cavities at the fixed point.
    """

    outcome: Outcome
    settled: Precisions | GeneralPrecisions
    valid: bool
    cavity: Vector
    belief: Vector
    floor_cavity: Vector | None

    def ceiling_cavity(self, slots: Slots) -> Vector:
        """Proven upper bounds of the cavities at the fixed point, by as many sweeps that are rounded up, shape (m,)."""
        message = np.zeros(slots.edges)
        for _ in range(self.settled.sweeps):
            message, _ = _ceiling_sweep(slots, message)
        own = slots.diagonal[slots.source]
        cavity = slots.heard_from_others(np.ones(slots.edges), message, own)
        return cavity + 8 * (slots.degree[slots.source] + 2) * ROUNDOFF * own


def settle(slots: Slots, scaling: Vector | None = None) -> PrecisionMessages:
    """Flood the precision messages from zero until they settle, fail or exhaust the work allowed.

    Parameters
    ----------
    slots : Slots
        With a positive diagonal.
    scaling : array, shape (n,), optional
        A ``d > 0`` with ``(D - |O|) d > 0``: then ``P_{i→j} = -|A_ij| d_i / d_j`` is a floor.
    """
    limit = int(np.clip(_WORK / max(slots.edges, 1), _FEWEST, _MOST))
    if not slots.symmetric:
        return _settle_general(slots, limit)
    settled = solve_precision_fixed_point(slots.system, limit=limit)
    belief = settled.belief.cpu().numpy()
    if settled.invalid_node is not None:
        outcome: Outcome = "converged" if scaling is not None else "not converged"
        if scaling is None and _fails(slots, settled.sweeps + 2):
            outcome = "invalid"
        return PrecisionMessages(outcome, settled, False, np.empty(0), belief, None)
    message, cavity = settled.message.cpu().numpy(), settled.cavity.cpu().numpy()
    floor = _close_floor(slots, message, cavity)
    if floor is None and not settled.converged:
        floor = _extrapolated_floor(slots, message)
    if floor is None and scaling is not None:
        ahead = scaling[slots.source] / np.repeat(scaling, slots.degree)
        floor = _floor_cavity(slots, -slots.magnitude * ahead)
    proven = settled.converged or floor is not None or scaling is not None
    return PrecisionMessages("converged" if proven else "not converged", settled, True, cavity, belief, floor)


def _settle_general(slots: Slots, limit: int) -> PrecisionMessages:
    settled = solve_general_fixed_point(slots.system, limit)
    outcome: Outcome = "converged" if settled.converged else "not converged"
    valid = settled.invalid_node is None
    if not valid:
        outcome = "invalid"
    return PrecisionMessages(outcome, settled, valid, settled.cavity.cpu().numpy(), settled.belief.cpu().numpy(), None)


def _fails(slots: Slots, sweeps: int) -> bool:
    """Whether exact arithmetic meets a nonpositive cavity or belief, too, within so many sweeps."""
    message = np.zeros(slots.edges)
    for _ in range(sweeps):
        message, lowest = _ceiling_sweep(slots, message)
        if not lowest > 0:
            return True
    return False


def _ceiling_sweep(slots: Slots, message: Vector) -> tuple[Vector, float]:
    return slots.kernels.ceiling_sweep(slots.start, slots.source, slots.reverse, slots.square, slots.diagonal, message)


def _floor_cavity(slots: Slots, floor: Vector) -> Vector | None:
    """The cavities of ``floor``, rounded down, if ``F(floor) >= floor`` and all beliefs are positive."""
    return slots.kernels.floor_cavities(slots.start, slots.source, slots.reverse, slots.square, slots.diagonal, floor)


def _extrapolated_floor(slots: Slots, message: Vector) -> Vector | None:
    """A floor where the iteration seems to go, and somewhat beyond: ``P - κ·drop·q/(1-q)``."""
    drops = []
    for _ in range(2):
        new = -slots.square / slots.heard_from_others(np.ones(slots.edges), message, slots.diagonal[slots.source])
        drops.append(message - new)
        message = new
    before, last = (float(np.abs(drop).max()) for drop in drops)
    q = last / before if before > 0 else 1.0
    if not q < 1:
        return None
    for overshoot in (1.5, 3.0):
        floor = _floor_cavity(slots, message - overshoot * q / (1 - q) * drops[-1])
        if floor is not None:
            return floor
    return None


def _close_floor(slots: Slots, message: Vector, cavity: Vector) -> Vector | None:
    """A floor just below the settled messages: ``P - εv`` with ``v`` near the solution of ``(I - F')v = |P|``.

    ``F(P - εv) - (P - εv) = ε (v - F'v)`` to first order, which is positive once the series for ``v`` has come
    half-way.
    """
    own = np.abs(message)
    np.maximum(own, _TINY, out=own)
    slope = slots.square / cavity  # F'(P) v = slope · (what is heard of v from others)
    slope /= cavity
    v, longer = own.copy(), np.empty(slots.edges)
    for _ in range(300):
        slots.heard_from_others(slope, v, own, out=longer)
        v, longer = longer, np.subtract(longer, v, out=v)
        longer /= own
        if longer.max(initial=0.0) <= 0.5:
            break
    floor = longer
    for epsilon in _CLOSE:
        np.multiply(v, -epsilon, out=floor)
        floor += message
        low = _floor_cavity(slots, floor)
        if low is not None:
            return low
    return None
