"""The passes over the directed edges of a model of which proofs of convergence consist, in numpy.

Arrays are as in `gabp.kernels.reference`, all numbers float64. A bound allows for the rounding of its own evaluation,
whatever the order of the sums; ``u`` is the unit roundoff.
"""

import math

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Offsets = NDArray[np.int64]
Nodes = NDArray[np.int32]

ROUNDOFF = 2.0**-53  # u, the relative error of one float64 operation


def multiply(start: Offsets, source: Nodes, weight: Numbers, x: Numbers) -> Numbers:
    """``Σ_k w_ik x_k`` over the neighbours of each node, ``(n,)``."""
    return _matrix(start, source, weight) @ x


def quotients(
    start: Offsets, source: Nodes, weight: Numbers, diagonal: Numbers, d: Numbers
) -> tuple[Numbers, float, float, float, float]:
    """Collatz-Wielandt and Rayleigh quotients of nonnegative weights ``W`` and a positive diagonal ``D`` at ``d >= 0``.

    Returns
    -------
    pull : array, shape (n,)
        ``W d``.
    upper : float
        An upper bound of ``max_i (W d)_i / (D d)_i``.
    smallest : float
        The smallest entry of ``D d``; ``upper`` is invalid where it is too small to divide by.
    numerator, denominator : float
        ``dᵀ W d`` and ``dᵀ D d``, within ``4 (deg + 8) u`` of their own size.
    """
    pull, own = multiply(start, source, weight, d), diagonal * d
    margin = 4 * (np.diff(start) + 2) * ROUNDOFF
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        upper = float((pull / own * (1 + margin)).max())
    return pull, upper, float(own.min()), _sum(d * pull), _sum(d * own)


def non_backtracking(
    start: Offsets, source: Nodes, reverse: Offsets, ratio: Numbers, message: Numbers, base: Numbers, out: Numbers
) -> Numbers:
    """Write ``base_{k→i} + ratio_{k→i} · Σ_{l≠i} message_{l→k}`` into ``out`` ``(m,)``, which is returned."""
    return np.add(base, ratio * (_gather(start, message)[source] - message[reverse]), out=out)


def growth(start: Offsets, source: Nodes, reverse: Offsets, ratio: Numbers, w: Numbers) -> float:
    """An upper bound of ``max_e (N w)_e / w_e``, ``N`` as in `non_backtracking` without ``base``.

    ``ratio`` and ``w`` are not negative. Edges with ``ratio = 0`` are left out; infinite where another has ``w = 0``.
    """
    counted = ratio != 0
    if not counted.any():
        return 0.0
    total = _gather(start, w)[source]
    error = 4 * (np.diff(start)[source] + 4) * ROUNDOFF * total  # of the sum that the subtraction starts from
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        image = ratio * (np.maximum(total - w[reverse], 0.0) + error) * (1 + 8 * ROUNDOFF)
        most = float((image[counted] / w[counted]).max())
    return most if np.all(w[counted] > 0) and most < np.inf else np.inf


def floor_cavities(
    start: Offsets, source: Nodes, reverse: Offsets, square: Numbers, diagonal: Numbers, floor: Numbers
) -> Numbers | None:
    """Lower bounds of the cavities ``P_{k\\i}`` of the precision messages ``floor``, if that is a floor.

    It is when all beliefs are positive and ``F(floor) >= floor`` for the precision map ``F = -A_ik² / P_{k\\i}``, with
    ``square = A_ik²``. Iterates from zero then stay above ``floor`` (`gabp.conditions.precision_messages`).
    """
    size = np.abs(diagonal) + _gather(start, np.abs(floor))
    belief = diagonal + _gather(start, floor) - 4 * (np.diff(start) + 2) * ROUNDOFF * size
    if not np.all(belief > 0):
        return None
    low = belief[source] - floor[reverse]
    if not np.all(low > 0):
        return None
    return low if np.all(-square / low * (1 + 8 * ROUNDOFF) >= floor) else None


