"""Every method where A is on a device other than the CPU: a fake one, which keeps the two memories apart."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import gabp
from fake_device import AVAILABLE, DEVICE, DeviceTensor, fake_device, memory_of
from gabp.kernels import cuda, dispatch
from gabp.messages import FloodingSweeps, solve_precision_fixed_point
from gabp.messages.sequential import sequential_sweeps
from gabp.solvers.device_factorization import device_factorization
from gabp.solvers.hierarchy import DeviceHierarchy
from gabp.solvers.hierarchy import device as device_hierarchy
from gabp.system import make_system, read_matrix
from spd_matrices import grid

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this torch has no devices that are written in Python")
needs_triton = pytest.mark.skipif(
    cuda.triton_missing_because() is not None, reason="Triton is not installed: pip install 'gabp[cuda]'"
)


@pytest.fixture
def device(monkeypatch):
    """The device, served by plain torch."""
    monkeypatch.setattr("gabp.system.device._KNOWN", ("cpu", "cuda", DEVICE.type))
    monkeypatch.setattr(device_hierarchy, "LARGEST_DENSE", 20)  # small systems would be eliminated at once
    with fake_device() as device:
        yield device


@pytest.fixture(params=["plain torch", pytest.param("fused", marks=needs_triton)])
def served(request, device, monkeypatch):
    """The device, and which kernels serve it."""
    if request.param == "fused":
        _serve_as_cuda(monkeypatch)
    return SimpleNamespace(waits=device.waits, backend="torch" if request.param == "plain torch" else "cuda")


def _serve_as_cuda(monkeypatch):
    """Choose the kernels of a CUDA device, and let the interpreter see the memory that they are launched on."""
    backend = dispatch.backend

    def as_on_cuda(device, *dtype):
        return backend("cuda" if torch.device(device) == DEVICE else device, *dtype)

    monkeypatch.setattr(dispatch, "backend", as_on_cuda)
    kernel = cuda.load("launch").Kernel
    launch = kernel.__call__
    monkeypatch.setattr(kernel, "__call__", lambda self, n, *a, **k: launch(self, n, *map(memory_of, a), **k))


def chain(n=30):
    return sp.csr_array(sp.diags_array([-np.ones(n - 1), 2.5 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]))


def frustrated(n=5):
    """Positive definite, but far from walk-summable: plain messages diverge."""
    signs = sp.triu(grid(n, n), 1).tocsr()
    signs.data = np.random.default_rng(3).choice([-1.0, 1.0], len(signs.data))
    A = signs + signs.T
    return sp.csr_array(A + (0.1 - np.linalg.eigvalsh(A.toarray())[0]) * sp.eye_array(n * n))


def skewed():
    A = grid(5, 6, shift=0.3)
    return sp.csr_array(A + sp.diags_array(np.full(29, 0.2), offsets=1))


GRID = grid(5, 6, shift=0.3)
SYSTEMS = {
    "flooding": GRID,
    "sequential": GRID,
    "hierarchy": grid(7, 8, shift=0.02),
    "double-loop": frustrated(),
    "elimination": GRID,
    "tree": chain(),
    "krylov": GRID,
    "auto": GRID,
}
ON_THE_CPU = {"tree", "krylov", "elimination", "auto"}  # as method_reason reports


def right_side(A, columns=2):
    return np.random.default_rng(0).standard_normal((A.shape[0], columns))


def check(solution, A, b):
    x = solution.x if isinstance(solution.x, np.ndarray) else memory_of(solution.x).numpy()
    assert solution.converged
    assert (np.linalg.norm(b - A @ x, axis=0) <= 1e-8 * np.linalg.norm(b, axis=0)).all()


@pytest.mark.parametrize("method", SYSTEMS)
def test_solves_where_the_system_is(served, method):
    A = SYSTEMS[method]
    b = right_side(A)
    solution = gabp.solve(A, torch.from_numpy(b).to(DEVICE), method=method, device=DEVICE)
    assert isinstance(solution.x, DeviceTensor)
    check(solution, A, b)
    assert solution.backend == served.backend
    assert ("on the CPU" in solution.method_reason) == (method in ON_THE_CPU)


@pytest.mark.parametrize("method", ["tree", "flooding", "sequential", "krylov", "hierarchy"])
def test_blocks_are_solved_on_the_cpu_as_the_reason_reports(device, method):
    A = chain() if method == "tree" else GRID
    solution = gabp.solve(A, right_side(A), method=method, blocks=2, device=DEVICE)
    check(solution, A, right_side(A))
    assert "on the CPU" in solution.method_reason


@pytest.mark.parametrize("method", ["flooding", "sequential", "krylov", "elimination"])
def test_nonsymmetric_systems(device, method):
    A = skewed()
    check(gabp.solve(A, right_side(A), method=method, symmetric=False, device=DEVICE), A, right_side(A))


def test_a_matrix_that_is_there_is_solved_there(device):
    A = torch.from_numpy(GRID.toarray()).to(DEVICE)
    b = right_side(GRID)
    solution = gabp.solve(A, torch.from_numpy(b).to(DEVICE), method="flooding")
    assert isinstance(solution.x, DeviceTensor)
    check(solution, GRID, b)


ANSWERS = {
    "means": lambda A, b: gabp.Gaussian(A, b).mean(),
    "exact variances": lambda A, b: gabp.Gaussian(A).variances("exact"),
    "bethe variances": lambda A, b: gabp.Gaussian(A).variances("bethe"),
    "log-determinant": lambda A, b: gabp.logdet(A),
    "log-probability": lambda A, b: gabp.Gaussian(A, b).log_prob(b),
    "samples": lambda A, b: gabp.sample(A, b, 3, seed=0),
    "conditioning": lambda A, b: gabp.Gaussian(A, b).condition([1], [0.5]).mean(),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_model_on_the_device_gives_results_there(device, answer):
    A, b = torch.from_numpy(GRID.toarray()), torch.from_numpy(right_side(GRID)[:, 0])
    expected = ANSWERS[answer](A, b)
    found = ANSWERS[answer](A.to(DEVICE), b.to(DEVICE))
    assert isinstance(found, DeviceTensor)
    torch.testing.assert_close(found.memory, expected, rtol=1e-7, atol=1e-9)


def test_no_step_of_the_hierarchy_waits(served):
    A = SYSTEMS["hierarchy"]
    hierarchy = DeviceHierarchy(make_system(read_matrix(A, DEVICE)))
    b = torch.from_numpy(right_side(A)).to(DEVICE)
    correction = hierarchy.correct(b, torch.zeros(2, dtype=torch.float64).to(DEVICE))
    correction.iterate()
    served.waits.clear()
    correction.iterate()
    assert served.waits == []
    correction.advance(4)
    assert served.waits == ["_to_copy"]  # one residual check


@pytest.mark.parametrize("schedule", [FloodingSweeps, sequential_sweeps], ids=["flooding", "sequential"])
def test_no_sweep_waits(served, schedule):
    precisions = solve_precision_fixed_point(make_system(read_matrix(GRID, DEVICE)))
    sweeps = schedule(precisions, torch.from_numpy(right_side(GRID)).to(DEVICE))
    sweeps.sweep(1)
    served.waits.clear()
    sweeps.sweep(3)
    assert served.waits == []


class DirectSolver:
    """A stand-in for nvmath's: the same calls in the same order, on a dense matrix."""

    def __init__(self, a, b):
        assert a.layout == torch.sparse_csr and a.crow_indices().dtype == a.col_indices().dtype == torch.int32
        assert b.shape == (len(a),) and b.dtype == a.dtype == torch.float64
        self.a, self.b, self.done = a, b, []

    def plan(self):
        self.done.append("plan")

    def factorize(self):
        assert self.done == ["plan"]
        self.done.append("factorize")

    def reset_operands(self, *, b):
        assert b.shape == self.b.shape and b.is_contiguous()
        self.b = b

    def free(self):
        self.done.append("free")

    def solve(self):
        assert self.done == ["plan", "factorize"]
        return solve_dense(self.a, self.b)


