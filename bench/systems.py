"""Symmetric positive definite systems of the kinds that users bring, from a dozen to some hundred thousand unknowns.

Each is made from the structure of its field: power and water networks, circuits, finite elements, robots' maps,
cameras, random fields, pedigrees, images and meshes; and some are made to be hard: scaled by 10^±8, jumps of eight
decades, dense rows, parts held by nothing but a tiny shift.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyamg.gallery
import scipy.linalg
import scipy.sparse as sp
from scipy.spatial import Delaunay, KDTree

from bench.laplacians import SEED, grid_edges, laplacian, porous
from bench.problems import barabasi_albert, grid_laplacian

__all__ = ["SYSTEMS", "systems"]


def normal_equations(rows: sp.sparray, slack: float = 0.0) -> sp.csr_array:
    """``FᵀF + slack``."""
    F = sp.csr_array(rows)
    return sp.csr_array(F.T @ F + slack * sp.eye_array(F.shape[1]))


# --- networks ---------------------------------------------------------------------------------------------------


def power_network(n: int, decades: float = 2.0) -> sp.csr_array:
    """A transmission grid: a random tree of short links with a third as many closures; one bus is grounded."""
    random = np.random.default_rng(SEED)
    child = np.arange(1, n)
    parent = np.maximum(child - 1 - random.geometric(0.2, n - 1), 0)
    i = random.integers(0, n, n // 3)
    j = np.clip(i + random.integers(1, 40, n // 3), 0, n - 1)
    i, j = np.append(child, i), np.append(parent, j)
    keep = i != j
    weight = 10.0 ** random.uniform(0, decades, len(i))
    return laplacian(n, i[keep], j[keep], weight[keep], np.where(np.arange(n) == 0, 1.0, 0.0))


def water_network(side: int) -> sp.csr_array:
    """Streets with a quarter of the pipes missing; conductances ∝ diameter^2.63 / length; a few reservoirs."""
    random = np.random.default_rng(SEED)
    i, j = grid_edges(side, side)
    keep = random.random(len(i)) < 0.75
    diameter, length = 10.0 ** random.uniform(-1.3, 0, len(i)), 10.0 ** random.uniform(0.5, 3, len(i))
    weight = diameter**2.63 / length
    reservoirs = np.where(random.random(side * side) < 5 / side**2, 1.0, 0.0)
    A = laplacian(side * side, i[keep], j[keep], weight[keep], reservoirs)
    return sp.csr_array(A + 1e-9 * sp.eye_array(side * side))


def power_supply_circuit(side: int, layers: int = 3) -> sp.csr_array:
    """The supply grid of a chip: layers of parallel wires, each ten times coarser and wider, joined by vias."""
    random = np.random.default_rng(SEED)
    rows, columns, weights, start, n = [], [], [], [], 0
    for layer in range(layers):
        size = max(side // 4**layer, 2)
        node = n + np.arange(size * size).reshape(size, size)
        wires = node if layer % 2 == 0 else node.T
        rows.append(wires[:, :-1].ravel())
        columns.append(wires[:, 1:].ravel())
        weights.append(10.0 ** (layer + random.uniform(-0.5, 0.5, size * (size - 1))))
        if layer:
            below = start[-1][::4, ::4][:size, :size]
            rows.append(node[: below.shape[0], : below.shape[1]].ravel())
            columns.append(below.ravel())
            weights.append(np.full(below.size, 100.0))
        start.append(node)
        n += size * size
    # nodes on wires of one direction only get a coupling across now and then
    across = start[0][:-1, ::2].ravel(), start[0][1:, ::2].ravel()
    rows.append(across[0])
    columns.append(across[1])
    weights.append(np.full(len(across[0]), 0.1))
    pads = np.zeros(n)
    pads[start[-1].ravel()[::3]] = 1e4
    return laplacian(n, np.concatenate(rows), np.concatenate(columns), np.concatenate(weights), pads + 1e-6)


def power_law(n: int, links: int) -> sp.csr_array:
    """Preferential attachment, weakly anchored."""
    A = barabasi_albert(n / 200_000, links=links).A
    return sp.csr_array(A - (0.1 - 1e-3) * sp.eye_array(A.shape[0]))


def geometric_graph(n: int, dimensions: int, neighbours: int = 6) -> sp.csr_array:
    """Nearest neighbours of random points."""
    points = np.random.default_rng(SEED).random((n, dimensions))
    _, near = KDTree(points).query(points, neighbours + 1)
    i, j = np.repeat(np.arange(n), neighbours), near[:, 1:].ravel()
    return laplacian(n, i, j, np.ones(len(i)), 1e-4)


def small_world(n: int) -> sp.csr_array:
    """A ring lattice with a tenth as many random shortcuts."""
    random = np.random.default_rng(SEED)
    i = np.concatenate([np.arange(n), np.arange(n), random.integers(0, n, n // 10)])
    j = np.concatenate([(np.arange(n) + 1) % n, (np.arange(n) + 2) % n, random.integers(0, n, n // 10)])
    keep = i != j
    return laplacian(n, i[keep], j[keep], np.ones(keep.sum()), 1e-5)


# --- finite elements --------------------------------------------------------------------------------------------


def elasticity(side: int, poisson: float = 0.3) -> sp.csr_array:
    """Plane linear elasticity."""
    return sp.csr_array(pyamg.gallery.linear_elasticity((side, side), nu=poisson)[0])


def solid(side: int, jump: float = 1.0, penalty: float = 0.0) -> sp.csr_array:
    """A block of springs in space: edges and diagonals of a grid, held at the bottom.

    Each spring adds ``k d dᵀ`` between its ends. `jump` is the stiffness of a random half of the layers over the
    rest; `penalty` ties pairs of degrees of freedom on top together, as contact does.
    """
    random = np.random.default_rng(SEED)
    node = np.arange(side**3).reshape(side, side, side)
    place = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    stiffness = np.where(random.random(side) < 0.5, jump, 1.0)
    ends: list[np.ndarray] = []
    for step in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)]:
        low = [slice(max(0, -s), side - max(0, s)) for s in step]
        high = [slice(max(0, s), side + min(0, s)) for s in step]
        ends.append(np.stack([node[tuple(low)].ravel(), node[tuple(high)].ravel()]))
    i, j = np.concatenate(ends, axis=1)
    direction = (place[j] - place[i]) / np.linalg.norm(place[j] - place[i], axis=1)[:, None]
    root = np.sqrt(stiffness[place[i][:, 2]])[:, None] * direction
    spring = np.arange(len(i))[:, None] * np.ones(3, dtype=int)
    columns = 3 * i[:, None] + np.arange(3), 3 * j[:, None] + np.arange(3)
    F = sp.coo_array(
        (np.concatenate([root.ravel(), -root.ravel()]),
         (np.tile(spring.ravel(), 2), np.concatenate([columns[0].ravel(), columns[1].ravel()]))),
        shape=(len(i), 3 * side**3),
    )  # fmt: skip
    held = np.repeat(place[:, 2] == 0, 3).astype(float)
    A = normal_equations(F) + sp.diags_array(held + 1e-8)
    if penalty:
        top = 3 * node[:, :, -1].ravel() + 2
        A = A + laplacian(3 * side**3, top[:-1:2], top[1::2], np.full(len(top) // 2, penalty))
    return sp.csr_array(A)


def plate(side: int) -> sp.csr_array:
    """A thin plate: the thirteen-point biharmonic operator."""
    L = grid_laplacian((side, side), (1.0, 1.0))
    return sp.csr_array(L @ L)


def frame(cells: int) -> sp.csr_array:
    """A lattice tower of bars whose stiffness spans eight decades (trusses, stiffness matrices of structures)."""
    random = np.random.default_rng(SEED)
    nodes = 2 * (cells + 1)
    place = np.stack([np.tile([0.0, 1.0], cells + 1), np.repeat(np.arange(cells + 1.0), 2)], axis=1)
    low = np.arange(0, 2 * cells, 2)
    i = np.concatenate([low, low + 1, low, low + 1, low + 2])
    j = np.concatenate([low + 2, low + 3, low + 3, low + 2, low + 3])
    direction = place[j] - place[i]
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    root = 10.0 ** (random.uniform(-4, 4, len(i)) / 2)[:, None] * direction
    row = np.repeat(np.arange(len(i)), 4)
    column = np.stack([2 * i, 2 * i + 1, 2 * j, 2 * j + 1], axis=1).ravel()
    F = sp.coo_array((np.concatenate([root, -root], axis=1).ravel(), (row, column)), shape=(len(i), 2 * nodes))
    held = np.zeros(2 * nodes)
    held[:4] = 1e4
    return sp.csr_array(normal_equations(F) + sp.diags_array(held))


def diffusion(side: int, jump: float, random_field: bool = False) -> sp.csr_array:
    """Flow through cells whose conductivities jump: at random or as the exponential of a smooth field."""
    random = np.random.default_rng(SEED)
    k = 10.0 ** (np.log10(jump) * random.random((side, side)))
    if random_field:
        noise = random.standard_normal((side, side))
        spectrum = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.fftfreq(side)[None] ** 2 + 1e-4
        field = np.fft.ifft2(np.fft.fft2(noise) / spectrum).real
        k = jump ** (field / np.abs(field).max() / 2)
    i, j = grid_edges(side, side)
    k = k.ravel()
    ground = np.where(np.arange(side * side) < side, k, 0.0)
    return laplacian(side * side, i, j, 2 * k[i] * k[j] / (k[i] + k[j]), ground)


def stencil(side: int, epsilon: float, theta: float) -> sp.csr_array:
    """Rotated anisotropic diffusion on bilinear elements."""
    values = pyamg.gallery.diffusion_stencil_2d(epsilon=epsilon, theta=theta, type="FE")
    return sp.csr_array(pyamg.gallery.stencil_grid(values, (side, side)))


def box(*shape: int, slack: float = 0.0) -> sp.csr_array:
    """The Laplacian of a box without boundary, plus `slack`."""
    i, j = grid_edges(*shape)
    return laplacian(int(np.prod(shape)), i, j, np.ones(len(i)), slack)


# --- meshes -----------------------------------------------------------------------------------------------------


def _triangles(n: int) -> tuple[np.ndarray, np.ndarray]:
    points = np.random.default_rng(SEED).random((n, 2))
    return points, Delaunay(points).simplices


def triangulation(n: int, slack: float = 1e-6) -> sp.csr_array:
    """The graph Laplacian of a Delaunay triangulation of random points."""
    _, corners = _triangles(n)
    edges = np.unique(np.sort(corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    return laplacian(n, edges[:, 0], edges[:, 1], np.ones(len(edges)), slack)


def cotangent(n: int, slack: float = 1e-6, heat: float = 0.0) -> sp.csr_array:
    """Linear elements on such a triangulation: mixed signs where angles are obtuse. `heat` adds lumped masses."""
    points, corners = _triangles(n)
    i, j, weights = [], [], []
    for a, b, c in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]:
        u, v = points[corners[:, a]] - points[corners[:, c]], points[corners[:, b]] - points[corners[:, c]]
        area = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
        weights.append(0.5 * (u * v).sum(axis=1) / area)
        i.append(corners[:, a])
        j.append(corners[:, b])
    mass = np.bincount(corners.ravel(), np.repeat(area / 6, 3), minlength=n)
    return laplacian(n, np.concatenate(i), np.concatenate(j), np.concatenate(weights), heat * mass + slack)


def bilaplacian(n: int) -> sp.csr_array:
    """Smoothing of a surface of second order: ``L M⁻¹ L + M`` on a triangulation."""
    A = triangulation(n, slack=0.0)
    return sp.csr_array(A @ A + 1e-3 * sp.eye_array(n))


def pyamg_mesh(name: str) -> sp.csr_array:
    """A mesh that pyamg ships; shifted a little, since some of them are singular."""
    A = sp.csr_array(pyamg.gallery.load_example(name)["A"])
    A = sp.csr_array(0.5 * (A + A.T))
    return sp.csr_array(A + 1e-8 * abs(A).max() * sp.eye_array(A.shape[0]))


# --- estimation -------------------------------------------------------------------------------------------------


def pose_graph(n: int, closures: int, prior: float = 1e-4) -> sp.csr_array:
    """A robot's map in the plane: poses of three numbers, odometry, loop closures, one weak prior."""
    random = np.random.default_rng(SEED)
    i = np.append(np.arange(n - 1), random.integers(0, n, closures))
    j = np.append(np.arange(1, n), random.integers(0, n, closures))
    keep = i != j
    i, j = i[keep], j[keep]
    angle = np.cumsum(random.normal(0, 0.2, n))
    place = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], axis=1), axis=0)
    blocks = np.zeros((len(i), 3, 6))
    c, s, d = np.cos(angle[i]), np.sin(angle[i]), place[j] - place[i]
    turn = np.stack([np.stack([c, s], axis=1), np.stack([-s, c], axis=1)], axis=1)
    blocks[:, :2, :2], blocks[:, :2, 3:5] = -turn, turn
    blocks[:, 0, 2] = -s * d[:, 0] + c * d[:, 1]
    blocks[:, 1, 2] = -c * d[:, 0] - s * d[:, 1]
    blocks[:, 2, 2], blocks[:, 2, 5] = -1.0, 1.0
    blocks *= np.array([10.0, 10.0, 100.0])[:, None]
    return sp.csr_array(_assembled(blocks, [i, j], 3, n) + sp.diags_array(np.where(np.arange(3 * n) < 3, prior, 0.0)))


