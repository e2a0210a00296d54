"""Laplacians of weighted graphs, and of cells that a quantity flows through."""

import numpy as np
import scipy.sparse as sp

SEED = 0


def laplacian(
    n: int, i: np.ndarray, j: np.ndarray, weight: np.ndarray, slack: float | np.ndarray = 0.0
) -> sp.csr_array:
    """The graph Laplacian of weighted edges, each given once, plus `slack` on the diagonal."""
    upper = sp.coo_array((weight, (i, j)), shape=(n, n)).tocsr()
    off = upper + upper.T
    off.setdiag(0.0)
    off.eliminate_zeros()
    return sp.csr_array(sp.diags_array(off.sum(axis=1) + slack) - off)


def grid_edges(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """The edges between neighbours of a box of nodes in row-major order."""
    node = np.arange(np.prod(shape)).reshape(shape)
    lower = [node.take(range(size - 1), axis).ravel() for axis, size in enumerate(shape)]
    upper = [node.take(range(1, size), axis).ravel() for axis, size in enumerate(shape)]
    return np.concatenate(lower), np.concatenate(upper)


def porous(side: int, kind: str, jump: float = 1e6) -> sp.csr_array:
    """Flow through the cells of a cube: conducting inclusions or straight channels in a fifth of the cells, layers five
    cells thick, or independent lognormal conductivities with a standard deviation of 3.
    """
    random = np.random.default_rng(SEED)
    k = np.ones((side,) * 3)
    if kind == "inclusions":
        k[random.random(k.shape) < 0.2] = jump
    elif kind == "channels":
        while (k > 1).mean() < 0.2:
            i, j = random.integers(side, size=2)
            np.moveaxis(k, random.integers(3), 0)[:, i : i + 2, j : j + 2] = jump
    elif kind == "layers":
        k[(np.arange(side) // 5) % 2 == 1] = 1 / jump
    else:
        k = np.exp(3.0 * random.standard_normal(k.shape))
    i, j = grid_edges(side, side, side)
    outside = 6.0 - np.bincount(np.concatenate([i, j]), minlength=k.size)  # faces, where the potential is zero
    k = k.ravel()
    return laplacian(k.size, i, j, 2 * k[i] * k[j] / (k[i] + k[j]), 2 * k * outside)
