"""Matrices of all the kinds that a hierarchy on a device distinguishes, and their levels."""

import numpy as np
import scipy.sparse as sp

from gabp.kernels.torch.aggregation import SymmetricMatrix
from gabp.kernels.torch.multigrid_levels import LONG_ROW, MultigridLevel, build_levels
from gabp.system import make_system, read_matrix
from spd_matrices import grid, laplacian, random_graph


def hub(n: int) -> sp.csr_array:
    """A ring of ``n`` nodes, all of them joined to one more: it has a row stored by itself."""
    i = np.arange(n)
    return laplacian(
        np.concatenate([i, i]), np.concatenate([(i + 1) % n, np.full(n, n)]), np.linspace(1, 2, 2 * n), n + 1, 0.1
    )


MATRICES = {
    "grid": lambda: grid(9, 15),
    "random graph": lambda: random_graph(n=301, degree=5),
    "a hub": lambda: hub(LONG_ROW + 40),
    "an isolated node": lambda: sp.csr_array(sp.block_diag([grid(4, 5), [[3.0]], grid(3, 3)])),
    "no edges": lambda: sp.csr_array(sp.diags_array(np.linspace(1, 2, 33))),
    "one node": lambda: sp.csr_array([[4.0]]),
}


def levels_of(A: sp.csr_array, largest_dense: int = 0) -> tuple[MultigridLevel, ...]:
    system = make_system(read_matrix(A), True)
    graph = system.graph
    matrix = SymmetricMatrix.of(graph.destination, graph.source.long(), system.weight, system.diagonal)
    return build_levels(matrix, largest_dense)
