"""The computation tree of flooding GaBP, and Weiss and Freeman's analysis of what loops do to beliefs.

Unwrap the graph from a root: ``depth`` times, give every leaf one child per neighbour in the graph except its
parent. The root's exact belief in that tree is the loopy belief after ``depth`` flooding sweeps from the
constant-message start ``P_{i→j} = -|A_ij|``, ``h = 0`` (Weiss and Freeman, Neural Computation 2001; TR
CSD-99-1046). A leaf keeps its unary term and only its parent edge's share of the diagonal.

With ``Ã`` the tree's matrix, ``O_ij = 1`` where tree node ``i`` replicates graph node ``j``, ``E = O A - Ã O``
(nonzero in rows of leaves only), ``C̃₁`` the root's row of ``Ã⁻¹`` and ``μ = A⁻¹ b``:

    loopy mean - true mean          =  C̃₁ E μ
    loopy variance - true variance  =  C̃₁ E C₁ᵀ - Σ_{non-root replicas of the root} C̃₁
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from gabp.conditions.host_edges import Slots, Vector
from gabp.system import InvalidSystemError, make_system, read_columns, read_matrix

LIMIT = 5_000_000  # tree nodes


@dataclass(frozen=True, eq=False, repr=False)
class ComputationTree:
    """The tree that flooding on a loopy graph computes with, as seen from one root.

    Attributes
    ----------
    root, depth : int
    matrix : scipy.sparse.csr_array, shape (size, size)
        ``Ã``; node 0 is the root, parents come before their children.
    replica_of : array, shape (size,), int
        The graph node that each tree node replicates.
    parent : array, shape (size,), int
        -1 for the root.
    correlations : array, shape (size,)
        ``C̃₁``, the covariances of the root with every tree node.
    variance : float
        The loopy variance of the root after ``depth`` sweeps; infinite where no data have arrived.
    mean : float or None
        The loopy mean of the root after ``depth`` sweeps; None without ``b``. Where no data have arrived the
        mean is undefined and reported as 0.
    variance_correction : float
        ``Σ C̃₁`` over the non-root replicas of the root: once ``C̃₁ → 0`` on the leaves, true variance =
        loopy variance + correction.
    """

    root: int
    depth: int
    matrix: scipy.sparse.csr_array
    replica_of: np.ndarray
    parent: np.ndarray
    correlations: Vector
    variance: float
    mean: float | None
    _slots: Slots
    _b: Vector | None

    @property
    def size(self) -> int:
        """Tree nodes."""
        return len(self.replica_of)

    @property
    def variance_correction(self) -> float:
        replicas = self.replica_of == self.root
        replicas[0] = False
        return float(self.correlations[replicas].sum())

    @cached_property
    def mean_error(self) -> float | None:
        """``C̃₁ E μ``, the error of the loopy mean at sweep ``depth``; solves ``A μ = b`` directly."""
        if self._b is None:
            return None
        truth = scipy.sparse.linalg.spsolve(scipy.sparse.csc_array(_matrix(self._slots)), self._b)
        return float(self.correlations @ self.boundary(truth))

    def boundary(self, values: Vector) -> Vector:
        """``E v = O A v - Ã O v`` for ``v`` of shape (n,): what the leaves miss. Zero on all other nodes."""
        missed = (_matrix(self._slots) @ values)[self.replica_of] - self.matrix @ values[self.replica_of]
        inner = np.zeros(self.size, dtype=bool)
        inner[self.parent[1:]] = True
        return np.where(inner, 0.0, missed)

    def __repr__(self) -> str:
        return (
            f"ComputationTree(root {self.root}, depth {self.depth}: {self.size} nodes, "
            f"variance {self.variance:.6g}, mean {'-' if self.mean is None else f'{self.mean:.6g}'})"
        )


def unwrap(A: Any, root: int, depth: int, b: Any = None, *, limit: int = LIMIT) -> ComputationTree:
    """Unwrap the graph of ``A`` around ``root`` into the tree that ``depth`` flooding sweeps compute with.

    Parameters
    ----------
    A : sparse or dense symmetric matrix, shape (n, n)
    root : int
    depth : int
        Sweeps; at least 0.
    b : array or tensor, shape (n,), optional
    limit : int
        Nodes to build at most. Trees grow geometrically, so the size is counted first.

    Raises
    ------
    TypeError
        ``root`` or ``depth`` is no integer, or ``A`` or ``b`` of the wrong kind.
    InvalidSystemError
        ``A`` is not real, square and symmetric; ``root`` or ``depth`` is out of range; or the tree would
        exceed ``limit`` nodes.

    Examples
    --------
    >>> import numpy as np
    >>> from gabp.conditions import unwrap
    >>> A = np.array([[1.0, 0.3, 0.3], [0.3, 1.0, 0.3], [0.3, 0.3, 1.0]])
    >>> tree = unwrap(A, root=0, depth=3)
    >>> tree.replica_of
    array([0, 1, 2, 2, 1, 0, 0])
    """
    matrix = read_matrix(A)
    slots = Slots.of(make_system(matrix))
    for name, number in (("root", root), ("depth", depth)):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, not {type(number).__name__}")
    if not 0 <= root < slots.n:
        raise InvalidSystemError(f"root {root} is not a node of a graph with {slots.n} nodes")
    if depth < 0:
        raise InvalidSystemError(f"depth must be at least 0, not {depth}")
    if tree_size(slots, root, depth, limit) > limit:
        raise InvalidSystemError(
            f"the computation tree of node {root} at depth {depth} has more than the {limit} nodes that the "
            "limit allows; choose a smaller depth"
        )
    return _Builder(slots, root, depth).build(None if b is None else _read_vector(b, slots.n))


def tree_size(slots: Slots, root: int, depth: int, limit: float = np.inf) -> int:
    """Nodes of the tree (non-backtracking walks from ``root`` of up to ``depth`` steps), by counting alone.

    Counting stops at the first level that exceeds ``limit``.
    """
    size, walks = 1, np.zeros(slots.edges)
    walks[slots.start[root] : slots.start[root + 1]] = 1.0  # slot e: a walk whose last step is destination → source
    for _ in range(depth):
        level = int(walks.sum())
        size += level
        if level == 0 or size > limit:
            break
        # a walk that ends in the step j → i goes on to every neighbour of i but j
        arrived = np.bincount(slots.source, walks, slots.n)
        walks = arrived[slots.destination] - walks[slots.reverse]
    return size


class _Builder:
    """One tree, level by level; a tree node is known by the slot of the step that leads to it."""

    def __init__(self, slots: Slots, root: int, depth: int) -> None:
        self.slots, self.root, self.depth = slots, root, depth
        self.levels: list[slice] = [slice(0, 1)]
        steps, parents = [np.array([-1])], [np.array([-1])]
        step = np.arange(slots.start[root], slots.start[root + 1])
        above = np.zeros(len(step), dtype=np.int64)
        while len(self.levels) <= depth and len(step):
            first = self.levels[-1].stop
            self.levels.append(slice(first, first + len(step)))
            steps.append(step)
            parents.append(above)
            if len(self.levels) <= depth:
                step, above = self._children(step, first)
        self.step, self.parent = np.concatenate(steps), np.concatenate(parents)
        self.replica_of = np.append(root, slots.source[self.step[1:]].astype(np.int64))

    def _children(self, step: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        node = self.slots.source[step]
        begin, count = self.slots.start[node], self.slots.degree[node]
        above = np.repeat(np.arange(len(step)), count)
        within = np.arange(len(above)) - np.repeat(np.cumsum(count) - count, count)
        child = begin[above] + within
        onward = child != self.slots.reverse[step][above]
        return child[onward], above[onward] + first

    def build(self, b: Vector | None) -> ComputationTree:
        slots, size = self.slots, len(self.step)
        link = np.append(0.0, slots.weight[self.step[1:]])  # A between a tree node and its parent
        diagonal = slots.diagonal[self.replica_of].copy()
        leaves = self.levels[-1] if len(self.levels) == self.depth + 1 else slice(size, size)
        shares = slots.multiply(slots.magnitude, np.ones(slots.n))
        diagonal[leaves] += np.abs(link[leaves]) - shares[self.replica_of[leaves]]
        child = np.arange(1, size)
        matrix = scipy.sparse.csr_array(
            (
                np.concatenate([diagonal, link[1:], link[1:]]),
                (
                    np.concatenate([np.arange(size), child, self.parent[1:]]),
                    np.concatenate([np.arange(size), self.parent[1:], child]),
                ),
            ),
            (size, size),
        )
        correlations, mean = self._solve(diagonal, link, None if b is None else b[self.replica_of])
        return ComputationTree(
            self.root,
            self.depth,
            matrix,
            self.replica_of,
            self.parent,
            correlations,
            float(correlations[0]),
            mean,
            slots,
            b,
        )

    def _solve(self, diagonal: Vector, link: Vector, b: Vector | None) -> tuple[Vector, float | None]:
        """The root's row of ``Ã⁻¹`` and its mean: leaves to root, then back along the correlations."""
        pivot, potential = diagonal.copy(), np.zeros(len(diagonal)) if b is None else b.copy()
        ratio = np.zeros(len(diagonal))
        with np.errstate(divide="ignore", invalid="ignore"):
            for above, level in zip(self.levels[-2::-1], self.levels[:0:-1], strict=True):
                ratio[level] = -link[level] / pivot[level]
                parent, count = self.parent[level] - above.start, above.stop - above.start
                pivot[above] += np.bincount(parent, ratio[level] * link[level], count)
                potential[above] += np.bincount(parent, ratio[level] * potential[level], count)
            correlations = np.empty(len(diagonal))
            correlations[0] = 1 / pivot[0] if pivot[0] != 0 else np.inf
            for level in self.levels[1:]:
                correlations[level] = ratio[level] * correlations[self.parent[level]]
        if b is None:
            return correlations, None
        return correlations, float(potential[0] / pivot[0]) if pivot[0] != 0 else 0.0


def _matrix(slots: Slots) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array(slots.off_diagonal + scipy.sparse.diags_array(slots.diagonal))


def _read_vector(b: Any, n: int) -> Vector:
    columns = read_columns(b, n)
    count = columns.values.shape[1]
    if count != 1:
        raise InvalidSystemError(f"b has {count} columns; a computation tree takes one right-hand side")
    return columns.values[:, 0].numpy()
