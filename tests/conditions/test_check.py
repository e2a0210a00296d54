"""`check`: every field of the report, known counterexamples, and predictions against observed sweeps."""

import json
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from pyamg.gallery import load_example

import gabp
from gabp import conditions
from gabp.conditions import ConvergenceReport, Verdict
from gabp.conditions.host_edges import HostEdges
from gabp.conditions.non_backtracking import NonBacktracking, real_radius
from gabp.conditions.precision_messages import certify_precisions
from gabp.conditions.walk_sums import RadiusBounds
from gabp.solvers import Solver, recommended_method
from gabp.system import InvalidSystemError, make_system, read_matrix
from loopy_models import (
    MEANS_UP_TO,
    PRECISIONS_UP_TO,
    Flooding,
    chorded_square,
    grid,
    random_couplings,
    scaled_to_radius,
)

YES, NO, UNDECIDED = Verdict.YES, Verdict.NO, Verdict.UNDECIDED
check = partial(conditions.check, recommend=recommended_method)


def sweeps_needed(A: np.ndarray, b: np.ndarray) -> int:
    flooding, sweeps = Flooding(A, b, constant_start=False), 0
    while np.linalg.norm(b - A @ flooding.mean) > 1e-8 * np.linalg.norm(b):
        flooding.sweep()
        sweeps += 1
    return sweeps


def observed_rate(A: np.ndarray) -> float:
    """The reduction of the error per sweep, late in the iteration.

    With ``b = 0`` the mean is the error itself, which falls a hundred decades without meeting rounding.
    """
    rng = np.random.default_rng(0)
    flooding, errors = Flooding(A, np.zeros(len(A)), constant_start=False), [1.0]
    flooding.h = np.where(flooding.edges, rng.standard_normal(A.shape), 0.0)
    while errors[-1] > 1e-140 and len(errors) < 3_000:
        flooding.sweep()
        errors.append(float(np.linalg.norm(flooding.mean)))
    half = len(errors) // 2
    return float((errors[-1] / errors[half]) ** (1 / (len(errors) - 1 - half)))


def twenty_walk_summable_models() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    models = [grid(6, 7, 0.3).toarray(), grid(8).toarray(), chorded_square(0.37), chorded_square(0.37, flipped=True)]
    for radius in (0.5, 0.8, 0.95, 0.99):
        for frustrated in (True, False):
            for degree in (3, 6):
                couplings = random_couplings(int(rng.integers(30, 70)), degree, rng, frustrated)
                scale = rng.uniform(0.5, 2.0, couplings.shape[0])
                models.append(scaled_to_radius(couplings, radius).toarray() * scale[:, None] * scale)
    return models


@pytest.mark.parametrize("index", range(20))
def test_predicted_rate_and_sweeps_agree_with_flooding(index: int) -> None:
    A = twenty_walk_summable_models()[index]
    report = check(A)
    assert report.walk_summable is YES and report.flooding_converges is YES
    assert report.mean_radius == pytest.approx(observed_rate(A), rel=0.05)
    assert report.mean_radius <= report.mean_radius_bound * (1 + 1e-9)
    needed = sweeps_needed(A, np.random.default_rng(index + 100).standard_normal(len(A)))
    assert needed / 1.5 <= report.expected_sweeps <= needed * 1.5


