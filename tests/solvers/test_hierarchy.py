"""The compiled hierarchy beyond what test_hierarchies.py asks of both: threads, float32, growth, and new values."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sl
import torch

from gabp.kernels.cpu import extension
from gabp.solvers.hierarchy import Hierarchy
from gabp.solvers.solver import Solver
from gabp.system import make_system, read_matrix
from spd_matrices import CASES, grid, relative_residual, solve, triangulation


def prepare(A):
    return Hierarchy(make_system(read_matrix(A)))


@pytest.mark.parametrize("size", [60, 120, 240])
def test_steps_hardly_grow_with_the_size(size):
    A = grid(size, size)
    _, steps = solve(prepare(A), A, A @ np.random.default_rng(6).standard_normal((size**2, 1)))
    assert steps <= 15


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


def test_preconditioner_works_inside_scipy():
    A = grid(150, 150)
    hierarchy = prepare(A)
    steps = []
    M = sl.LinearOperator(A.shape, lambda r: hierarchy.precondition(torch.from_numpy(r).reshape(-1, 1)).numpy()[:, 0])
    b = np.random.default_rng(13).standard_normal(A.shape[0])
    x, info = sl.cg(A, b, rtol=1e-8, M=M, callback=steps.append)
    assert info == 0 and len(steps) < 60
    assert np.linalg.norm(b - A @ x) <= 1e-7 * np.linalg.norm(b)


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


def test_the_last_level_and_no_other_is_eliminated():
    levels = prepare(grid(120, 110)).levels
    assert [level.exact for level in levels] == [False] * (len(levels) - 1) + [True]
