"""The problems of the suite, generated and real, each at the size of the full run or scaled down.

Every builder takes a ``scale``: 1 is the full run's size, smaller ones give the same problem with about that
share of its unknowns.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyamg.gallery
import scipy.sparse as sp

from bench.elasticity import elastic_box
from bench.laplacians import SEED, porous
from gabp.compare.comparison import Problem
from gabp.compare.problems import problem_from_file, terrain_problem
from gabp.files import read_right_hand_side

__all__ = ["PROBLEMS", "problem_with_file"]


def _problem(name: str, A: sp.sparray, note: str = "") -> Problem:
    """With a right-hand side of independent standard normals: every frequency is in it."""
    A = sp.csr_array(A)
    A.sum_duplicates()
    A.sort_indices()
    A.indices, A.indptr = A.indices.astype(np.int32), A.indptr.astype(np.int32)
    return Problem(name, A, np.random.default_rng(SEED).standard_normal(A.shape[0]), note)


def grid_laplacian(shape: tuple[int, ...], weights: tuple[float, ...]) -> sp.csr_array:
    """Finite differences with zero outside: ``Σ_d weights[d] (2 u - u₋ - u₊)``."""
    n = int(np.prod(shape))
    A = sp.csr_array((n, n))
    for axis, (size, weight) in enumerate(zip(shape, weights, strict=True)):
        path = sp.diags_array([-np.ones(size - 1), 2 * np.ones(size), -np.ones(size - 1)], offsets=[-1, 0, 1])
        before, after = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
        A = A + weight * sp.kron(sp.eye_array(before), sp.kron(path, sp.eye_array(after)))
    return sp.csr_array(A)


def grid(scale: float, *, name: str, side: int, dimensions: int, shift: float = 0.0, ratio: float = 1.0) -> Problem:
    """A square or cubic grid; `ratio` is the coupling along the first axis over that along the others."""
    size = max(3, round(side * scale ** (1 / dimensions)))
    weights = (ratio,) + (1.0,) * (dimensions - 1)
    A = grid_laplacian((size,) * dimensions, weights) + shift * sp.eye_array(size**dimensions)
    note = f"{'×'.join([str(size)] * dimensions)} grid"
    note += f", shift {shift}" if shift else ""
    return _problem(name, A, note + (f", anisotropic {ratio:g}:1" if ratio != 1 else ""))


def _from_edges(n: int, row: np.ndarray, column: np.ndarray, weight: np.ndarray, slack: float) -> sp.csr_array:
    """Edges once each: ``-weight`` off the diagonal, and on it what dominates the row by `slack`."""
    upper = sp.coo_array((weight, (row, column)), shape=(n, n)).tocsr()
    off = upper + upper.T
    off.setdiag(0.0)
    off.eliminate_zeros()
    return sp.diags_array(off.sum(axis=1) + slack) - off


def random_graph(scale: float, *, n: int = 500_000, degree: int = 10) -> Problem:
    """A sparse random graph (Erdős–Rényi) with random attractive couplings."""
    n = max(20, round(n * scale))
    random = np.random.default_rng(SEED)
    row, column = random.integers(n, size=(2, n * degree // 2))
    A = _from_edges(n, row, column, random.uniform(0.5, 1.5, len(row)), slack=0.5)
    return _problem("random", A, f"random graph, average degree {degree}")


def barabasi_albert(scale: float, *, n: int = 200_000, links: int = 4) -> Problem:
    """Preferential attachment: a few nodes of very high degree.

    Each new node draws `links` entries of the list of all end points so far (Batagelj and Brandes, "Efficient
    generation of large random networks", 2005); references to entries not yet known are followed to their end.
    """
    n = max(20, round(n * scale))
    random = np.random.default_rng(SEED)
    ends = np.arange(2 * n * links)
    drawn = ends[1::2]
    ends[1::2] = random.integers(0, drawn)
    while (odd := ends % 2 == 1).any():
        ends[odd] = ends[ends[odd]]
    newer, older = np.repeat(np.arange(n), links), (ends[1::2] // 2) // links
    A = _from_edges(n, newer, older, np.ones(len(newer)), slack=0.1)
    return _problem("barabasi-albert", A, f"preferential attachment, {links} links a node")


def frustrated(scale: float, *, side: int = 500) -> Problem:
    """Villain's fully frustrated grid: the product of couplings around every square is negative.

    The couplings' spectrum is within ±2√2, so a diagonal of 3 is positive definite, but not walk-summable.
    """
    size = max(4, round(side * scale**0.5))
    path = sp.diags_array([np.ones(size - 1), np.ones(size - 1)], offsets=[-1, 1])
    signs = sp.diags_array((-1.0) ** np.arange(size))
    A = 3 * sp.eye_array(size * size) + sp.kron(sp.eye_array(size), path) + sp.kron(path, signs)
    return _problem("frustrated", A, f"{size}×{size} grid, every square frustrated, not walk-summable")


def terrain(scale: float) -> Problem:
    """The demonstration's system, whole at every scale."""
    return terrain_problem()


def elasticity(scale: float, *, side: int = 300) -> Problem:
    """Plane linear elasticity from pyamg's gallery: two displacements a node."""
    size = max(4, round(side * scale**0.5))
    A, _ = pyamg.gallery.linear_elasticity((size, size), format="csr")
    return _problem("elasticity", sp.csr_array(A), f"plane linear elasticity on {size}×{size} squares")


def elastic_solid(scale: float, *, side: int = 32) -> Problem:
    """Linear elasticity in space, one face clamped: three displacements a node, and nobody is told."""
    size = max(3, round(side * scale ** (1 / 3)))
    return _problem("elasticity 3-D", elastic_box(size).A, f"trilinear hexahedra on {size}³ cubes, one face clamped")


def conducting(scale: float, *, name: str, side: int = 60) -> Problem:
    """Flow through cells of which a fifth conduct a million times better: scattered ``inclusions`` or ``channels``."""
    size = max(4, round(side * scale ** (1 / 3)))
    return _problem(name, porous(size, name), f"finite volumes on {size}³ cells, {name} of 10^6 in a fifth of them")


def pyamg_mesh(scale: float, *, name: str) -> Problem:
    """A mesh that pyamg ships, whole at every scale."""
    A = sp.csr_array(pyamg.gallery.load_example(name)["A"])
    return _problem(f"pyamg {name}", 0.5 * (A + A.T), "finite elements on an unstructured mesh")


def problem_with_file(path: str | Path) -> Problem:
    """A Matrix Market file; its right-hand side is ``NAME_b.mtx`` beside it, else A·1."""
    path = Path(path)
    problem = problem_from_file(str(path))
    beside = path.with_name(f"{path.stem}_b.mtx")
    if not beside.exists():
        return problem
    b = read_right_hand_side(beside, problem.A.shape[0])
    return Problem(path.stem, problem.A, b, problem.note)


PROBLEMS: dict[str, Callable[[float], Problem]] = {
    builder.keywords["name"]: builder
    for builder in (
        partial(grid, name="grid 2-D + 0.1", side=1000, dimensions=2, shift=0.1),
        partial(grid, name="Poisson 2-D", side=1000, dimensions=2),
        partial(grid, name="Poisson 3-D", side=64, dimensions=3),
        partial(grid, name="grid 3-D + 0.1", side=100, dimensions=3, shift=0.1),
        partial(grid, name="anisotropic", side=500, dimensions=2, ratio=100.0),
    )
} | {
    "random": random_graph,
    "barabasi-albert": barabasi_albert,
    "frustrated": frustrated,
    "terrain": terrain,
    "elasticity": elasticity,
    "elasticity 3-D": elastic_solid,
    **{name: partial(conducting, name=name) for name in ("inclusions", "channels")},
    **{f"pyamg {name}": partial(pyamg_mesh, name=name) for name in ("airfoil", "bar", "unit_cube")},
}
