"""The hierarchy as it stands on a GPU: here on CPU tensors, by the literal twins of its kernels."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sl
import torch

import gabp
from gabp.kernels import cpu, cuda, dispatch
from gabp.solvers import auto, device_hierarchy
from gabp.solvers.device_hierarchy import DeviceHierarchy
from gabp.solvers.hierarchy import Hierarchy
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, make_system, read_matrix
from spd_matrices import CASES, grid, relative_residual, solve


@pytest.fixture(autouse=True)
def many_levels(monkeypatch):
    """Small systems would be eliminated at once."""
    monkeypatch.setattr(device_hierarchy, "LARGEST_DENSE", 100)


def prepare(A):
    return DeviceHierarchy(make_system(read_matrix(A)))


@pytest.mark.parametrize("case", CASES)
def test_solves(case):
    A = CASES[case]()
    b = A @ np.random.default_rng(5).standard_normal((A.shape[0], 1))
    x, steps = solve(prepare(A), A, b)
    assert relative_residual(A, x, b) <= 1e-8
    assert steps <= 100


def test_steps_hardly_grow_with_the_size():
    """From 1,024 to 65,536 unknowns, and no more than the compiled hierarchy takes by much."""
    steps = {}
    for size in (32, 64, 128, 256):
        A = grid(size, size)
        b = A @ np.random.default_rng(6).standard_normal((size**2, 1))
        steps[size] = solve(prepare(A), A, b)[1]
    assert steps[256] <= 1.5 * steps[32]
    if cpu.extension is not None:
        compiled = Hierarchy(make_system(read_matrix(A)))
        assert steps[256] <= 1.5 * solve(compiled, A, b)[1]


@pytest.mark.parametrize("columns", [2, 3, 11])
def test_columns_share_every_sweep(columns):
    A = grid(40, 50, shift=0.01)
    b = np.random.default_rng(7).standard_normal((A.shape[0], columns))
    b[:, 1] = 0.0
    correction = prepare(A).correct(torch.from_numpy(b), torch.from_numpy(1e-8 * np.linalg.norm(b, axis=0)))
    _, failure = correction.advance(100)
    x = correction.estimate().numpy()
    assert failure is None
    assert np.all(np.linalg.norm(b - A @ x, axis=0) <= 1e-8 * np.linalg.norm(b, axis=0))


def test_numbers_that_float32_cannot_hold_are_kept_for_the_outer_steps():
    A = grid(30, 40, shift=0.1) / 3
    hierarchy = prepare(A)
    assert hierarchy.value.dtype == torch.float64
    assert prepare(grid(30, 40)).value.dtype == torch.float32
    b = np.random.default_rng(8).standard_normal((A.shape[0], 1))
    assert relative_residual(A, solve(hierarchy, A, b, rtol=1e-12)[0], b) <= 1e-12


def test_going_on_after_a_look_is_the_same_as_going_through():
    A = grid(40, 50, shift=0.05)
    hierarchy = prepare(A)
    b = torch.from_numpy(np.random.default_rng(10).standard_normal((A.shape[0], 1)))
    through, looked = (hierarchy.correct(b, torch.zeros(1)) for _ in range(2))
    through.advance(6)
    for _ in range(6):
        assert looked.advance(1) == (1, None)
        looked.estimate()
    assert torch.equal(through.estimate(), looked.estimate())


def test_stops_at_the_target_and_takes_no_further_step():
    A = grid(50, 50, shift=0.1)
    b = np.random.default_rng(11).standard_normal((A.shape[0], 1))
    target = 1e-3 * np.linalg.norm(b)
    correction = prepare(A).correct(torch.from_numpy(b), torch.tensor([target]))
    done, failure = correction.advance(50)
    assert failure is None and 0 < done < 50
    x = correction.estimate()
    assert np.linalg.norm(b - A @ x.numpy()) <= target
    assert correction.advance(50) == (0, None)
    for _ in range(3):  # as between two looks
        correction.step()
    assert torch.equal(correction.estimate(), x)


@pytest.mark.parametrize("shape", [(12, 12), (45, 40)])
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


def test_indefiniteness_is_proven_by_a_witness():
    A = grid(40, 40, shift=-0.05)
    assert sl.eigsh(A, 1, which="SA", return_eigenvectors=False)[0] < 0
    b = np.random.default_rng(14).standard_normal((A.shape[0], 1))
    correction = prepare(A).correct(torch.from_numpy(b), torch.tensor([1e-8]))
    _, failure = correction.advance(500)
    assert failure is Status.NOT_POSITIVE_DEFINITE
    p = correction.witness.numpy()
    assert p @ (A @ p) < 0


def test_singular_consistent_systems():
    A = grid(50, 40, closed=True)
    b = A @ np.random.default_rng(15).standard_normal((A.shape[0], 1))
    assert relative_residual(A, solve(prepare(A), A, b)[0], b) <= 1e-8


def test_nonpositive_diagonal_is_named():
    A = grid(5, 5).tolil()
    A[7, 7] = 0.0
    with pytest.raises(InvalidSystemError, match="7"):
        prepare(sp.csr_array(A))


def test_pickles_and_says_what_it_holds():
    A = grid(60, 50)
    hierarchy = prepare(A)
    again = pickle.loads(pickle.dumps(hierarchy))
    b = torch.ones((A.shape[0], 1), dtype=torch.float64)
    assert torch.equal(hierarchy.precondition(b), again.precondition(b))
    levels = hierarchy.levels
    assert levels[0].n == A.shape[0] and levels[0].edges == A.nnz - A.shape[0]
    assert all(coarse.n < fine.n for fine, coarse in pairwise(levels))
    assert [level.inverse is None for level in levels] == [True] * (len(levels) - 1) + [False]
    assert 0 < hierarchy.nbytes < 200 * A.nnz
    assert f"{levels[1].n} variables" in repr(hierarchy)
    assert f"{hierarchy.launches} launches" in repr(hierarchy)


def test_serves_where_the_compiled_kernels_are_missing(monkeypatch):
    monkeypatch.setattr(cpu, "extension", None)
    A = grid(40, 40)
    b = np.ones(A.shape[0])
    with pytest.warns(RuntimeWarning, match="compiled CPU kernels are missing"):
        solver = gabp.Solver(A, method="hierarchy")
        solution = solver.solve(b)
    assert isinstance(solver._prepared, DeviceHierarchy)
    assert solution.converged and relative_residual(A, solution.x[:, None], b[:, None]) <= 1e-8
    operator = solver.aspreconditioner()
    assert (operator @ b) @ b > 0


@pytest.mark.skipif(cuda.triton_missing_because() is not None, reason="Triton is not installed")
@pytest.mark.skipif(torch.cuda.is_available(), reason="without a GPU only: the interpreter is off beside one")
def test_the_whole_way_by_the_kernels_of_a_gpu(monkeypatch):
    """Set-up, cycle and conjugate gradients as on CUDA, the kernels interpreted; and as many launches as declared."""
    A = grid(16, 17, shift=0.02)
    b = np.random.default_rng(16).standard_normal(A.shape[0])
    plain, steps = solve(prepare(A), A, b[:, None])
    monkeypatch.setattr(dispatch, "choose_cycle", lambda device: cuda.load("cycle"))
    monkeypatch.setattr(auto, "hierarchy_class", lambda system: DeviceHierarchy)
    launched = []
    kernel = cuda.load("launch").Kernel
    launch = kernel.__call__
    monkeypatch.setattr(kernel, "__call__", lambda self, n, *a, **k: launched.append(n > 0) or launch(self, n, *a, **k))
    solver = gabp.Solver(A, method="hierarchy")
    solution = solver.solve(b)
    assert solution.converged and relative_residual(A, solution.x[:, None], b[:, None]) <= 1e-8
    eliminations = 3 * 2 ** (len(solver._prepared.levels) - 2)  # torch's own: to float64, product, and back
    assert sum(launched) == solution.iterations * (solver._prepared.launches - eliminations)
    assert steps == solution.iterations
    np.testing.assert_allclose(solution.x, plain[:, 0], rtol=1e-6, atol=1e-7 * np.abs(plain).max())
