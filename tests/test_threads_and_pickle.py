"""Solvers are immutable: shared among threads, pickled, updated; and what they print can be read."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import cases
import gabp
import input_kinds
from status_checks import assert_status_is_true

TREE, GRID = cases.BY_NAME["caterpillar"], cases.BY_NAME["grid_2d"]
by_label = pytest.mark.parametrize("method", cases.METHODS, ids=lambda method: method.label)


def solver_for(method: cases.Method) -> tuple[cases.Case, gabp.Solver]:
    case = TREE if method.forests_only else GRID
    return case, gabp.Solver(case.A, method=method.name, **method.options)


@by_label
def test_a_solver_gives_what_solve_gives(method):
    case, solver = solver_for(method)
    solution = solver.solve(case.b)
    assert_status_is_true(case.A, case.b, solution)
    np.testing.assert_array_equal(solution.x, gabp.solve(case.A, case.b, method=method.name, **method.options).x)


@by_label
def test_one_right_hand_side_leaves_no_trace_in_the_next(method):
    case, solver = solver_for(method)
    first = solver.solve(case.b).x
    solver.solve(1e6 * np.ones((case.n, 2)))
    np.testing.assert_array_equal(solver.solve(case.b).x, first)


@by_label
def test_threads_share_a_solver_bitwise(method):
    case, solver = solver_for(method)
    data = np.random.default_rng(31).standard_normal((12, case.n))
    alone = [solver.solve(b).x for b in data]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda b: solver.solve(b).x, data))
    for x, y in zip(alone, together, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("method", ["tree", "flooding", "sequential", "double-loop"])
def test_solutions_are_bitwise_identical_for_any_number_of_threads(method):
    case = TREE if method == "tree" else cases.BY_NAME["airfoil"]
    single = gabp.solve(case.A, case.b, method=method).x
    torch.set_num_threads(2)
    try:
        double = gabp.solve(case.A, case.b, method=method).x
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(single, double)


@by_label
def test_a_solver_survives_pickling(method):
    case, solver = solver_for(method)
    copy = pickle.loads(pickle.dumps(solver))
    np.testing.assert_array_equal(copy.solve(case.b).x, solver.solve(case.b).x)
    assert copy.method == solver.method


@by_label
def test_a_solution_survives_pickling(method):
    case, solver = solver_for(method)
    solution = solver.solve(case.b)
    copy = pickle.loads(pickle.dumps(solution))
    np.testing.assert_array_equal(copy.x, solution.x)
    assert copy.status is solution.status
    assert repr(copy) == repr(solution)


@by_label
def test_later_changes_of_A_do_not_reach_the_solver(method):
    case = TREE if method.forests_only else GRID
    A = case.A.copy()
    solver = gabp.Solver(A, method=method.name, **method.options)
    before = solver.solve(case.b).x
    A.data[:] = np.nan
    np.testing.assert_array_equal(solver.solve(case.b).x, before)


# update ----------------------------------------------------------------------------------------------------

UPDATABLE = [
    kind
    for kind in input_kinds.MATRIX_KINDS
    if kind.name
    in ("csr_array", "csr_matrix", "csr_unsorted", "csc_array", "coo_array", "torch_coo", "torch_csr", "torch_csc")
]


def stored_values(A) -> np.ndarray | torch.Tensor:
    return A.values() if isinstance(A, torch.Tensor) else A.data


# Which of the new values belongs where is found before any method: every kind for two methods, one for all others.
UPDATES = [(method, UPDATABLE[0]) for method in cases.METHODS]
UPDATES += [
    (method, kind) for method in cases.METHODS for kind in UPDATABLE[1:] if method.name in ("auto", "sequential")
]


@pytest.mark.parametrize(("method", "kind"), UPDATES, ids=lambda value: getattr(value, "label", None) or repr(value))
def test_new_values_in_the_stored_order(method, kind):
    case = TREE if method.forests_only else GRID
    fresh = sp.csr_array(case.A + sp.diags_array(np.linspace(0, 1, case.n)))
    solver = gabp.Solver(kind.convert(case.A), method=method.name, **method.options)
    old = solver.solve(case.b).x
    updated = solver.update(stored_values(kind.convert(fresh)))
    solution = updated.solve(case.b)
    assert_status_is_true(fresh, case.b, solution)
    assert solution.converged
    np.testing.assert_array_equal(solver.solve(case.b).x, old)  # the old one is what it was


@pytest.mark.parametrize("kind", input_kinds.MATRIX_KINDS, ids=repr)
def test_new_values_as_a_whole_matrix(kind):
    fresh = sp.csr_array(GRID.A + sp.diags_array(np.linspace(0, 1, GRID.n)))
    solution = gabp.Solver(GRID.A).update(kind.convert(fresh)).solve(GRID.b)
    assert_status_is_true(fresh, GRID.b, solution)
    assert solution.converged


@pytest.mark.parametrize("values", [np.ones(3), np.ones((2, 2)), np.array([])])
def test_new_values_of_the_wrong_number(values):
    with pytest.raises(gabp.InvalidSystemError):
        gabp.Solver(GRID.A).update(values)


def test_new_values_on_another_pattern():
    with pytest.raises(gabp.InvalidSystemError, match="pattern"):
        gabp.Solver(GRID.A).update(sp.eye_array(GRID.n, format="csr"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_new_values_that_are_not_finite(value):
    values = GRID.A.data.copy()
    values[7] = value
    with pytest.raises(gabp.InvalidSystemError, match=str(value)):
        gabp.Solver(GRID.A).update(values)


def test_new_values_that_are_not_symmetric():
    values = GRID.A.data.copy()
    values[1] *= 2
    with pytest.raises(gabp.InvalidSystemError, match="symmetric"):
        gabp.Solver(GRID.A).update(values)


# what is printed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("b", [GRID.b, np.ones((GRID.n, 3)), torch.ones(GRID.n), np.zeros(GRID.n)])
def test_a_solution_prints_as_one_block(b):
    text = repr(gabp.solve(GRID.A, b, method="flooding"))
    assert "CONVERGED" in text
    assert "flooding" in text
    assert "\n\n" not in text and text == text.strip()
    assert 3 <= len(text.splitlines()) <= 12
    assert max(map(len, text.splitlines())) < 160
    assert "tensor(" not in text and "array(" not in text


def test_a_failed_solution_prints_its_remedy():
    trap = cases.BY_NAME["one_cycle_trap"]
    text = repr(gabp.solve(trap.A, trap.b, method="flooding", throw=False))
    assert "INVALID_PRECISION" in text
    assert "double-loop" in text


def test_a_solution_is_frozen():
    solution = gabp.solve(GRID.A, GRID.b)
    with pytest.raises(FrozenInstanceError):
        solution.converged = True


def test_a_solver_prints_its_method():
    assert "tree" in repr(gabp.Solver(TREE.A))