def _assembled(blocks: np.ndarray, ends: list[np.ndarray], size: int, n: int) -> sp.csr_array:
    """``FᵀF`` of the rows ``blocks[e]`` over the variables, `size` numbers each, at the ends of edge ``e``."""
    edges, rows, width = blocks.shape
    column = np.concatenate([size * end[:, None] + np.arange(size) for end in ends], axis=1)
    row = np.arange(edges * rows).reshape(edges, rows, 1)
    place = np.broadcast_to(row, blocks.shape), np.broadcast_to(column[:, None, :], (edges, rows, width))
    return normal_equations(
        sp.coo_array((blocks.ravel(), (place[0].ravel(), place[1].ravel())), (edges * rows, size * n))
    )


def bundle_adjustment(cameras: int, points: int, *, reduced: bool, damping: float = 1e-6) -> sp.csr_array:
    """Cameras of nine numbers seeing points of three: the normal equations, or reduced to the cameras.

    Columns have the scales of angles, positions, focal length and distortions: 10^-3 to 10^4.
    """
    random = np.random.default_rng(SEED)
    seen = 4
    camera = (random.integers(0, cameras, points)[:, None] + random.integers(0, 12, (points, seen))) % cameras
    point = np.repeat(np.arange(points), seen)
    scale = np.array([1e3, 1e3, 1e3, 10.0, 10.0, 10.0, 1.0, 1e2, 1e1])
    views = random.standard_normal((len(point), 2, 9)) * scale
    marks = random.standard_normal((len(point), 2, 3)) * 10.0
    rows = np.arange(2 * len(point)).reshape(-1, 2, 1)

    def jacobian(values: np.ndarray, variable: np.ndarray, size: int, count: int) -> sp.csr_array:
        column = np.broadcast_to((size * variable[:, None] + np.arange(size))[:, None, :], values.shape)
        place = np.broadcast_to(rows, values.shape).ravel(), column.ravel()
        return sp.csr_array(sp.coo_array((values.ravel(), place), (2 * len(point), size * count)))

    F, G = jacobian(views, camera.ravel(), 9, cameras), jacobian(marks, point, 3, points)
    if not reduced:
        A = sp.csr_array(sp.vstack([sp.hstack([F.T @ F, F.T @ G]), sp.hstack([G.T @ F, G.T @ G])]))
        return sp.csr_array(A + sp.diags_array(damping * A.diagonal() + 1e-9))
    U, V, W = F.T @ F, G.T @ G, F.T @ G
    corners = V.tobsr((3, 3)).data + damping * np.eye(3)
    inverse = sp.bsr_array((np.linalg.inv(corners), np.arange(points), np.arange(points + 1)), shape=V.shape)
    S = sp.csr_array(U + sp.diags_array(damping * U.diagonal()) - W @ inverse @ W.T)
    return sp.csr_array(0.5 * (S + S.T))


