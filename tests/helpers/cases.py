"""Named systems, each with its properties and the termination status of every method on it.

``test_cases.py`` checks the properties with dense linear algebra; the contract takes them for granted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from pyamg.gallery import load_example

CONVERGED = frozenset({"CONVERGED"})
INVALID = frozenset({"INVALID_PRECISION"})
INDEFINITE = frozenset({"NOT_POSITIVE_DEFINITE"})
SINGULAR = frozenset({"SINGULAR"})
DIVERGED = frozenset({"DIVERGED"})
STAGNATED = frozenset({"STAGNATED"})
MAX_ITERATIONS = frozenset({"MAX_ITERATIONS"})
FAILED = INVALID | INDEFINITE | SINGULAR | DIVERGED | STAGNATED | MAX_ITERATIONS
# The method refuses such a matrix: InvalidSystemError.
REFUSED = frozenset({"REFUSED"})

# Message passing on an indefinite model of positive diagonal meets a nonpositive precision, what iterates with
# conjugate gradients a direction of negative curvature.
ON_INDEFINITE = {"flooding": INVALID, "sequential": INVALID, "double-loop": INDEFINITE, "hierarchy": INDEFINITE}


@dataclass(frozen=True)
class Method:
    """One row per value of ``method=``."""

    name: str
    forests_only: bool = False
    positive_diagonal: bool = True
    largest: int = 1000  # nodes of the cases it is run on
    options: dict = field(default_factory=dict)

    @property
    def label(self) -> str:
        extra = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}[{extra}]" if extra else self.name


METHODS = [
    Method("auto", positive_diagonal=False),
    Method("tree", forests_only=True, positive_diagonal=False),
    Method("flooding"),
    # From there an invalid fixed point shows only after thousands of sweeps.
    Method("flooding", options={"start": "constant"}, largest=300),
    Method("flooding", options={"damping": 0.3}),
    Method("sequential"),
    Method("double-loop"),
    Method("elimination", positive_diagonal=False),
    Method("hierarchy"),
    Method("krylov", positive_diagonal=False),
]
MESSAGES = ("flooding", "sequential")


@dataclass(frozen=True, eq=False)
class Case:
    """A system ``A x = b``; ``ends`` has the statuses of methods that do not converge, by label or by name."""

    name: str
    A: sp.csr_array
    b: np.ndarray
    spd: bool = True
    forest: bool = False
    walk_summable: bool = True
    singular: bool = False
    ends: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return self.A.shape[0]

    @property
    def positive_diagonal(self) -> bool:
        return bool((self.A.diagonal() > 0).all())

    def expected(self, method: Method) -> frozenset[str]:
        """The statuses that are right for ``method`` here, or REFUSED."""
        if method.forests_only and not self.forest:
            return REFUSED
        if method.positive_diagonal and not self.positive_diagonal:
            return REFUSED
        return self.ends.get(method.label, self.ends.get(method.name, CONVERGED))

    def __repr__(self) -> str:
        return self.name


def from_edges(n: int, edges: Iterable[tuple[int, int, float]], diagonal) -> sp.csr_array:
    """The symmetric matrix with these off-diagonal entries ``(i, j, A_ij)`` and this diagonal."""
    edges = list(edges)
    i = np.array([e[0] for e in edges], dtype=int)
    j = np.array([e[1] for e in edges], dtype=int)
    w = np.array([e[2] for e in edges], dtype=float)
    off = sp.coo_array((w, (i, j)), shape=(n, n))
    d = np.broadcast_to(np.asarray(diagonal, dtype=float), (n,))
    return sp.csr_array(off + off.T + sp.diags_array(d))


def laplacian(n: int, edges: Iterable[tuple[int, int, float]], shift=0.0) -> sp.csr_array:
    """Weighted graph Laplacian plus ``shift`` on the diagonal."""
    edges = list(edges)
    degree = np.zeros(n)
    for i, j, w in edges:
        degree[i] += w
        degree[j] += w
    return from_edges(n, [(i, j, -w) for i, j, w in edges], degree + shift)


def grid_edges(*shape: int, weights: tuple[float, ...] | None = None) -> list[tuple[int, int, float]]:
    """The edges of a box of nodes in row-major order, with one weight per axis."""
    index = np.arange(int(np.prod(shape))).reshape(shape)
    weights = weights or (1.0,) * len(shape)
    edges = []
    for axis, w in enumerate(weights):
        low = np.moveaxis(index, axis, 0)[:-1].ravel()
        high = np.moveaxis(index, axis, 0)[1:].ravel()
        edges += [(int(i), int(j), w) for i, j in zip(low, high, strict=True)]
    return edges


def random_tree_edges(n: int, rng: np.random.Generator) -> list[tuple[int, int, float]]:
    """A recursive tree whose nodes are then shuffled, so that no order of the rows helps."""
    name = rng.permutation(n)
    return [
        (int(name[rng.integers(i)]), int(name[i]), float(rng.choice([-1, 1]) * rng.uniform(0.2, 2)))
        for i in range(1, n)
    ]


def random_edges(n: int, count: int, rng: np.random.Generator) -> list[tuple[int, int, float]]:
    """``count`` different edges with signed weights."""
    pairs = [(i, j) for i in range(n) for j in range(i)]
    chosen = rng.choice(len(pairs), size=count, replace=False)
    return [(*pairs[c], float(rng.choice([-1, 1]) * rng.uniform(0.2, 1))) for c in chosen]


def with_walk_radius(off: sp.csr_array, radius: float) -> sp.csr_array:
    """Unit diagonal plus the given off-diagonal part, scaled so that ``ρ(|R|) = radius``."""
    return sp.csr_array(sp.eye_array(off.shape[0]) + off * (radius / np.linalg.eigvalsh(abs(off).toarray())[-1]))


def cycle_with_chord(r: float) -> sp.csr_array:
    """Four nodes in a ring, one chord, all couplings ``r``, one outer edge's sign flipped."""
    return from_edges(4, [(0, 1, -r), (1, 2, r), (2, 3, r), (0, 3, r), (0, 2, r)], 1.0)


