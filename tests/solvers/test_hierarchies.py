"""The contract of every scalar hierarchy, compiled or of tensor operations."""

import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sl
import torch

from gabp.solvers.hierarchy import CompiledHierarchy, DeviceHierarchy, device
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, make_system, read_matrix
from spd_matrices import CASES, grid, relative_residual, solve


class Kind(NamedTuple):
    """A hierarchy, a grid with several levels in it, and how far a residual check may change later iterates."""

    make: Callable[..., Any]
    shape: tuple[int, int]
    tolerance: dict[str, float]

    def prepare(self, A):
        return self.make(make_system(read_matrix(A)))


KINDS = {
    "compiled": Kind(CompiledHierarchy, (110, 100), {"rtol": 1e-10, "atol": 1e-12}),
    "tensors": Kind(DeviceHierarchy, (50, 40), {"rtol": 0.0, "atol": 0.0}),
}


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    monkeypatch.setattr(device, "LARGEST_DENSE", 100)  # small systems would be a single level
    return KINDS[request.param]


# Iterations to 1e-8 that may be taken: a quarter more than were measured, compiled and by tensor operations.
MOST_ITERATIONS = {
    "2-D grid": (33, 13),
    "2-D Poisson": (30, 17),
    "3-D Poisson": (42, 14),
    "anisotropic, strong along rows": (37, 22),
    "anisotropic, strong across rows": (35, 23),
    "elasticity": (3, 23),
    "rotated diffusion": (53, 53),
    "random graph": (25, 9),
    "triangulation": (30, 17),
    "star": (7, 5),
    "dense row": (17, 14),
    "negative weights": (3, 17),
    "badly scaled": (117, 57),
    "permuted": (25, 18),
    "huge values": (23, 14),
    "tiny values": (23, 14),
    "inclusions": (20, 20),
    "channels": (21, 21),
    "layers": (15, 15),
    "lognormal": (18, 15),
    "near-singular": (25, 71),
    "floating parts": (3, 17),
    "no edges": (3, 5),
    "one node": (2, 5),
    "two nodes": (3, 5),
    "small and dense": (2, 5),
}


@pytest.mark.parametrize("case", CASES)
def test_solves(kind, case):
    A = CASES[case]()
    b = A @ np.random.default_rng(5).standard_normal((A.shape[0], 1))
    x, iterations = solve(kind.prepare(A), A, b)
    assert relative_residual(A, x, b) <= 1e-8
    assert iterations <= MOST_ITERATIONS[case][kind is KINDS["tensors"]]


@pytest.mark.parametrize("unit", [1.0, 1e-12])
def test_the_target_is_a_norm_in_the_units_of_the_right_hand_side(kind, unit):
    """On rows of unlike scale, where a hierarchy works in units of its own: larger or smaller ones."""
    A = unit * CASES["badly scaled"]()
    hierarchy = kind.prepare(A)
    b = torch.from_numpy(A @ np.random.default_rng(5).standard_normal((A.shape[0], 1)))
    target = 1e-4 * b.norm(dim=0)
    correction, shorter = hierarchy.correct(b, target), hierarchy.correct(b, torch.zeros(1))
    done, failure = correction.advance(300)
    assert failure is None
    shorter.advance(done - 2)
    left = [np.linalg.norm(b.numpy() - A @ c.estimate().numpy()) for c in (correction, shorter)]
    assert left[0] <= float(target) < 4 * left[1]


@pytest.mark.parametrize("columns", [2, 3, 8, 11])
def test_columns_share_every_sweep(kind, columns):
    A = grid(*kind.shape, shift=0.01)
    b = np.random.default_rng(7).standard_normal((A.shape[0], columns))
    b[:, 1] = 0.0
    correction = kind.prepare(A).correct(torch.from_numpy(b), torch.from_numpy(1e-8 * np.linalg.norm(b, axis=0)))
    _, failure = correction.advance(100)
    x = correction.estimate().numpy()
    assert failure is None
    assert np.all(np.linalg.norm(b - A @ x, axis=0) <= 1e-8 * np.linalg.norm(b, axis=0))