class TestCounterexamples:
    """Each false conjecture about convergence, with its counterexample."""

    def test_a_definite_model_on_one_cycle_may_diverge(self) -> None:
        A = np.full((3, 3), 0.7) + 0.3 * np.eye(3)
        np.testing.assert_allclose(np.linalg.eigvalsh(A), [0.3, 0.3, 2.4])
        report = check(A)
        assert report.positive_definite is YES
        assert report.precision_messages == "invalid"
        assert report.flooding_converges is NO

    def test_jacobi_radius_is_no_criterion(self) -> None:
        converges, fails = check(chorded_square(0.395, flipped=True)), check(chorded_square(0.4, flipped=True))
        assert converges.jacobi_radius < 1 and fails.jacobi_radius < 1
        assert (converges.flooding_converges, fails.flooding_converges) == (YES, NO)

    def test_bipartite_graphs_oscillate_without_a_shift(self) -> None:
        report = check(np.array([[1.0, 0.5], [0.5, 1.0]]))
        assert report.walk_radius[0] <= 0.5 <= report.walk_radius[1]
        assert report.walk_radius[1] - report.walk_radius[0] < 1e-12

    def test_walk_summability_is_not_necessary(self) -> None:
        report = check(chorded_square(0.395, flipped=True))
        assert report.walk_summable is NO and report.scaling is None
        assert report.walk_radius[0] == pytest.approx(1.0118, abs=1e-4)
        assert report.mean_radius == pytest.approx(0.8791, abs=1e-4)
        assert report.mean_radius_bound == pytest.approx(1.073, abs=1e-3)
        assert report.precision_messages == "converged"
        assert report.flooding_converges is YES  # by the powers of M: the cheap bound is above 1

    def test_a_cavity_may_become_nonpositive_late(self) -> None:
        assert check(chorded_square(0.40, flipped=True)).precision_messages == "invalid"

    def test_threshold_of_the_precision_messages(self) -> None:
        assert pytest.approx(0.39867849, abs=5e-9) == PRECISIONS_UP_TO
        below, above = (check(chorded_square(PRECISIONS_UP_TO + gap, flipped=True)) for gap in (-1e-6, 1e-6))
        assert (below.precision_messages, above.precision_messages) == ("converged", "invalid")

    def test_threshold_of_the_means(self) -> None:
        below, above = (check(chorded_square(MEANS_UP_TO + gap, flipped=True)) for gap in (-1e-6, 1e-6))
        assert below.mean_radius < 1 < above.mean_radius
        assert (below.flooding_converges, above.flooding_converges) == (YES, NO)
        assert below.precision_messages == above.precision_messages == "converged"
        assert above.expected_sweeps is None

    def test_branches_of_trees_do_not_perturb_the_spectrum(self) -> None:
        """Long Jordan chains of eigenvalue 0 would show up as large spurious eigenvalues."""
        cycle = chorded_square(0.2)
        branch = grid(1, 80, shift=-2 + 0.3).toarray()
        A = sp.block_diag([cycle, branch]).toarray()
        A[3, 4] = A[4, 3] = 0.2
        alone = check(cycle).mean_radius
        assert check(A).mean_radius == pytest.approx(alone, rel=0.05)


class TestDefiniteness:
    def test_a_model_may_be_definite_and_not_walk_summable(self) -> None:
        assert check(chorded_square(0.49, flipped=True)).positive_definite is YES

    def test_both_verdicts_on_either_side_of_singular(self) -> None:
        assert check(chorded_square(0.5 - 1e-8, flipped=True)).positive_definite is YES
        assert check(chorded_square(0.5 + 1e-8, flipped=True)).positive_definite is NO
        assert check(chorded_square(0.5, flipped=True)).positive_definite in (NO, UNDECIDED)

    def test_singular_laplacian_is_no_precision(self) -> None:
        A = grid(12)
        A = sp.csr_array(A - sp.diags_array(A.sum(axis=1)))
        assert check(A).positive_definite is NO
        signs = np.where(np.arange(144) % 3 == 0, -1.0, 1.0)
        flipped = sp.csr_array(sp.diags_array(signs) @ A @ sp.diags_array(signs))
        assert check(flipped).positive_definite is NO

    @pytest.mark.parametrize("n", [40, 1_500])
    def test_frustrated_random_models(self, n: int) -> None:
        couplings = random_couplings(n, 6, np.random.default_rng(n))
        smallest = np.linalg.eigvalsh(couplings.toarray())[0]
        for gap, verdict in [(1e-6, YES), (-1e-6, NO)]:
            A = sp.eye_array(n) * (1 + gap) - couplings / smallest
            assert check(A).positive_definite is verdict

    def test_definiteness_is_invariant_to_scaling(self) -> None:
        scale = 10.0 ** np.random.default_rng(0).uniform(-8, 8, 4)
        assert check(chorded_square(0.45, flipped=True) * scale[:, None] * scale).positive_definite is YES
        assert check(chorded_square(0.55, flipped=True) * scale[:, None] * scale).positive_definite is NO


