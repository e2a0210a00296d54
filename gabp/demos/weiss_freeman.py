"""The numbers behind Weiss and Freeman's figures: loopy correlations, and the sparse-data experiment.

Weiss and Freeman, "Correctness of belief propagation in Gaussian graphical models of arbitrary topology" (NIPS
1999; Neural Computation 2001). The sparse-data experiment is run with ``A = Laplacian + diag(100·mask)``, which
gives the variances that the paper prints; the weights printed there do not.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.stats
import torch
from numpy.typing import NDArray

from gabp.conditions import unwrap
from gabp.kernels import reference
from gabp.system import System, make_system, read_matrix

Vector = NDArray[np.float64]

DATA_WEIGHT = 100.0
OBSERVED = 0.2  # the share of nodes with data


def bipartite_model() -> Vector:
    """An attractive model on K_{2,3}, the graph of Figure 2, shape (5, 5)."""
    A = np.diag([3.2, 3.3, 2.1, 2.2, 2.3])
    A[:2, 2:] = [[-0.9, -0.7, -0.8], [-0.6, -1.0, -0.5]]
    A[2:, :2] = A[:2, 2:].T
    return A


@dataclass(frozen=True)
class Correlations:
    """Figure 2: the root's correlations with the nodes of its computation tree.

    Attributes
    ----------
    values : array, shape (size,)
    is_replica : array of bool, shape (size,)
        Which tree nodes replicate the root (the root included).
    loopy_variance, true_variance : float
    """

    values: Vector
    is_replica: NDArray[np.bool_]
    loopy_variance: float
    true_variance: float

    @property
    def replica_sum(self) -> float:
        return float(self.values[self.is_replica].sum())


def figure_2(root: int = 2, depth: int = 8) -> Correlations:
    """The correlations on K_{2,3} after ``depth`` unwrappings."""
    A = bipartite_model()
    tree = unwrap(A, root, depth)
    return Correlations(tree.correlations, tree.replica_of == root, tree.variance, float(np.linalg.inv(A)[root, root]))


def sparse_data(seed: int, side: int = 25) -> tuple[scipy.sparse.csr_array, Vector]:
    """Smoothness on a grid, and a fifth of its nodes observed with values uniform on (0, 1)."""
    rng = np.random.default_rng(seed)
    steps = scipy.sparse.diags_array([-np.ones(side - 1), np.ones(side - 1)], offsets=[0, 1], shape=(side - 1, side))
    line, same = steps.T @ steps, scipy.sparse.eye_array(side)
    laplacian = scipy.sparse.kron(line, same) + scipy.sparse.kron(same, line)
    weight = DATA_WEIGHT * (rng.random(side * side) < OBSERVED)
    A = scipy.sparse.csr_array(laplacian + scipy.sparse.diags_array(weight))
    return A, weight * rng.random(side * side)


@dataclass(frozen=True)
class SparseDataRun:
    """Figure 3 for one draw of the data.

    Attributes
    ----------
    mean_errors : dict of array, shape (sweeps,)
        Relative error of the means after each sweep, by method.
    true_variance, loopy_variance : array, shape (n,)
    settling : array, shape (n,)
        How slowly each node's mean converges: sweeps until its error stays below 1e-3 of its value.
    """

    mean_errors: dict[str, Vector]
    true_variance: Vector
    loopy_variance: Vector
    settling: Vector

    @property
    def variance_error(self) -> Vector:
        return np.abs(self.loopy_variance - self.true_variance)

    @property
    def speed_correlation(self) -> float:
        """Rank correlation of variance error and slowness."""
        return float(scipy.stats.spearmanr(self.variance_error, self.settling).statistic)

    def sweeps_to(self, method: str, error: float) -> int:
        """The first sweep after which ``method``'s relative error is at most ``error``."""
        below = np.flatnonzero(self.mean_errors[method] <= error)
        if len(below) == 0:
            raise ValueError(f"{method} did not reach {error} within {len(self.mean_errors[method])} sweeps")
        return int(below[0]) + 1


CONSTANT, ZERO = "GaBP, constant-message start", "GaBP, zero start"
GAUSS_SEIDEL, SOR = "Gauss–Seidel", "SOR at Young's ω"


def figure_3(seed: int, side: int = 25, sweeps: int = 150) -> SparseDataRun:
    """Flood the sparse-data model from both starts, and relax it by Gauss–Seidel and optimal SOR."""
    A, b = sparse_data(seed, side)
    dense = A.toarray()
    covariance = np.linalg.inv(dense)
    truth = covariance @ b
    system = make_system(read_matrix(A))
    constant, precision = flooding_means(system, b, sweeps, constant_start=True)
    zero, _ = flooding_means(system, b, sweeps, constant_start=False)
    means = {
        CONSTANT: constant,
        ZERO: zero,
        GAUSS_SEIDEL: relaxation_means(dense, b, 1.0, sweeps),
        SOR: relaxation_means(dense, b, young_omega(dense), sweeps),
    }
    scale = np.linalg.norm(truth)
    errors = {name: np.linalg.norm(mean - truth, axis=1) / scale for name, mean in means.items()}
    late = np.abs(constant - truth)[::-1] > 1e-3 * np.abs(truth)
    settling = np.where(late.any(axis=0), sweeps - np.argmax(late, axis=0), 0)
    return SparseDataRun(errors, np.diag(covariance), 1 / precision, settling.astype(np.float64))


def flooding_means(system: System, b: Vector, sweeps: int, constant_start: bool) -> tuple[Vector, Vector]:
    """Means after each sweep, shape (sweeps, n), precisions and potentials moving together; and the last ``J``.

    From the constant-message start, nodes that no data have reached yet have the belief 0/0: mean 0.
    """
    graph = system.graph
    source, destination = graph.source.long(), graph.destination
    potentials = torch.from_numpy(b)[:, None]
    P = -system.weight.abs() if constant_start else torch.zeros_like(system.weight)
    h = torch.zeros(graph.edges, 1, dtype=torch.float64)
    means = np.zeros((sweeps, system.n))
    belief = system.diagonal
    for sweep in range(sweeps):
        new, cavity = reference.flood_precisions(system.diagonal, system.weight, source, destination, graph.reverse, P)
        h = reference.flood_potentials(potentials, system.weight, source, destination, graph.reverse, cavity, h)
        P = new
        belief = system.diagonal + reference.gather_messages(P, destination, system.n)
        field = (potentials + reference.gather_messages(h, destination, system.n))[:, 0]
        reached = belief > 1e-12 * system.diagonal
        means[sweep] = torch.where(reached, field / belief, 0.0).numpy()
    return means, belief.numpy()


def relaxation_means(A: Vector, b: Vector, omega: float, sweeps: int) -> Vector:
    """Successive over-relaxation from zero, shape (sweeps, n); Gauss–Seidel at ``omega = 1``."""
    diagonal = np.diag(np.diag(A))
    lower = diagonal / omega + np.tril(A, -1)
    x, means = np.zeros(len(b)), np.zeros((sweeps, len(b)))
    for sweep in range(sweeps):
        x = x + scipy.linalg.solve_triangular(lower, b - A @ x, lower=True)
        means[sweep] = x
    return means


def young_omega(A: Vector) -> float:
    """Young's optimal relaxation ``2/(1 + √(1 - ρ²))``, ρ the Jacobi radius (Young 1954)."""
    scale = 1 / np.sqrt(np.diag(A))
    radius = np.abs(np.linalg.eigvalsh(np.eye(len(A)) - A * scale[:, None] * scale)).max()
    return float(2 / (1 + np.sqrt(1 - radius**2)))
