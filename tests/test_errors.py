"""Every error of the contract: its type, and a message with the place and the value."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import cases
import gabp
import input_kinds
from status_checks import as_numpy, assert_status_is_true

A = cases.laplacian(12, cases.grid_edges(3, 4), 1.0)
B = np.linspace(1, 2, 12)
POSITIVE_DIAGONAL_NEEDED = ["flooding", "sequential", "double-loop"]
holders = pytest.mark.parametrize(
    "matrix_kind",
    [f for f in input_kinds.MATRIX_KINDS if f.name in ("csr_array", "coo_array", "numpy", "torch_coo", "torch_csr")],
    ids=repr,
)


def changed(i: int, j: int, value: float, mirror: bool = True) -> sp.csr_array:
    """A with other values at ``[i, j]`` and ``[j, i]``."""
    dense = A.toarray()
    dense[i, j] = value
    if mirror:
        dense[j, i] = value
    return sp.csr_array(dense)


def kind(thing) -> str:
    """The name of a parameter that is the same in every process, as an object's `repr` is not."""
    return type(thing).__name__


def raises(*names: str):
    """InvalidSystemError, a ValueError, whose message holds all of ``names``."""
    pattern = "".join(f"(?=.*{name})" for name in names)
    return pytest.raises(gabp.InvalidSystemError, match=f"(?s){pattern}")


def place(i: int, j: int) -> str:
    return rf"\[{i}, ?{j}\]"


# the matrix ------------------------------------------------------------------------------------------------


def test_bad_content_is_a_value_error():
    with pytest.raises(ValueError, match="square"):
        gabp.solve(np.ones((3, 4)), np.ones(3))


@pytest.mark.parametrize("make", [np.zeros, lambda shape: sp.csr_array(shape), torch.zeros])
@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_not_square(make, shape):
    with raises("square", str(shape[0]), str(shape[1])):
        gabp.solve(make(shape), np.ones(shape[0]))


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
@pytest.mark.parametrize("shape", [(4,), (2, 2, 2)])
def test_not_a_matrix(make, shape):
    with raises("square"):
        gabp.solve(make(shape), np.ones(shape[0]))


@pytest.mark.parametrize("make", [np.zeros, lambda shape: sp.csr_array(np.zeros(shape)), torch.zeros])
def test_empty(make):
    with raises("empty"):
        gabp.solve(make((0, 0)), np.zeros(0))


@holders
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("i", "j"), [(3, 3), (1, 2), (11, 7)])
def test_a_number_that_is_not_finite_is_named_by_its_place(matrix_kind, value, i, j):
    with raises(rf"({place(i, j)}|{place(j, i)})", str(value).strip("-")):
        gabp.solve(matrix_kind.convert(changed(i, j, value)), B)


def test_the_first_bad_entry_is_named_also_without_its_mirror():
    with raises(place(2, 5), "nan"):
        gabp.solve(changed(2, 5, np.nan, mirror=False), B)


@pytest.mark.parametrize("method", POSITIVE_DIAGONAL_NEEDED)
@pytest.mark.parametrize("value", [0.0, -2.5])
def test_a_diagonal_that_is_not_positive_where_the_method_needs_it(method, value):
    with raises(r"\b5\b", str(value), "diagonal"):
        gabp.solve(changed(5, 5, value), B, method=method)


@pytest.mark.parametrize("method", POSITIVE_DIAGONAL_NEEDED)
def test_a_diagonal_entry_that_is_not_stored_is_zero(method):
    missing = sp.coo_array((np.array([2.0]), (np.array([0]), np.array([0]))), shape=(2, 2))
    with raises(r"\b1\b", "0", "diagonal"):
        gabp.solve(missing, np.ones(2), method=method)


def test_tree_on_a_graph_with_a_cycle():
    with raises("cycle|forest|tree"):
        gabp.solve(A, B, method="tree")


@holders
@pytest.mark.parametrize("method", ["auto", "flooding", "sequential", "double-loop"])
def test_asymmetry_is_named_at_its_largest(matrix_kind, method):
    skew = changed(1, 2, -0.5, mirror=False)
    skew[8, 9] = -3.0
    with raises(rf"({place(8, 9)}|{place(9, 8)})", "symmetr", "-3", "-1"):
        gabp.solve(matrix_kind.convert(skew), B, method=method)