class TestDominance:
    def test_equality_is_not_strict_dominance(self) -> None:
        assert check(grid(4)).diagonally_dominant is NO
        assert check(grid(4, shift=2.0**-40)).diagonally_dominant is YES

    def test_rounding_does_not_decide(self) -> None:
        """0.1 + 0.2 < 0.3 + 2⁻⁵⁴ in real numbers of these floats, whatever their rounded sum says."""
        A = np.array([[0.1 + 0.2, 0.1, 0.2], [0.1, 1.0, 0.0], [0.2, 0.0, 1.0]])
        assert check(A).diagonally_dominant is YES
        A[0, 0] = 0.3
        assert check(A).diagonally_dominant is NO

    def test_overflowing_row_sums_do_not_decide(self) -> None:
        huge = 2.0**1023
        A = np.array([[huge * 1.5, -huge, huge], [-huge, huge * 1.9, 0.0], [huge, 0.0, huge * 1.9]])
        assert check(A).diagonally_dominant is NO
        A[0, 1:] = A[1:, 0] = huge / 2
        assert check(A).diagonally_dominant is YES
        edge = np.full((2, 2), np.finfo(float).max)
        edge[0, 1] = edge[1, 0] = np.nextafter(edge[0, 0], 0)
        assert check(edge).diagonally_dominant is YES
        assert check(np.full((2, 2), edge[0, 0])).diagonally_dominant is NO

    def test_subnormal_entries(self) -> None:
        tiny = 5e-324
        assert check(np.array([[2 * tiny, tiny], [tiny, 2 * tiny]])).diagonally_dominant is YES
        assert check(np.array([[tiny, tiny], [tiny, 2 * tiny]])).diagonally_dominant is NO


class TestForests:
    def test_forest(self) -> None:
        report = check(grid(1, 30, shift=-1.9))
        assert report.is_forest and report.components == 1
        assert (report.walk_summable, report.positive_definite) == (YES, YES)
        assert report.mean_radius == report.mean_radius_bound == 0.0
        assert report.recommended_method == "tree"
        assert 1 <= report.expected_sweeps <= 30

    def test_indefinite_forest(self) -> None:
        report = check(np.array([[1.0, -2, 3], [-2, 1, 0], [3, 0, 1]]))
        assert (report.positive_definite, report.walk_summable, report.flooding_converges) == (NO, NO, NO)
        assert report.recommended_method == "tree"

    def test_no_edges(self) -> None:
        report = check(np.diag([1.0, 2.0, 3.0]))
        assert report.walk_radius == (0.0, 0.0)
        assert report.components == 3 and report.is_forest
        assert report.flooding_converges is YES
        assert report.precision_messages == "converged"

    def test_one_unknown(self) -> None:
        assert check(np.array([[2.0]])).positive_definite is YES
        assert check(np.array([[-2.0]])).positive_definite is NO


class TestRecommendation:
    @pytest.mark.parametrize(
        "A",
        [
            grid(1, 30),
            grid(9),
            grid(300),
            scaled_to_radius(random_couplings(4_000, 6, np.random.default_rng(0)), 0.9),
            -grid(5),
            sp.csr_array(np.array([[2.0, 0.5], [0.1, -2.0]])),
            sp.eye_array(30_000, format="csr") * 3 + sp.eye_array(30_000, k=1) - sp.eye_array(30_000, k=29_000),
        ],
        ids=["path", "grid", "large grid", "random", "negative", "nonsymmetric", "large nonsymmetric"],
    )
    def test_recommendation_is_the_choice_of_auto(self, A: sp.csr_array) -> None:
        report = check(A)
        assert report.recommended_method == Solver(A, symmetric=report.symmetric).method

    def test_an_indefinite_model_is_recommended_elimination(self) -> None:
        A = scaled_to_radius(random_couplings(4_000, 6, np.random.default_rng(0), frustrated=False), 1.2)
        assert check(A).positive_definite is NO
        assert Solver(A).method == "hierarchy"
        assert check(A).recommended_method == "elimination"

    def test_no_recommendation_without_a_chooser(self) -> None:
        report = conditions.check(grid(3))
        assert report.recommended_method is None
        assert "recommended method   -" in repr(report)