def matern_field(side: int, kappa: float) -> sp.csr_array:
    """A Matérn field of smoothness 1 in the plane: ``(κ² + L)²`` (Lindgren, Rue and Lindström 2011)."""
    K = box(side, side, slack=kappa**2)
    return sp.csr_array(K @ K)


def space_time_field(side: int, times: int) -> sp.csr_array:
    """An autoregression in time of a conditional autoregression in space."""
    rho = 0.95
    T = sp.diags_array(
        [np.full(times - 1, -rho), np.r_[1.0, np.full(times - 2, 1 + rho**2), 1.0], np.full(times - 1, -rho)],
        offsets=[-1, 0, 1],
    )
    return sp.csr_array(sp.kron(T, box(side, side, slack=1e-3)))


def pedigree(n: int) -> sp.csr_array:
    """The inverse of a relationship matrix by Henderson's rules (1976), plus the records of half the animals."""
    random = np.random.default_rng(SEED)
    animal = np.arange(n)
    founders = n // 10
    i = animal[founders:]
    sire = (random.random(len(i)) ** 3 * (i - 1)).astype(int)  # few sires, many offspring
    dam = (random.random(len(i)) * (i - 1)).astype(int)
    T = sp.coo_array(
        (np.r_[np.ones(n), np.full(2 * len(i), -0.5)], (np.r_[animal, i, i], np.r_[animal, sire, dam])), (n, n)
    )
    D = sp.diags_array(np.where(animal < founders, 1.0, 2.0))
    T = sp.csr_array(T)
    return sp.csr_array(2.0 * T.T @ D @ T + sp.diags_array((random.random(n) < 0.5).astype(float)))


