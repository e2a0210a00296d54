"""The backward error of a solve, when rounding ends it, and where it starts."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import cases
import gabp
import oracles
from gabp.solvers.refinement import is_at_rounding
from gabp.system import make_system, read_matrix

GRID = cases.laplacian(30, cases.grid_edges(5, 6), 1.0)
EPS = np.finfo(float).eps


def largest(values) -> float:
    return float(np.abs(values).max())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("maxiter", [1, 3, 8])
def test_the_backward_error_is_that_of_rigal_and_gaches(scale, maxiter):
    """``‖r‖_∞ / (‖A‖_∞ ‖x‖_∞ + ‖b‖_∞)``, where each of its terms counts."""
    A, b = sp.csr_array(scale * GRID), np.linspace(-1, 2, 30)
    solution = gabp.solve(A, b, method="flooding", maxiter=maxiter, rtol=1e-14, throw=False)
    x = solution.x
    expected = largest(b - A @ x) / (abs(A).sum(axis=1).max() * largest(x) + largest(b))
    assert expected > 1e-13
    assert solution.backward_error == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("degree", [2, 400])
def test_a_residual_is_at_rounding_up_to_four_roundings_of_its_sums(degree):
    """A sum of ``m`` terms is known to ``√m eps`` of their sizes."""
    n = degree + 1
    star = cases.laplacian(n, [(0, i, 1.0) for i in range(1, n)], 1.0)
    system = make_system(read_matrix(star))
    x = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, (n, 1)))
    b = system.multiply(x)
    terms = np.diff(star.indptr) + 1.0
    rounding = EPS * np.sqrt(terms)[:, None] * (abs(star) @ np.abs(x.numpy()) + np.abs(b.numpy()))
    for units, expected in ((3.0, True), (5.0, False)):
        assert is_at_rounding(system, x, b, torch.from_numpy(units * rounding)) is expected


@pytest.mark.parametrize("method", ["flooding", "sequential", "hierarchy", "elimination"])
def test_a_start_whose_digits_hide_the_solution_is_replaced_by_zero(method):
    b = np.stack([np.linspace(1, 2, 30), np.linspace(-1, 2, 30)], axis=1)
    start = np.stack([np.full(30, 1e40), np.zeros(30)], axis=1)
    solution = gabp.solve(GRID, b, start, method=method)
    assert solution.converged
    np.testing.assert_allclose(solution.x, oracles.solve(GRID.toarray(), b), rtol=1e-6)
