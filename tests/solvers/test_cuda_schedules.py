"""Solves whose sweeps run in the CUDA kernels, interpreted where there is no GPU."""

import functools
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import gabp
from gabp.kernels import cuda, dispatch
from gabp.messages.sequential import ColouredSweeps, FusedSweeps

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: pip install 'gabp[cuda]'"
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def system() -> tuple[sp.csr_array, np.ndarray]:
    path = sp.diags_array([-np.ones(5), 2.6 * np.ones(6), -np.ones(5)], offsets=[-1, 0, 1])
    A = sp.csr_array(sp.kron(path, sp.eye_array(6)) + sp.kron(sp.eye_array(6), path))
    return A, np.random.default_rng(0).standard_normal((36, 3))


@pytest.fixture
def on_cuda(monkeypatch):
    """The kernels of a CUDA device, wherever the tensors are."""
    backend, fused = dispatch.backend, dispatch.backend("cuda")
    schedules = {"name": "cuda", "messages": fused.messages, "coloured": fused.coloured}
    monkeypatch.setattr(dispatch, "backend", lambda *where: replace(backend(*where), **schedules))
    assert dispatch.backend("cpu", torch.float64).name == "cuda"


@needs_triton
@pytest.mark.parametrize(
    "options", [{}, {"damping": 0.2}, {"joint": True}, {"start": "constant"}], ids=lambda options: str(options)
)
def test_flooding(on_cuda, options):
    A, b = system()
    solution = gabp.solve(A, b, method="flooding", device=DEVICE, **options)
    assert solution.backend == "cuda"
    np.testing.assert_allclose(A @ solution.x, b, rtol=0, atol=1e-7)


@needs_triton
def test_float32(on_cuda):
    A, b = system()
    solution = gabp.solve(A, b.astype(np.float32), method="flooding", dtype=torch.float32, device=DEVICE)
    assert solution.converged
    np.testing.assert_allclose(A @ solution.x, b, rtol=0, atol=1e-3)


@needs_triton
def test_fused_sequential_sweeps(on_cuda, monkeypatch):
    A, b = system()
    kernels = dispatch.backend("cuda").coloured
    fused = functools.partial(FusedSweeps, kernels)
    monkeypatch.setattr("gabp.solvers.schedules.sequential_sweeps", fused)
    solution = gabp.solve(A, b, method="sequential", device=DEVICE)
    np.testing.assert_allclose(A @ solution.x, b, rtol=0, atol=1e-7)


@pytest.mark.parametrize("symmetric", [True, False])
def test_coloured_sequential_sweeps_in_plain_torch(monkeypatch, symmetric):
    A, b = system()
    in_rows = gabp.solve(A, b, method="sequential", symmetric=symmetric)
    monkeypatch.setattr("gabp.solvers.schedules.sequential_sweeps", ColouredSweeps)
    by_colours = gabp.solve(A, b, method="sequential", symmetric=symmetric)
    np.testing.assert_allclose(by_colours.x, in_rows.x, rtol=0, atol=1e-7)
    assert by_colours.iterations <= 2 * in_rows.iterations


@needs_triton
def test_cuda_tensors_go_to_triton():
    assert dispatch.backend("cuda:1", torch.float32).messages is cuda.load("messages")
    assert dispatch.backend("cuda", torch.float16).name == "torch"
    assert dispatch.backend("cuda").coloured is cuda.load("coloured")
    assert dispatch.backend("cpu").coloured is None


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setattr(cuda, "triton_missing_because", lambda: "No module named 'triton'")
    dispatch._warn_missing_triton.cache_clear()
    yield
    dispatch._warn_missing_triton.cache_clear()


def test_without_triton_sweeps_run_in_plain_torch_with_one_warning(without_triton):
    with pytest.warns(RuntimeWarning, match="No module named 'triton'"):
        assert dispatch.backend("cuda", torch.float64).name == "torch"
    assert dispatch.backend("cuda", torch.float64).name == "torch"  # a second warning would be an error
    assert dispatch.backend("cuda").coloured is None


@pytest.mark.parametrize(("missing", "report"), [(None, "fused sweeps in Triton"), ("no such", "missing (no such)")])
def test_backends_reports_which_kernels_a_gpu_runs(monkeypatch, missing, report):
    monkeypatch.setattr(dispatch, "cuda_missing_because", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")
    monkeypatch.setattr(cuda, "triton_missing_because", lambda: missing)
    sentence = gabp.backends()["cuda"]
    assert sentence.startswith("available: a GPU; ")
    assert report in sentence
