"""The contract of `gabp.solve`: every method on every case; solutions in the array library, dtype and device of b."""

import functools

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import cases
import gabp
import input_kinds
import oracles
from status_checks import as_numpy, assert_status_is_true, column_norms

MAXITER = 8000  # far above what any case needs, low enough to end what never converges

TREE = cases.BY_NAME["caterpillar"]
GRID = cases.Case("small_grid", cases.laplacian(30, cases.grid_edges(5, 6), 1.0), np.linspace(-1, 2, 30))
by_label = pytest.mark.parametrize("method", cases.METHODS, ids=lambda method: method.label)
# Coercion is shared by all methods: its products are taken over one that passes messages and one that eliminates.
METHOD = {method.label: method for method in cases.METHODS}
by_two_methods = pytest.mark.parametrize("method", [METHOD["sequential"], METHOD["elimination"]], ids=lambda m: m.label)
every_kind_of_matrix = pytest.mark.parametrize("kind", input_kinds.MATRIX_KINDS, ids=repr)


def system_for(method: cases.Method) -> cases.Case:
    """A small system that ``method`` solves."""
    return TREE if method.forests_only else GRID


def solve(A, b, method: cases.Method, **arguments) -> "gabp.Solution":
    return gabp.solve(A, b, method=method.name, **method.options, **arguments)


@functools.cache
def dense_solution(case: cases.Case) -> tuple[np.ndarray, float]:
    """``A⁻¹ b``, and a bound of ``‖A⁻¹‖₂``."""
    A = case.A.toarray()
    return oracles.solve(A, case.b), float(np.linalg.norm(np.linalg.inv(A)))


# every method × every case ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "case"),
    [
        pytest.param(method, case, id=f"{method.label}-{case.name}")
        for method in cases.METHODS
        for case in cases.CASES
        if case.n <= method.largest
    ],
)
def test_every_method_ends_every_case_with_the_status_of_the_table(case, method):
    expected = case.expected(method)
    if expected == cases.REFUSED:
        with pytest.raises(gabp.InvalidSystemError):
            solve(case.A, case.b, method, maxiter=MAXITER, throw=False)
        return
    solution = solve(case.A, case.b, method, maxiter=MAXITER, throw=False)
    assert_status_is_true(case.A, case.b, solution)
    assert solution.status.name in expected
    assert min(solution.history) >= 0
    if solution.converged and not case.singular:
        exact, error_per_residual = dense_solution(case)
        error = np.linalg.norm(as_numpy(solution.x) - exact)
        assert error <= error_per_residual * 1e-8 * np.linalg.norm(case.b) + 1e-9 * np.linalg.norm(exact)


@pytest.mark.parametrize("case", [c for c in cases.CASES if c.spd], ids=repr)
def test_auto_solves_every_positive_definite_case_to_ten_digits(case):
    solution = gabp.solve(case.A, case.b, rtol=1e-10)
    assert_status_is_true(case.A, case.b, solution, rtol=1e-10)
    assert solution.converged
    assert solution.method != "auto" and solution.method_reason


@pytest.mark.parametrize("case", [c for c in cases.CASES if c.forest and not c.singular], ids=repr)
def test_auto_chooses_the_exact_passes_on_a_forest(case):
    solution = gabp.solve(case.A, case.b)
    assert solution.method == "tree"


@by_label
def test_refinement_reaches_thirteen_digits(method):
    case = system_for(method)
    solution = solve(case.A, case.b, method, rtol=1e-13)
    assert_status_is_true(case.A, case.b, solution, rtol=1e-13)
    assert solution.converged


@pytest.mark.parametrize("name", ["near_singular_feeder", "chord_0.39", "knot", "anisotropic"])
@pytest.mark.parametrize("method", ["flooding", "sequential", "double-loop"])
def test_refinement_reaches_ten_digits_where_convergence_is_slow(name, method):
    case = cases.BY_NAME[name]
    solution = gabp.solve(case.A, case.b, method=method, rtol=1e-10, maxiter=20_000)
    assert_status_is_true(case.A, case.b, solution, rtol=1e-10)
    assert solution.converged


@by_label
def test_a_tolerance_beyond_float64_stagnates_at_rounding_level(method):
    case = system_for(method)
    b = oracles.solve(case.A.toarray(), case.b)  # no round numbers
    solution = solve(case.A, b, method, rtol=1e-18, throw=False, maxiter=MAXITER)
    assert_status_is_true(case.A, b, solution, rtol=1e-18)
    assert solution.status is gabp.Status.STAGNATED
    assert as_numpy(solution.backward_error).max() < 1e-14


# stopping --------------------------------------------------------------------------------------------------


