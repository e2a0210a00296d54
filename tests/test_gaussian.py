"""The Gaussian object: densities, conditioning, input kinds, pickling."""

import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.stats import multivariate_normal

import cases
import gabp

CASE = cases.BY_NAME["random_sparse"]
DENSE = CASE.A.toarray()
INVERSE = np.linalg.inv(DENSE)


@pytest.fixture
def model():
    return gabp.Gaussian(CASE.A, CASE.b)


def test_mean_and_density(model):
    np.testing.assert_allclose(model.mean(), INVERSE @ CASE.b, rtol=1e-7, atol=1e-9)
    points = np.random.default_rng(0).standard_normal((4, CASE.n))
    expected = multivariate_normal(INVERSE @ CASE.b, INVERSE).logpdf(points)
    np.testing.assert_allclose(model.log_prob(points), expected, rtol=1e-10)
    assert model.log_prob(points[2]) == pytest.approx(expected[2], rel=1e-10)


def test_the_normalizer_normalizes(model):
    x = np.random.default_rng(1).standard_normal(CASE.n)
    unnormalised = -0.5 * x @ DENSE @ x + CASE.b @ x
    assert model.log_prob(x) == pytest.approx(unnormalised - model.log_normalizer(), rel=1e-12)


def test_the_evidence_of_data_is_a_quotient_of_densities(model):
    """``p(y) = p(x) p(y | x) / p(x | y)`` for any x."""
    rng = np.random.default_rng(2)
    seen, noise = rng.choice(CASE.n, 20, replace=False), 0.3
    y, x = rng.standard_normal(20), rng.standard_normal(CASE.n)
    loading = np.zeros(CASE.n)
    loading[seen] = 1 / noise
    pull = np.zeros(CASE.n)
    pull[seen] = y / noise
    posterior = gabp.Gaussian(CASE.A + sp.diags_array(loading), CASE.b + pull)
    likelihood = -0.5 * np.sum((y - x[seen]) ** 2 / noise + np.log(2 * np.pi * noise))
    evidence = model.log_prob(x) + likelihood - posterior.log_prob(x)
    covariance = INVERSE[np.ix_(seen, seen)] + noise * np.eye(20)
    assert evidence == pytest.approx(multivariate_normal((INVERSE @ CASE.b)[seen], covariance).logpdf(y), rel=1e-9)


def test_conditioning(model):
    known, values = np.array([7, 2, 50]), np.array([0.5, -1.0, 2.0])
    rest = np.setdiff1d(np.arange(CASE.n), known)
    conditioned = model.condition(known, values)
    mean = INVERSE @ CASE.b
    gain = INVERSE[np.ix_(rest, known)] @ np.linalg.inv(INVERSE[np.ix_(known, known)])
    np.testing.assert_allclose(conditioned.mean(), mean[rest] + gain @ (values - mean[known]), rtol=1e-6, atol=1e-9)
    covariance = INVERSE[np.ix_(rest, rest)] - gain @ INVERSE[np.ix_(known, rest)]
    np.testing.assert_allclose(conditioned.variances("exact"), np.diag(covariance), rtol=1e-10)


@pytest.mark.parametrize("indices", [[], [0, 0], [-1], [CASE.n], list(range(CASE.n))])
def test_invalid_indices(model, indices):
    with pytest.raises(gabp.InvalidSystemError, match="indices"):
        model.condition(indices, np.ones(len(indices)))


@pytest.mark.parametrize("pairs", [[0, 1], [[0, CASE.n]], [[-1, 0]], [[0.5, 1.0]]])
def test_invalid_pairs(model, pairs):
    with pytest.raises(gabp.InvalidSystemError, match="pairs"):
        model.covariances(pairs)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_results_have_the_array_library_and_dtype_of_b(dtype):
    b = CASE.b.astype(dtype)
    for given, kind in [(b, np.ndarray), (torch.from_numpy(b), torch.Tensor)]:
        model = gabp.Gaussian(CASE.A, given)
        marginals = model.marginals("corrected", probes=4, seed=0)
        for result in (
            *(marginals.mean, marginals.variance, marginals.variance_stderr),
            *(model.sample(2), model.covariances([[0, 1]]), model.variances(), model.log_prob(model.sample(3))),
        ):
            assert isinstance(result, kind)
            assert result.dtype == given.dtype
    assert isinstance(gabp.logdet(CASE.A), float)
    assert gabp.logdet(torch.eye(2)).shape == ()


def test_float32_matrices_are_factored_in_float64():
    A = CASE.A.astype(np.float32)
    assert gabp.logdet(A) == pytest.approx(np.linalg.slogdet(A.toarray().astype(float))[1], rel=1e-12)