def test_residual_checks_do_not_change_the_iterates(kind):
    A = grid(*kind.shape, shift=0.05)
    hierarchy = kind.prepare(A)
    b = torch.from_numpy(np.random.default_rng(10).standard_normal((A.shape[0], 1)))
    through, checked = (hierarchy.correct(b, torch.zeros(1)) for _ in range(2))
    through.advance(6)
    for _ in range(6):
        assert checked.advance(1) == (1, None)
        checked.estimate()
    torch.testing.assert_close(through.estimate(), checked.estimate(), **kind.tolerance)


def test_stops_at_the_target_and_counts_its_iterations(kind):
    A = grid(*kind.shape, shift=0.1)
    b = np.random.default_rng(11).standard_normal((A.shape[0], 1))
    target = 1e-3 * np.linalg.norm(b)
    correction = kind.prepare(A).correct(torch.from_numpy(b), torch.tensor([target]))
    done, failure = correction.advance(50)
    assert failure is None and 0 < done < 50
    assert np.linalg.norm(b - A @ correction.estimate().numpy()) <= target
    assert correction.advance(50) == (0, None)


@pytest.mark.parametrize("shape", [(12, 12), None], ids=["small", "several levels"])
def test_preconditioner_is_linear_symmetric_and_positive_definite(kind, shape):
    shape = shape or kind.shape
    A = grid(*shape, weights=(1, 10)) + sp.csr_array(sp.diags_array(np.linspace(0, 1, int(np.prod(shape)))))
    hierarchy, n = kind.prepare(A), A.shape[0]
    V = np.random.default_rng(12).standard_normal((n, 6))
    B = hierarchy.precondition(torch.from_numpy(V)).numpy()
    gram = V.T @ B
    np.testing.assert_allclose(gram, gram.T, atol=1e-5 * np.abs(gram).max())
    assert np.linalg.eigvalsh((gram + gram.T) / 2).min() > 0
    weights = np.arange(1.0, 7.0)
    combined = hierarchy.precondition(torch.from_numpy((V @ weights)[:, None])).numpy()[:, 0]
    np.testing.assert_allclose(combined, B @ weights, atol=1e-5 * np.abs(combined).max())


def test_indefiniteness_is_proven_by_negative_curvature(kind):
    A = grid(60, 60, shift=-0.05)
    assert sl.eigsh(A, 1, which="SA", return_eigenvectors=False)[0] < 0
    b = np.random.default_rng(14).standard_normal((A.shape[0], 1))
    correction = kind.prepare(A).correct(torch.from_numpy(b), torch.tensor([1e-8]))
    _, failure = correction.advance(500)
    assert failure is Status.NOT_POSITIVE_DEFINITE
    p = correction.negative_curvature.numpy()
    assert p @ (A @ p) < 0


def test_singular_consistent_systems(kind):
    A = grid(*kind.shape, closed=True)
    b = A @ np.random.default_rng(15).standard_normal((A.shape[0], 1))
    x, _ = solve(kind.prepare(A), A, b)
    assert relative_residual(A, x, b) <= 1e-8


def test_a_nonpositive_diagonal_is_refused(kind):
    A = grid(5, 5).tolil()
    A[7, 7] = 0.0
    with pytest.raises(InvalidSystemError, match="7"):
        kind.prepare(sp.csr_array(A))


def test_pickles_and_reports_its_levels(kind):
    A = grid(*kind.shape)
    hierarchy = kind.prepare(A)
    again = pickle.loads(pickle.dumps(hierarchy))
    b = torch.ones((A.shape[0], 1), dtype=torch.float64)
    assert torch.equal(hierarchy.precondition(b), again.precondition(b))
    levels = hierarchy.levels
    assert levels[0].n == A.shape[0] and levels[0].edges == A.nnz - A.shape[0]
    assert all(coarse.n < fine.n for fine, coarse in pairwise(levels))
    assert 0 < hierarchy.nbytes < 200 * A.nnz
    assert f"{levels[1].n} variables" in repr(hierarchy)
