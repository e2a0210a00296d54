"""Symmetric positive definite test matrices of multigrid hierarchies, and a refinement loop around one."""

import numpy as np
import pyamg
import scipy.sparse as sp
import torch
from scipy.spatial import Delaunay


def line(n, closed=False):
    diagonal = 2.0 * np.ones(n)
    if closed:
        diagonal[[0, -1]] = 1.0
    return sp.diags_array([-np.ones(n - 1), diagonal, -np.ones(n - 1)], offsets=[-1, 0, 1])


def grid(*sizes, shift=0.0, weights=None, closed=False):
    """The graph Laplacian of a grid, with zero boundary values unless ``closed``."""
    A = sp.csr_array((int(np.prod(sizes)),) * 2)
    for axis, size in enumerate(sizes):
        term = line(size, closed) * (1.0 if weights is None else weights[axis])
        before, after = int(np.prod(sizes[:axis])), int(np.prod(sizes[axis + 1 :]))
        A = A + sp.kron(sp.kron(sp.eye_array(before), term), sp.eye_array(after))
    return sp.csr_array(A + shift * sp.eye_array(A.shape[0]))


def laplacian(i, j, weight, n, shift):
    W = sp.coo_array((weight, (i, j)), shape=(n, n))
    W = sp.csr_array(W + W.T)
    return sp.csr_array(sp.diags_array(W.sum(axis=1) + shift) - W)


def random_graph(n=20_000, degree=10):
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, n, (2, n * degree // 2))
    keep = i != j
    return laplacian(i[keep], j[keep], rng.uniform(0.5, 1.5, keep.sum()), n, 0.5)


def triangulation(n=15_000):
    """Of random points: neighbours are far apart in the row order."""
    triangles = Delaunay(np.random.default_rng(1).random((n, 2))).simplices
    edges = np.unique(
        np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])), axis=0
    )
    return laplacian(edges[:, 0], edges[:, 1], np.ones(len(edges)), n, 1e-4)


def star(n=12_000):
    return laplacian(np.full(n - 1, n // 2), np.delete(np.arange(n), n // 2), np.ones(n - 1), n, 1e-3)


def dense_row(size=60):
    A = grid(size, size)
    n = A.shape[0]
    i, j = np.zeros(n - 1, int), np.arange(1, n)
    return sp.csr_array(A + laplacian(i, j, np.full(n - 1, 0.01), n, 0.0))


def negative_weights():
    A = grid(70, 70, shift=0.01)
    rng = np.random.default_rng(2)
    W = -sp.triu(A, 1)
    W.data = W.data * np.where(rng.random(W.nnz) < 0.15, -0.3, 1.0)
    W = sp.csr_array(W + W.T)
    return sp.csr_array(sp.diags_array(abs(W).sum(axis=1) + 0.01) - W)


def badly_scaled():
    A = grid(110, 110)
    S = sp.diags_array(10.0 ** np.random.default_rng(3).uniform(-5, 5, A.shape[0]))
    return sp.csr_array(S @ A @ S)


def permuted():
    A = grid(120, 120)
    order = np.random.default_rng(4).permutation(A.shape[0])
    return sp.csr_array(A[order][:, order])


def porous(kind, size=20):
    """Finite volumes on a cube whose conductivities jump by 1e6 or vary by decades; zero outside."""
    k = np.ones((size,) * 3)
    rng = np.random.default_rng(5)
    if kind == "inclusions":
        k[rng.random(k.shape) < 0.2] = 1e6
    elif kind == "channels":
        for axis in range(3):
            for i, j in rng.integers(0, size, (size, 2)):
                np.moveaxis(k, axis, 0)[:, i, j] = 1e6
    elif kind == "layers":
        k[(np.arange(size) // 3) % 2 == 1] = 1e-6
    else:
        k = np.exp(3.0 * rng.standard_normal(k.shape))
    index, k = np.arange(k.size).reshape(k.shape), np.pad(k, 1, mode="edge")
    ends, weight, ground = [], [], np.zeros(index.size)
    for axis in range(3):
        inner = np.moveaxis(k, axis, 0)[:, 1:-1, 1:-1]
        face = 2 * inner[1:] * inner[:-1] / (inner[1:] + inner[:-1])
        cell = np.moveaxis(index, axis, 0)
        ends.append([cell[:-1].ravel(), cell[1:].ravel()])
        weight.append(face[1:-1].ravel())
        np.add.at(ground, cell[0], 2 * face[0])
        np.add.at(ground, cell[-1], 2 * face[-1])
    i, j = np.concatenate(ends, axis=1)
    return laplacian(i, j, np.concatenate(weight), index.size, ground)


CASES = {
    "2-D grid": lambda: grid(120, 130, shift=0.1),
    "2-D Poisson": lambda: grid(150, 150),
    "3-D Poisson": lambda: grid(24, 24, 24),
    "anisotropic, strong along rows": lambda: grid(100, 120, weights=(1, 100)),
    "anisotropic, strong across rows": lambda: grid(100, 120, weights=(100, 1)),
    "elasticity": lambda: sp.csr_array(pyamg.gallery.linear_elasticity((30, 30))[0]),
    "rotated diffusion": lambda: sp.csr_array(
        pyamg.gallery.stencil_grid(pyamg.gallery.diffusion_stencil_2d(epsilon=0.01, theta=0.5, type="FE"), (80, 80))
    ),
    "random graph": random_graph,
    "triangulation": triangulation,
    "star": star,
    "dense row": dense_row,
    "negative weights": negative_weights,
    "badly scaled": badly_scaled,
    "permuted": permuted,
    "huge values": lambda: grid(110, 100) * 1e30,
    "tiny values": lambda: grid(110, 100) * 1e-30,
    "inclusions": lambda: porous("inclusions"),
    "channels": lambda: porous("channels"),
    "layers": lambda: porous("layers"),
    "lognormal": lambda: porous("lognormal"),
    "near-singular": lambda: grid(110, 110, closed=True, shift=1e-9),
    "floating parts": lambda: sp.csr_array(
        sp.block_diag([grid(50, 50), 3.0 * sp.eye_array(100), grid(40, 40, closed=True, shift=1e-6)])
    ),
    "no edges": lambda: sp.csr_array(sp.diags_array(np.linspace(1, 2, 11_000))),
    "one node": lambda: sp.csr_array([[4.0]]),
    "two nodes": lambda: sp.csr_array([[2.0, -1.0], [-1.0, 2.0]]),
    "small and dense": lambda: sp.csr_array(np.full((3, 3), 0.7) + 0.3 * np.eye(3)),
}


def solve(hierarchy, A, b, rtol=1e-8, maxiter=500):
    """Iterative refinement: corrections of the residual until it is small enough. Returns the iterations, too."""
    x, steps = np.zeros_like(b), 0
    for _ in range(4):
        r = b - A @ x
        if np.all(np.linalg.norm(r, axis=0) <= rtol * np.linalg.norm(b, axis=0)):
            break
        correction = hierarchy.correct(torch.from_numpy(r), torch.from_numpy(rtol * np.linalg.norm(b, axis=0)))
        done, failure = correction.advance(maxiter)
        assert failure is None
        x, steps = x + correction.estimate().numpy(), steps + done
    return x, steps


def relative_residual(A, x, b):
    return np.max(np.linalg.norm(b - A @ x, axis=0) / np.linalg.norm(b, axis=0))
