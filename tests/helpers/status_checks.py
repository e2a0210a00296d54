"""Whether a `gabp.Solution` reports the truth: "converged" means a small true residual, and nothing else does."""

import numpy as np
import scipy.sparse as sp
import torch

import gabp


def as_numpy(values) -> np.ndarray:
    """A numpy view of a numpy array or a torch tensor."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def column_norms(values: np.ndarray) -> np.ndarray:
    """2-norm of each column, safe from overflow and underflow: ``(n,) -> (1,)``, ``(n, k) -> (k,)``."""
    columns = np.asarray(values, dtype=float).reshape(len(values), -1)
    largest = np.abs(columns).max(axis=0, initial=0.0)
    largest[largest == 0] = 1.0
    return np.linalg.norm(columns / largest, axis=0) * largest


def true_residuals(A, b, x) -> np.ndarray:
    """``‖b - A x‖₂`` of each column, in float64, whatever the dtype of x."""
    A = sp.csr_array(A).astype(float)
    b, x = as_numpy(b).astype(float), as_numpy(x).astype(float)
    return column_norms(b - A @ x)


def allowance(A, b, rtol: float | None, atol: float, x_dtype: np.dtype) -> np.ndarray:
    """The residual norm that each column may have and still be called converged."""
    if rtol is None:
        rtol = 1e-5 if x_dtype == np.float32 else 1e-8
    return np.maximum(rtol * column_norms(as_numpy(b).astype(float)), atol)


def rounding(A, b, x) -> np.ndarray:
    """How far two float64 evaluations of the same residual norm may differ, per column."""
    A = abs(sp.csr_array(A).astype(float))
    b, x = np.abs(as_numpy(b).astype(float)), np.abs(as_numpy(x).astype(float))
    return 8 * np.finfo(float).eps * column_norms(A @ x + b)


def assert_status_is_true(A, b, solution: "gabp.Solution", rtol: float | None = None, atol: float = 0.0) -> None:
    """Status, residual norm, backward error and history are those of ``solution.x``.

    ``A`` (scipy sparse or dense numpy) and ``b`` hold the numbers that the solver was given.
    """
    x = as_numpy(solution.x)
    b_array = as_numpy(b)
    assert x.shape == b_array.shape
    assert isinstance(solution.converged, bool)
    assert isinstance(solution.status, gabp.Status)
    assert solution.converged == (solution.status is gabp.Status.CONVERGED)
    assert isinstance(solution.iterations, int) and solution.iterations >= 0
    assert np.shape(as_numpy(solution.residual_norm)) == b_array.shape[1:]
    if not np.isfinite(x).all():
        assert not solution.converged
        return
    residuals, slack = true_residuals(A, b, x), rounding(A, b, x)
    scale = column_norms(b_array.astype(float))
    scale = np.where(scale > 0, scale, 1.0)
    relative, doubt = (residuals / scale).max(), (slack / scale).max()
    if solution.converged:
        assert (residuals <= allowance(A, b, rtol, atol, x.dtype) + slack).all(), (
            f"converged at residuals {residuals}, allowed {allowance(A, b, rtol, atol, x.dtype)}"
        )
        assert abs(solution.history[-1] - relative) <= 1e-6 * relative + doubt
    elif solution.history and x.dtype == np.float64 and solution.status is not gabp.Status.STAGNATED:
        best = np.nanmin(solution.history)  # an x of smallest backward error may have a larger residual
        assert abs(best - relative) <= 1e-6 * relative + doubt, f"x has {relative}, the best of its history is {best}"
    reported = np.atleast_1d(as_numpy(solution.residual_norm)).astype(float)
    np.testing.assert_array_less(np.abs(reported - residuals), slack + 1e-6 * residuals + 1e-300)
    backward_error = np.atleast_1d(as_numpy(solution.backward_error))
    assert (backward_error >= 0).all()
    if solution.status is gabp.Status.STAGNATED:
        unmet = residuals > allowance(A, b, rtol, atol, x.dtype)
        assert (backward_error[unmet] <= 1e3 * np.finfo(x.dtype).eps).all(), (
            f"stagnated at a backward error of {backward_error.max():.1e}"
        )