@by_label
def test_every_column_meets_its_own_tolerance(method):
    case = system_for(method)
    rng = np.random.default_rng(11)
    scales = np.array([1.0, 1e-9, 1e9, 0.0])
    b = rng.standard_normal((case.n, 4)) * scales
    solution = solve(case.A, b, method)
    assert_status_is_true(case.A, b, solution)
    assert solution.converged
    assert not solution.x[:, 3].any()


@by_label
def test_columns_solved_together_are_those_solved_alone(method):
    case = system_for(method)
    b = np.random.default_rng(12).standard_normal((case.n, 3))
    together = solve(case.A, b, method, rtol=1e-12).x
    for column in range(3):
        alone = solve(case.A, b[:, column], method, rtol=1e-12).x
        np.testing.assert_allclose(together[:, column], alone, rtol=1e-9, atol=1e-10)


@by_label
def test_either_tolerance_ends_a_solve(method):
    case = system_for(method)
    norm = np.linalg.norm(case.b)
    for rtol, atol in [(1e-3, 0.0), (1e-12, 0.0), (0.0, 1e-4 * norm), (1e-12, 1e-3 * norm)]:
        solution = solve(case.A, case.b, method, rtol=rtol, atol=atol)
        assert_status_is_true(case.A, case.b, solution, rtol=rtol, atol=atol)
        assert solution.converged


@pytest.mark.parametrize("method", ["flooding", "sequential"])
def test_a_loose_tolerance_costs_fewer_sweeps(method):
    case = cases.BY_NAME["grid_2d"]
    loose = gabp.solve(case.A, case.b, method=method, rtol=1e-2)
    tight = gabp.solve(case.A, case.b, method=method, rtol=1e-10)
    assert loose.iterations < tight.iterations


@by_label
def test_the_solution_of_zero_data_is_zero(method):
    case = system_for(method)
    solution = solve(case.A, np.zeros(case.n), method)
    assert solution.converged
    assert solution.residual_norm == 0
    assert not solution.x.any()


@by_label
def test_a_loose_atol_is_met_by_zero(method):
    case = system_for(method)
    solution = solve(case.A, case.b, method, atol=2 * np.linalg.norm(case.b))
    assert_status_is_true(case.A, case.b, solution, atol=2 * np.linalg.norm(case.b))
    assert solution.converged
    assert solution.iterations == 0


@by_label
def test_the_solution_as_start_needs_no_iteration(method):
    case = system_for(method)
    x0 = oracles.solve(case.A.toarray(), case.b)
    solution = solve(case.A, case.b, method, x0=x0)
    assert solution.converged
    assert solution.iterations == 0
    np.testing.assert_array_equal(solution.x, x0)


@pytest.mark.parametrize("method", ["flooding", "sequential", "double-loop"])
def test_a_good_start_saves_sweeps_and_from_a_bad_one_they_converge(method):
    case = cases.BY_NAME["grid_2d"]
    exact = oracles.solve(case.A.toarray(), case.b)
    cold = gabp.solve(case.A, case.b, method=method)
    warm = gabp.solve(case.A, case.b, exact + 1e-6, method=method)
    lost = gabp.solve(case.A, case.b, 1e6 * np.ones(case.n), method=method)
    for solution in (cold, warm, lost):
        assert_status_is_true(case.A, case.b, solution)
        assert solution.converged
    assert warm.iterations < cold.iterations


@pytest.mark.parametrize("method", ["flooding", "sequential", "double-loop"])
def test_maxiter_ends_a_solve_with_the_best_x_so_far(method):
    case = cases.BY_NAME["knot"]
    solution = gabp.solve(case.A, case.b, method=method, maxiter=3, throw=False)
    assert_status_is_true(case.A, case.b, solution)
    assert solution.status is gabp.Status.MAX_ITERATIONS
    assert solution.iterations == 3
    assert solution.residual_norm <= np.linalg.norm(case.b)


@by_label
def test_maxiter_zero_returns_the_start(method):
    case = system_for(method)
    x0 = np.full(case.n, 0.5)
    solution = solve(case.A, case.b, method, x0=x0, maxiter=0, throw=False)
    assert_status_is_true(case.A, case.b, solution)
    assert solution.status is gabp.Status.MAX_ITERATIONS
    assert solution.iterations == 0
    np.testing.assert_array_equal(solution.x, x0)


# kinds of input and of the solution ------------------------------------------------------------------------


@by_two_methods
@every_kind_of_matrix
def test_every_kind_of_matrix_is_read_and_left_alone(kind, method):
    case = system_for(method)
    A = kind.convert(case.A)
    before = input_kinds.snapshot(kind.parts(A))
    solution = solve(A, case.b, method)
    assert_status_is_true(case.A, case.b, solution)
    assert solution.converged
    assert isinstance(solution.x, np.ndarray)
    assert input_kinds.snapshot(kind.parts(A)) == before


