"""Smoothed aggregation of vector-valued nodes: 3-D elasticity of every kind, near-null vectors, and their errors."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch

import gabp
from gabp.kernels import dispatch
from gabp.solvers.hierarchy import CompiledBlockHierarchy, Hierarchy
from gabp.solvers.solver import Solver

sys.path.append(str(Path(__file__).resolve().parents[2]))  # the generator lives beside the package, in a checkout only

from bench.elasticity import elastic_box

pytestmark = pytest.mark.skipif(
    dispatch.backend("cpu").hierarchy is None,
    reason=f"compiled kernels missing: {dispatch.extension_missing_because()}",
)

rng = np.random.default_rng(0)
BODIES = {
    "cube": elastic_box(8),
    "flat elements": elastic_box(8, stretch=(1.0, 1.0, 0.5)),
    "nearly incompressible": elastic_box(8, poisson=0.45),
    "modulus varies smoothly": elastic_box(8, modulus=10.0 ** np.linspace(-2, 2, 512)),
}
CUBE = BODIES["cube"]
B = np.random.default_rng(1).standard_normal(CUBE.A.shape[0])


def relative_residual(A, x, b):
    return np.linalg.norm(b - A @ x) / np.linalg.norm(b)


def iterations(body, **settings):
    b = np.random.default_rng(2).standard_normal(body.A.shape[0])
    solution = gabp.solve(body.A, b, method="hierarchy", **settings)
    assert relative_residual(body.A, solution.x, b) <= 1e-8
    return solution.iterations


@pytest.mark.parametrize("name", BODIES)
def test_elasticity_takes_few_iterations_with_rigid_body_modes(name):
    body = BODIES[name]
    assert iterations(body, blocks=3, near_nullspace=gabp.rigid_body_modes(body.coordinates)) <= 25


@pytest.mark.parametrize("name", BODIES)
def test_elasticity_takes_few_iterations_without(name):
    assert iterations(BODIES[name], blocks=3) <= 40


@pytest.mark.parametrize("modes", [True, False])
def test_iterations_hardly_grow_with_the_size(modes):
    small, large = elastic_box(6), elastic_box(14)
    counts = [
        iterations(body, blocks=3, near_nullspace=gabp.rigid_body_modes(body.coordinates) if modes else None)
        for body in (small, large)
    ]
    assert counts[1] <= 1.3 * counts[0] + 2


def test_auto_with_blocks_converges_where_single_level_methods_are_slow():
    solution = gabp.solve(CUBE.A, B, blocks=3)
    assert solution.converged
    assert relative_residual(CUBE.A, solution.x, B) <= 1e-8


def test_auto_finds_the_nodes_by_itself():
    body = elastic_box(20)
    solver = gabp.Solver(body.A)
    assert isinstance(solver._prepared, CompiledBlockHierarchy)
    b = np.random.default_rng(2).standard_normal(body.A.shape[0])
    solution = solver.solve(b)
    assert "8820 nodes of up to 3 unknowns found" in solution.method_reason
    assert solution.iterations <= 40
    assert relative_residual(body.A, solution.x, b) <= 1e-8
    assert np.array_equal(pickle.loads(pickle.dumps(solver)).solve(b).x, solution.x)
    np.testing.assert_allclose(solver.update(2 * body.A.data).solve(b).x, solution.x / 2, rtol=1e-5, atol=1e-6)


def test_unknowns_tied_by_springs_are_aggregated_together():
    """Contact: pairs of nodes whose displacements a stiff spring ties in one direction."""
    top = np.flatnonzero(CUBE.coordinates[:, 2] == CUBE.coordinates[:, 2].max())
    i, j = 3 * top[:-1:2] + 2, 3 * top[1::2] + 2
    springs = sp.coo_array((np.full(len(i), 1e2), (i, j)), shape=CUBE.A.shape)
    springs = springs + springs.T
    A = sp.csr_array(CUBE.A + sp.diags_array(springs.sum(axis=1)) - springs)
    solution = gabp.solve(A, B, method="hierarchy", blocks=3)
    assert solution.iterations <= 40
    assert relative_residual(A, solution.x, B) <= 1e-8


def test_a_floating_body_is_solved_for_a_balanced_load():
    body = elastic_box(6, fixed=False)
    modes = gabp.rigid_body_modes(body.coordinates)
    b = body.A @ np.random.default_rng(3).standard_normal(len(modes))
    solution = gabp.solve(body.A, b, method="hierarchy", blocks=3, near_nullspace=modes)
    assert relative_residual(body.A, solution.x, b) <= 1e-8


def test_nodes_in_any_order_and_components_field_by_field():
    modes = gabp.rigid_body_modes(CUBE.coordinates)
    nodes = len(CUBE.coordinates)
    by_field = np.arange(3 * nodes).reshape(nodes, 3).T.ravel()
    shuffled = np.random.default_rng(4).permutation(3 * nodes)
    for order in (by_field, shuffled):
        A, node = CUBE.A[order][:, order], (np.arange(3 * nodes) // 3)[order]
        solution = gabp.solve(A, B, method="hierarchy", blocks=node, near_nullspace=modes[order])
        assert solution.iterations <= 25
        assert relative_residual(A, solution.x, B) <= 1e-8


def test_near_null_vectors_alone_find_the_nodes():
    solver = gabp.Solver(CUBE.A, method="hierarchy", near_nullspace=gabp.rigid_body_modes(CUBE.coordinates))
    assert isinstance(solver._prepared, CompiledBlockHierarchy)
    assert solver._prepared.levels[0].n == CUBE.A.shape[0]
    assert solver.solve(B).iterations <= 25


def test_scalar_nodes_are_a_hierarchy_too():
    path = sp.diags_array([-np.ones(29), 2 * np.ones(30), -np.ones(29)], offsets=[-1, 0, 1])
    A = sp.csr_array(sp.kron(path, sp.eye_array(30)) + sp.kron(sp.eye_array(30), path))
    b = np.random.default_rng(5).standard_normal(900)
    solution = gabp.solve(A, b, method="hierarchy", blocks=1)
    assert solution.iterations <= 20
    assert relative_residual(A, solution.x, b) <= 1e-8


@pytest.mark.parametrize("size", [2, 4, 5, 80])
def test_blocks_of_other_sizes_and_of_unequal_sizes(size):
    n = 240
    random = sp.random_array((n, n), density=0.02, rng=np.random.default_rng(6))
    A = sp.csr_array(random @ random.T + 0.1 * sp.eye_array(n))
    b = np.random.default_rng(7).standard_normal(n)
    for blocks in (np.arange(n) // size, np.sort(np.random.default_rng(8).integers(0, n // size, n))):
        solution = gabp.solve(A, b, method="hierarchy", blocks=blocks)
        assert relative_residual(A, solution.x, b) <= 1e-8


def test_badly_scaled_unknowns():
    units = 10.0 ** np.random.default_rng(9).uniform(-100, 100, CUBE.A.shape[0])
    A = sp.csr_array(CUBE.A * units[:, None] * units[None, :])
    modes = gabp.rigid_body_modes(CUBE.coordinates) / units[:, None]
    x = np.random.default_rng(10).standard_normal(len(B)) / units
    solution = gabp.solve(A, A @ x, method="hierarchy", blocks=3, near_nullspace=modes)
    assert solution.converged


def test_the_cycle_is_symmetric_and_positive_definite():
    hierarchy = gabp.Solver(elastic_box(6).A, method="hierarchy", blocks=3)._prepared
    assert isinstance(hierarchy, Hierarchy)
    n = hierarchy.system.n
    cycle = hierarchy.precondition(torch.eye(n, dtype=torch.float64)).numpy()
    scale = np.sqrt(np.outer(np.diag(cycle), np.diag(cycle)))
    np.testing.assert_allclose(cycle / scale, cycle.T / scale, atol=1e-4)
    assert np.linalg.eigvalsh(0.5 * (cycle + cycle.T))[0] > 0


def test_the_preconditioner_serves_scipy():
    solver = Solver(CUBE.A, method="hierarchy", blocks=3, near_nullspace=gabp.rigid_body_modes(CUBE.coordinates))
    count = []
    _, info = spla.cg(CUBE.A, B, rtol=1e-8, M=solver.aspreconditioner(), callback=count.append)
    assert info == 0
    assert len(count) <= 25


def test_columns_threads_updates_and_pickles():
    modes = gabp.rigid_body_modes(CUBE.coordinates)
    columns = np.random.default_rng(11).standard_normal((CUBE.A.shape[0], 10))
    solver = gabp.Solver(CUBE.A, method="hierarchy", blocks=3, near_nullspace=modes)
    x = solver.solve(columns).x
    assert (np.linalg.norm(columns - CUBE.A @ x, axis=0) <= 1e-8 * np.linalg.norm(columns, axis=0)).all()
    torch.set_num_threads(2)
    try:
        again = gabp.Solver(CUBE.A, method="hierarchy", blocks=3, near_nullspace=modes).solve(columns).x
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(x, again)
    assert np.array_equal(pickle.loads(pickle.dumps(solver)).solve(columns).x, x)
    updated = solver.update(2 * CUBE.A.data)
    np.testing.assert_allclose(updated.solve(columns).x, x / 2, rtol=1e-5, atol=1e-8 * np.abs(x).max())


@pytest.mark.parametrize("shift", [0.02, 0.1])
@pytest.mark.parametrize("body", [CUBE, elastic_box(4)], ids=["levels", "coarsest only"])
def test_an_indefinite_matrix_is_reported(body, shift):
    n = body.A.shape[0]
    A = sp.csr_array(body.A - shift * sp.eye_array(n))
    assert A.diagonal().min() > 0
    solution = gabp.solve(A, np.random.default_rng(13).standard_normal(n), method="hierarchy", blocks=3, throw=False)
    assert solution.status is gabp.Status.NOT_POSITIVE_DEFINITE


@pytest.mark.parametrize("seed", range(4))
def test_random_symmetric_matrices_end_truly(seed):
    """Strongly indefinite ones, on which the sweeps themselves overflow."""
    rng = np.random.default_rng(seed)
    n = 840
    R = sp.random_array((n, n), density=0.4, rng=rng)
    A = sp.csr_array(R + R.T + 2 * sp.eye_array(n))
    solution = gabp.solve(A, rng.standard_normal(n), method="hierarchy", blocks=6, throw=False)
    assert solution.status is gabp.Status.NOT_POSITIVE_DEFINITE


@pytest.mark.parametrize("dimensions", [2, 3])
def test_rigid_body_modes_strain_nothing(dimensions):
    modes = gabp.rigid_body_modes(np.random.default_rng(12).random((20, dimensions)))
    assert modes.shape == (20 * dimensions, 3 * (dimensions - 1))
    assert np.linalg.matrix_rank(modes) == modes.shape[1]


def test_rigid_body_modes_are_the_null_space_of_a_floating_body():
    body = elastic_box(4, fixed=False)
    modes = gabp.rigid_body_modes(body.coordinates)
    assert np.abs(body.A @ modes).max() <= 1e-12 * np.abs(body.A).max()


@pytest.mark.parametrize(
    "vectors, error, message",
    [
        (np.ones(5), gabp.InvalidSystemError, "shape"),
        (np.ones((CUBE.A.shape[0], 0)), gabp.InvalidSystemError, "shape"),
        (np.ones((CUBE.A.shape[0], 65)), gabp.InvalidSystemError, "1 to 64"),
        (np.full((CUBE.A.shape[0], 2), np.nan), gabp.InvalidSystemError, r"near_nullspace\[0, 0\] is nan"),
        (np.array(["a"] * CUBE.A.shape[0]), TypeError, "real numbers"),
    ],
    ids=["length", "empty", "too many", "nan", "text"],
)
def test_wrong_near_null_vectors(vectors, error, message):
    with pytest.raises(error, match=message):
        gabp.Solver(CUBE.A, near_nullspace=vectors)


@pytest.mark.parametrize("method", ["tree", "flooding", "elimination", "krylov", "double-loop"])
def test_near_null_vectors_go_with_the_hierarchy(method):
    with pytest.raises(gabp.InvalidSystemError, match=f"'auto' or 'hierarchy', not with '{method}'"):
        gabp.Solver(CUBE.A, method=method, near_nullspace=np.ones(CUBE.A.shape[0]))


@pytest.mark.parametrize("coordinates", [np.ones(3), np.ones((3, 4)), np.ones((0, 3)), np.array([[0.0, np.inf]])])
def test_wrong_coordinates(coordinates):
    with pytest.raises(gabp.InvalidSystemError, match="coordinates"):
        gabp.rigid_body_modes(coordinates)