def kinship_band(n: int, width: int) -> sp.csr_array:
    """A band of correlations that fade with distance: linkage along a chromosome."""
    place = np.cumsum(np.random.default_rng(SEED).exponential(1.0, n))
    diagonals = [np.full(n, 1.0 + 1e-4)]
    for k in range(1, width):
        distance = place[k:] - place[:-k]
        diagonals.append(np.exp(-distance / width) * np.maximum(0.0, 1 - distance / width) ** 2)
    A = sp.diags_array(diagonals, offsets=list(range(width)))
    return sp.csr_array(A + A.T - sp.diags_array(diagonals[0]) + 0.5 * sp.eye_array(n))


def sparse_regression(n: int, ridge: float) -> sp.csr_array:
    """``FᵀF + ridge`` of a random sparse design."""
    random = np.random.default_rng(SEED)
    rows, each = 2 * n, 3
    F = sp.coo_array(
        (random.standard_normal(rows * each), (np.repeat(np.arange(rows), each), random.integers(0, n, rows * each))),
        (rows, n),
    )
    return normal_equations(F, ridge)


# --- images -----------------------------------------------------------------------------------------------------


def matting(side: int) -> sp.csr_array:
    """Colour differences as weights over six decades (Levin, Lischinski and Weiss 2004), scribbles held."""
    random = np.random.default_rng(SEED)
    y, x = np.mgrid[:side, :side] / side
    image = np.sin(9 * x) * np.cos(7 * y) + (x + y > 1) + 0.05 * random.standard_normal((side, side))
    image = image.ravel()
    i, j = grid_edges(side, side)
    weight = np.maximum(np.exp(-200 * (image[i] - image[j]) ** 2), 1e-6)
    return laplacian(side * side, i, j, weight, 100.0 * (random.random(side * side) < 0.002))


