"""The weighted non-backtracking operator ``M`` of the flooding means, and its spectral radius.

At the fixed point of the precisions one flooding sweep is linear in the potentials,

    (M h)_{k→i} = -A_ik / P_{k\\i} · Σ_{l≠i} h_{l→k} ,

and the means converge for every right-hand side if and only if ``ρ(M) < 1``. ``M`` is never formed but for
small models. Edges outside the 2-core (branches of trees) carry eigenvalues 0 only, in long Jordan chains that
would spoil a numerical spectrum, so they are left out.

Proofs: ``ρ(M) <= max_e (|M| w)_e / w_e`` for any ``w > 0``; ``ρ(M)^k <= ‖M^k‖_∞``; ``ρ(M)^k >= |tr M^k| / m``.
"""

import numpy as np
import scipy.optimize
import scipy.sparse.linalg

from gabp.conditions.slots import ROUNDOFF, Slots, Vector, dot
from gabp.conditions.verdict import Verdict

_DENSE = 300  # core edges up to which M is formed
_ARNOLDI = 200_000  # core edges up to which a Krylov basis is kept
_BASIS = 30
_PRODUCTS = 2e8  # edge updates that an Arnoldi iteration may spend
_MANY = 50_000  # core edges past which the last digits of an estimate are not worth their products
_SQUARINGS = 40


class NonBacktracking:
    """``M`` of one model, from its cavities.

    Parameters
    ----------
    slots : Slots
    cavity : array, shape (m,)
        ``P_{k\\i}`` in the slot of the message that ``i`` hears from ``k``.
    """

    def __init__(self, slots: Slots, cavity: Vector) -> None:
        self.slots = slots
        self.ratio = -slots.weight / cavity
        self.core = np.flatnonzero(core_edges(slots))

    def apply(self, potential: Vector, ratio: Vector | None = None) -> Vector:
        """``M h`` for ``h`` of shape (m,); with ``|ratio|`` it is ``|M| h``."""
        slots = self.slots
        heard = slots.gather(potential)[slots.source] - potential[slots.reverse]
        return (self.ratio if ratio is None else ratio) * heard

    @property
    def is_small(self) -> bool:
        """Whether ``M`` may be formed."""
        return len(self.core) <= _DENSE

    def dense(self) -> np.ndarray:
        """``M`` on the core; for small models."""
        slots, core = self.slots, self.core
        follows = slots.destination[core][None, :] == slots.source[core][:, None]
        follows &= slots.reverse[core][:, None] != core[None, :]
        return np.where(follows, self.ratio[core][:, None], 0.0)

    def radius(self) -> float | None:
        """An estimate of ``ρ(M)``; None where no affordable iteration found it."""
        if len(self.core) == 0:
            return 0.0
        if self.is_small:
            return float(np.abs(np.linalg.eigvals(self.dense())).max())
        return self._arnoldi() if len(self.core) <= _ARNOLDI else None

    def _arnoldi(self) -> float | None:
        full = np.zeros(self.slots.edges)

        def on_core(h: Vector) -> Vector:
            full[self.core] = h.ravel()
            return self.apply(full)[self.core]

        size = len(self.core)
        operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=on_core, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(size)
        tolerance = 1e-6 if size <= _MANY else 1e-4
        restarts = int(np.clip(_PRODUCTS / (size * _BASIS), 10, 100))
        try:
            values = scipy.sparse.linalg.eigs(
                operator, 1, ncv=_BASIS, v0=start, maxiter=restarts, tol=tolerance, return_eigenvectors=False
            )
        except scipy.sparse.linalg.ArpackNoConvergence as stopped:
            values = stopped.eigenvalues
        return float(np.abs(values).max()) if len(values) else None


def core_edges(slots: Slots) -> np.ndarray:
    """Which directed edges lie in the 2-core: what is left after pulling off leaves again and again."""
    degree = slots.degree.copy()
    kept = np.ones(slots.n, dtype=bool)
    leaves = np.flatnonzero(degree <= 1)
    while len(leaves):
        kept[leaves] = False
        spans = [slots.source[slots.start[i] : slots.start[i + 1]] for i in leaves]
        neighbours = np.concatenate(spans)
        np.subtract.at(degree, neighbours, 1)
        leaves = np.unique(neighbours[kept[neighbours] & (degree[neighbours] <= 1)])
    return kept[slots.destination] & kept[slots.source]


def certified_bound(operator: NonBacktracking, floor_cavity: Vector, scaling: Vector | None) -> float:
    """A proven upper bound of ``ρ(|M|)``, hence of ``ρ(M)``.

    Parameters
    ----------
    operator : NonBacktracking
    floor_cavity : array, shape (m,)
        Proven lower bounds of the cavities: ``|M|`` only grows when they replace the cavities.
    scaling : array, shape (n,), optional
        The means of the comparison model ``D - |O|`` for some positive potentials; its messages are the
        natural ``w``. Power iteration on ``I + |M|`` can only improve on them.
    """
    slots = operator.slots
    if len(operator.core) == 0:
        return 0.0
    in_core = np.zeros(slots.edges, dtype=bool)
    in_core[operator.core] = True
    ratio = np.where(in_core, np.abs(slots.weight) / floor_cavity, 0.0)
    margin = 4 * (slots.degree[slots.source] + 4) * ROUNDOFF
    best = np.inf
    for w in _positive_vectors(operator, ratio, in_core, floor_cavity, scaling):
        heard = operator.slots.gather(w)[slots.source] - w[slots.reverse]
        doubt = margin * operator.slots.gather(w)[slots.source]  # of the sum that the subtraction starts from
        image = ratio * (np.maximum(heard, 0.0) + doubt)
        positive = w[operator.core]
        if np.all(positive > 0):
            best = min(best, float((image[operator.core] / positive * (1 + 8 * ROUNDOFF)).max()))
    return best