def test_a_pickled_copy_gives_the_same_results(model):
    before = (model.mean(), model.variances("exact"), model.logdet(), model.sample(2, seed=1))
    copy = pickle.loads(pickle.dumps(model))
    after = (copy.mean(), copy.variances("exact"), copy.logdet(), copy.sample(2, seed=1))
    for ours, theirs in zip(before, after, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_concurrent_queries_agree(model):
    alone = gabp.Gaussian(CASE.A, CASE.b).variances("exact")
    with ThreadPoolExecutor(4) as pool:
        for variances in pool.map(lambda _: model.variances("exact"), range(8)):
            np.testing.assert_array_equal(variances, alone)


def test_results_are_bitwise_identical_for_any_number_of_threads():
    A = cases.laplacian(10_000, cases.grid_edges(100, 100), 0.01)
    one = gabp.Gaussian(A)
    single = (one.variances("exact"), one.logdet(), one.sample(9, seed=0))
    torch.set_num_threads(2)
    try:
        two = gabp.Gaussian(A)
        double = (two.variances("exact"), two.logdet(), two.sample(9, seed=0))
    finally:
        torch.set_num_threads(1)
    for ours, theirs in zip(single, double, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_later_changes_of_the_arguments_have_no_effect():
    A, b = CASE.A.copy(), CASE.b.copy()
    model = gabp.Gaussian(A, b)
    A.data[:] = np.nan
    b[:] = np.nan
    np.testing.assert_allclose(model.variances("exact"), np.diag(INVERSE), rtol=1e-9)
    np.testing.assert_allclose(model.mean(), INVERSE @ CASE.b, rtol=1e-7, atol=1e-9)


def test_invalid_models():
    with pytest.raises(gabp.InvalidSystemError, match="one potential vector"):
        gabp.Gaussian(np.eye(3), np.ones((3, 2)))
    with pytest.raises(gabp.InvalidSystemError, match="positive diagonal"):
        gabp.Gaussian(-np.eye(3))
    with pytest.raises(gabp.InvalidSystemError, match="not symmetric"):
        gabp.Gaussian(np.array([[2.0, 1.0], [0.0, 2.0]]))
    with pytest.raises(ValueError, match="kind"):
        gabp.logdet(np.eye(3), kind="guessed")
    with pytest.raises(TypeError, match="kind"):
        gabp.logdet(np.eye(3), kind=3)


def test_the_repr_has_size_and_kind(model):
    assert repr(model).startswith(f"Gaussian: {CASE.n} variables")
    assert "variances corrected" in repr(model.marginals("corrected", probes=4, seed=0))


def test_every_query_refuses_an_indefinite_matrix():
    """Its precision messages converge to positive values, but its least eigenvalue is -0.02."""
    A = np.eye(4) - 0.34 * (np.ones((4, 4)) - np.eye(4))
    model = gabp.Gaussian(A, np.ones(4))
    queries = [
        lambda: gabp.marginals(A, np.ones(4)),
        lambda: gabp.logdet(A, kind="bethe"),
        model.mean,
        model.variances,
        model.sample,
        lambda: model.covariances([[0, 1]]),
        lambda: model.condition([0], [1.0]),
    ]
    for query in queries:
        with pytest.raises(gabp.NotPositiveDefiniteError):
            query()


def test_a_dominant_model_is_not_factored():
    model = gabp.Gaussian(cases.laplacian(400, cases.grid_edges(20, 20), 0.1))
    model.marginals()
    assert "_factor" not in vars(model)


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**-990, 2.0**1000])
def test_bethe_quantities_in_extreme_units(unit):
    A, b = cases.laplacian(36, cases.grid_edges(6, 6), 0.1), np.ones(36)
    np.testing.assert_allclose(
        gabp.marginals(A * unit, b * unit).variance * unit, gabp.marginals(A, b).variance, rtol=1e-14
    )
    expected = gabp.logdet(A, kind="bethe") + 36 * np.log(unit)
    assert gabp.logdet(A * unit, kind="bethe") == pytest.approx(expected, rel=1e-14)


def test_an_unknown_kind_is_refused(model):
    for ask in (model.variances, model.marginals, model.logdet):
        with pytest.raises(gabp.InvalidSystemError, match="zz"):
            ask("zz")


def test_nodes_may_be_lists(model):
    assert model.covariances([]).shape == (0,)
    np.testing.assert_allclose(model.covariances([[3, 3], [0, 5]]), INVERSE[[3, 0], [3, 5]], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(
        model.condition([3], [1.0]).mean(), model.condition(np.array([3]), np.array([1.0])).mean()
    )


def test_arguments_of_the_wrong_kind(model):
    for ask, name in [
        (lambda: model.covariances(None), "pairs"),
        (lambda: model.covariances([["a", "b"]]), "pairs"),
        (lambda: model.condition(None, None), "indices"),
        (lambda: model.condition([3], None), "values"),
        (lambda: model.condition(np.ones(CASE.n, dtype=bool), np.ones(CASE.n)), "indices"),
        (lambda: model.log_prob([1.0] * CASE.n), "x"),
    ]:
        with pytest.raises(TypeError, match=name):
            ask()


def test_points_of_the_wrong_shape_are_reported_with_their_shape(model):
    with pytest.raises(gabp.InvalidSystemError, match=rf"\({CASE.n}, 2\)"):
        model.log_prob(np.ones((CASE.n, 2)))


def test_a_ragged_list_of_pairs(model):
    with pytest.raises(gabp.InvalidSystemError, match="pairs"):
        model.covariances([[0, 1], [2]])


METHODS = [name for name, _ in inspect.getmembers(gabp.Gaussian, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_documented(name):
    method = getattr(gabp.Gaussian, name)
    documentation = inspect.getdoc(method)
    for section in ("Returns", "Raises", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in documentation
    for parameter in inspect.signature(method).parameters:
        assert parameter == "self" or f"\n{parameter} : " in documentation