def inpainting(side: int) -> sp.csr_array:
    """A smooth surface through one pixel in fifty: the biharmonic operator with data."""
    L = box(side, side)
    given = np.random.default_rng(SEED).random(side * side) < 0.02
    return sp.csr_array(L @ L + sp.diags_array(10.0 * given))


# --- made to be hard --------------------------------------------------------------------------------------------


def badly_scaled(side: int, decades: float = 8.0) -> sp.csr_array:
    """Poisson's equation in units of 10^±decades, one for each unknown."""
    scale = sp.diags_array(10.0 ** np.random.default_rng(SEED).uniform(-decades, decades, side * side))
    return sp.csr_array(scale @ grid_laplacian((side, side), (1.0, 1.0)) @ scale)


def dense_rows(side: int, rows: int) -> sp.csr_array:
    """A grid in which some unknowns are coupled to all others."""
    n = side * side
    A = grid_laplacian((side, side), (1.0, 1.0))
    for row in range(rows):
        others = np.delete(np.arange(n), row)
        A = A + laplacian(n, np.full(n - 1, row), others, np.full(n - 1, 1e-2))
    return sp.csr_array(A)


def disconnected() -> sp.csr_array:
    """Parts of every size, isolated unknowns, and parts held by a tiny shift only."""
    random = np.random.default_rng(SEED)
    parts = [grid_laplacian((40, 40), (1.0, 1.0)), sp.diags_array(10.0 ** random.uniform(-6, 6, 500))]
    parts += [box(size, size, slack=1e-6) for size in (3, 10, 30, 70)]
    A = sp.csr_array(sp.block_diag(parts))
    order = random.permutation(A.shape[0])
    return sp.csr_array(A[order][:, order])