@every_kind_of_matrix
def test_the_solution_is_bitwise_the_same_for_every_kind_of_matrix(kind):
    reference = gabp.solve(GRID.A, GRID.b, method="sequential").x
    np.testing.assert_array_equal(gabp.solve(kind.convert(GRID.A), GRID.b, method="sequential").x, reference)


def assert_x_is_as_b(method: cases.Method, b) -> None:
    """x has the array library, dtype, device and shape of b, which is left alone."""
    case = system_for(method)
    before = input_kinds.snapshot((b,))
    solution = solve(case.A, b, method)
    assert_status_is_true(case.A, b, solution)
    assert solution.converged
    assert type(solution.x) is type(b)
    assert solution.x.shape == b.shape
    assert solution.x.dtype == input_kinds.expected_dtype(b)
    if isinstance(b, torch.Tensor):
        assert solution.x.device == b.device
    assert input_kinds.snapshot((b,)) == before


@by_two_methods
@pytest.mark.parametrize("columns", [None, 1, 3])
@pytest.mark.parametrize("kind", input_kinds.VECTOR_KINDS, ids=repr)
def test_x_is_of_the_kind_of_b(kind, columns, method):
    n = system_for(method).n
    values = np.random.default_rng(13).standard_normal(n if columns is None else (n, columns))
    assert_x_is_as_b(method, kind.convert(values))


@by_label
def test_x_is_of_the_kind_of_b_for_every_method(method):
    values = np.random.default_rng(13).standard_normal((system_for(method).n, 3))
    assert_x_is_as_b(method, torch.from_numpy(values).float())
    assert_x_is_as_b(method, values[:, 0])


@pytest.mark.parametrize("x0_kind", [input_kinds.VECTOR_KINDS[0], input_kinds.VECTOR_KINDS[8]], ids=repr)
@pytest.mark.parametrize("b_kind", [input_kinds.VECTOR_KINDS[0], input_kinds.VECTOR_KINDS[9]], ids=repr)
@by_two_methods
def test_x_shares_no_memory_with_b_or_the_start(method, b_kind, x0_kind):
    case = system_for(method)
    b, x0 = b_kind.convert(case.b), x0_kind.convert(oracles.solve(case.A.toarray(), case.b))
    before = input_kinds.snapshot((b, x0))
    solution = solve(case.A, b, method, x0=x0)
    assert type(solution.x) is type(b)
    as_numpy(solution.x)[...] = 7.0
    assert input_kinds.snapshot((b, x0)) == before


