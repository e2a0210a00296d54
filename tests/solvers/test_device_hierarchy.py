"""The hierarchy as on a GPU, here on CPU tensors by the literal counterparts of its kernels.

What it shares with the compiled one is tested in test_hierarchies.py.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import gabp
from gabp.kernels import cpu, cuda, dispatch
from gabp.solvers.hierarchy import CompiledHierarchy, DeviceHierarchy, device
from gabp.solvers.methods import METHODS, Method
from gabp.system import make_system, read_matrix
from spd_matrices import grid, relative_residual, solve


@pytest.fixture(autouse=True)
def many_levels(monkeypatch):
    """Small systems would be a single level."""
    monkeypatch.setattr(device, "LARGEST_DENSE", 100)


def prepare(A):
    return DeviceHierarchy(make_system(read_matrix(A)))


def test_iterations_hardly_grow_with_the_size():
    """From 1,024 to 65,536 unknowns, and hardly more than the compiled hierarchy takes."""
    iterations = {}
    for size in (32, 64, 128, 256):
        A = grid(size, size)
        b = A @ np.random.default_rng(6).standard_normal((size**2, 1))
        iterations[size] = solve(prepare(A), A, b)[1]
    assert iterations[256] <= 1.5 * iterations[32]
    if dispatch.backend("cpu").compiled:
        compiled = CompiledHierarchy(make_system(read_matrix(A)))
        assert iterations[256] <= 1.5 * solve(compiled, A, b)[1]


def test_the_outer_iteration_keeps_numbers_beyond_float32():
    A = grid(30, 40, shift=0.1) / 3
    hierarchy = prepare(A)
    assert hierarchy.value.dtype == torch.float64
    assert prepare(grid(30, 40)).value.dtype == torch.float32
    b = np.random.default_rng(8).standard_normal((A.shape[0], 1))
    assert relative_residual(A, solve(hierarchy, A, b, rtol=1e-12)[0], b) <= 1e-12


def test_iterations_beyond_the_target_change_nothing():
    """As those between two residual checks."""
    A = grid(50, 50, shift=0.1)
    b = np.random.default_rng(11).standard_normal((A.shape[0], 1))
    correction = prepare(A).correct(torch.from_numpy(b), torch.tensor([1e-3 * np.linalg.norm(b)]))
    assert correction.advance(50)[0] < 50
    x = correction.estimate()
    for _ in range(3):
        correction.iterate()
    assert torch.equal(correction.estimate(), x)


def test_repr_counts_launches_and_only_the_coarsest_level_is_eliminated():
    hierarchy = prepare(grid(60, 50))
    levels = hierarchy.levels
    assert [level.exact for level in levels] == [False] * (len(levels) - 1) + [True]
    assert f"{hierarchy.cost.launches} launches" in repr(hierarchy)


def test_runs_where_the_compiled_kernels_are_missing(monkeypatch):
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
def test_a_solve_by_the_kernels_of_a_gpu(monkeypatch):
    """Set-up, cycle and conjugate gradients as on CUDA, the kernels interpreted; and as many launches as declared."""
    A = grid(16, 17, shift=0.02)
    b = np.random.default_rng(16).standard_normal(A.shape[0])
    plain, iterations = solve(prepare(A), A, b[:, None])
    fused = replace(dispatch.backend("cpu"), multigrid_cycle=cuda.load("multigrid_cycle"))
    monkeypatch.setattr(dispatch, "backend", lambda *where: fused)
    monkeypatch.setitem(METHODS, "hierarchy", Method(DeviceHierarchy))
    launched = []
    kernel = cuda.load("launch").Kernel
    launch = kernel.__call__
    monkeypatch.setattr(kernel, "__call__", lambda self, n, *a, **k: launched.append(n > 0) or launch(self, n, *a, **k))
    solver = gabp.Solver(A, method="hierarchy")
    solution = solver.solve(b)
    assert solution.converged and relative_residual(A, solution.x[:, None], b[:, None]) <= 1e-8
    eliminations = 3 * 2 ** (len(solver._prepared.levels) - 2)  # torch's own: to float64, product, and back
    assert sum(launched) == solution.iterations * (solver._prepared.cost.launches - eliminations)
    assert iterations == solution.iterations
    np.testing.assert_allclose(solution.x, plain[:, 0], rtol=1e-6, atol=1e-7 * np.abs(plain).max())
