"""The status of hard systems: converged, as accurate as float64 allows, or singular with a certificate."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import gabp
from gabp.conditions import Curvature, curvature_certificate
from gabp.solvers.hierarchy import CompiledHierarchy
from gabp.solvers.refinement import is_at_rounding
from gabp.solvers.solution import Status
from gabp.system import make_system, read_matrix


def path(n, slack=0.0):
    degree = np.full(n, 2.0)
    degree[[0, -1]] = 1.0
    return sp.diags_array([-np.ones(n - 1), degree + slack, -np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()


def grid(size, slack=0.0):
    one, eye = path(size), sp.eye_array(size)
    return sp.csr_array(sp.kron(one, eye) + sp.kron(eye, one) + slack * sp.eye_array(size**2))


def system(A):
    return make_system(read_matrix(sp.csr_array(A)), True)


def random_units(n, decades):
    return 10.0 ** np.random.default_rng(0).uniform(-decades, decades, n)


def trilinear_bricks(size, coupling):
    """A 27-point stencil in space whose nodes are vectors, coupled by a small matrix: eighty neighbours in a row."""
    mass = sp.diags_array([np.full(size - 1, 1.0), np.full(size, 4.0), np.full(size - 1, 1.0)], offsets=[-1, 0, 1]) / 6
    line = path(size, 1e-2)
    stencil = (
        sp.kron(sp.kron(line, mass), mass) + sp.kron(sp.kron(mass, line), mass) + sp.kron(sp.kron(mass, mass), line)
    )
    return sp.csr_array(sp.kron(stencil, coupling))


class TestCurvatureCertificate:
    @pytest.mark.parametrize("decades", [0, 6, 100])
    @pytest.mark.parametrize(
        "matrix, curvature",
        [
            (path(30, 1e-8), Curvature.POSITIVE),
            (path(30), Curvature.ZERO),
            (path(30, -1e-8), Curvature.NEGATIVE),
        ],
        ids=["definite", "singular", "indefinite"],
    )
    def test_is_the_same_in_all_units(self, decades, matrix, curvature):
        unit = np.exp2(np.round(np.log2(random_units(30, decades))))  # exact
        A = sp.diags_array(unit) @ matrix @ sp.diags_array(unit)
        assert curvature_certificate(system(A), torch.from_numpy(1 / unit)) is curvature

    @pytest.mark.parametrize("seed", range(8))
    def test_curvature_at_rounding_level_is_zero_whatever_its_sign(self, seed):
        unit = 10.0 ** np.random.default_rng(seed).uniform(-3, 3, 30)
        A = sp.diags_array(unit) @ path(30) @ sp.diags_array(unit)
        assert curvature_certificate(system(A), torch.from_numpy(1 / unit)) is Curvature.ZERO

    def test_a_direction_of_plain_curvature_proves_nothing(self):
        direction = torch.arange(30.0, dtype=torch.float64)
        assert curvature_certificate(system(path(30)), direction) is Curvature.POSITIVE

    @pytest.mark.parametrize("n", [60, 3_000])
    def test_a_singular_matrix_is_reported(self, n):
        solution = gabp.solve(path(n), np.ones(n), method="hierarchy", throw=False)
        assert solution.status is Status.SINGULAR


class TestRounding:
    def test_small_parts_are_not_solved_when_large_ones_are(self):
        """A backward error in norms cannot see the second part at all."""
        A = system(sp.block_diag([grid(5, 1e-6) * 1e-8, grid(5, 1e-6) * 1e8]))
        b = torch.from_numpy(np.random.default_rng(1).standard_normal((50, 1)))
        exact = torch.linalg.solve(torch.from_numpy(matrix_of(A)), b)
        half = torch.where(torch.arange(50)[:, None] < 25, exact, 0.0)
        assert is_at_rounding(A, exact, b, A.residual(exact, b))
        assert not is_at_rounding(A, half, b, A.residual(half, b))

    def test_parts_of_unlike_scale_are_all_solved(self):
        A = sp.csr_array(sp.block_diag([grid(40, 1e-8) * 10.0**e for e in (-8, -4, 0, 4, 8)]))
        b = np.random.default_rng(2).standard_normal(A.shape[0])
        for method in ("auto", "hierarchy"):
            solution = gabp.solve(A, b, method=method, throw=False)
            residual = np.linalg.norm(b - A @ solution.x)
            assert solution.converged == (residual <= 1e-8 * np.linalg.norm(b))
            assert solution.converged or method == "hierarchy"

    @pytest.mark.parametrize("method", ["elimination", "hierarchy", "tree"])
    def test_the_answer_is_no_worse_than_the_rounded_solution(self, method):
        """At a tolerance of 0 only the rounding of x itself is left, not that of the residuals."""
        n = 40
        A = path(n, 2.0**-20)
        b = np.random.default_rng(3).standard_normal(n)
        solution = gabp.solve(A, b, method=method, rtol=0.0, throw=False)
        assert solution.status is Status.STAGNATED
        rounded = np.array([float(value) for value in exact_tridiagonal(A, b)])
        assert solution.residual_norm <= np.linalg.norm(b - A @ rounded) * (1 + 1e-12)


def matrix_of(A):
    dense = np.diag(A.diagonal.numpy())
    dense[A.graph.destination.numpy(), A.graph.source.numpy()] = A.weight.numpy()
    return dense


def exact_tridiagonal(A, b):
    """The solution in rational arithmetic."""
    diagonal = [Fraction(value) for value in A.diagonal().tolist()]
    right = [Fraction(value) for value in b.tolist()]
    for i in range(1, len(right)):
        factor = Fraction(float(A[i, i - 1])) / diagonal[i - 1]
        diagonal[i] -= factor * Fraction(float(A[i - 1, i]))
        right[i] -= factor * right[i - 1]
    x = [Fraction(0)] * len(right)
    for i in reversed(range(len(right))):
        later = Fraction(float(A[i, i + 1])) * x[i + 1] if i + 1 < len(right) else 0
        x[i] = (right[i] - later) / diagonal[i]
    return x


class TestHierarchy:
    def test_the_residual_may_rise_for_long_before_it_falls(self):
        """Hundreds of iterations lower the energy of the error, and not once the norm of the residual."""
        A = grid(80, 1e-5) @ grid(80, 1e-5)
        unit = sp.diags_array(random_units(6400, 2))
        A = system(unit @ A @ unit)
        b = torch.from_numpy(np.random.default_rng(0).standard_normal((6400, 1)))
        correction = CompiledHierarchy(A).correct(b, 1e-8 * b.norm(dim=0))
        assert correction.advance(600) == (600, None)
        assert A.residual(correction.estimate(), b).norm() > b.norm()

    def test_meshes_of_high_degree_are_aggregated(self):
        A = trilinear_bricks(11, np.array([[2.0, 0.3, 0.1], [0.3, 2.0, 0.2], [0.1, 0.2, 2.0]]))
        hierarchy = CompiledHierarchy(system(A))
        assert len(hierarchy.levels) >= 3
        b = np.random.default_rng(4).standard_normal(A.shape[0])
        assert gabp.solve(A, b, method="hierarchy").iterations <= 40

    def test_entries_over_the_whole_range_of_float64(self):
        """No single unit would do: the smallest parts would vanish, or the largest overflow."""
        A = sp.csr_array(sp.block_diag([grid(60, 1e-2) * scale for scale in (1e-290, 1.0, 1e290)]))
        for part, scale in enumerate((1e-290, 1.0, 1e290)):
            b = np.zeros(A.shape[0])
            b[3600 * part : 3600 * (part + 1)] = scale * np.random.default_rng(part).standard_normal(3600)
            solution = gabp.solve(A, b, method="hierarchy", throw=False)
            assert np.linalg.norm((b - A @ solution.x) / scale) <= 1e-8 * np.linalg.norm(b / scale)
            assert solution.converged
