"""The computation tree of flooding GaBP, and Weiss and Freeman's analysis of loopy beliefs.

Unwrap the graph from a root: ``depth`` times, give every leaf one child per neighbour in the graph except its
parent. The root's exact belief in that tree is the loopy belief after ``depth`` flooding sweeps from the
constant-message start ``P_{i→j} = -|A_ij|``, ``h = 0`` (Weiss and Freeman, Neural Computation 2001; TR
CSD-99-1046). A leaf has its unary term and its parent edge's share of the diagonal only.

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

from gabp.conditions.host_edges import HostEdges, Vector
from gabp.system import InvalidSystemError, make_system, read_columns, read_matrix

LIMIT = 5_000_000  # tree nodes


@dataclass(frozen=True, eq=False, repr=False)
class ComputationTree:
    """The computation tree of flooding, unwrapped from one root.

    Attributes
    ----------
    root : int
    depth : int
        Flooding sweeps.
    matrix : scipy.sparse.csr_array, shape (size, size)
        ``Ã``; node 0 is the root, parents come before their children.
    replica_of : array, shape (size,), int
        The graph node that each tree node replicates.
    parent : array, shape (size,), int
        -1 for the root.
    correlations : array, shape (size,)
        ``C̃₁``, the covariances of the root with every tree node, the root's row of ``Ã⁻¹``.
    variance : float
        The loopy variance of the root after ``depth`` sweeps; infinite where its precision is zero.
    mean : float or None
        The loopy mean of the root after ``depth`` sweeps; None without ``b``. Where the precision is zero the
        mean is undefined and reported as 0.

    Notes
    -----
    Variances and correlations are in the units of ``A⁻¹``, means in those of ``A⁻¹ b``.
    """

    root: int
    depth: int
    matrix: scipy.sparse.csr_array
    replica_of: np.ndarray
    parent: np.ndarray
    correlations: Vector
    variance: float
    mean: float | None
    _edges: HostEdges
    _b: Vector | None

    @property
    def size(self) -> int:
        """Tree nodes."""
        return len(self.replica_of)

    @property
    def variance_correction(self) -> float:
        """``Σ C̃₁`` over the non-root replicas of the root.

        Once ``C̃₁ → 0`` on the leaves, true variance = loopy variance + correction.
        """
        replicas = self.replica_of == self.root
        replicas[0] = False
        return float(self.correlations[replicas].sum())

    @cached_property
    def mean_error(self) -> float | None:
        """``C̃₁ E μ``, the error of the loopy mean after ``depth`` sweeps; None without ``b``. Solves ``A μ = b``."""
        if self._b is None:
            return None
        truth = scipy.sparse.linalg.spsolve(self._edges.system.to_scipy("csc"), self._b)
        return float(self.correlations @ self.boundary(truth))

    def boundary(self, values: Vector) -> Vector:
        """``E v = O A v - Ã O v`` for ``v`` of shape (n,), shape (size,); zero on all nodes but the leaves."""
        missing = (self._edges.system.to_scipy() @ values)[self.replica_of] - self.matrix @ values[self.replica_of]
        inner = np.zeros(self.size, dtype=bool)
        inner[self.parent[1:]] = True
        return np.where(inner, 0.0, missing)

    def __repr__(self) -> str:
        return (
            f"ComputationTree(root {self.root}, depth {self.depth}: {self.size} nodes, "
            f"variance {self.variance:.6g}, mean {'-' if self.mean is None else f'{self.mean:.6g}'})"
        )


def unwrap(A: Any, root: int, depth: int, b: Any = None, *, limit: int = LIMIT) -> ComputationTree:
    """Unwrap the graph of ``A`` into the computation tree of ``depth`` flooding sweeps at ``root``.

    Parameters
    ----------
    A : sparse or dense symmetric matrix, shape (n, n)
    root : int
        A node, in ``0 … n - 1``.
    depth : int
        Sweeps; at least 0.
    b : array or tensor, shape (n,), optional
        Without it the tree has no mean.
    limit : int
        The largest number of nodes to build. Trees grow geometrically, so the nodes are counted first.

    Returns
    -------
    ComputationTree

    Raises
    ------
    TypeError
        ``root`` or ``depth`` is no integer, or ``A`` or ``b`` of an unsupported type.
    InvalidSystemError
        ``A`` is not real, square and symmetric; ``root`` or ``depth`` is out of range; or the tree would
        exceed ``limit`` nodes.

    References
    ----------
    Y. Weiss and W. T. Freeman, "Correctness of belief propagation in Gaussian graphical models of arbitrary
    topology", Neural Computation 13, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from gabp.conditions import unwrap
    >>> A = np.array([[1.0, 0.3, 0.3], [0.3, 1.0, 0.3], [0.3, 0.3, 1.0]])
    >>> tree = unwrap(A, root=0, depth=3)
    >>> tree.replica_of
    array([0, 1, 2, 2, 1, 0, 0])
    """
    edges = HostEdges.of(make_system(read_matrix(A)))
    for name, number in (("root", root), ("depth", depth)):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, not {type(number).__name__}")
    if not 0 <= root < edges.n:
        raise InvalidSystemError(f"root {root} is not a node of a graph with {edges.n} nodes")
    if depth < 0:
        raise InvalidSystemError(f"depth must be at least 0, not {depth}")
    if tree_size(edges, root, depth, limit) > limit:
        raise InvalidSystemError(
            f"the computation tree of node {root} at depth {depth} has more than the {limit} nodes that the "
            "limit allows; choose a smaller depth"
        )
    return _Builder(edges, root, depth).build(None if b is None else _read_vector(b, edges.n))


def tree_size(edges: HostEdges, root: int, depth: int, limit: float = np.inf) -> int:
    """Nodes of the computation tree: non-backtracking walks from ``root`` of up to ``depth`` steps.

    Counting stops at the first level that exceeds ``limit``.
    """
    size, walks = 1, np.zeros(edges.count)
    walks[edges.start[root] : edges.start[root + 1]] = 1.0  # walks whose last step is destination → source
    for _ in range(depth):
        level = int(walks.sum())
        size += level
        if level == 0 or size > limit:
            break
        # a walk that ends in the step j → i goes on to every neighbour of i but j
        arrived = np.bincount(edges.source, walks, edges.n)
        walks = arrived[edges.destination] - walks[edges.reverse]
    return size


class _Builder:
    """Builds a tree level by level; a tree node is identified with the directed edge of the step to it."""

    def __init__(self, edges: HostEdges, root: int, depth: int) -> None:
        self.edges, self.root, self.depth = edges, root, depth
        self.levels: list[slice] = [slice(0, 1)]
        steps, parents = [np.array([-1])], [np.array([-1])]
        step = np.arange(edges.start[root], edges.start[root + 1])
        above = np.zeros(len(step), dtype=np.int64)
        while len(self.levels) <= depth and len(step):
            first = self.levels[-1].stop
            self.levels.append(slice(first, first + len(step)))
            steps.append(step)
            parents.append(above)
            if len(self.levels) <= depth:
                step, above = self._children(step, first)
        self.step, self.parent = np.concatenate(steps), np.concatenate(parents)
        self.replica_of = np.append(root, edges.source[self.step[1:]].astype(np.int64))

    def _children(self, step: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        node = self.edges.source[step]
        begin, count = self.edges.start[node], self.edges.degree[node]
        above = np.repeat(np.arange(len(step)), count)
        within = np.arange(len(above)) - np.repeat(np.cumsum(count) - count, count)
        child = begin[above] + within
        onward = child != self.edges.reverse[step][above]
        return child[onward], above[onward] + first

    def build(self, b: Vector | None) -> ComputationTree:
        """The tree's matrix, correlations and beliefs, for ``b`` of shape (n,)."""
        edges, size = self.edges, len(self.step)
        link = np.append(0.0, edges.weight[self.step[1:]])  # A between each tree node and its parent
        diagonal = edges.diagonal[self.replica_of].copy()
        leaves = self.levels[-1] if len(self.levels) == self.depth + 1 else slice(size, size)
        shares = edges.multiply(edges.magnitude, np.ones(edges.n))
        diagonal[leaves] += np.abs(link[leaves]) - shares[self.replica_of[leaves]]
        node, child, parent = np.arange(size), np.arange(1, size), self.parent[1:]
        row, column = np.concatenate([node, child, parent]), np.concatenate([node, parent, child])
        entries = np.concatenate([diagonal, link[1:], link[1:]])
        correlations, mean = self._solve(diagonal, link, None if b is None else b[self.replica_of])
        return ComputationTree(
            root=self.root,
            depth=self.depth,
            matrix=scipy.sparse.csr_array((entries, (row, column)), (size, size)),
            replica_of=self.replica_of,
            parent=self.parent,
            correlations=correlations,
            variance=float(correlations[0]),
            mean=mean,
            _edges=edges,
            _b=b,
        )

    def _solve(self, diagonal: Vector, link: Vector, b: Vector | None) -> tuple[Vector, float | None]:
        """The root's row of ``Ã⁻¹`` and its mean, by elimination from the leaves and substitution from the root."""
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


def _read_vector(b: Any, n: int) -> Vector:
    columns = read_columns(b, n)
    count = columns.values.shape[1]
    if count != 1:
        raise InvalidSystemError(f"b has {count} columns; a computation tree takes one right-hand side")
    return columns.values[:, 0].numpy()
