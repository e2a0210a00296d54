"""The compiled hierarchy beyond the contract of test_hierarchies.py: threads, float32, growth, and new values."""

import gc
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sl
import torch

from gabp.kernels.cpu import extension
from gabp.solvers.hierarchy import CompiledHierarchy
from gabp.solvers.solution import Status
from gabp.solvers.solver import Solver
from gabp.system import make_system, read_matrix
from spd_matrices import CASES, grid, relative_residual, solve, triangulation


def prepare(A):
    return CompiledHierarchy(make_system(read_matrix(A)))


@pytest.mark.parametrize("size", [60, 120, 240])
def test_iterations_hardly_grow_with_the_size(size):
    A = grid(size, size)
    _, iterations = solve(prepare(A), A, A @ np.random.default_rng(6).standard_normal((size**2, 1)))
    assert iterations <= 15


def test_float32_systems():
    A = grid(110, 100, shift=0.1)
    hierarchy = CompiledHierarchy(make_system(read_matrix(A.astype(np.float32))))
    A = A.astype(np.float32).astype(np.float64)
    b = np.random.default_rng(8).standard_normal((A.shape[0], 1))
    x, _ = solve(hierarchy, A, b)
    assert relative_residual(A, x, b) <= 1e-8


@pytest.mark.parametrize("case", ["2-D grid", "triangulation", "random graph", "badly scaled"])
def test_bitwise_identical_for_any_number_of_threads(case):
    A = CASES[case]()
    system = make_system(read_matrix(A))
    graph, b = system.graph, torch.from_numpy(np.random.default_rng(9).standard_normal((A.shape[0], 1)))
    answers = []
    for threads in (1, 2, 3):
        models = extension.Hierarchy(graph.start, graph.source, system.weight, system.diagonal, threads)
        work = extension.ConjugateGradients(models, b, threads)
        work.advance(6, torch.zeros(1, dtype=torch.float64), 100)
        out = torch.empty_like(b)
        work.estimate(out)
        answers.append(out)
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])


def test_preconditioner_works_inside_scipy():
    A = grid(150, 150)
    hierarchy = prepare(A)
    iterations = []
    M = sl.LinearOperator(A.shape, lambda r: hierarchy.precondition(torch.from_numpy(r).reshape(-1, 1)).numpy()[:, 0])
    b = np.random.default_rng(13).standard_normal(A.shape[0])
    x, info = sl.cg(A, b, rtol=1e-8, M=M, callback=iterations.append)
    assert info == 0 and len(iterations) < 60
    assert np.linalg.norm(b - A @ x) <= 1e-7 * np.linalg.norm(b)


@pytest.mark.parametrize("A", [grid(130, 120), triangulation()], ids=["in order", "reordered"])
def test_new_values_with_the_same_aggregates_are_bitwise_those_of_a_new_set_up(A):
    old = prepare(A)
    new = make_system(read_matrix(4.0 * A))
    b = torch.from_numpy(np.random.default_rng(16).standard_normal((A.shape[0], 2)))
    assert torch.equal(CompiledHierarchy(new, old).precondition(b), CompiledHierarchy(new).precondition(b))


@pytest.mark.parametrize("A", [grid(130, 120), triangulation()], ids=["in order", "reordered"])
def test_order_and_aggregates_are_kept_for_other_values(A):
    row, column = A.tocoo().coords
    S = sp.coo_array((np.random.default_rng(17).uniform(0.1, 10.0, A.nnz), (row, column)), shape=A.shape).tocsr()
    W = sp.csr_array(abs(A) * (S + S.T))
    W = sp.csr_array(W - sp.diags_array(W.diagonal()))
    B = sp.csr_array(sp.diags_array(W.sum(axis=1) + 1e-3) - W)
    old = Solver(A, method="hierarchy")
    new = old.update(B)
    assert [level.n for level in new._prepared.levels] == [level.n for level in old._prepared.levels]
    assert [level.n for level in new._prepared.levels] != [level.n for level in prepare(B).levels]
    b = np.random.default_rng(18).standard_normal(A.shape[0])
    assert np.linalg.norm(b - B @ new.solve(b).x) <= 1e-8 * np.linalg.norm(b)
    again = new.update(A)  # and back
    columns = torch.from_numpy(b[:, None])
    assert torch.equal(again._prepared.precondition(columns), old._prepared.precondition(columns))


def test_aggregates_of_another_pattern_are_refused():
    with pytest.raises(ValueError, match="pattern"):
        CompiledHierarchy(make_system(read_matrix(grid(40, 41))), prepare(grid(41, 41)))


def test_only_the_coarsest_level_is_eliminated():
    levels = prepare(grid(120, 110)).levels
    assert [level.exact for level in levels] == [False] * (len(levels) - 1) + [True]


