"""Walk-summability: the bounds enclose ρ(|R|), the scaling is a certificate, and no verdict is false."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
import torch

import gabp
from gabp.conditions import Verdict, certify
from gabp.conditions.host_edges import HostEdges
from gabp.conditions.walk_sums import RadiusBounds
from gabp.system import System, make_system, read_matrix
from loopy_models import WALK_SUMMABLE_UP_TO, chorded_square, grid, random_couplings, scaled_to_radius


def system_of(A: object, symmetric: bool = True) -> System:
    return make_system(read_matrix(A), symmetric)


def comparison_is_definite(A: np.ndarray) -> bool:
    """Whether ``D - |O|`` is positive definite, by elimination in extended precision.

    In the widest floats of the machine where that is certain: the pivots are those of a matrix whose entries differ by
    less than ``4 n² eps sqrt(A_ii A_jj)`` (Demmel 1989), so a shift of the diagonal by as much must not matter.
    """
    comparison = (2 * np.diag(np.diag(A)) - np.abs(A)).astype(np.longdouble)
    error = np.diag(np.diag(comparison)) * (4 * len(A) ** 2 * np.finfo(np.longdouble).eps)
    if pivots_are_positive(comparison - error):
        return True
    return pivots_are_positive(comparison + error) and comparison_is_definite_to_sixty_digits(A)


def comparison_is_definite_to_sixty_digits(A: np.ndarray) -> bool:
    comparison = 2 * np.diag(np.diag(A)) - np.abs(A)
    with mpmath.workdps(60):
        return pivots_are_positive(np.array([[mpmath.mpf(float(entry)) for entry in row] for row in comparison]))


def pivots_are_positive(M: np.ndarray) -> bool:
    M = M.copy()
    for k in range(len(M)):
        if M[k, k] <= 0:
            return False
        column = M[k + 1 :, k] / M[k, k]
        M[k + 1 :, k + 1 :] -= column[:, None] * M[k, k + 1 :][None, :]
    return True


def near_threshold_models(count: int, seed: int) -> Iterator[np.ndarray]:
    """Random models, attractive and frustrated, mostly within 1e-9 of the threshold, with any diagonal."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        n = int(rng.integers(2, 61))
        couplings = random_couplings(n, int(rng.integers(2, 8)), rng, frustrated=index % 2 == 0)
        if couplings.nnz == 0:
            continue
        gap = 10.0 ** rng.uniform(-13, -1) if index % 3 else 10.0 ** rng.uniform(-10, -9)
        A = scaled_to_radius(couplings, 1 + rng.choice([-1, 1]) * gap).toarray()
        scale = 10.0 ** rng.uniform(-2, 2, n)
        A = A * scale[:, None] * scale[None, :]
        yield (A + A.T) / 2


def assert_no_false_verdict(A: np.ndarray) -> None:
    result = certify(system_of(A))
    scale = 1 / np.sqrt(np.diag(A))
    radius = np.linalg.eigvalsh(np.abs(A * scale[:, None] * scale[None, :]) - np.eye(len(A)))[-1]
    assert result.lower <= radius * (1 + 1e-14) and radius <= result.upper * (1 + 1e-14)
    if result.verdict is Verdict.UNDECIDED:
        assert abs(radius - 1) <= 1e-12
    else:
        assert (result.verdict is Verdict.YES) == comparison_is_definite(A)
    if result.verdict is Verdict.YES:
        d = result.scaling.numpy()
        assert (d > 0).all()
        assert ((2 * np.diag(np.diag(A)) - np.abs(A)) @ d > 0).all()


def test_no_false_verdict() -> None:
    for A in near_threshold_models(25, seed=0):
        assert_no_false_verdict(A)


def test_extended_precision_oracle_agrees_with_sixty_digits() -> None:
    for A in near_threshold_models(12, seed=2):
        assert comparison_is_definite(A) == comparison_is_definite_to_sixty_digits(A)


@pytest.mark.slow
def test_no_false_verdict_on_two_thousand_models() -> None:
    for A in near_threshold_models(2_000, seed=1):
        assert_no_false_verdict(A)


@pytest.mark.parametrize("flipped", [False, True])
def test_threshold_of_the_chorded_square_for_either_sign(flipped: bool) -> None:
    """Signs do not matter to walk-sums: the threshold is 2/(1 + √17) = 0.3903882 for both."""
    assert pytest.approx(0.3903882, abs=1e-7) == WALK_SUMMABLE_UP_TO
    for gap in (1e-6, 1e-9):
        assert certify(system_of(chorded_square(WALK_SUMMABLE_UP_TO - gap, flipped))).verdict is Verdict.YES
        assert certify(system_of(chorded_square(WALK_SUMMABLE_UP_TO + gap, flipped))).verdict is Verdict.NO


def test_radius_within_rounding_of_one_is_undecided() -> None:
    """A radius of 1 - 2e-16 may be 1 + 2e-16: a margin is part of the proof."""
    A = np.array([[1.0, 1 - 2**-53], [1 - 2**-53, 1.0]])
    assert certify(system_of(A)).verdict is Verdict.UNDECIDED


def test_laplacian_is_at_the_threshold_exactly() -> None:
    """ρ(|R|) = 1 for a graph Laplacian, even beside a harmless component and with odd weights."""
    rng = np.random.default_rng(0)
    W = np.triu(rng.integers(1, 9, (12, 12)) * 2.0**-20, 1)
    W = W + W.T
    laplacian = np.diag(W.sum(axis=1)) - W
    result = certify(system_of(sp.block_diag([laplacian, chorded_square(0.2)])))
    assert result.verdict is Verdict.NO
    assert result.lower == 1.0