def test_one_stored_triangle_is_an_asymmetry():
    with raises("symmetr"):
        gabp.solve(sp.csr_array(sp.tril(A)), B)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "entries",
    [
        (4.0, 9.0, 1.0),  # the diagonal sets the scale: √(4·9) = 6
        (1.0, 1.0, 128.0),  # the entries do
        (-4.0, 9.0, 1.0),
        (0.0, 9.0, 1.0),
        (4.0, 9.0, 0.0),  # a rounding error where the other triangle has nothing
    ],
)
def test_the_tolerance_for_asymmetry_is_the_one_written_down(dtype, entries):
    first, second, coupling = entries
    scale = max(abs(coupling), np.sqrt(abs(first * second)))

    def with_difference(units: float) -> np.ndarray:
        pair = np.array([[first, coupling], [coupling, second]], dtype=dtype)
        pair[1, 0] += dtype(units * np.finfo(dtype).eps * scale)
        return pair

    # the difference as stored, in units of eps times the scale
    below, above = with_difference(95), with_difference(106)
    for pair, bound in [(below, 100), (above, 101)]:
        stored = float(pair[1, 0]) - float(pair[0, 1])
        assert (stored / (np.finfo(dtype).eps * scale) < bound) == (pair is below)
    solution = gabp.solve(below, np.ones(2), method="tree")
    assert_status_is_true((below + below.T) / 2, np.ones(2), solution, rtol=1e-5)
    assert solution.converged
    with raises("symmetr", rf"({place(0, 1)}|{place(1, 0)})"):
        gabp.solve(above, np.ones(2), method="tree")


def test_single_precision_asymmetry_is_too_much_in_double_precision():
    single = A.astype(np.float32)
    single[0, 1] *= 1 + 10 * np.finfo(np.float32).eps
    assert gabp.solve(single, B).converged
    with raises("symmetr"):
        gabp.solve(single.astype(np.float64), B)


@pytest.mark.parametrize(
    "complex_A",
    [A.astype(complex), A.toarray().astype(np.complex64), torch.from_numpy(A.toarray().astype(complex))],
    ids=["csr", "numpy", "torch"],
)
def test_complex_matrices(complex_A):
    with raises("complex"):
        gabp.solve(complex_A, B)


@pytest.mark.parametrize("thing", [None, "A", 3.0, object(), {"A": 1}, np.float64(2.0), lambda x: x], ids=kind)
def test_wrong_kinds_of_matrix(thing):
    with pytest.raises(TypeError, match="A"):
        gabp.solve(thing, B)


@pytest.mark.parametrize("values", [np.array([["a"]]), np.array([[None]]), np.array([["2026-01-01"]], "M8[D]")])
def test_matrices_of_other_things_than_numbers(values):
    with pytest.raises(TypeError, match="A"):
        gabp.solve(values, np.ones(1))


# the right-hand side and the start -------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["b", "x0"])
@pytest.mark.parametrize("shape", [(11,), (13,), (1, 12), (12, 2, 2), ()])
@pytest.mark.parametrize("make", [np.ones, torch.ones])
def test_shapes_that_differ(argument, shape, make):
    arguments = {"b": B, "x0": np.zeros(12), argument: make(shape)}
    with raises(argument, "12"):
        gabp.solve(A, **arguments)


def test_a_start_of_another_number_of_columns():
    with raises("x0"):
        gabp.solve(A, np.ones((12, 2)), np.ones((12, 3)))


@pytest.mark.parametrize("argument", ["b", "x0"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy])
def test_data_that_are_not_finite_are_named_by_their_place(argument, value, to):
    one, many = np.ones(12), np.ones((12, 3))
    one[7] = many[4, 2] = value
    with raises(argument, r"\[7\]", str(value).strip("-")):
        gabp.solve(A, **{"b": B, argument: to(one)})
    with raises(argument, place(4, 2), str(value).strip("-")):
        gabp.solve(A, **{"b": np.ones((12, 3)), argument: to(many)})


@pytest.mark.parametrize("argument", ["b", "x0"])
def test_complex_data(argument):
    with raises(argument, "complex"):
        gabp.solve(A, **{"b": B, argument: B.astype(complex)})


@pytest.mark.parametrize("argument", ["b", "x0"])
@pytest.mark.parametrize("thing", ["b", 3.0, object(), {"b": 1}, np.array(["a"] * 12)], ids=kind)
def test_wrong_kinds_of_data(argument, thing):
    with pytest.raises(TypeError, match=argument):
        gabp.solve(A, **{"b": B, argument: thing})


@pytest.mark.parametrize("to", [lambda b: sp.csr_array(b[:, None]), lambda b: torch.from_numpy(b).to_sparse()])
def test_sparse_data(to):
    with pytest.raises(TypeError, match="b"):
        gabp.solve(A, to(B))


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_no_columns(make):
    with raises("b", "empty"):
        gabp.solve(A, make((12, 0)))


def test_no_right_hand_side():
    with pytest.raises(TypeError, match="b"):
        gabp.solve(A, None)