@pytest.mark.parametrize(
    ("A", "levels"),
    [(grid(120, 110, shift=0.1), 1), (grid(120, 110, shift=0.001), 2)],
    ids=["strongly dominant", "weakly dominant"],
)
def test_a_strongly_dominant_system_needs_no_coarse_levels(A, levels):
    hierarchy = prepare(A)
    assert min(len(hierarchy.levels), 2) == levels
    b = np.random.default_rng(25).standard_normal((A.shape[0], 1))
    x, iterations = solve(hierarchy, A, b)
    assert relative_residual(A, x, b) <= 1e-8
    assert iterations <= 40


def test_one_region_without_slack_needs_coarse_levels():
    slack = np.full(150 * 100, 0.5)
    slack[: 40 * 100] = 0.0
    A = sp.csr_array(grid(150, 100, closed=True) + sp.diags_array(slack))
    assert len(prepare(A).levels) > 1


class TestScatteredCouplings:
    """Where no order brings neighbours together, the diagonal is all the preconditioner; rows are read in place."""

    @staticmethod
    def matrix() -> sp.csr_array:
        rng, n = np.random.default_rng(19), 12_000
        row, column = rng.integers(0, n, (2, 4 * n))
        W = sp.coo_array((rng.uniform(0.5, 1.5, 4 * n), (row, column)), shape=(n, n)).tocsr()
        W = W + W.T
        W.setdiag(0.0)
        W.eliminate_zeros()
        return sp.csr_array(sp.diags_array(W.sum(axis=1) + 0.5) - W)

    def test_there_is_one_level_of_single_rows(self):
        A = self.matrix()
        (level,) = prepare(A).levels
        assert (level.n, level.groups, level.edges) == (A.shape[0], A.shape[0], A.nnz - A.shape[0])

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("columns", [1, 3, 11])
    def test_solves(self, columns, dtype):
        A = self.matrix().astype(dtype)
        hierarchy = CompiledHierarchy(make_system(read_matrix(A)))
        A = A.astype(np.float64)
        b = np.random.default_rng(20).standard_normal((A.shape[0], columns))
        b[:, columns // 2] *= 1e3
        x, _ = solve(hierarchy, A, b)
        assert np.all(np.linalg.norm(b - A @ x, axis=0) <= 1e-8 * np.linalg.norm(b))

    def test_takes_no_more_iterations_than_conjugate_gradients_of_the_scaled_matrix(self):
        A, iterations = self.matrix(), []
        b = np.random.default_rng(21).standard_normal(A.shape[0])
        inverse = sl.LinearOperator(A.shape, lambda r: r / A.diagonal())
        sl.cg(A, b, rtol=1e-8, M=inverse, callback=iterations.append)
        _, taken = solve(prepare(A), A, b[:, None])
        assert taken <= len(iterations) + 2

    def test_bitwise_identical_for_any_number_of_threads(self):
        system, b = make_system(read_matrix(self.matrix())), torch.ones((12_000, 1), dtype=torch.float64)
        answers = []
        for threads in (1, 2, 3):
            models = extension.Hierarchy(
                system.graph.start, system.graph.source, system.weight, system.diagonal, threads
            )
            work = extension.ConjugateGradients(models, b, threads)
            work.advance(6, torch.zeros(1, dtype=torch.float64), 100)
            answers.append(torch.empty_like(b))
            work.estimate(answers[-1])
        assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])

    def test_indefiniteness_is_proven_by_negative_curvature(self):
        A = self.matrix()
        A = sp.csr_array(A - 0.1 * sp.diags_array(A.diagonal()))
        correction = prepare(A).correct(torch.ones((A.shape[0], 2), dtype=torch.float64), torch.zeros(2))
        _, failure = correction.advance(500)
        assert failure is Status.NOT_POSITIVE_DEFINITE
        p = correction.negative_curvature.numpy()
        assert p @ (A @ p) < 0

    def test_the_preconditioner_is_the_diagonal(self):
        A = self.matrix()
        r = np.random.default_rng(22).standard_normal((A.shape[0], 2))
        out = prepare(A).precondition(torch.from_numpy(r)).numpy()
        np.testing.assert_allclose(out, r / A.diagonal()[:, None], rtol=1e-6)

    def test_new_values_and_pickles(self):
        A = self.matrix()
        solver, b = Solver(A, method="hierarchy"), np.random.default_rng(23).standard_normal(A.shape[0])
        for again, B in ((solver.update(3.0 * A), 3.0 * A), (pickle.loads(pickle.dumps(solver)), A)):
            assert np.linalg.norm(b - B @ again.solve(b).x) <= 1e-8 * np.linalg.norm(b)

    def test_the_matrix_lives_as_long_as_its_hierarchy(self):
        A = self.matrix()
        hierarchy = prepare(A.copy())
        gc.collect()
        b = np.random.default_rng(24).standard_normal((A.shape[0], 1))
        x, _ = solve(hierarchy, A, b)
        assert relative_residual(A, x, b) <= 1e-8
