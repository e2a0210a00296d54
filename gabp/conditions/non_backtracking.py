"""The weighted non-backtracking operator ``M`` of the flooding means, and its spectral radius.

At the fixed point of the precisions one flooding sweep is linear in the potentials,

    (M h)_{k→i} = -A_ik / P_{k\\i} · Σ_{l≠i} h_{l→k} ,

and the means converge for every right-hand side if and only if ``ρ(M) < 1``. ``M`` is formed for small models
only. Edges outside the 2-core (branches of trees) contribute eigenvalues 0 only, in long Jordan chains that would
perturb a numerical spectrum, so they are left out.

Proofs: ``ρ(M) <= max_e (|M| w)_e / w_e`` for any ``w > 0``; ``ρ(M)^k <= ‖M^k‖_∞``; ``ρ(M)^k >= |tr M^k| / m``.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import scipy.optimize
import scipy.sparse.linalg

from gabp.conditions.host_edges import ROUNDOFF, HostEdges, Vector, dot
from gabp.conditions.precision_messages import PrecisionMessages
from gabp.conditions.verdict import Verdict

_DENSE = 300  # core edges up to which M is formed
_ARNOLDI = 200_000  # core edges up to which a Krylov basis is stored
_BASIS = 30
_PRODUCTS = 2e8  # edge updates that an Arnoldi iteration may spend
_LARGE_CORE = 50_000  # core edges beyond which the estimate is looser and restarts are few
_FEW_RESTARTS = 5  # of a large core; the observed rate of flooding replaces an estimate that has not converged
_SQUARINGS = 40
_POWERS = 30  # steps of power iteration
_NO_POWERS = 1_000_000  # edges beyond which power iteration does not improve on a known vector


class NonBacktracking:
    """``M`` of one model at given cavities.

    Parameters
    ----------
    edges : HostEdges
    cavity : array, shape (m,)
        ``P_{k\\i}`` of each edge ``k → i``.

    Attributes
    ----------
    ratio : array, shape (m,)
        ``-A_ik / P_{k\\i}``, zero outside the 2-core.
    size : int
        Directed edges of the 2-core, the order of ``M``.
    """

    def __init__(self, edges: HostEdges, cavity: Vector) -> None:
        self.edges = edges
        in_core = edges.kernels.peel_leaves(edges.start, edges.source)
        whole = bool(in_core.all())
        self._core_mask = None if whole else np.repeat(in_core, edges.degree) & in_core[edges.source]
        self.ratio = -edges.weight / cavity
        if self._core_mask is not None:
            self.ratio[~self._core_mask] = 0.0
        self.size = edges.count if self._core_mask is None else int(self._core_mask.sum())

    @cached_property
    def core(self) -> np.ndarray:
        """The directed edges of the 2-core, ascending."""
        return np.arange(self.edges.count) if self._core_mask is None else np.flatnonzero(self._core_mask)

    def in_core(self, message: Vector) -> Vector:
        """``message``, shape (m,), with zeros outside the core."""
        return message if self._core_mask is None else np.where(self._core_mask, message, 0.0)

    def apply(self, potential: Vector) -> Vector:
        """``M h`` for ``h``, shape (m,), that is zero outside the core."""
        return self.edges.non_backtracking_product(self.ratio, potential)

    @property
    def is_small(self) -> bool:
        """Whether ``M`` may be formed."""
        return self.size <= _DENSE

    def dense(self) -> np.ndarray:
        """``M`` on the core, shape (size, size)."""
        edges, core = self.edges, self.core
        follows = edges.destination[core][None, :] == edges.source[core][:, None]
        follows &= edges.reverse[core][:, None] != core[None, :]
        return np.where(follows, self.ratio[core][:, None], 0.0)

    def radius(self) -> float | None:
        """Estimate ``ρ(M)``; None for a large core, or where the Arnoldi iteration does not converge."""
        if self.size == 0:
            return 0.0
        if self.is_small:
            return float(np.abs(np.linalg.eigvals(self.dense())).max())
        return self._arnoldi() if self.size <= _ARNOLDI else None

    def _arnoldi(self) -> float | None:
        full = np.zeros(self.edges.count)

        def on_core(h: Vector) -> Vector:
            full[self.core] = h.ravel()
            return self.apply(full)[self.core]

        size = self.size
        operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=on_core, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(size)
        tolerance = 1e-6 if size <= _LARGE_CORE else 1e-3
        restarts = int(np.clip(_PRODUCTS / (size * _BASIS), 10, 100)) if size <= _LARGE_CORE else _FEW_RESTARTS
        try:
            values = scipy.sparse.linalg.eigs(
                operator, 1, ncv=_BASIS, v0=start, maxiter=restarts, tol=tolerance, return_eigenvectors=False
            )
        except scipy.sparse.linalg.ArpackNoConvergence as stopped:
            values = stopped.eigenvalues
        return float(np.abs(values).max()) if len(values) else None


def certified_bound(operator: NonBacktracking, floor_cavity: Vector, scaling: Vector | None) -> float:
    """A proven upper bound of ``ρ(|M|)``, hence of ``ρ(M)``, by Collatz and Wielandt.

    Parameters
    ----------
    operator : NonBacktracking
    floor_cavity : array, shape (m,)
        Proven lower bounds of the cavities: ``|M|`` only grows when they replace the cavities.
    scaling : array, shape (n,), optional
        The means of the comparison model ``D - |O|`` for some positive potentials; its messages serve as ``w``,
        and power iteration on ``I + |M|`` improves them.
    """
    edges = operator.edges
    if operator.size == 0:
        return 0.0
    ratio = operator.in_core(edges.magnitude / floor_cavity)
    return min(
        edges.kernels.growth(edges.start, edges.source, edges.reverse, ratio, w)
        for w in _positive_vectors(operator, ratio, scaling)
    )


def _positive_vectors(operator: NonBacktracking, ratio: Vector, scaling: Vector | None) -> Iterator[Vector]:
    edges, size = operator.edges, operator.size
    if operator.is_small:
        matrix = np.abs(operator.dense())
        shift = float(np.abs(np.linalg.eigvals(matrix)).max())
        for gap in (1e-10, 1e-7, 1e-4):
            w = np.zeros(edges.count)
            w[operator.core] = np.linalg.solve(shift * (1 + gap) * np.eye(size) - matrix, np.ones(size))
            yield np.maximum(w, 0.0)
    w = operator.in_core(np.ones(edges.count))
    if scaling is not None:
        # At the fixed point of GaBP on D - |O| with means x, h_{k→i} = q (J_k x_k - h_{i→k}) with the ratio
        # q = |A_ik| / P_{k\\i}, and the same the other way; with J_k = P_{k\\i} - A_ik² / P_{i\\k} the two give
        # h_{k→i} = |A_ik| (x_k - q x_i).
        messages = edges.kernels.comparison_messages(edges.start, edges.source, edges.magnitude, ratio, scaling)
        messages = operator.in_core(messages)
        if messages.min() >= 0:
            w = messages
            yield w
            if edges.count > _NO_POWERS:
                return
    for _ in range(_POWERS):
        w = edges.non_backtracking_product(ratio, w, w)
        w /= w.max()
    yield w


def decide_radius(operator: NonBacktracking, precisions: PrecisionMessages) -> Verdict:
    """Whether ``ρ(M) < 1``, proven from powers of ``M`` where it is small enough to be formed.

    YES by ``‖M^k‖_∞ < 1``, NO by ``|tr M^k| > m``, for ``k = 1, 2, 4, …``. The interval that encloses the cavities
    and the rounding of every product enter a running bound of ``‖error‖_∞``.
    """
    if operator.size == 0:
        return Verdict.YES
    if not operator.is_small or precisions.floor_cavity is None:
        return Verdict.UNDECIDED
    power = operator.dense()
    size = len(power)
    ceiling_cavity = precisions.ceiling_cavity(operator.edges)
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
    """Estimate the largest real eigenvalue of ``M`` from below, from a node vector ``x`` of shape (n,).

    Eliminating the messages from ``M h = λ h`` leaves ``B(λ) y = 0`` on the nodes of the core, ``y = J^½ x``, with

        B(λ) = I + Σ_edges [[g², λg], [λg, g²]] / (λ² - g²)

    (the Ihara–Bass identity; ``g`` as in the edge-local form of the sweep). ``B(λ)`` is positive definite beyond
    the largest real eigenvalue, so the root of ``yᵀ B(λ) y`` never exceeds it, and it errs quadratically in ``y``.
    """
    edges = operator.edges
    root = np.sqrt(belief)
    y = root * x
    if operator.size < edges.count:
        outside = np.ones(edges.n, dtype=bool)
        outside[edges.source[operator.core]] = False
        y[outside] = 0.0
    y /= np.abs(y).max()
    total = dot(y, y)

    def form(radius: float) -> float:
        off = edges.kernels.bethe_form(edges.start, edges.source, operator.ratio, root, y, radius)[0]
        return total + off

    # the poles of the form are at |g|
    pole = edges.kernels.bethe_form(edges.start, edges.source, operator.ratio, root, y, 2.0)[1]
    high = 1.0 + pole
    while form(high) <= 0:
        high *= 2
    # the form is positive again close to the pole, so the largest root is bracketed from above
    for low in np.geomspace(high, pole, 16)[1:-1]:
        if form(low) <= 0:
            return float(scipy.optimize.brentq(form, low, high, xtol=1e-12))
        high = low
    return 0.0  # no root