def block_diagonal(*blocks: sp.csr_array, rng: np.random.Generator) -> sp.csr_array:
    """The blocks as components of one system, their nodes shuffled together."""
    A = sp.block_diag(blocks, format="csr")
    order = rng.permutation(A.shape[0])
    return sp.csr_array(A[order][:, order])


def _trees() -> list[Case]:
    rng = np.random.default_rng(1)
    path = [(i, i + 1, -1.0) for i in range(49)]
    star = [(0, i, float(w)) for i, w in enumerate(rng.uniform(-1, 1, 29), start=1)]
    caterpillar = [(i, i + 1, -1.0) for i in range(19)] + [(i, 20 + i, 0.5) for i in range(20)]
    tree = random_tree_edges(120, rng)
    feeder = laplacian(200, [(i, i + 1, 1.0) for i in range(199)])
    feeder[0, 0] += 1.0
    forest = block_diagonal(
        laplacian(30, [(i, j, abs(w)) for i, j, w in random_tree_edges(30, rng)], 0.1),
        from_edges(3, [], [1.0, 2.0, 3.0]),
        laplacian(10, [(i, i + 1, 2.0) for i in range(9)], 0.5),
        rng=rng,
    )
    b = rng.standard_normal
    return [
        Case("one_node", from_edges(1, [], 4.0), np.array([3.0]), forest=True),
        Case("two_nodes", from_edges(2, [(0, 1, -1.0)], 2.0), b(2), forest=True),
        Case("isolated_nodes", from_edges(6, [], 10.0 ** np.arange(-3, 3)), b(6), forest=True),
        Case("path", from_edges(50, path, 2.1), b(50), forest=True),
        Case("star", from_edges(30, star, 6.0), b(30), forest=True),
        Case("caterpillar", from_edges(40, caterpillar, 2.8), b(40), forest=True),
        Case("random_tree", laplacian_like(120, tree, 0.05), b(120), forest=True),
        Case("near_singular_feeder", feeder, b(200), forest=True),
        Case("forest", forest, b(43), forest=True),
    ]


def laplacian_like(n: int, edges: list[tuple[int, int, float]], margin: float) -> sp.csr_array:
    """Signed couplings on the given edges, every row dominant by ``margin``."""
    dominance = np.full(n, margin)
    for i, j, w in edges:
        dominance[i] += abs(w)
        dominance[j] += abs(w)
    return from_edges(n, edges, dominance)


