"""Every method where A is on a device other than the CPU: here a pretended one, which tells the two apart."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import gabp
from gabp.kernels import cuda, dispatch
from pretended_device import DEVICE, DeviceTensor, memory_of, pretended_device
from spd_matrices import grid

needs_triton = pytest.mark.skipif(
    cuda.triton_missing_because() is not None, reason="Triton is not installed: pip install 'gabp[cuda]'"
)


@pytest.fixture(params=["plain torch", pytest.param("fused", marks=needs_triton)])
def device(request, monkeypatch):
    monkeypatch.setattr("gabp.system.device._KNOWN", ("cpu", "cuda", DEVICE.type))
    if request.param == "fused":
        for name in ("choose", "choose_coloured", "choose_cycle"):
            choose = getattr(dispatch, name)
            monkeypatch.setattr(
                dispatch, name, lambda device, *rest, choose=choose: choose("cuda" if torch.device(device) == DEVICE else device, *rest)
            )
        kernel = cuda.load("launch").Kernel
        launch = kernel.__call__
        monkeypatch.setattr(kernel, "__call__", lambda self, n, *a, **k: launch(self, n, *map(memory_of, a), **k))
    with pretended_device() as device:
        yield device


def frustrated(n=8):
    """Positive definite, but not walk-summable."""
    rng = np.random.default_rng(3)
    A = grid(n, n)
    A.data[A.data < 0] = 1.0
    off = sp.triu(A, 1).tocsr()
    off.data = rng.choice([-1.0, 1.0], len(off.data))
    A = off + off.T
    smallest = float(np.linalg.eigvalsh(A.toarray())[0])
    return sp.csr_array(A + (0.05 - smallest) * sp.eye_array(n * n))


A_GRID = grid(7, 8, shift=0.3)
SYSTEMS = {
    "flooding": A_GRID, "sequential": A_GRID, "hierarchy": grid(16, 17, shift=0.02), "double-loop": frustrated(5), "elimination": A_GRID,
    "tree": sp.csr_array(sp.diags_array([-np.ones(29), 2.5 * np.ones(30), -np.ones(29)], offsets=[-1, 0, 1])), "krylov": A_GRID, "auto": A_GRID,
}

@pytest.mark.parametrize("method", SYSTEMS)
def test_solves(device, method, monkeypatch):
    A = SYSTEMS[method]
    b = np.random.default_rng(0).standard_normal((A.shape[0], 2))
    solution = gabp.solve(A, b, method=method, device=DEVICE)
    print(solution)
    np.testing.assert_allclose(A @ solution.x, b, atol=1e-6)
    x = gabp.solve(A, torch.from_numpy(b).to(DEVICE), method=method, device=DEVICE).x
    assert isinstance(x, DeviceTensor)
    np.testing.assert_allclose(memory_of(x).numpy(), solution.x, rtol=1e-9)
