"""The weighted non-backtracking operator ``M`` of the flooding means, and its spectral radius.

At the fixed point of the precisions one flooding sweep is linear in the potentials,

    (M h)_{k→i} = -A_ik / P_{k\\i} · Σ_{l≠i} h_{l→k} ,

and the means converge for every right-hand side if and only if ``ρ(M) < 1``. ``M`` is never formed but for
small models. Edges outside the 2-core (branches of trees) carry eigenvalues 0 only, in long Jordan chains that
would spoil a numerical spectrum, so they are left out.

Proofs: ``ρ(M) <= max_e (|M| w)_e / w_e`` for any ``w > 0``; ``ρ(M)^k <= ‖M^k‖_∞``; ``ρ(M)^k >= |tr M^k| / m``.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import scipy.optimize
import scipy.sparse.linalg

from gabp.conditions.host_edges import ROUNDOFF, Slots, Vector, dot
from gabp.conditions.precision_messages import PrecisionMessages
from gabp.conditions.verdict import Verdict

_DENSE = 300  # core edges up to which M is formed
_ARNOLDI = 200_000  # core edges up to which a Krylov basis is kept
_BASIS = 30
_PRODUCTS = 2e8  # edge updates that an Arnoldi iteration may spend
_MANY = 50_000  # core edges past which the last digits of an estimate are not worth their products
_FEW_RESTARTS = 5  # of a core with many edges; what has not shown by then, the trial's rate stands for
_SQUARINGS = 40
_POWERS = 30  # steps of power iteration
_MANY_MORE = 1_000_000  # edges past which they are not worth it where a good vector is known


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
        in_core = slots.kernels.peel_leaves(slots.start, slots.source)
        whole = bool(in_core.all())
        self._edges = None if whole else np.repeat(in_core, slots.degree) & in_core[slots.source]
        self.ratio = -slots.weight / cavity
        if self._edges is not None:
            self.ratio[~self._edges] = 0.0  # what leaves the core never comes back
        self.size = slots.edges if self._edges is None else int(self._edges.sum())

    @cached_property
    def core(self) -> np.ndarray:
        """The slots of the 2-core."""
        return np.arange(self.slots.edges) if self._edges is None else np.flatnonzero(self._edges)

    def in_core(self, message: Vector) -> Vector:
        """``message`` on the core, zero elsewhere."""
        return message if self._edges is None else np.where(self._edges, message, 0.0)

    def apply(self, potential: Vector) -> Vector:
        """``M h`` for ``h`` of shape (m,) that is zero outside the core."""
        return self.slots.heard_from_others(self.ratio, potential)

    @property
    def is_small(self) -> bool:
        """Whether ``M`` may be formed."""
        return self.size <= _DENSE

    def dense(self) -> np.ndarray:
        """``M`` on the core; for small models."""
        slots, core = self.slots, self.core
        follows = slots.destination[core][None, :] == slots.source[core][:, None]
        follows &= slots.reverse[core][:, None] != core[None, :]
        return np.where(follows, self.ratio[core][:, None], 0.0)

    def radius(self) -> float | None:
        """An estimate of ``ρ(M)``; None where no affordable iteration found it."""
        if self.size == 0:
            return 0.0
        if self.is_small:
            return float(np.abs(np.linalg.eigvals(self.dense())).max())
        return self._arnoldi() if self.size <= _ARNOLDI else None

    def _arnoldi(self) -> float | None:
        full = np.zeros(self.slots.edges)

        def on_core(h: Vector) -> Vector:
            full[self.core] = h.ravel()
            return self.apply(full)[self.core]

        size = self.size
        operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=on_core, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(size)
        tolerance = 1e-6 if size <= _MANY else 1e-3
        restarts = int(np.clip(_PRODUCTS / (size * _BASIS), 10, 100)) if size <= _MANY else _FEW_RESTARTS
        try:
            values = scipy.sparse.linalg.eigs(
                operator, 1, ncv=_BASIS, v0=start, maxiter=restarts, tol=tolerance, return_eigenvectors=False
            )
        except scipy.sparse.linalg.ArpackNoConvergence as stopped:
            values = stopped.eigenvalues
        return float(np.abs(values).max()) if len(values) else None


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
    if operator.size == 0:
        return 0.0
    ratio = operator.in_core(slots.magnitude / floor_cavity)
    return min(
        slots.kernels.growth(slots.start, slots.source, slots.reverse, ratio, w)
        for w in _positive_vectors(operator, ratio, scaling)
    )


def _positive_vectors(operator: NonBacktracking, ratio: Vector, scaling: Vector | None) -> Iterator[Vector]:
    slots, size = operator.slots, operator.size
    if operator.is_small:
        matrix = np.abs(operator.dense())
        shift = float(np.abs(np.linalg.eigvals(matrix)).max())
        for gap in (1e-10, 1e-7, 1e-4):
            w = np.zeros(slots.edges)
            w[operator.core] = np.linalg.solve(shift * (1 + gap) * np.eye(size) - matrix, np.ones(size))
            yield np.maximum(w, 0.0)
    known: Vector | None = None
    if scaling is not None:
        # At the fixed point of GaBP on D - |O| with means x, h_{k→i} = q (J_k x_k - h_{i→k}) with the ratio
        # q = |A_ik| / P_{k\\i}, and the same the other way; with J_k = P_{k\\i} - A_ik² / P_{i\\k} the two give
        # h_{k→i} = |A_ik| (x_k - q x_i).
        messages = slots.kernels.comparison_messages(slots.start, slots.source, slots.magnitude, ratio, scaling)
        messages = operator.in_core(messages)
        if messages.min() >= 0:
            known = messages
            yield known
            if slots.edges > _MANY_MORE:
                return
    w = operator.in_core(np.ones(slots.edges)) if known is None else known
    for _ in range(_POWERS):
        w = slots.heard_from_others(ratio, w, w)
        w /= w.max()
    yield w


def decide_radius(operator: NonBacktracking, precisions: PrecisionMessages) -> Verdict:
    """Whether ``ρ(M) < 1``, proven from powers of ``M`` where it is small enough to be formed.

    YES by ``‖M^k‖_∞ < 1``, NO by ``|tr M^k| > m``, for ``k = 1, 2, 4, …``. The cavities are known to lie between
    a floor and a ceiling; that interval and the rounding of every product are carried along as a bound of
    ``‖error‖_∞``.
    """
    if operator.size == 0:
        return Verdict.YES
    if not operator.is_small or precisions.floor_cavity is None:
        return Verdict.UNDECIDED
    power = operator.dense()
    size = len(power)
    ceiling_cavity = precisions.ceiling_cavity(operator.slots)
    above = float((precisions.cavity / precisions.floor_cavity - 1)[operator.core].max())
    below = float((1 - precisions.cavity / ceiling_cavity)[operator.core].max())
    relative = max(above, below) + 8 * ROUNDOFF
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
    slots = operator.slots
    root = np.sqrt(belief)
    y = root * x
    if operator.size < slots.edges:
        outside = np.ones(slots.n, dtype=bool)
        outside[slots.source[operator.core]] = False
        y[outside] = 0.0
    y /= np.abs(y).max()
    total = dot(y, y)

    def form(radius: float) -> float:
        off = slots.kernels.bethe_form(slots.start, slots.source, operator.ratio, root, y, radius)[0]
        return total + off

    # g, the coefficient of the edge-local sweeps, has the form's poles
    pole = slots.kernels.bethe_form(slots.start, slots.source, operator.ratio, root, y, 2.0)[1]
    high = 1.0 + pole
    while form(high) <= 0:
        high *= 2
    # the form is positive again close to the pole, so the largest root is looked for from above
    for low in np.geomspace(high, pole, 16)[1:-1]:
        if form(low) <= 0:
            return float(scipy.optimize.brentq(form, low, high, xtol=1e-12))
        high = low
    return 0.0  # no root: x says nothing