def test_scaling_and_not_the_eigenvector_is_the_certificate() -> None:
    """The proof is d = D^-½ x; x alone proves nothing once the diagonal varies."""
    rng = np.random.default_rng(3)
    scale = 10.0 ** rng.uniform(-3, 3, 900)
    A = sp.csr_array(sp.diags_array(scale) @ grid(30) @ sp.diags_array(scale))
    result = certify(system_of(A))
    assert result.verdict is Verdict.YES
    d = result.scaling.numpy()
    assert (2 * A.diagonal() * d - abs(A) @ d > 0).all()
    x = d * np.sqrt(A.diagonal())
    assert not (2 * A.diagonal() * x - abs(A) @ x > 0).all()


def test_bounds_of_several_bipartite_components_and_isolated_nodes() -> None:
    blocks = [grid(9, 11, 0.01), np.eye(3), 5 * grid(1, 400, shift=-2.0), np.array([[2.0]])]
    A = sp.csr_array(sp.block_diag(blocks))
    result = certify(system_of(A), tightening=3)
    radius = 1 - (2 - 2 * np.cos(np.pi / 401)) / 2  # of the long path
    assert result.verdict is Verdict.YES
    assert result.lower <= radius <= result.upper < 1
    assert result.lower == pytest.approx(radius, rel=1e-6)


def test_diagonal_matrix_has_radius_zero() -> None:
    assert certify(system_of(np.diag([1.0, 1e-200, 1e200])))[:3] == (Verdict.YES, 0.0, 0.0)


def test_certificate_survives_extreme_scales() -> None:
    A = chorded_square(0.35) * 1e250
    assert certify(system_of(A)).verdict is Verdict.YES
    scale = np.array([1e-120, 1.0, 1e120, 1.0])
    assert certify(system_of(chorded_square(0.35) * scale[:, None] * scale)).verdict is Verdict.YES


def test_bounds_of_a_large_grid_by_conjugate_gradients() -> None:
    result = certify(system_of(grid(60)), tightening=2)
    radius = np.cos(np.pi / 61)
    assert result.verdict is Verdict.YES
    assert result.lower <= radius <= result.upper
    assert result.upper - result.lower < 0.02 * (1 - radius)


def test_frustrated_random_graph_on_either_side_of_the_threshold() -> None:
    couplings = random_couplings(5_000, 6, np.random.default_rng(0))
    largest = sp.linalg.eigsh(abs(couplings), 1, which="LA", v0=np.ones(5_000), return_eigenvectors=False)[0]
    for radius, verdict in [(1.002, Verdict.NO), (0.998, Verdict.YES)]:
        A = sp.eye_array(5_000) + couplings * (radius / largest)
        result = certify(system_of(A), tightening=1)
        assert result.verdict is verdict
        assert result.lower <= radius * (1 + 1e-12) and radius * (1 - 1e-12) <= result.upper


def test_an_m_matrix_solver_saves_products_and_a_faulty_one_does_no_harm() -> None:
    """Verdicts do not depend on the correctness of the inner solver."""
    system = system_of(grid(1, 2_000, shift=-2.0))  # a path, on which conjugate gradients are slow

    def exact(comparison: System) -> Callable[[torch.Tensor], Iterable[torch.Tensor]]:
        dense = comparison.multiply(torch.eye(comparison.n, dtype=torch.float64))
        return lambda b: [torch.linalg.solve(dense, b)]

    def broken(comparison: System) -> Callable[[torch.Tensor], Iterable[torch.Tensor]]:
        return lambda b: [-b, b * torch.nan, b]

    by_solver, alone = RadiusBounds(HostEdges.of(system), exact), RadiusBounds(HostEdges.of(system))
    by_solver.decide()
    alone.decide()
    assert by_solver.verdict is alone.verdict is Verdict.YES
    assert by_solver.products < alone.products
    assert certify(system, broken).verdict is Verdict.YES
    assert certify(system_of(grid(25) - 0.05 * sp.eye_array(625)), broken).verdict is Verdict.NO


def test_nonsymmetric_matrix_is_certified_by_row_quotients() -> None:
    A = np.array([[1.0, 4.0, 0.0], [0.1, 1.0, 0.2], [0.0, 0.5, 1.0]])
    radius = np.abs(np.linalg.eigvals(A - np.eye(3))).max()
    result = certify(system_of(A, symmetric=False))
    assert result.verdict is Verdict.YES
    assert result.lower <= radius * (1 + 1e-14) and radius <= result.upper * (1 + 1e-14)
    A[0, 1] = 12.0
    assert certify(system_of(A, symmetric=False)).verdict is Verdict.NO


@pytest.mark.parametrize("seed", range(20))
def test_the_bounds_of_a_general_matrix_hold_in_exact_arithmetic(seed):
    """A circulant's ρ(D⁻¹|O|) is its row sum over its diagonal: the Perron vector is constant."""
    n, rng = 7, np.random.default_rng(seed)
    near, far, diagonal = rng.uniform(0.1, 1.0, 3)
    first = np.zeros(n)
    first[[0, 1, 3]] = diagonal, -near, far
    A = np.stack([np.roll(first, i) for i in range(n)])
    exact = (Fraction(near) + Fraction(far)) / Fraction(diagonal)
    lower, upper = gabp.check(A).walk_radius
    assert Fraction(lower) <= exact <= Fraction(upper)
    assert upper - lower <= 1e-12 * upper