def _indefinite_trees() -> list[Case]:
    rng = np.random.default_rng(2)
    edges = random_tree_edges(80, rng)
    signs = rng.choice([-1.0, 1.0], 80) * rng.uniform(0.1, 3, 80)
    bipartite = [(i, i + 1, 1.0 + i) for i in range(7)]
    b = rng.standard_normal
    known = {"spd": False, "forest": True, "walk_summable": False}
    return [
        Case("swap", from_edges(2, [(0, 1, 1.0)], 0.0), b(2), **known, ends={"krylov": INVALID}),
        Case(
            "indefinite_tree",
            from_edges(3, [(0, 1, -2.0), (0, 2, 3.0)], 1.0),
            np.array([-6.0, 0.0, 2.0]),
            **known,
            ends=ON_INDEFINITE,
        ),
        Case("mixed_signs_tree", from_edges(80, edges, signs), b(80), **known),
        Case("zero_diagonal_path", from_edges(8, bipartite, 0.0), b(8), **known, ends={"krylov": INVALID}),
        # Every pivot from either end: 1, then 1 - 1 = 0.
        Case(
            "zero_pivots_path",
            from_edges(10, [(i, i + 1, 1.0) for i in range(9)], 1.0),
            b(10),
            **known,
            ends=ON_INDEFINITE,
        ),
        Case(
            "negative_definite_tree",
            from_edges(30, [(i, i // 2, 1.0) for i in range(1, 30)], -4.0),
            b(30),
            **known,
        ),
    ]


def _walk_summable() -> list[Case]:
    rng = np.random.default_rng(3)
    frustrated = [(i, j, float(rng.choice([-1, 1]))) for i, j, _ in grid_edges(9, 9)]
    sparse = from_edges(90, random_edges(90, 270, rng), 0.0)
    complete = [(i, j, 0.9 / 7) for i in range(8) for j in range(i)]
    bipartite = [(i, j, -0.4) for i in (0, 1) for j in (2, 3, 4)]
    ring = [(i, (i + 1) % 20, -1.0) for i in range(20)]
    scales = 10.0 ** rng.uniform(-4, 4, 100)
    scaled = sp.csr_array(sp.diags_array(scales) @ laplacian(100, grid_edges(10, 10), 0.3) @ sp.diags_array(scales))
    disconnected = block_diagonal(
        laplacian(25, grid_edges(5, 5), 0.2),
        from_edges(4, [], 2.0),
        from_edges(20, ring, 2.2),
        laplacian(12, [(i, i + 1, 1.0) for i in range(11)], 1.0),
        rng=rng,
    )
    b = rng.standard_normal
    return [
        Case("grid_2d", laplacian(144, grid_edges(12, 12), 0.1), b(144)),
        Case("poisson_2d", from_edges(100, [(i, j, -w) for i, j, w in grid_edges(10, 10)], 4.0), b(100)),
        Case("grid_3d", laplacian(125, grid_edges(5, 5, 5), 0.2), b(125)),
        Case("anisotropic", laplacian(100, grid_edges(10, 10, weights=(100.0, 1.0)), 1.0), b(100)),
        Case("frustrated_grid", from_edges(81, frustrated, 4.1), b(81)),
        Case("random_sparse", with_walk_radius(sparse, 0.9), b(90)),
        Case("complete", from_edges(8, complete, 1.0), b(8)),
        Case("bipartite", from_edges(5, bipartite, 1.0), b(5)),
        Case("ring", from_edges(20, ring, 2.05), b(20)),
        Case("disconnected", disconnected, b(61)),
        Case("badly_scaled", scaled, b(100) * scales),
        Case("tiny_units", 1e-100 * laplacian(25, grid_edges(5, 5), 0.2), 1e-60 * b(25)),
        Case("huge_units", 1e100 * laplacian(25, grid_edges(5, 5), 0.2), 1e60 * b(25)),
        Case("chord_0.35", cycle_with_chord(0.35), b(4)),
        Case("chord_0.39", cycle_with_chord(0.39), b(4)),
    ]


def _beyond_walk_summable() -> list[Case]:
    rng = np.random.default_rng(4)
    factor = sp.random_array((40, 40), density=0.08, rng=rng, data_sampler=rng.standard_normal)
    gram = sp.csr_array(factor @ factor.T + 0.05 * sp.eye_array(40))
    wishart = rng.standard_normal((12, 24))
    dense = sp.csr_array(wishart @ wishart.T / 24)
    repulsive = [(i, j, 0.17) for i in range(10) for j in range(i)]
    triangle = [(0, 1, 0.7), (1, 2, 0.7), (0, 2, 0.7)]
    # Valid messages from zero exist exactly as long as the computation tree is positive definite.
    invalid = {"flooding": INVALID, "flooding[start=constant]": INVALID | DIVERGED, "sequential": INVALID}
    b = rng.standard_normal
    beyond = {"walk_summable": False}
    return [
        # Between the walk-summable and the convergent: GaBP is better than its certificate.
        Case("chord_0.395", cycle_with_chord(0.395), b(4), **beyond),
        Case("chord_0.40", cycle_with_chord(0.40), b(4), **beyond, ends=invalid),
        Case("chord_0.45", cycle_with_chord(0.45), b(4), **beyond, ends=invalid),
        Case("one_cycle_trap", from_edges(3, triangle, 1.0), b(3), **beyond, ends=invalid),
        # Valid precisions, but ρ(M) = 2.13 from one negative eigenvalue, which damping by 0.3 does not tame.
        Case(
            "repulsive_complete",
            from_edges(10, repulsive, 1.0),
            b(10),
            **beyond,
            ends={"flooding": DIVERGED},
        ),
        Case("gram", gram, b(40), **beyond, ends=invalid),
        Case("dense_spd", dense, b(12), **beyond, ends=invalid),
    ]


def _singular_and_indefinite() -> list[Case]:
    rng = np.random.default_rng(5)
    # A forest's pivots come out as exactly 0. On a grid rounding hides that A is singular, the precisions converge,
    # and the means do so slowly if at all, as ρ(M) = 1.
    consistent_path = {"auto": SINGULAR, "tree": SINGULAR, "elimination": SINGULAR, **dict.fromkeys(MESSAGES, INVALID)}
    slowly = CONVERGED | MAX_ITERATIONS
    consistent_grid = {
        "elimination": CONVERGED | SINGULAR,
        "flooding": slowly,
        "flooding[start=constant]": INVALID,
        "sequential": slowly,
    }
    without_solution = {"double-loop": SINGULAR | STAGNATED, "hierarchy": SINGULAR, "krylov": DIVERGED | STAGNATED}
    on_grid_without_solution = {
        "auto": SINGULAR | STAGNATED,
        "elimination": SINGULAR | STAGNATED,
        "flooding": MAX_ITERATIONS,
        "flooding[start=constant]": INVALID,
        "sequential": MAX_ITERATIONS,
        **without_solution,
    }
    zero_diagonal = {"auto": SINGULAR, "tree": SINGULAR, "elimination": SINGULAR, "krylov": INVALID}
    path = laplacian(12, [(i, i + 1, 1.0) for i in range(11)])
    grid = laplacian(36, grid_edges(6, 6))
    odd = from_edges(7, [(i, i + 1, 1.0) for i in range(6)], 0.0)
    shifted = from_edges(36, [(i, j, -w) for i, j, w in grid_edges(6, 6)], 2.1)
    saddle = from_edges(
        5, [(0, 1, 1.0), (1, 2, 2.0), (0, 2, -1.0), (2, 3, 1.0), (3, 4, 1.0)], [1.0, -2.0, 0.0, 3.0, 1.0]
    )
    b = rng.standard_normal
    singular = {"spd": False, "singular": True, "walk_summable": False}
    indefinite = {"spd": False, "walk_summable": False}
    return [
        Case("singular_path", path, path @ b(12), forest=True, **singular, ends=consistent_path),
        Case("singular_grid", grid, grid @ b(36), **singular, ends=consistent_grid),
        Case(
            "inconsistent_path",
            path,
            np.ones(12),
            forest=True,
            **singular,
            ends={**consistent_path, **without_solution},
        ),
        Case("inconsistent_grid", grid, np.ones(36), **singular, ends=on_grid_without_solution),
        Case("singular_odd_path", odd, np.array([0, 1, 0, 0, 0, 0, 1.0]), forest=True, **singular, ends=zero_diagonal),
        Case("zero_matrix", sp.csr_array((3, 3)), np.ones(3), forest=True, **singular, ends=zero_diagonal),
        Case("indefinite_grid", shifted, b(36), **indefinite, ends=ON_INDEFINITE),
        Case("saddle_point", saddle, b(5), **indefinite, ends={"krylov": INVALID}),
    ]


def _meshes() -> list[Case]:
    """Real matrices that ship inside pyamg."""
    rng = np.random.default_rng(6)

    def load(name: str) -> sp.csr_array:
        A = sp.csr_array(load_example(name)["A"])
        return sp.csr_array((A + A.T) / 2)

    def on(A: sp.csr_array) -> np.ndarray:
        return A @ rng.standard_normal(A.shape[0])

    airfoil, bar, cube, knot = load("airfoil"), load("bar"), load("unit_cube"), load("knot")
    galerkin, square = load("local_disc_galerkin_diffusion"), load("unit_square")
    beyond = {"flooding": INVALID, "sequential": INVALID}
    return [
        Case("airfoil", airfoil, on(airfoil)),
        Case("unit_cube", cube, on(cube)),
        Case("knot", knot, on(knot)),
        Case("bar", bar, on(bar), walk_summable=False, ends=beyond),
        Case("galerkin", galerkin, on(galerkin), walk_summable=False, ends=beyond),
        Case(
            "unit_square",
            square,
            on(square),
            spd=False,
            walk_summable=False,
            singular=True,
            ends={"elimination": CONVERGED | SINGULAR},
        ),
    ]


CASES = [
    *_trees(),
    *_indefinite_trees(),
    *_walk_summable(),
    *_beyond_walk_summable(),
    *_singular_and_indefinite(),
    *_meshes(),
]
BY_NAME = {case.name: case for case in CASES}
