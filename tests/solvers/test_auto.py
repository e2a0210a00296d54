"""The choice of a method: by structure and predicted cost, re-evaluated where a method converges slowly."""

import numpy as np
import pytest
import scipy.sparse as sp

import gabp
from gabp.kernels import cpu
from gabp.messages import factor_cost
from gabp.solvers import auto
from gabp.solvers.solution import Status
from gabp.system import make_system, read_matrix


def path_laplacian(n):
    return sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])


def grid(size):
    return sp.csr_array(
        sp.kron(path_laplacian(size), sp.eye_array(size)) + sp.kron(sp.eye_array(size), path_laplacian(size))
    )


def plate(size):
    """Hard to iterate on: its condition number is that of the grid, squared."""
    return sp.csr_array(grid(size) @ grid(size))


def thin_network(n):
    """A tree of lines with some closures, conductances over three decades."""
    random = np.random.default_rng(0)
    child = np.arange(1, n)
    parent = np.maximum(child - random.geometric(0.2, n - 1), 0)
    i, j = np.append(child, random.integers(0, n - 40, n // 4)), np.append(parent, 0)[: n - 1]
    j = np.append(j, i[n - 1 :] + random.integers(1, 40, n // 4))
    W = sp.coo_array((10.0 ** random.uniform(0, 3, len(i)), (i, j)), shape=(n, n)).tocsr()
    W = W + W.T
    return sp.csr_array(sp.diags_array(W.sum(axis=1) + (np.arange(n) == 0)) - W)


def random_graph(n, degree):
    i, j = np.random.default_rng(0).integers(0, n, (2, n * degree // 2))
    W = sp.coo_array((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
    W = W + W.T
    W.setdiag(0)
    return sp.csr_array(sp.diags_array(W.sum(axis=1) + 0.1) - W)


def check(A, solution, b):
    assert solution.converged
    assert np.linalg.norm(b - A @ solution.x) <= 1e-8 * np.linalg.norm(b)


def test_thin_networks_are_eliminated_whatever_their_size():
    A = thin_network(80_000)
    assert A.nnz > auto._WORTH_ANALYSING_DOMINANT
    b = np.random.default_rng(1).standard_normal(A.shape[0])
    solution = gabp.solve(A, b)
    check(A, solution, b)
    assert solution.method == "elimination"
    assert "little fill" in solution.method_reason


def test_much_fill_is_left_to_conjugate_gradients():
    A = random_graph(4_000, 8)
    b = np.random.default_rng(2).standard_normal(A.shape[0])
    solution = gabp.solve(A, b)
    check(A, solution, b)
    assert solution.method == "hierarchy"
    assert "much fill" in solution.method_reason


@pytest.mark.skipif(cpu.extension is None, reason="the compiled hierarchy only")
@pytest.mark.parametrize(
    "A, diagonal_only", [(random_graph(20_000, 8), True), (grid(60), False)], ids=["random", "mesh"]
)
def test_the_reason_reports_a_preconditioner_that_is_the_diagonal(A, diagonal_only):
    solution = gabp.solve(A, np.ones(A.shape[0]), method="hierarchy")
    assert ("the preconditioner is the diagonal (Jacobi)" in solution.method_reason) == diagonal_only


def test_slow_iterations_fall_back_to_a_factor(monkeypatch):
    monkeypatch.setattr(auto, "_WORTH_ANALYSING_HARD", 0)
    A = plate(70)
    b = np.random.default_rng(3).standard_normal(A.shape[0])
    solver = gabp.Solver(A)
    assert solver.method == "hierarchy"
    first, second = solver.solve(b), solver.solve(b)
    for solution in (first, second):
        check(A, solution, b)
        assert solution.method == "elimination"
        assert f"; slow convergence: fallback after {auto._REVIEW_AFTER} iterations to elim" in solution.method_reason
        assert auto._REVIEW_AFTER < solution.iterations <= auto._REVIEW_AFTER + 3
    np.testing.assert_array_equal(first.x, second.x)


def test_the_review_is_repeated_each_time_the_iterations_have_doubled(monkeypatch):
    monkeypatch.setattr(auto, "_WORTH_ANALYSING_HARD", 0)
    predicted = []
    monkeypatch.setattr(
        "gabp.solvers.method_sequence.elimination_is_faster",
        lambda system, on_nodes, iterations: predicted.append(iterations) or False,
    )
    A = plate(70)
    b = np.random.default_rng(3).standard_normal(A.shape[0])
    solution = gabp.solve(A, b)
    check(A, solution, b)
    assert solution.method == "hierarchy"
    assert len(predicted) == int(np.log2(solution.iterations / auto._REVIEW_AFTER)) + 1
    assert all(iterations > 0 for iterations in predicted)


def test_maxiter_at_the_review_is_kept(monkeypatch):
    monkeypatch.setattr(auto, "_WORTH_ANALYSING_HARD", 0)
    A = plate(70)
    solution = gabp.solve(A, np.ones(A.shape[0]), maxiter=auto._REVIEW_AFTER, throw=False)
    assert solution.status is Status.MAX_ITERATIONS
    assert solution.iterations == auto._REVIEW_AFTER


def test_no_factor_is_tried_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr(factor_cost, "MOST_FLOPS", 0.0)
    A = sp.csr_array(grid(60) - 0.05 * sp.eye_array(3_600))  # indefinite
    solution = gabp.solve(A, np.random.default_rng(4).standard_normal(3_600), throw=False)
    assert solution.status is Status.NOT_POSITIVE_DEFINITE
    assert "a factor would take too much memory or time" in solution.method_reason


@pytest.mark.parametrize("share, there", [(0.5, False), (1.0, True), (2.0, True)])
def test_symbolic_analysis_keeps_to_its_budget(share, there):
    A = grid(40)
    full = make_system(read_matrix(A)).graph.symbolic
    within = make_system(read_matrix(A)).graph.symbolic_within(share * full.flops)
    assert (within is not None) == there
    if there:
        assert (within.entries, within.flops) == (full.entries, full.flops)


def test_a_known_analysis_is_judged_by_the_budget_too():
    graph = make_system(read_matrix(grid(20))).graph
    assert graph.symbolic_within(graph.symbolic.flops / 2) is None
    assert graph.symbolic_within(graph.symbolic.flops) is graph.symbolic
