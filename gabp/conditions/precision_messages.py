"""Convergence of the precision messages from zero, with a proof of either answer.

``F(P) = -A_ij² / P_{i\\j}`` is increasing in ``P`` where cavities are positive, and from ``P = 0`` its iterates
decrease. So any ``floor`` with positive cavities and ``F(floor) >= floor`` bounds all of them from below: one such
vector proves convergence, even where the iteration itself is slow (near the threshold it takes of the order of
``1/sqrt(gap)`` sweeps). A nonpositive cavity or belief proves failure, if messages that are rounded up meet one too.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gabp.conditions.host_edges import ROUNDOFF, HostEdges, Vector
from gabp.messages import GeneralPrecisions, Precisions, solve_general_fixed_point, solve_precision_fixed_point

PrecisionStatus = Literal["converged", "invalid", "not converged"]
"""Converged or invalid by proof; "not converged" where neither is known."""

_WORK = 2e8  # edge updates to spend, within the limits below
_FEWEST, _MOST = 60, 100_000
_TINY = 1e-300
_FLOOR_GAPS = (1e-13, 1e-11, 1e-9, 1e-7, 1e-5, 1e-3)  # relative distances of a floor from the fixed point


@dataclass(frozen=True, eq=False)
class PrecisionMessages:
    """The precision messages flooded from ``P = 0``, and what is proven about their fixed point.

    Attributes
    ----------
    status : {"converged", "invalid", "not converged"}
    iterate : Precisions or GeneralPrecisions
        The last iterate; at or above the fixed point, if there is one.
    valid : bool
        Whether all its cavities and beliefs are positive.
    cavity : array, shape (m,)
        ``P_{k\\i}`` of each edge ``k → i``; empty where not valid.
    belief : array, shape (n,)
        ``J_i``.
    floor_cavity : array, shape (m,), or None
        Proven lower bounds of the cavities at the fixed point.
    """

    status: PrecisionStatus
    iterate: Precisions | GeneralPrecisions
    valid: bool
    cavity: Vector
    belief: Vector
    floor_cavity: Vector | None

    def ceiling_cavity(self, edges: HostEdges) -> Vector:
        """Proven upper bounds of the cavities at the fixed point, by sweeps that are rounded up, shape (m,)."""
        message = np.zeros(edges.count)
        for _ in range(self.iterate.sweeps):
            message, _ = _ceiling_sweep(edges, message)
        own = edges.diagonal[edges.source]
        cavity = edges.non_backtracking_product(np.ones(edges.count), message, own)
        return cavity + 8 * (edges.degree[edges.source] + 2) * ROUNDOFF * own


def certify_precisions(edges: HostEdges, scaling: Vector | None = None) -> PrecisionMessages:
    """Flood the precision messages from zero and prove that they converge, or that they do not.

    Parameters
    ----------
    edges : HostEdges
        With a positive diagonal.
    scaling : array, shape (n,), optional
        A ``d > 0`` with ``(D - |O|) d > 0``: then ``P_{i→j} = -|A_ij| d_i / d_j`` is a floor
        (Malioutov, Johnson and Willsky 2006).
    """
    limit = int(np.clip(_WORK / max(edges.count, 1), _FEWEST, _MOST))
    if not edges.symmetric:
        return _general_precisions(edges, limit)
    iterate = solve_precision_fixed_point(edges.system, limit=limit)
    belief = iterate.belief.cpu().numpy()
    if iterate.invalid_node is not None:
        status: PrecisionStatus = "converged" if scaling is not None else "not converged"
        if scaling is None and _proven_invalid(edges, iterate.sweeps + 2):
            status = "invalid"
        return PrecisionMessages(status, iterate, False, np.empty(0), belief, None)
    message, cavity = iterate.message.cpu().numpy(), iterate.cavity.cpu().numpy()
    floor = _close_floor(edges, message, cavity)
    if floor is None and not iterate.converged:
        floor = _extrapolated_floor(edges, message)
    if floor is None and scaling is not None:
        ahead = scaling[edges.source] / np.repeat(scaling, edges.degree)
        floor = _floor_cavity(edges, -edges.magnitude * ahead)
    proven = iterate.converged or floor is not None or scaling is not None
    return PrecisionMessages("converged" if proven else "not converged", iterate, True, cavity, belief, floor)


def _general_precisions(edges: HostEdges, limit: int) -> PrecisionMessages:
    iterate = solve_general_fixed_point(edges.system, limit)
    status: PrecisionStatus = "converged" if iterate.converged else "not converged"
    valid = iterate.invalid_node is None
    if not valid:
        status = "invalid"
    return PrecisionMessages(status, iterate, valid, iterate.cavity.cpu().numpy(), iterate.belief.cpu().numpy(), None)


def _proven_invalid(edges: HostEdges, sweeps: int) -> bool:
    """Whether exact arithmetic meets a nonpositive cavity or belief within so many sweeps, too."""
    message = np.zeros(edges.count)
    for _ in range(sweeps):
        message, lowest = _ceiling_sweep(edges, message)
        if not lowest > 0:
            return True
    return False


def _ceiling_sweep(edges: HostEdges, message: Vector) -> tuple[Vector, float]:
    return edges.kernels.ceiling_sweep(edges.start, edges.source, edges.reverse, edges.square, edges.diagonal, message)


def _floor_cavity(edges: HostEdges, floor: Vector) -> Vector | None:
    """The cavities of ``floor``, rounded down, if ``F(floor) >= floor`` and all beliefs are positive."""
    return edges.kernels.floor_cavities(edges.start, edges.source, edges.reverse, edges.square, edges.diagonal, floor)


def _extrapolated_floor(edges: HostEdges, message: Vector) -> Vector | None:
    """The cavities of a floor beyond the extrapolated limit of the iteration, ``P - κ·drop·q/(1-q)``."""
    drops = []
    for _ in range(2):
        new = -edges.square / edges.non_backtracking_product(
            np.ones(edges.count), message, edges.diagonal[edges.source]
        )
        drops.append(message - new)
        message = new
    before, last = (float(np.abs(drop).max()) for drop in drops)
    q = last / before if before > 0 else 1.0
    if not q < 1:
        return None
    for overshoot in (1.5, 3.0):
        floor = _floor_cavity(edges, message - overshoot * q / (1 - q) * drops[-1])
        if floor is not None:
            return floor
    return None


def _close_floor(edges: HostEdges, message: Vector, cavity: Vector) -> Vector | None:
    """The cavities of a floor just below a fixed point: ``P - εv`` with ``v`` near the solution of ``(I - F')v = |P|``.

    ``F(P - εv) - (P - εv) = ε (v - F'v)`` to first order, which is positive once the Neumann series of ``v`` has
    reduced its residual to a half.
    """
    own = np.abs(message)
    np.maximum(own, _TINY, out=own)
    slope = edges.square / cavity  # F'(P) v = slope · (non-backtracking sums of v)
    slope /= cavity
    v, longer = own.copy(), np.empty(edges.count)
    for _ in range(300):
        edges.non_backtracking_product(slope, v, own, out=longer)
        v, longer = longer, np.subtract(longer, v, out=v)
        longer /= own
        if longer.max(initial=0.0) <= 0.5:
            break
    floor = longer
    for epsilon in _FLOOR_GAPS:
        np.multiply(v, -epsilon, out=floor)
        floor += message
        low = _floor_cavity(edges, floor)
        if low is not None:
            return low
    return None
