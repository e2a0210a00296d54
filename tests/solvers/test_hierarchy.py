"""The hierarchy of models: every SPD system is solved to its true residual, and others are told apart."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sl
import torch

from gabp.kernels.cpu import extension
from gabp.solvers.hierarchy import Hierarchy
from gabp.solvers.solution import Status
from gabp.solvers.solver import Solver
from gabp.system import InvalidSystemError, make_system, read_matrix
from spd_matrices import CASES, grid, relative_residual, solve, triangulation


def prepare(A):
    return Hierarchy(make_system(read_matrix(A)))


@pytest.mark.parametrize("case", CASES)
def test_solves(case):
    A = CASES[case]()
    b = A @ np.random.default_rng(5).standard_normal((A.shape[0], 1))
    x, steps = solve(prepare(A), A, b)
    assert relative_residual(A, x, b) <= 1e-8
    assert steps <= 100


@pytest.mark.parametrize("size", [60, 120, 240])
def test_steps_hardly_grow_with_the_size(size):
    A = grid(size, size)
    _, steps = solve(prepare(A), A, A @ np.random.default_rng(6).standard_normal((size**2, 1)))
    assert steps <= 15


@pytest.mark.parametrize("columns", [2, 3, 8, 11])
def test_columns_share_every_sweep(columns):
    A = grid(100, 110, shift=0.01)
    hierarchy = prepare(A)
    b = np.random.default_rng(7).standard_normal((A.shape[0], columns))
    b[:, 1] = 0.0
    x = np.zeros_like(b)
    correction = hierarchy.correct(torch.from_numpy(b), torch.from_numpy(1e-8 * np.linalg.norm(b, axis=0)))
    _, failure = correction.advance(100)
    x = correction.estimate().numpy()
    assert failure is None
    assert np.all(np.linalg.norm(b - A @ x, axis=0) <= 1e-8 * np.linalg.norm(b, axis=0) + 1e-300)


def test_float32_systems():
    A = grid(110, 100, shift=0.1)
    hierarchy = Hierarchy(make_system(read_matrix(A.astype(np.float32))))
    A = A.astype(np.float32).astype(np.float64)
    b = np.random.default_rng(8).standard_normal((A.shape[0], 1))
    x, _ = solve(hierarchy, A, b)
    assert relative_residual(A, x, b) <= 1e-8


@pytest.mark.parametrize("case", ["2-D grid", "triangulation", "random graph", "badly scaled"])
def test_same_bits_for_any_number_of_threads(case):
    A = CASES[case]()
    system = make_system(read_matrix(A))
    graph, b = system.graph, torch.from_numpy(np.random.default_rng(9).standard_normal((A.shape[0], 1)))
    answers = []
    for threads in (1, 2, 3):
        models = extension.Hierarchy(graph.start, graph.source, system.weight, system.diagonal, threads)
        work = extension.HierarchyCorrection(models, b, threads)
        work.advance(6, torch.zeros(1, dtype=torch.float64), 100)
        out = torch.empty_like(b)
        work.estimate(out)
        answers.append(out)
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])


def test_going_on_after_a_look_is_the_same_as_going_through():
    A = grid(90, 120, shift=0.05)
    hierarchy = prepare(A)
    b = torch.from_numpy(np.random.default_rng(10).standard_normal((A.shape[0], 1)))
    through, looked = (hierarchy.correct(b, torch.zeros(1)) for _ in range(2))
    through.advance(6)
    for _ in range(6):
        assert looked.advance(1) == (1, None)
        looked.estimate()
    torch.testing.assert_close(through.estimate(), looked.estimate(), rtol=1e-10, atol=1e-12)


def test_stops_at_the_target_and_says_how_many_steps_it_took():
    A = grid(100, 100, shift=0.1)
    b = np.random.default_rng(11).standard_normal((A.shape[0], 1))
    target = 1e-3 * np.linalg.norm(b)
    correction = prepare(A).correct(torch.from_numpy(b), torch.tensor([target]))
    done, failure = correction.advance(50)
    assert failure is None and 0 < done < 50
    assert np.linalg.norm(b - A @ correction.estimate().numpy()) <= target
    assert correction.advance(50) == (0, None)


@pytest.mark.parametrize("shape", [(12, 12), (105, 100)])
def test_preconditioner_is_linear_symmetric_and_positive_definite(shape):
    A = grid(*shape, weights=(1, 10)) + sp.csr_array(sp.diags_array(np.linspace(0, 1, int(np.prod(shape)))))
    hierarchy, n = prepare(A), A.shape[0]
    V = np.random.default_rng(12).standard_normal((n, 6))
    B = hierarchy.precondition(torch.from_numpy(V)).numpy()
    gram = V.T @ B
    np.testing.assert_allclose(gram, gram.T, atol=1e-5 * np.abs(gram).max())
    assert np.linalg.eigvalsh((gram + gram.T) / 2).min() > 0
    weights = np.arange(1.0, 7.0)
    combined = hierarchy.precondition(torch.from_numpy((V @ weights)[:, None])).numpy()[:, 0]
    np.testing.assert_allclose(combined, B @ weights, atol=1e-5 * np.abs(combined).max())


def test_preconditioner_works_inside_scipy():
    A = grid(150, 150)
    hierarchy = prepare(A)
    steps = []
    M = sl.LinearOperator(A.shape, lambda r: hierarchy.precondition(torch.from_numpy(r).reshape(-1, 1)).numpy()[:, 0])
    b = np.random.default_rng(13).standard_normal(A.shape[0])
    x, info = sl.cg(A, b, rtol=1e-8, M=M, callback=steps.append)
    assert info == 0 and len(steps) < 60
    assert np.linalg.norm(b - A @ x) <= 1e-7 * np.linalg.norm(b)


def test_indefiniteness_is_proven_by_a_witness():
    A = grid(60, 60, shift=-0.05)
    assert sl.eigsh(A, 1, which="SA", return_eigenvectors=False)[0] < 0
    b = np.random.default_rng(14).standard_normal((A.shape[0], 1))
    correction = prepare(A).correct(torch.from_numpy(b), torch.tensor([1e-8]))
    _, failure = correction.advance(500)
    assert failure is Status.NOT_POSITIVE_DEFINITE
    p = correction.witness.numpy()
    assert p @ (A @ p) < 0


def test_singular_consistent_systems():
    A = grid(110, 100, closed=True)
    b = A @ np.random.default_rng(15).standard_normal((A.shape[0], 1))
    x, _ = solve(prepare(A), A, b)
    assert relative_residual(A, x, b) <= 1e-8


def test_nonpositive_diagonal_is_named():
    A = grid(5, 5).tolil()
    A[7, 7] = 0.0
    with pytest.raises(InvalidSystemError, match="7"):
        prepare(sp.csr_array(A))


def test_pickles_and_says_what_it_holds():
    A = grid(120, 110)
    hierarchy = prepare(A)
    again = pickle.loads(pickle.dumps(hierarchy))
    b = torch.ones((A.shape[0], 1), dtype=torch.float64)
    assert torch.equal(hierarchy.precondition(b), again.precondition(b))
    levels = hierarchy.levels
    assert levels[0].n == A.shape[0] and levels[0].edges == A.nnz - A.shape[0]
    assert [level.exact for level in levels] == [False] * (len(levels) - 1) + [True]
    assert all(coarse.n < fine.n for fine, coarse in pairwise(levels))
    assert 0 < hierarchy.nbytes < 200 * A.nnz
    assert f"{levels[1].n} variables" in repr(hierarchy)


@pytest.mark.parametrize("A", [grid(130, 120), triangulation()], ids=["in order", "reordered"])
def test_new_values_that_cluster_alike_give_the_bits_of_a_fresh_set_up(A):
    old = prepare(A)
    new = make_system(read_matrix(4.0 * A))
    b = torch.from_numpy(np.random.default_rng(16).standard_normal((A.shape[0], 2)))
    assert torch.equal(Hierarchy(new, old).precondition(b), Hierarchy(new).precondition(b))


@pytest.mark.parametrize("A", [grid(130, 120), triangulation()], ids=["in order", "reordered"])
def test_order_and_clusters_are_kept_for_other_values(A):
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


def test_kept_clusters_are_refused_on_another_pattern():
    with pytest.raises(ValueError, match="pattern"):
        Hierarchy(make_system(read_matrix(grid(40, 41))), prepare(grid(41, 41)))
