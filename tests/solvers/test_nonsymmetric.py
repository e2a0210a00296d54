"""General systems: the directed elimination sweep, and the Krylov methods around it."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import gabp
from gabp.kernels import dispatch, reference
from gabp.messages.directed import DirectedSweep
from gabp.system import make_system, read_matrix


def convection_diffusion(m, peclet, angle=0.7):
    """Upwind differences on an m × m grid; ``peclet`` is the speed of the wind over the diffusion."""
    h = 1 / (m + 1)
    ones = np.ones(m - 1)
    diffusion = sp.diags_array([-ones, 2 * np.ones(m), -ones], offsets=[-1, 0, 1]) / h**2
    wind = peclet * sp.diags_array([-ones, np.ones(m)], offsets=[-1, 0]) / h
    x, y = diffusion + np.cos(angle) * wind, diffusion + np.sin(angle) * wind
    return (sp.kron(sp.eye_array(m), x) + sp.kron(y, sp.eye_array(m))).tocsr()


def dominant(n, seed, density=1.0):
    rng = np.random.default_rng(seed)
    A = np.where(rng.random((n, n)) < density, rng.normal(size=(n, n)), 0.0)
    np.fill_diagonal(A, 0.0)
    return A + np.diag(rng.choice([-1.0, 1.0], n) * (1.05 * np.abs(A).sum(1) + 0.1))


def as_system(A):
    return make_system(read_matrix(A), symmetric=False)


def swept(A):
    """The sweep as a matrix, from its definition."""
    n = len(A)
    J = np.diag(A).copy()
    for i in range(n):
        J[i] -= sum(A[i, k] * A[k, i] / J[k] for k in range(i))
    return np.linalg.inv((np.diag(J) + np.tril(A, -1)) @ np.diag(1 / J) @ (np.diag(J) + np.triu(A, 1)))


@pytest.mark.parametrize("n", [1, 2, 9])
def test_the_sweep_is_its_definition(n):
    A = dominant(n, 0, 0.5)
    sweep = DirectedSweep.of(as_system(A))
    assert sweep.apply(torch.eye(n, dtype=torch.float64)).numpy() == pytest.approx(swept(A), rel=1e-12, abs=1e-15)


@pytest.mark.skipif(
    not dispatch.backend("cpu").compiled, reason="without the compiled kernels there is nothing to compare"
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 3])
def test_compiled_and_literal_sweeps_agree(dtype, columns):
    system = as_system(dominant(23, 1, 0.3)).astype(dtype)
    graph = system.graph
    r = torch.randn(23, columns, dtype=dtype, generator=torch.Generator().manual_seed(0))
    found = []
    for kernels in (dispatch.backend("cpu").sequential, reference):
        pivot = torch.full_like(system.diagonal, torch.nan)
        arguments = (system.diagonal, system.weight, graph.start, graph.source, graph.reverse)
        assert kernels.directed_pivots(*arguments, pivot) == -1
        y = torch.full_like(r, torch.nan)
        kernels.directed_elimination_sweep(system.weight, graph.start, graph.source, pivot, r, y)
        found.append(y)
    torch.testing.assert_close(*found)


def test_the_sweep_is_exact_on_a_tree_in_elimination_order():
    n = 15
    A = np.diag(np.linspace(3.0, 5.0, n) * (-1.0) ** np.arange(n))
    rng = np.random.default_rng(2)
    for child in range(n - 1):
        parent = min(n - 1, child + 1 + child % 3)
        A[child, parent], A[parent, child] = rng.normal(size=2)
    b = rng.normal(size=(n, 1))
    y = DirectedSweep.of(as_system(A)).apply(torch.from_numpy(b))
    assert y.numpy() == pytest.approx(np.linalg.solve(A, b))


def test_a_pivot_that_vanishes_is_not_used():
    A = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])  # the second pivot is 0
    sweep = DirectedSweep.of(as_system(A))
    assert sweep.pivot.tolist() == [1.0, 1.0, 1.0]
    assert gabp.solve(A, np.ones(3), symmetric=False, method="krylov").converged


@pytest.mark.parametrize("krylov", ["bicgstab", "gmres"])
@pytest.mark.parametrize("peclet", [10.0, 1e4])
def test_convection_diffusion(krylov, peclet):
    A = convection_diffusion(60, peclet)
    b = np.random.default_rng(0).normal(size=(3600, 2))
    solution = gabp.solve(A, b, symmetric=False, method="krylov", krylov=krylov)
    assert solution.converged
    assert np.linalg.norm(b - A @ solution.x, axis=0) == pytest.approx([0, 0], abs=1e-8 * 62)
    assert solution.iterations < (25 if peclet > 100 else 130)


def test_flooding_alone_does_not_solve_it():
    A = convection_diffusion(60, 10.0)
    solution = gabp.solve(A, np.ones(3600), symmetric=False, method="flooding", maxiter=150, throw=False)
    assert solution.status is gabp.Status.MAX_ITERATIONS


def test_a_large_nonsymmetric_system_is_chosen_for_the_krylov_method():
    A = convection_diffusion(200, 1000.0)
    b = np.ones(40_000)
    solution = gabp.solve(A, b, symmetric=False)
    assert solution.method == "krylov"
    assert np.linalg.norm(b - A @ solution.x) <= 1e-8 * np.linalg.norm(b)


def test_recirculating_convection():
    m, h = 150, 1 / 151
    x = np.arange(1, m + 1) * h
    along, across = np.meshgrid(np.pi * x, np.pi * x, indexing="ij")
    wind = 1e3 * np.stack([np.sin(along) * np.cos(across), -np.cos(along) * np.sin(across)]).reshape(2, -1) * h
    step = sp.diags_array([np.ones(m - 1)], offsets=[1], shape=(m, m))
    forth = [sp.kron(step, sp.eye_array(m)), sp.kron(sp.eye_array(m), step)]
    A = sp.diags_array(4 + np.abs(wind).sum(0))
    for there, speed in zip(forth, wind, strict=True):
        A = A - sp.diags_array(1 + np.maximum(speed, 0)) @ there.T - sp.diags_array(1 - np.minimum(speed, 0)) @ there
    b = np.random.default_rng(0).normal(size=m * m)
    solution = gabp.solve(A.tocsr(), b, symmetric=False)
    assert solution.method == "krylov"
    assert np.linalg.norm(b - A @ solution.x) <= 1e-8 * np.linalg.norm(b)


def grid_of_random_numbers(m):
    step = sp.diags_array([np.ones(m - 1), np.ones(m - 1)], offsets=[-1, 1])
    A = (sp.kron(step, sp.eye_array(m)) + sp.kron(sp.eye_array(m), step) + sp.eye_array(m * m)).tocsr()
    A.data = np.random.default_rng(7).normal(size=A.nnz)
    return A


def test_systems_without_dominance_are_eliminated():
    A = grid_of_random_numbers(145)
    b = np.ones(145**2)
    solution = gabp.solve(A, b, symmetric=False)
    assert solution.method == "elimination"
    assert np.linalg.norm(b - A @ solution.x) <= 1e-8 * np.linalg.norm(b)


@pytest.mark.parametrize("krylov", ["bicgstab", "gmres"])
def test_a_residual_that_stalls_ends_the_solve(krylov):
    solution = gabp.solve(
        grid_of_random_numbers(30), np.ones(900), symmetric=False, method="krylov", krylov=krylov, throw=False
    )
    assert solution.status is gabp.Status.DIVERGED
    assert solution.iterations < 10_000
    assert solution.iterations < 4000


@pytest.mark.parametrize("method", ["flooding", "sequential", "krylov", "auto"])
def test_dense_random_dominant_systems(method):
    A = dominant(150, 3)
    b = np.random.default_rng(4).normal(size=150)
    solution = gabp.solve(A, b, symmetric=False, method=method, rtol=1e-12)
    assert solution.x == pytest.approx(np.linalg.solve(A, b), rel=1e-9, abs=1e-13)


def test_gmres_restarts():
    A = convection_diffusion(40, 5.0)
    b = np.ones(1600)
    solution = gabp.solve(A, b, symmetric=False, method="krylov", krylov="gmres", rtol=1e-10)
    assert solution.converged
    assert solution.iterations > 40


def test_a_zero_diagonal_and_an_unknown_krylov_method():
    A = np.array([[0.0, 1.0], [1.0, 1.0]])
    with pytest.raises(gabp.ConvergenceError) as failure:
        gabp.solve(A, np.ones(2), symmetric=False, method="krylov")
    assert failure.value.solution.status is gabp.Status.INVALID_PRECISION
    for remedy in ("auto", "elimination"):  # as the status advises
        assert f"method='{remedy}'" in failure.value.solution.status.value
        assert gabp.solve(A, np.ones(2), symmetric=False, method=remedy).converged
    with pytest.raises(gabp.InvalidSystemError, match="krylov must be"):
        gabp.solve(np.eye(2), np.ones(2), symmetric=False, method="krylov", krylov="cg")


def test_one_zero_on_the_diagonal_is_a_reason_for_elimination():
    A = np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 1.0], [1.0, 1.0, 4.0]])
    solution = gabp.solve(A, np.ones(3), symmetric=False)
    assert solution.converged
    assert solution.method == "elimination"
    assert "diagonal" in solution.method_reason