def install_nvmath(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvmath", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nvmath.sparse", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nvmath.sparse.advanced", SimpleNamespace(DirectSolver=DirectSolver))


def solve_dense(a, b):
    return DeviceTensor(torch.linalg.solve(a.to_dense(), memory_of(b)))


@pytest.mark.parametrize("library", ["nvmath-python", "torch"])
@pytest.mark.parametrize("kind", ["positive definite", "indefinite", "general"])
def test_a_library_of_the_device_factors_there(device, monkeypatch, library, kind):
    if library == "torch":
        monkeypatch.setattr(torch.sparse, "spsolve", solve_dense)
    else:
        install_nvmath(monkeypatch)
    A = {"positive definite": GRID, "indefinite": GRID - 2.5 * sp.eye_array(30), "general": skewed()}[kind]
    solution = gabp.solve(A, right_side(A), method="elimination", symmetric=kind != "general", device=DEVICE)
    check(solution, A, right_side(A))
    assert solution.method_reason == f"chosen by the caller; factored by cuDSS in {library}"


def test_the_factor_of_nvmath_is_freed_with_its_last_reference(device, monkeypatch):
    install_nvmath(monkeypatch)
    freed = []
    monkeypatch.setattr(DirectSolver, "free", lambda solver: freed.append(solver))
    solve, _ = device_factorization(make_system(read_matrix(GRID, DEVICE)))
    assert freed == []
    del solve
    assert len(freed) == 1


def test_without_such_a_library_the_cpu_factors_and_the_reason_explains_why(device, monkeypatch):
    def broken(a, b):
        return torch.full_like(b, torch.nan)

    monkeypatch.setattr(torch.sparse, "spsolve", broken)
    solution = gabp.solve(GRID, right_side(GRID), method="elimination", device=DEVICE)
    check(solution, GRID, right_side(GRID))
    assert "factored on the CPU" in solution.method_reason
    assert "No module named 'nvmath'" in solution.method_reason
    assert "torch: the factor broke down" in solution.method_reason
