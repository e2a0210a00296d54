"""Krylov methods on operators: conjugate gradients, BiCGSTAB and GMRES."""

import numpy as np
import pytest
import torch

from gabp.krylov import GMRES, BiCGSTAB, ConjugateGradients


def general(n, seed):
    A = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return A + torch.diag(1.1 * A.abs().sum(1))


def columns(n, k, seed):
    return torch.randn(n, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def symmetric(eigenvalues):
    n = len(eigenvalues)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    return (Q * eigenvalues) @ Q.T


@pytest.mark.parametrize("method", [BiCGSTAB, GMRES])
def test_columns_stop_on_their_own(method):
    """One column starts solved, one is hard; freezing the first must not disturb it."""
    A, r = general(40, 5), columns(40, 3, 1)
    r[:, 0] = 0.0
    target = torch.tensor([0.0, 1e-3, 1e-10])
    iteration = method(lambda x: A @ x, r, target, lambda x: x / A.diagonal()[:, None])
    for _ in range(200):
        if not bool(iteration.active.any()):
            break
        iteration.iterate()
    residual = (r - A @ iteration.solution()).norm(dim=0)
    assert residual[0] == 0.0
    assert bool((residual[1:] <= 2 * target[1:]).all())


def test_bicgstab_survives_a_breakdown():
    """A rotation by 90 degrees: the first step length is 0 / 0."""
    A = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    iteration = BiCGSTAB(lambda x: A @ x, torch.ones(2, 1, dtype=torch.float64), torch.tensor([1e-9]), lambda x: x)
    for _ in range(20):
        iteration.iterate()
    assert bool(torch.isfinite(iteration.solution()).all())


class TestGMRES:
    def test_the_residual_is_the_smallest_over_the_krylov_space(self):
        A, r = columns(30, 30, 2), columns(30, 2, 3)
        iteration = GMRES(lambda x: A @ x, r, torch.zeros(2), lambda x: 0.5 * x)
        for size in range(1, 8):
            iteration.iterate()
            for k in range(2):
                powers = [r[:, k] / r[:, k].norm()]
                for _ in range(size - 1):
                    powers.append(A @ powers[-1] / (A @ powers[-1]).norm())
                space = torch.linalg.qr(torch.stack(powers, 1))[0].numpy()
                b = r[:, k].numpy()
                least = b - A.numpy() @ space @ np.linalg.lstsq(A.numpy() @ space, b)[0]
                norm = float(iteration.residual_norms[k])
                assert norm == pytest.approx(np.linalg.norm(least), rel=1e-6)
            true = (r - A @ iteration.solution()).norm(dim=0)
            torch.testing.assert_close(iteration.residual_norms, true, rtol=1e-9, atol=0.0)

    def test_restarts(self):
        A, r = general(60, 4), columns(60, 1, 5)
        iteration = GMRES(lambda x: A @ x, r, torch.zeros(1), lambda x: x)
        for _ in range(45):
            iteration.iterate()
        true = (r - A @ iteration.solution()).norm(dim=0)
        torch.testing.assert_close(iteration.residual_norms, true, rtol=1e-6, atol=1e-12 * float(r.norm()))

    @pytest.mark.parametrize("eigenvalues", [[1.0, 2.0, 3.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    def test_a_complete_basis_leaves_the_least_residual(self, eigenvalues):
        """Singular, inconsistent systems too; and iterations beyond change nothing."""
        A, r = torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)), torch.ones(4, 1, dtype=torch.float64)
        iteration = GMRES(lambda x: A @ x, r, torch.zeros(1), lambda x: x)
        for _ in range(90):
            iteration.iterate()
        least = torch.tensor([eigenvalues.count(0.0) ** 0.5], dtype=torch.float64)
        torch.testing.assert_close(iteration.residual_norms, least)
        torch.testing.assert_close((r - A @ iteration.solution()).norm(dim=0), least)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("preconditioned", [False, True])
class TestConjugateGradients:
    @staticmethod
    def start(A, r, target, library, preconditioned):
        A, r = library(A), library(r)
        inverse = A.diagonal()[:, None]
        return ConjugateGradients(lambda p: A @ p, r, target, (lambda z: z / inverse) if preconditioned else None)

    def test_solves_every_column(self, library, preconditioned):
        A, r = symmetric(np.geomspace(1, 10, 50)), np.random.default_rng(1).standard_normal((50, 3))
        r[:, 1] = 0.0
        iteration = self.start(A, r, 1e-9, library, preconditioned)
        iterations = 0
        while not iteration.converged:
            iteration.iterate()
            iterations += 1
        x = np.asarray(iteration.solution)
        np.testing.assert_array_equal(x[:, 1], 0.0)
        np.testing.assert_allclose(x, np.linalg.solve(A, r), atol=1e-9)
        assert iterations <= 40

    def test_the_iterates_are_the_least_in_energy(self, library, preconditioned):
        """Over the Krylov space, as those of the definition."""
        A, b = symmetric(np.geomspace(1, 100, 12)), np.random.default_rng(2).standard_normal((12, 1))
        iteration = self.start(A, b, 0.0, library, preconditioned)
        P = np.diag(1 / np.diag(A)) if preconditioned else np.eye(12)
        space = P @ b
        for _ in range(6):
            iteration.iterate()
            basis = np.linalg.qr(space)[0]
            x = basis @ np.linalg.solve(basis.T @ A @ basis, basis.T @ b)
            np.testing.assert_allclose(np.asarray(iteration.solution), x, rtol=1e-8)
            space = np.hstack([basis, P @ A @ basis[:, -1:]])

    def test_negative_curvature_ends_the_iteration(self, library, preconditioned):
        A = symmetric(np.linspace(-1, 9, 30))
        iteration = self.start(A, np.random.default_rng(3).standard_normal((30, 2)), 1e-12, library, preconditioned)
        for _ in range(60):
            iteration.iterate()
        p = np.asarray(iteration.negative_curvature)
        assert p @ A @ p < 0
        before = np.asarray(iteration.solution).copy()
        iteration.iterate()
        np.testing.assert_array_equal(np.asarray(iteration.solution), before)