class TestReportedNotRaised:
    def test_nonsymmetric(self) -> None:
        A = np.array([[2.0, 0.5, 0.0], [0.1, 2.0, 0.3], [0.2, 0.0, 2.0]])
        report = check(A)
        assert not report.symmetric
        assert report.positive_definite is UNDECIDED
        assert report.walk_summable is YES and report.flooding_converges is YES
        assert report.recommended_method == "elimination"
        assert "not symmetric: A[" in repr(report)

    def test_nonsymmetric_and_large(self) -> None:
        rng = np.random.default_rng(0)
        A = sp.eye_array(600) + 0.1 * sp.random_array((600, 600), density=0.005, rng=rng)
        report = check(A)
        assert report.walk_summable is YES
        assert report.jacobi_radius <= report.walk_radius[1]

    def test_report_of_a_nonsymmetric_matrix_is_invariant_to_the_signs_of_rows(self) -> None:
        rng = np.random.default_rng(3)
        A = np.diag(np.full(30, 3.0)) + np.where(rng.random((30, 30)) < 0.2, rng.uniform(-0.4, 0.4, (30, 30)), 0.0)
        plain, signed = check(A), check(rng.choice([-1.0, 1.0], 30)[:, None] * A)
        assert plain.positive_diagonal and not signed.positive_diagonal
        assert (signed.walk_summable, signed.flooding_converges) == (YES, YES)
        assert signed.walk_radius == plain.walk_radius
        assert signed.expected_sweeps == plain.expected_sweeps

    @pytest.mark.parametrize("seed", range(20))
    def test_verdict_on_a_nonsymmetric_matrix_agrees_with_flooding(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        A = np.where(rng.random((8, 8)) < 0.4, rng.normal(size=(8, 8)), 0.0) * rng.uniform(0.2, 1.2)
        np.fill_diagonal(A, rng.choice([-1.0, 1.0], 8))
        report = check(A)
        solution = gabp.solve(A, np.ones(8), symmetric=False, method="flooding", throw=False, maxiter=5000)
        assert report.flooding_converges is not (NO if solution.converged else YES)

    def test_zero_diagonal_of_a_nonsymmetric_matrix(self) -> None:
        report = check(np.array([[0.0, 1.0], [2.0, 3.0]]))
        assert report.walk_radius is None
        assert "A[0, 0] = 0 is zero" in repr(report)

    @pytest.mark.parametrize("entry", [0.0, -1.0])
    def test_nonpositive_diagonal(self, entry: float) -> None:
        A = chorded_square(0.3)
        A[2, 2] = entry
        report = check(A)
        assert not report.positive_diagonal
        assert (report.positive_definite, report.walk_summable, report.flooding_converges) == (NO, NO, NO)
        assert report.walk_radius is None and report.precision_messages is None
        assert "A[2, 2]" in repr(report)

    def test_indefinite(self) -> None:
        report = check(chorded_square(0.8))
        assert report.positive_definite is NO
        assert "not the precision of a Gaussian" in repr(report)


class TestRaised:
    @pytest.mark.parametrize(
        "A",
        [np.ones((2, 3)), np.zeros((0, 0)), np.array([[1.0, np.nan], [np.nan, 1.0]]), np.eye(2) * (1 + 1j)],
        ids=["rectangular", "empty", "nan", "complex"],
    )
    def test_no_real_finite_square_matrix(self, A: np.ndarray) -> None:
        with pytest.raises(InvalidSystemError):
            check(A)

    def test_no_matrix(self) -> None:
        with pytest.raises(TypeError):
            check("matrix")


class TestReport:
    def test_every_field_is_json(self) -> None:
        for A in (grid(4), chorded_square(0.4, flipped=True), -np.eye(2)):
            report = check(A)
            plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
            assert set(plain) == {entry.name for entry in fields(ConvergenceReport)}
            assert plain["walk_summable"] in ("yes", "no", "undecided")

    def test_repr_is_one_block(self) -> None:
        text = repr(check(grid(4)))
        assert text.startswith("ConvergenceReport\n")
        assert "walk-summable        yes  (" in text

    def test_scaling_is_of_the_array_library_of_the_matrix(self) -> None:
        A = chorded_square(0.3)
        assert isinstance(check(A).scaling, np.ndarray)
        assert isinstance(check(torch.from_numpy(A)).scaling, torch.Tensor)

    def test_report_is_deterministic(self) -> None:
        A = scaled_to_radius(random_couplings(500, 4, np.random.default_rng(0)), 0.97)
        assert check(A).to_dict() == check(A).to_dict()

    def test_float32_is_certified_as_stored(self) -> None:
        A = chorded_square(0.3, flipped=True).astype(np.float32)
        report = check(A)
        assert report.walk_summable is YES
        assert report.jacobi_radius == pytest.approx(0.6, rel=1e-6)


@pytest.mark.parametrize("name", ["airfoil", "bar", "knot", "unit_square"])
def test_bounds_of_finite_element_meshes_enclose_the_radius(name: str) -> None:
    A = sp.csr_array(load_example(name)["A"].astype(np.float64))
    report = check(A)
    lower, upper = report.walk_radius
    scale = 1 / np.sqrt(A.diagonal())
    coupling = abs(sp.diags_array(scale) @ A @ sp.diags_array(scale))
    radius = sp.linalg.eigsh(coupling, 1, which="LA", v0=np.ones(report.n), return_eigenvectors=False)[0] - 1
    assert lower <= radius * (1 + 1e-9) and radius * (1 - 1e-9) <= upper
    assert report.walk_summable is (YES if radius < 1 else NO)


def test_mean_radius_of_a_large_grid() -> None:
    report = check(grid(90))
    assert report.walk_summable is YES and report.positive_definite is YES
    jacobi = np.cos(np.pi / 91)
    # a square grid is regular but for its boundary: ρ(M) is close to the uniform graph's 1 - 2(1 - ρ(R))
    assert 1 - report.mean_radius == pytest.approx(2 * (1 - jacobi), rel=0.1)
    assert report.mean_radius <= report.mean_radius_bound < 1


def test_real_radius_from_a_node_vector() -> None:
    """The Ihara–Bass form finds ρ(M) of an attractive model without a Krylov basis of edge vectors."""
    edges = HostEdges.of(make_system(read_matrix(grid(30))))
    bounds = RadiusBounds(edges)
    bounds.decide()
    bounds.tighten(solves=2)
    precisions = certify_precisions(edges, bounds.scaling)
    operator = NonBacktracking(edges, precisions.cavity)
    radius = real_radius(operator, precisions.belief, bounds.lower_certificate)
    assert radius == pytest.approx(operator.radius(), rel=1e-4)
    assert radius <= operator.radius() * (1 + 1e-9)


def rescaled(A: sp.csr_array, decades: float, seed: int) -> sp.csr_array:
    """``S A S`` with random ``S`` over so many decades."""
    d = 10.0 ** np.random.default_rng(seed).uniform(-decades, decades, A.shape[0])
    scaled = sp.csr_array(sp.diags_array(d) @ A @ sp.diags_array(d))
    return sp.csr_array((scaled + scaled.T) / 2)


@pytest.mark.parametrize("decades", [4, 6, 150])
@pytest.mark.parametrize("seed", range(4))
def test_verdicts_are_invariant_to_the_scaling_of_variables(decades: float, seed: int) -> None:
    A = grid(6)
    plain, scaled = check(A), check(rescaled(A, decades, seed))
    for name in ("positive_definite", "walk_summable", "precision_messages", "flooding_converges"):
        assert getattr(scaled, name) == getattr(plain, name), name
    assert scaled.mean_radius == pytest.approx(plain.mean_radius, rel=1e-9)
    assert scaled.expected_sweeps == pytest.approx(plain.expected_sweeps, rel=0.25)
    assert scaled.walk_radius == pytest.approx(plain.walk_radius, rel=1e-9)
    if decades < 100:  # beyond, products with the certificate overflow
        scaled_matrix = rescaled(A, decades, seed)
        diagonal = scaled_matrix.diagonal()
        row_sum = abs(scaled_matrix - sp.diags_array(diagonal)) @ scaled.scaling
        assert np.all(diagonal * scaled.scaling > row_sum)


@pytest.mark.parametrize("exponent", [-1000, -530, 516, 1000])
def test_report_is_invariant_to_powers_of_two(exponent: int) -> None:
    A = grid(6)
    plain, scaled = check(A).to_dict(), check(A * 2.0**exponent).to_dict()
    assert {**plain, "scaling": None} == {**scaled, "scaling": None}


@pytest.mark.parametrize("decades", [0, 1])
def test_a_laplacian_in_any_scaling_is_at_the_threshold(decades: int) -> None:
    """Its null vector of ones is scaled exactly by the powers of two of equilibration."""
    rng = np.random.default_rng(1)
    weight = 2.0 ** rng.integers(-5 * decades, 5 * decades + 1, 19)
    off = sp.diags_array([weight, weight], offsets=[-1, 1], shape=(20, 20))
    report = check(sp.diags_array(off @ np.ones(20)) - off)
    assert report.walk_summable is NO and report.positive_definite is NO
    assert report.walk_radius[0] == 1.0


def test_walk_summability_bounds_the_mean_radius_despite_rounding():
    """A network grounded at one node, with couplings over six decades."""
    random = np.random.default_rng(0)
    node = np.arange(1, 300)
    ends = np.concatenate([[node, (random.random(299) * node).astype(int)], random.integers(0, 300, (2, 60))], axis=1)
    ends = ends[:, ends[0] != ends[1]]
    W = sp.coo_array((10.0 ** random.uniform(-3, 3, ends.shape[1]), tuple(ends)), (300, 300))
    W = sp.csr_array(W + W.T)
    ground = np.zeros(300)
    ground[0] = 1e-3
    report = gabp.check(sp.diags_array(W.sum(axis=1) + ground) - W)
    assert report.walk_summable is gabp.Verdict.YES
    assert report.mean_radius <= report.mean_radius_bound <= 1