def hilbert_like(n: int, ridge: float = 1e-10) -> sp.csr_array:
    """A small dense matrix with condition number 1 / ridge."""
    return sp.csr_array(scipy.linalg.hilbert(n) + ridge * np.eye(n))


def kernel_matrix(n: int) -> sp.csr_array:
    """A dense smooth covariance with a nugget of 10^-8."""
    place = np.linspace(0, 1, n)
    return sp.csr_array(np.exp(-((place[:, None] - place) ** 2) * 50) + 1e-8 * np.eye(n))


def frustrated(side: int) -> sp.csr_array:
    """Random signs on a grid, close to singular: the diagonal is the spectrum's edge and a thousandth."""
    i, j = grid_edges(side, side)
    signs = np.random.default_rng(SEED).choice([-1.0, 1.0], len(i))
    upper = sp.coo_array((signs, (i, j)), shape=(side * side,) * 2)
    return sp.csr_array(upper + upper.T + 3.9 * sp.eye_array(side * side))


SYSTEMS: dict[str, Callable[[], sp.csr_array]] = {
    "power 300": partial(power_network, 300),
    "power 1,100": partial(power_network, 1_100),
    "power 70,000": partial(power_network, 70_000),
    "power 6,500, 8 decades": partial(power_network, 6_500, 8.0),
    "water 400": partial(water_network, 20),
    "water 90,000": partial(water_network, 300),
    "circuit 14,000": partial(power_supply_circuit, 116),
    "circuit 140,000": partial(power_supply_circuit, 360),
    "circuit 870,000": partial(power_supply_circuit, 900),
    "power law 5,000": partial(power_law, 5_000, 3),
    "power law 50,000": partial(power_law, 50_000, 4),
    "power law 200,000 tree-like": partial(power_law, 200_000, 2),
    "small world 50,000": partial(small_world, 50_000),
    "geometric 2-D 20,000": partial(geometric_graph, 20_000, 2),
    "geometric 2-D 200,000": partial(geometric_graph, 200_000, 2),
    "geometric 3-D 20,000": partial(geometric_graph, 20_000, 3),
    "elasticity 1,800": partial(elasticity, 30),
    "elasticity 20,000": partial(elasticity, 100),
    "elasticity 180,000": partial(elasticity, 300),
    "elasticity 20,000, ν = 0.499": partial(elasticity, 100, 0.499),
    "solid 5,000": partial(solid, 12),
    "solid 41,000": partial(solid, 24),
    "solid 10,000, jumps 10^8": partial(solid, 15, 1e8),
    "solid 10,000, contact 10^8": partial(solid, 15, 1.0, 1e8),
    "plate 3,600": partial(plate, 60),
    "plate 40,000": partial(plate, 200),
    "frame 84": partial(frame, 20),
    "frame 8,000": partial(frame, 2_000),
    "diffusion 40,000, jumps 10^8": partial(diffusion, 200, 1e8),
    "diffusion 250,000, jumps 10^4": partial(diffusion, 500, 1e4),
    "diffusion 250,000, random field": partial(diffusion, 500, 1e6, True),
    "inclusions 216,000, jumps 10^6": partial(porous, 60, "inclusions"),
    "channels 216,000, jumps 10^6": partial(porous, 60, "channels"),
    "layers 216,000, jumps 10^6": partial(porous, 60, "layers"),
    "lognormal 216,000, σ = 3": partial(porous, 60, "lognormal"),
    "rotated diffusion 90,000": partial(stencil, 300, 1e-3, np.pi / 4),
    "rotated diffusion 360,000": partial(stencil, 600, 1e-2, 0.5),
    "box 90,000 + 1e-9": partial(box, 300, 300, slack=1e-9),
    "box 64,000 in space + 1e-6": partial(box, 40, 40, 40, slack=1e-6),
    "triangulation 3,000": partial(triangulation, 3_000),
    "triangulation 100,000": partial(triangulation, 100_000),
    "triangulation 400,000": partial(triangulation, 400_000),
    "cotangent 10,000": partial(cotangent, 10_000),
    "cotangent 100,000": partial(cotangent, 100_000),
    "cotangent 100,000, heat": partial(cotangent, 100_000, heat=1e4),
    "bilaplacian 30,000": partial(bilaplacian, 30_000),
    **{
        f"pyamg {name}": partial(pyamg_mesh, name)
        for name in ("airfoil", "bar", "knot", "unit_cube", "unit_square", "local_disc_galerkin_diffusion")
    },
    "pose graph 300": partial(pose_graph, 100, 30),
    "pose graph 10,000": partial(pose_graph, 3_500, 2_000),
    "pose graph 60,000": partial(pose_graph, 20_000, 1_500),
    "bundle adjustment 441": partial(bundle_adjustment, 49, 3_000, reduced=True),
    "bundle adjustment 6,300": partial(bundle_adjustment, 700, 20_000, reduced=True),
    "bundle adjustment 61,000, whole": partial(bundle_adjustment, 100, 20_000, reduced=False),
    "Matérn field 40,000": partial(matern_field, 200, 0.1),
    "Matérn field 160,000, long": partial(matern_field, 400, 0.01),
    "space and time 100,000": partial(space_time_field, 60, 28),
    "pedigree 2,000": partial(pedigree, 2_000),
    "pedigree 30,000": partial(pedigree, 30_000),
    "kinship band 5,000": partial(kinship_band, 5_000, 40),
    "regression 5,000": partial(sparse_regression, 5_000, 1e-4),
    "matting 90,000": partial(matting, 300),
    "matting 640,000": partial(matting, 800),
    "inpainting 40,000": partial(inpainting, 200),
    "badly scaled 10,000": partial(badly_scaled, 100),
    "badly scaled 160,000": partial(badly_scaled, 400, 6.0),
    "dense rows 22,500": partial(dense_rows, 150, 3),
    "disconnected": disconnected,
    "Hilbert 14": partial(hilbert_like, 14),
    "kernel 400": partial(kernel_matrix, 400),
    "random signs 90,000": partial(frustrated, 300),
}


def systems(names: list[str] | None = None) -> Iterator[tuple[str, sp.csr_array]]:
    """The named systems, or all: exactly symmetric, canonical, with 32-bit indices."""
    for name in SYSTEMS if names is None else names:
        A = SYSTEMS[name]()
        A = sp.csr_array(0.5 * (A + A.T))
        A.sum_duplicates()
        A.eliminate_zeros()
        A.indices, A.indptr = A.indices.astype(np.int32), A.indptr.astype(np.int32)
        yield name, A