def test_the_start_may_be_of_another_array_library_than_b():
    solution = gabp.solve(A, B, torch.from_numpy(B).float())
    assert_status_is_true(A, B, solution)
    assert isinstance(solution.x, np.ndarray)


# the other arguments ---------------------------------------------------------------------------------------


def test_an_unknown_method_is_reported_with_the_known_ones():
    with pytest.raises(ValueError, match=r"(?s)(?=.*'gauss')(?=.*flooding)(?=.*tree)"):
        gabp.solve(A, B, method="gauss")
    with pytest.raises(ValueError, match="'gauss'"):
        gabp.Solver(A, method="gauss")


@pytest.mark.parametrize("thing", [None, 3, ["tree"]], ids=repr)
def test_wrong_kinds_of_method(thing):
    with pytest.raises((TypeError, ValueError), match="method"):
        gabp.solve(A, B, method=thing)


@pytest.mark.parametrize("method", [m.name for m in cases.METHODS if not m.options])
def test_an_unknown_option_is_named(method):
    system = cases.BY_NAME["path"]
    with pytest.raises(TypeError, match="dampin"):
        gabp.solve(system.A, system.b, method=method, dampin=0.5)
    with pytest.raises(TypeError, match="dampin"):
        gabp.Solver(system.A, method=method, dampin=0.5)


@pytest.mark.parametrize("value", [-0.1, 1.0, 2.0, np.nan])
def test_damping_outside_its_range(value):
    with pytest.raises(ValueError, match="damping"):
        gabp.solve(A, B, method="flooding", damping=value)


def test_an_unknown_start():
    with pytest.raises(ValueError, match=r"(?s)(?=.*start)(?=.*'warm')"):
        gabp.solve(A, B, method="flooding", start="warm")


@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("value", [-1e-8, np.nan, np.inf])
def test_tolerances_must_be_finite_and_not_negative(name, value):
    with pytest.raises(ValueError, match=name):
        gabp.solve(A, B, **{name: value})


@pytest.mark.parametrize("name", ["rtol", "atol", "maxiter"])
@pytest.mark.parametrize("value", ["1e-8", [1e-8], 1j], ids=repr)
def test_wrong_kinds_of_limits(name, value):
    with pytest.raises(TypeError, match=name):
        gabp.solve(A, B, **{name: value})


def test_a_negative_number_of_iterations():
    with pytest.raises(ValueError, match=r"(?s)(?=.*maxiter)(?=.*-1)"):
        gabp.solve(A, B, maxiter=-1)


def test_a_fraction_of_an_iteration():
    with pytest.raises(TypeError, match="maxiter"):
        gabp.solve(A, B, maxiter=2.5)


def test_numpy_scalars_are_numbers():
    assert gabp.solve(A, B, rtol=np.float32(1e-4), atol=np.float64(0), maxiter=np.int64(500)).converged


def test_a_callback_that_cannot_be_called():
    with pytest.raises(TypeError, match="callback"):
        gabp.solve(A, B, callback=3)


@pytest.mark.parametrize("dtype", [torch.float16, np.int64, complex, "quick", 7], ids=repr)
def test_dtypes_that_gabp_does_not_compute_in(dtype):
    with pytest.raises((TypeError, ValueError), match="dtype"):
        gabp.solve(A, B, dtype=dtype)


@pytest.mark.parametrize("device", ["nowhere", "mps", "meta", torch.device("meta")], ids=repr)
def test_devices_that_gabp_does_not_compute_on(device):
    with pytest.raises(gabp.InvalidSystemError, match="'cpu' and 'cuda'"):
        gabp.solve(A, B, device=device)


def test_a_device_of_another_kind():
    with pytest.raises(TypeError, match="'cpu', 'cuda'"):
        gabp.solve(A, B, device=3)


def test_a_matrix_on_a_device_without_values():
    with pytest.raises(gabp.InvalidSystemError, match="meta"):
        gabp.solve(torch.eye(2, device="meta"), B[:2])


@pytest.mark.parametrize(("built", "reason"), [(False, "built without it"), (True, "sees no device")])
def test_cuda_that_is_missing_is_reported_as_by_backends(monkeypatch, built, reason):
    monkeypatch.setattr("torch.backends.cuda.is_built", lambda: built)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError) as caught:
        gabp.solve(A, B, device="cuda:0")
    assert str(caught.value) == gabp.backends()["cuda"]
    assert reason in str(caught.value)


def test_backends_explains_why_the_compiled_kernels_are_missing(monkeypatch):
    assert gabp.backends()["torch"].startswith("available")
    monkeypatch.setattr("gabp.kernels.cpu.extension", None)
    monkeypatch.setattr("gabp.kernels.cpu.missing_because", "no such file")
    assert gabp.backends()["cpu"].startswith("missing (no such file)")