@pytest.mark.parametrize("b_dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("A_dtype", [np.float32, np.float64, np.int32, np.int64, np.uint8])
@by_two_methods
def test_every_pair_of_dtypes(method, A_dtype, b_dtype):
    whole_numbers = np.rint(8 * system_for(method).A.toarray())  # still diagonally dominant
    if A_dtype is np.uint8:
        whole_numbers = np.abs(whole_numbers)
    A = sp.csr_array(whole_numbers.astype(A_dtype))
    b = np.arange(1, A.shape[0] + 1).astype(b_dtype)
    solution = solve(A, b, method)
    assert_status_is_true(A, b, solution)
    assert solution.converged
    assert solution.x.dtype == (np.float64 if b_dtype is np.int64 else b_dtype)


@by_label
def test_a_single_precision_matrix_is_solved_to_double_precision_for_double_data(method):
    case = system_for(method)
    A = (case.A * np.pi).astype(np.float32)
    solution = solve(A, case.b, method, rtol=1e-11)
    assert_status_is_true(A, case.b, solution, rtol=1e-11)
    assert solution.converged


@by_label
def test_messages_in_single_precision_are_refined_to_the_same_residual(method):
    case = system_for(method)
    solution = solve(case.A, case.b, method, dtype=torch.float32)
    assert_status_is_true(case.A, case.b, solution)
    assert solution.x.dtype == np.float64
    assert solution.converged


@by_label
def test_single_precision_data_have_a_looser_default_tolerance(method):
    case = system_for(method)
    solution = solve(case.A, case.b.astype(np.float32), method)
    assert_status_is_true(case.A, case.b.astype(np.float32), solution)
    assert solution.converged
    assert solution.x.dtype == np.float32


@by_label
def test_a_tolerance_beyond_single_precision_stagnates_at_the_rounded_solution(method):
    case = system_for(method)
    b = case.b.astype(np.float32)
    solution = solve(case.A, b, method, rtol=1e-12, throw=False, maxiter=MAXITER)
    assert_status_is_true(case.A, b, solution, rtol=1e-12)
    assert solution.status is gabp.Status.STAGNATED
    rounded = oracles.solve(case.A.toarray(), b).astype(np.float32)
    assert solution.residual_norm <= 1.5 * np.linalg.norm(b - case.A @ rounded.astype(float))


def test_rounding_x_to_single_precision_is_part_of_the_residual():
    poisson = cases.laplacian(400, [(i, i + 1, 1.0) for i in range(399)], 1e-9)
    b = (poisson @ np.random.default_rng(14).standard_normal(400)).astype(np.float32)
    solution = gabp.solve(poisson, b, throw=False)
    assert_status_is_true(poisson, b, solution)


def test_booleans_are_read_as_numbers():
    links = np.array([[True, True, True], [True, True, False], [True, False, True]])
    b = np.array([True, False, True])
    for A in (links, sp.coo_array(links), torch.from_numpy(links)):
        solution = gabp.solve(A, b, method="tree")
        assert_status_is_true(links.astype(float), b, solution)
        assert solution.converged
    doubled = sp.coo_array((np.ones(2, dtype=bool), (np.zeros(2, int), np.zeros(2, int))), shape=(1, 1))
    np.testing.assert_allclose(gabp.solve(doubled, np.array([3.0])).x, [1.5])


def test_small_integers_do_not_wrap():
    A = sp.coo_array((np.full(3, 100, dtype=np.int8), (np.zeros(3, int), np.zeros(3, int))), shape=(1, 1))
    np.testing.assert_allclose(gabp.solve(A, np.array([600], dtype=np.int16)).x, [2.0])


def test_foreign_byte_order_is_read():
    A = GRID.A.toarray().astype(">f8")
    solution = gabp.solve(A, GRID.b.astype(">f8"))
    assert_status_is_true(GRID.A, GRID.b, solution)
    assert solution.converged


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_the_device_is_given_by_name_or_object(device):
    solution = gabp.solve(GRID.A, torch.from_numpy(GRID.b), device=device)
    assert_status_is_true(GRID.A, GRID.b, solution)
    assert solution.x.device.type == "cpu"


def test_the_solution_does_not_depend_on_the_order_of_the_nodes():
    case = cases.BY_NAME["airfoil"]
    order = np.random.default_rng(15).permutation(case.n)
    straight = gabp.solve(case.A, case.b, rtol=1e-12).x
    shuffled = gabp.solve(sp.csr_array(case.A[order][:, order]), case.b[order], rtol=1e-12).x
    np.testing.assert_allclose(shuffled, straight[order], rtol=1e-7, atol=1e-9)


# asymmetry -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_asymmetry_within_rounding_is_averaged(dtype):
    A = GRID.A.astype(dtype)
    A.data *= 1 + 4 * np.finfo(dtype).eps * np.random.default_rng(16).uniform(-1, 1, A.nnz).astype(dtype)
    solution = gabp.solve(A, GRID.b, rtol=1e-5)
    assert solution.converged
    exact = oracles.solve(((A + A.T) / 2).toarray(), GRID.b)
    np.testing.assert_allclose(solution.x, exact, rtol=1e-3)


# unusual units ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("b_scale", [1e-290, 1e-200, 1e-170, 1e170, 1e200])
@pytest.mark.parametrize("method", ["auto", "tree", "flooding", "sequential", "double-loop"])
def test_data_in_extreme_units_are_solved(method, b_scale):
    case = TREE if method == "tree" else GRID
    solution = gabp.solve(case.A, b_scale * case.b, method=method, throw=False)
    assert_status_is_true(case.A, b_scale * case.b, solution)
    assert solution.converged
    np.testing.assert_allclose(solution.x, b_scale * oracles.solve(case.A.toarray(), case.b), rtol=1e-6)


@pytest.mark.parametrize("A_scale", [1e-200, 1e-160, 1e160, 1e200])
@pytest.mark.parametrize("method", ["auto", "tree", "flooding", "sequential", "double-loop", "hierarchy", "krylov"])
def test_matrices_in_extreme_units_are_solved(method, A_scale):
    case = TREE if method == "tree" else GRID
    solution = gabp.solve(A_scale * case.A, case.b, method=method, throw=False, maxiter=MAXITER)
    assert_status_is_true(A_scale * case.A, case.b, solution)
    if method == "tree" and A_scale > 1e150:  # the product of two entries overflows
        assert solution.status is gabp.Status.DIVERGED
        return
    assert solution.converged
    np.testing.assert_allclose(A_scale * solution.x, oracles.solve(case.A.toarray(), case.b), rtol=1e-6)


def test_a_solution_that_overflows_is_not_called_converged():
    A = sp.csr_array(np.array([[2e-200, 1e-200], [1e-200, 2e-200]]))
    b = np.array([1e200, 1e200])
    solution = gabp.solve(A, b, throw=False)
    assert_status_is_true(A, b, solution)
    assert not solution.converged


def test_the_norms_that_these_tests_use_do_not_overflow():
    np.testing.assert_allclose(column_norms(np.array([[3e200, 0.0], [4e200, 1e-200]])), [5e200, 1e-200])