def _positive_vectors(
    operator: NonBacktracking, ratio: Vector, in_core: np.ndarray, cavity: Vector, scaling: Vector | None
) -> list[Vector]:
    slots = operator.slots
    vectors = []
    size = len(operator.core)
    if operator.is_small:
        matrix = np.abs(operator.dense())
        shift = float(np.abs(np.linalg.eigvals(matrix)).max())
        for gap in (1e-10, 1e-7, 1e-4):
            w = np.zeros(slots.edges)
            w[operator.core] = np.linalg.solve(shift * (1 + gap) * np.eye(size) - matrix, np.ones(size))
            vectors.append(w)
    w = in_core.astype(np.float64)
    if scaling is not None:
        messages = comparison_messages(slots, cavity, scaling)
        if np.all(messages[operator.core] > 0):
            w = np.where(in_core, messages, 0.0)
            vectors.append(w)
    for _ in range(30):
        w = w + ratio * np.maximum(slots.gather(w)[slots.source] - w[slots.reverse], 0.0)
        w /= w.max()
    vectors.append(w)
    return vectors


def comparison_messages(slots: Slots, cavity: Vector, mean: Vector) -> Vector:
    """The potential messages at the fixed point of GaBP on ``D - |O|`` that has the given means ``x``.

    On each edge ``h_{k→i} = q (J_k x_k - h_{i→k})`` with ``q = |A_ik| / P_{k\\i}``, and the same the other way;
    with ``J_k = P_{k\\i} - A_ik² / P_{i\\k}`` the two equations give ``h_{k→i} = |A_ik| (x_k - q x_i)``.
    """
    weight = np.abs(slots.weight)
    return weight * (mean[slots.source] - weight / cavity * mean[slots.destination])


def decide_radius(operator: NonBacktracking, floor_cavity: Vector) -> Verdict:
    """Whether ``ρ(M) < 1``, proven from powers of ``M`` where it is small enough to be formed.

    YES by ``‖M^k‖_∞ < 1``, NO by ``|tr M^k| > m``, for ``k = 1, 2, 4, …``. The cavities are known to lie between
    their floor and the last iterate; that interval and the rounding of every product are carried along as a
    bound of ``‖error‖_∞``.
    """
    if len(operator.core) == 0:
        return Verdict.YES
    if not operator.is_small:
        return Verdict.UNDECIDED
    power = operator.dense()
    size = len(power)
    cavity = np.abs(operator.slots.weight / operator.ratio)[operator.core]
    relative = float((cavity / floor_cavity[operator.core] - 1).max()) + 8 * ROUNDOFF
    norm = float(np.abs(power).sum(axis=1).max())
    error = relative * norm
    for _ in range(_SQUARINGS):
        if norm * (1 + size * ROUNDOFF) + error < 1:
            return Verdict.YES
        if abs(float(np.trace(power))) * (1 - size * ROUNDOFF) - size * error > size:
            return Verdict.NO
        error = (2 * norm * error + error**2 + 2 * size * ROUNDOFF * norm**2) * (1 + 1e-12)
        power = power @ power
        norm = float(np.abs(power).sum(axis=1).max())
        if not (error < 1e100 and norm < 1e100):
            return Verdict.UNDECIDED
    return Verdict.UNDECIDED


def real_radius(operator: NonBacktracking, belief: Vector, x: Vector) -> float:
    """A lower estimate of the largest real eigenvalue of ``M``, from a node vector ``x``.

    Eliminating the messages from ``M h = λ h`` leaves ``B(λ) y = 0`` on the nodes of the core, ``y = J^½ x``, with

        B(λ) = I + Σ_edges [[g², λg], [λg, g²]] / (λ² - g²)

    (the Ihara–Bass identity; ``g`` as in the edge-local form of the sweep). ``B(λ)`` is positive definite beyond
    the largest real eigenvalue, so the root of ``yᵀ B(λ) y`` never exceeds it, and it errs quadratically in ``y``.
    """
    slots, core = operator.slots, operator.core
    destination, source = slots.destination[core], slots.source[core]
    # with q = P_{k\\i} / J_k this is A_ik / (sqrt(J_i J_k) q)
    g = -operator.ratio[core] * np.sqrt(belief[source] / belief[destination])
    y = np.zeros(slots.n)
    y[destination] = (np.sqrt(belief) * x)[destination]
    y /= np.abs(y).max()
    own, mixed, total = y[destination] ** 2, y[destination] * y[source], dot(y, y)

    def form(radius: float) -> float:
        return total + float(((g * g * own + radius * g * mixed) / (radius**2 - g * g)).sum())

    pole = float(np.abs(g).max())
    high = 1.0 + pole
    while form(high) <= 0:
        high *= 2
    # the form is positive again close to the pole, so the largest root is looked for from above
    for low in np.geomspace(high, pole, 16)[1:-1]:
        if form(low) <= 0:
            return float(scipy.optimize.brentq(form, low, high, xtol=1e-12))
        high = low
    return 0.0  # no root: x says nothing
