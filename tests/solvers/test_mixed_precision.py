"""Float32 messages under refinement in float64: the residual of float64 messages, which are the fallback."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import gabp
from gabp.solvers import auto

ROUNDED = "float32 messages"


@pytest.fixture(autouse=True)
def _worth_it_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "_WORTH_ROUNDING", 1)


def pair(margin: float, unit: float = 1.0) -> sp.csr_array:
    """Two nodes; in float32 the rows are equal up to margins of 1e-8."""
    return sp.csr_array(unit * np.array([[1.0, margin - 1], [margin - 1, 1.0]]))


def grid(side: int) -> sp.csr_array:
    path = sp.diags_array([-np.ones(side - 1), 2.05 * np.ones(side), -np.ones(side - 1)], offsets=[-1, 0, 1])
    return sp.csr_array(sp.kron(path, sp.eye_array(side)) + sp.kron(sp.eye_array(side), path))


@pytest.mark.parametrize("shape", [(900,), (900, 5)])
def test_the_residual_is_that_of_float64(shape):
    A, b = grid(30), np.random.default_rng(0).standard_normal(shape)
    solution = gabp.solve(A, b, method="flooding", rtol=1e-12)
    assert ROUNDED in solution.method_reason
    assert (np.linalg.norm(b - A @ solution.x, axis=0) <= 1e-12 * np.linalg.norm(b, axis=0)).all()


@pytest.mark.parametrize("options", [{"dtype": torch.float64}, {"joint": True}])
def test_not_where_the_caller_asks_otherwise(options):
    solution = gabp.solve(grid(8), np.ones(64), method="flooding", **options)
    assert solution.method_reason == "chosen by the caller"


def test_not_in_small_systems(monkeypatch):
    monkeypatch.undo()
    assert gabp.solve(grid(8), np.ones(64), method="flooding").method_reason == "chosen by the caller"


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_not_near_the_ends_of_the_range_of_float32(unit):
    solution = gabp.solve(pair(0.5, unit), np.ones(2), method="flooding")
    assert solution.method_reason == "chosen by the caller"
    np.testing.assert_allclose(solution.x, 2 / unit)


@pytest.mark.parametrize("margin", [10.0**-k for k in range(4, 13)])
def test_float64_is_the_fallback_where_float32_is_too_coarse(margin):
    b = np.array([1.0, -0.5])
    solution = gabp.solve(pair(margin), b, method="flooding")
    assert solution.converged
    assert np.linalg.norm(b - pair(margin) @ solution.x) <= 1e-8 * np.linalg.norm(b)


def test_options_apply_to_both_precisions():
    solver = gabp.Solver(pair(1e-9), method="flooding", damping=0.25)
    assert solver.solve(np.ones(2)).converged
    with pytest.raises(TypeError, match="has no option"):
        gabp.Solver(grid(8), method="flooding", dampening=0.25)


def test_divergence_is_not_tried_again():
    A = sp.csr_array(np.eye(4) + 0.395 * (np.ones((4, 4)) - np.eye(4)))
    A[[1, 3], [3, 1]] = 0.0  # a ring with one chord: the precision messages converge, the means grow
    rounded = gabp.solve(A, np.ones(4), method="flooding", throw=False)
    exact = gabp.solve(A, np.ones(4), method="flooding", dtype=torch.float64, throw=False)
    assert rounded.status is exact.status is gabp.Status.DIVERGED
    assert rounded.iterations == exact.iterations
