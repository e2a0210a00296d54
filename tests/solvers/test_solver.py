"""The solver object: what its signature shows, its registry of methods, and what an update keeps."""

import inspect

import numpy as np
import pytest
import scipy.sparse as sp

import gabp
from gabp.solvers.methods import METHODS
from gabp.solvers.protocol import MethodSetup
from gabp.system import STRICT_DOMINANCE, WEAK_DOMINANCE, make_system, read_matrix

PATH = sp.csr_array(sp.diags_array([-np.ones(3), 2.5 * np.ones(4), -np.ones(3)], offsets=[-1, 0, 1]))


def test_every_keyword_is_in_the_signature():
    keywords = ["method", "symmetric", "blocks", "dtype", "device", "near_nullspace", "options"]
    assert list(inspect.signature(gabp.Solver).parameters) == ["A", *keywords]
    solve = inspect.signature(gabp.Solver.solve).parameters
    assert list(solve) == ["self", "b", "x0", "rtol", "atol", "maxiter", "callback", "throw"]
    assert {name for name in solve if name not in ("self", "b")} <= inspect.signature(gabp.solve).parameters.keys()


def test_the_report_of_an_update_is_that_of_the_new_values():
    solver = gabp.Solver(PATH)
    assert solver.report.diagonally_dominant is gabp.Verdict.YES
    updated = solver.update(PATH.data - 2.4 * (PATH.data > 0))
    assert updated.report.diagonally_dominant is gabp.Verdict.NO
    assert solver.report.diagonally_dominant is gabp.Verdict.YES


def test_an_update_keeps_the_class_of_the_solver():
    class Mine(gabp.Solver):
        pass

    assert type(Mine(PATH).update(PATH)) is Mine


@pytest.mark.parametrize("name", METHODS)
def test_every_row_of_the_registry_holds_methods(name):
    row = METHODS[name]
    assert issubclass(row.scalar, MethodSetup)
    assert row.blocks is None or issubclass(row.blocks, MethodSetup)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.scalar.symmetric_only])
def test_methods_for_symmetric_systems_only_are_refused_for_others(name):
    with pytest.raises(gabp.InvalidSystemError, match=f"'{name}' needs symmetric=True; .* 'krylov'"):
        gabp.Solver(PATH, method=name, symmetric=False)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.scalar.needs_positive_diagonal])
def test_methods_that_need_a_positive_diagonal_name_the_entry(name):
    A = PATH.copy()
    A[2, 2] = -1.0
    with pytest.raises(gabp.InvalidSystemError, match=rf"A\[2, 2\] is -1.0; the method '{name}'"):
        gabp.Solver(A, method=name)


@pytest.mark.parametrize("slack, strict, weak", [(1e-8, True, True), (0.0, False, True), (-1e-8, False, False)])
def test_diagonal_dominance_by_its_margin(slack, strict, weak):
    system = make_system(read_matrix(np.array([[2.0 + 2 * slack, -1, 1], [-1, 3, 0.5], [1, 0.5, 3]])))
    assert system.is_dominant(STRICT_DOMINANCE) is strict
    assert system.is_dominant(WEAK_DOMINANCE) is weak


def test_joint_sweeps_reach_the_same_solution():
    b = np.array([1.0, 0.0, 2.0, -1.0])
    joint = gabp.solve(PATH, b, method="flooding", joint=True)
    np.testing.assert_allclose(joint.x, gabp.solve(PATH, b, method="flooding").x, rtol=1e-7)
    with pytest.raises(gabp.InvalidSystemError, match="joint=False"):
        gabp.solve(PATH, b, method="flooding", joint=True, damping=0.5)
    with pytest.raises(gabp.InvalidSystemError, match="joint must be False"):
        gabp.solve(PATH, b, method="flooding", joint=True, symmetric=False)