@pytest.mark.parametrize("symmetric", ["no", 0, None])
def test_symmetric_is_true_or_false(symmetric):
    with pytest.raises(TypeError, match="symmetric must be True or False"):
        gabp.Solver(A, symmetric=symmetric)


@pytest.mark.parametrize("damping", ["a", None, True])
def test_damping_is_a_number(damping):
    with pytest.raises(TypeError, match="damping must be a number"):
        gabp.solve(A, B, method="flooding", damping=damping)
    with pytest.raises(TypeError, match="damping must be a number"):
        gabp.solve(A, B, method="flooding", blocks=2, damping=damping)


def test_values_of_another_shape():
    solver, nnz = gabp.Solver(sp.csr_array(A)), A.nnz
    for values in (A.tocsr().data[:, None], A.tocsr().data[:-1], np.ones((13, 13))):
        with raises(f"one-dimensional with {nnz} entries", "whole 12 × 12 matrix"):
            solver.update(values)


def test_arguments_are_checked_before_the_first_sweep():
    with pytest.raises(ValueError, match="maxiter"):
        gabp.solve(A, B, maxiter=-1, callback=lambda progress: pytest.fail("a sweep was done"))


def test_options_are_keywords():
    with pytest.raises(TypeError):
        gabp.solve(A, B, None, "flooding")


# numerical failure -----------------------------------------------------------------------------------------

TRAP = cases.BY_NAME["one_cycle_trap"]


def test_a_failure_raises_with_the_solution_attached():
    with pytest.raises(gabp.ConvergenceError, match="INVALID_PRECISION") as caught:
        gabp.solve(TRAP.A, TRAP.b, method="flooding")
    solution = caught.value.solution
    assert_status_is_true(TRAP.A, TRAP.b, solution)
    assert solution.status is gabp.Status.INVALID_PRECISION
    assert solution.status.value.split(";")[0] in str(caught.value)


def test_failure_is_returned_on_request():
    solution = gabp.solve(TRAP.A, TRAP.b, method="flooding", throw=False)
    assert_status_is_true(TRAP.A, TRAP.b, solution)
    assert solution.status is gabp.Status.INVALID_PRECISION


def test_throwing_is_the_default_of_a_solver_too():
    solver = gabp.Solver(TRAP.A, method="flooding")
    with pytest.raises(gabp.ConvergenceError) as caught:
        solver.solve(TRAP.b)
    assert caught.value.solution.status is gabp.Status.INVALID_PRECISION
    assert not solver.solve(TRAP.b, throw=False).converged


def test_running_out_of_iterations_raises_with_the_best_x():
    case = cases.BY_NAME["knot"]
    with pytest.raises(gabp.ConvergenceError) as caught:
        gabp.solve(case.A, case.b, method="flooding", maxiter=5)
    solution = caught.value.solution
    assert_status_is_true(case.A, case.b, solution)
    assert solution.status is gabp.Status.MAX_ITERATIONS
    assert 0 < solution.residual_norm < np.linalg.norm(case.b)


def test_a_diverging_solve_returns_the_best_x_not_the_last():
    case = cases.BY_NAME["repulsive_complete"]
    solution = gabp.solve(case.A, case.b, method="flooding", throw=False)
    assert_status_is_true(case.A, case.b, solution)
    assert solution.status is gabp.Status.DIVERGED
    assert solution.residual_norm <= np.linalg.norm(case.b) * (1 + 1e-12)


def test_damping_repairs_a_diverging_negative_mode():
    case = cases.BY_NAME["repulsive_complete"]
    solution = gabp.solve(case.A, case.b, method="flooding", damping=0.5)
    assert_status_is_true(case.A, case.b, solution)
    assert solution.converged


def test_the_error_survives_pickling():
    with pytest.raises(gabp.ConvergenceError) as caught:
        gabp.solve(TRAP.A, TRAP.b, method="flooding")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    np.testing.assert_array_equal(as_numpy(copy.solution.x), as_numpy(caught.value.solution.x))


def test_every_status_of_a_failure_has_a_remedy():
    assert {status.name for status in gabp.Status} == {
        "CONVERGED",
        "STOPPED_BY_CALLBACK",
        *cases.FAILED,
    }
    for status in gabp.Status:
        assert isinstance(status.value, str)
        if status.name in cases.FAILED:
            assert len(status.value.split()) > 6


@pytest.mark.parametrize("name", ["local_disc_galerkin_diffusion", "recirc_flow", "helmholtz_2D"])
def test_meshes_that_are_no_precision_matrices_are_refused(name):
    mesh = cases.load_example(name)["A"]
    with raises("complex" if name == "helmholtz_2D" else "symmetr"):
        gabp.solve(mesh, np.ones(mesh.shape[0]))