def ceiling_sweep(
    start: Offsets, source: Nodes, reverse: Offsets, square: Numbers, diagonal: Numbers, message: Numbers
) -> tuple[Numbers, float]:
    """One sweep of the precision messages, rounded up, and the smallest belief or cavity before it.

    From zero, and as long as that is positive, the messages are upper bounds of those in exact arithmetic; the first
    belief or cavity that is not positive proves one in exact arithmetic.
    """
    size = np.abs(diagonal) + _gather(start, np.abs(message))
    belief = diagonal + _gather(start, message) + 4 * (np.diff(start) + 2) * ROUNDOFF * size
    cavity = belief[source] - message[reverse]
    with np.errstate(divide="ignore"):
        return -square / cavity * (1 - 8 * ROUNDOFF), float(min(belief.min(), cavity.min(initial=np.inf)))


def comparison_messages(start: Offsets, source: Nodes, weight: Numbers, ratio: Numbers, x: Numbers) -> Numbers:
    """``w_ik (x_k - ratio_{k→i} x_i)``, ``(m,)``."""
    return weight * (x[source] - ratio * np.repeat(x, np.diff(start)))


def bethe_form(
    start: Offsets, source: Nodes, ratio: Numbers, root: Numbers, y: Numbers, radius: float
) -> tuple[float, float]:
    """``Σ_edges (g² y_i² + λ g y_i y_k) / (λ² - g²)`` with ``λ = radius``, and the largest ``|g|``.

    ``g = -ratio_{k→i} root_k / root_i``.
    """
    own, g = np.repeat(y, np.diff(start)), -ratio * root[source] / np.repeat(root, np.diff(start))
    terms = g * own * (g * own + radius * y[source]) / (radius**2 - g**2)
    return math.fsum(terms), float(np.abs(g).max(initial=0.0))


def peel_leaves(start: Offsets, source: Nodes) -> NDArray[np.bool_]:
    """Whether each node is in the 2-core, what remains after removing leaves repeatedly, ``(n,)``."""
    degree = np.diff(start)
    kept = np.ones(len(degree), dtype=bool)
    leaves = np.flatnonzero(degree <= 1)
    while len(leaves):
        kept[leaves] = False
        neighbours = np.concatenate([source[start[i] : start[i + 1]] for i in leaves])
        np.subtract.at(degree, neighbours, 1)
        leaves = np.unique(neighbours[kept[neighbours] & (degree[neighbours] <= 1)])
    return kept


def components_and_signs(start: Offsets, source: Nodes, weight: Numbers) -> tuple[NDArray[np.int32], Numbers | None]:
    """The connected component of each node, ``(n,)``, and signs ``s`` with ``s_i s_k w_ik <= 0`` on every edge.

    The signs are None where a cycle is frustrated.
    """
    # a double cover: (i, +) is adjacent to (k, +) where i and k need equal signs, to (k, -) where opposite ones;
    # a cycle is frustrated when it connects (i, +) to (i, -)
    n = len(start) - 1
    row = np.repeat(np.arange(n), np.diff(start))
    opposite = (weight > 0).astype(np.int64) * n
    rows = np.concatenate([row, row + n])
    columns = np.concatenate([source + opposite, source + n - opposite])
    cover = scipy.sparse.coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), (2 * n, 2 * n))
    sheet = scipy.sparse.csgraph.connected_components(cover, directed=False)[1]
    positive, negative = sheet[:n], sheet[n:]
    labels = np.unique(np.minimum(positive, negative), return_inverse=True)[1].astype(np.int32)
    return labels, None if np.any(positive == negative) else np.where(positive < negative, 1.0, -1.0)


def _matrix(start: Offsets, source: Nodes, weight: Numbers) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array((weight, source, start), (len(start) - 1, len(start) - 1))


def _gather(start: Offsets, message: Numbers) -> Numbers:
    n = len(start) - 1
    incoming = scipy.sparse.csr_array((np.ones(len(message)), np.arange(len(message)), start), (n, len(message)))
    return incoming @ message


def _sum(terms: Numbers) -> float:
    return math.fsum(terms)
