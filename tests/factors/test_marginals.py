"""Covariances of variables against the dense inverse of the information matrix, and what has none."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gabp
from factor_models import MANIFOLDS, dense_system, normal, pose_graph
from gabp import InvalidSystemError
from gabp.factors import SE2, Between, Euclidean, Landmark, Prior

every_manifold = pytest.mark.parametrize("manifold", MANIFOLDS.values(), ids=MANIFOLDS.keys())


def dense_blocks(graph, result):
    """The dense covariance at an estimate, 0 for held variables, as a function of two variables."""
    values = result.estimate
    A, _ = dense_system(graph, values)
    held = np.concatenate([np.repeat(h, s.manifold.dimension) for s, h in zip(graph.sets, result.fixed, strict=True)])
    covariance = np.zeros_like(A)
    covariance[np.ix_(~held, ~held)] = np.linalg.inv(A[np.ix_(~held, ~held)])
    first = np.cumsum([0, *(s.count * s.manifold.dimension for s in graph.sets)])

    def block(x, i, y, j):
        rows, columns = (
            first[s.position] + k * s.manifold.dimension + np.arange(s.manifold.dimension) for s, k in ((x, i), (y, j))
        )
        return covariance[np.ix_(rows, columns)]

    return block


def dense_joint(block, x, i, y, j):
    return np.block([[block(x, i, x, i), block(x, i, y, j)], [block(y, j, x, i), block(y, j, y, j)]])


def close(actual, expected):
    actual, expected = np.asarray(actual), np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9 * max(np.abs(expected).max(), 1e-300))


def landmark_graph():
    """Poses of the plane and points that they see: variables of two sizes, one of each held."""
    graph, x, truth = pose_graph(SE2)
    points = graph.variables(Euclidean(2), normal(3, 2, seed=7))
    p, q = torch.arange(8).repeat(3), torch.arange(3).repeat_interleave(8)
    seen = SE2.observe(truth[p], points.initial[q]) + 0.01 * normal(24, 2, seed=3)
    some = [0, 1, 2, 9, 10, 20, 21]
    graph.add(Landmark, (x, points), (p[some], q[some]), seen[some], 100.0)
    graph.hold(x, 3)
    return graph, x, points


@every_manifold
def test_covariances_are_the_blocks_of_the_dense_inverse(manifold):
    graph, x, _ = pose_graph(manifold)
    result = graph.optimize()
    covariance, block = graph.marginals(result).covariance(x), dense_blocks(graph, result)
    assert covariance.shape == (8, manifold.dimension, manifold.dimension)
    for i in range(8):
        close(covariance[i], block(x, i, x, i))


@every_manifold
def test_joints_on_the_pattern_and_off_it(manifold):
    graph, x, _ = pose_graph(manifold, loss=gabp.losses.Huber(0.5))
    result = graph.optimize()
    marginals, block = graph.marginals(result), dense_blocks(graph, result)
    for i, j in [(0, 1), (1, 0), (0, 3), (5, 2), (4, 4)]:
        close(marginals.joint(x, i, x, j), dense_joint(block, x, i, x, j))


def test_sets_of_two_sizes_and_held_variables():
    graph, x, points = landmark_graph()
    result = graph.optimize()
    marginals, block = graph.marginals(result), dense_blocks(graph, result)
    for s in (x, points):
        close(marginals.covariance(s), np.stack([block(s, i, s, i) for i in range(s.count)]))
    for i in range(8):
        for j in range(3):
            close(marginals.joint(x, i, points, j), dense_joint(block, x, i, points, j))
            close(marginals.joint(points, j, x, i), dense_joint(block, points, j, x, i))
    assert not marginals.covariance(x)[3].any()
    assert repr(marginals) == "GraphMarginals of 10 variables and 1 held ones, covariances exact"


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=9), st.sets(st.integers(0, 3)), st.booleans())
def test_any_connections_and_any_held_variables(pairs, held, robust):
    """Poses 0 to 3 and points 4 to 6, a weak prior on each, and factors between whichever pairs."""
    graph = gabp.FactorGraph()
    x = graph.variables(SE2, normal(4, 3, seed=1))
    y = graph.variables(Euclidean(2), normal(3, 2, seed=2))
    graph.add(Prior, x, range(4), normal(4, 3, seed=3), 0.5)
    graph.add(Prior, y, range(3), normal(3, 2, seed=4), 0.25)
    loss = gabp.losses.Cauchy(1.0) if robust else None
    for k, (i, j) in enumerate(pairs):
        if i < 4 and j < 4 and i != j:
            graph.add(Between, (x, x), ([i], [j]), normal(1, 3, seed=10 + k), 2.0, loss=loss)
        elif i < 4 <= j:
            graph.add(Landmark, (x, y), ([i], [j - 4]), normal(1, 2, seed=10 + k), 3.0, loss=loss)
    graph.hold(x, sorted(held))
    result = graph.optimize(maxiter=3, throw=False)  # the covariances are about any values
    marginals, block = graph.marginals(result), dense_blocks(graph, result)
    place = [(x, k) for k in range(4)] + [(y, k) for k in range(3)]
    for s, i in place:
        for t, j in place:
            close(marginals.joint(s, i, t, j), dense_joint(block, s, i, t, j))


def test_many_pairs_at_once_are_the_single_ones():
    graph, x, points = landmark_graph()
    marginals = graph.marginals(graph.optimize())
    i, j = np.arange(24) % 8, np.arange(24) % 3
    joints = marginals.joint(x, i, points, j)
    for k in range(24):
        close(joints[k], marginals.joint(x, int(i[k]), points, int(j[k])))


def test_more_pairs_than_are_solved_for_together():
    count = 90
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(2), np.zeros((count, 2)))
    graph.add(Prior, x, [0], np.zeros((1, 2)), 1.0)
    k = np.arange(count - 1)
    graph.add(Between, (x, x), (k, k + 1), np.zeros((count - 1, 2)), 1.0)
    i = np.arange(count)
    joints = graph.marginals(graph.optimize()).joint(x, i, x, i[::-1])
    nearer = 1.0 + np.minimum(i, i[::-1])  # a random walk: the covariance is the variance of what is shared
    close(joints[:, :2, 2:], nearer[:, None, None] * np.eye(2))


def test_the_covariance_is_in_the_tangent_space_and_predicts_the_scatter_of_estimates():
    """To first order the error of the estimate is K times that of the measurements, found by differences."""
    built, _, truth = pose_graph(SE2, count=5, noise=0.0)
    between, prior = built.factors
    graph = gabp.FactorGraph()
    x = graph.variables(SE2, truth)
    graph.add(Prior, x, [0], prior.measurement, 1e12)

    def estimate(error):
        z = SE2.retract(between.measurement, error.view(-1, 3))
        batch = graph.add(Between, (x, x), tuple(between.index.T), z, between.information)
        result = graph.optimize("gauss-newton")
        covariance = graph.marginals(result).covariance(x)
        graph.remove(batch)
        return SE2.local(truth, result.values(x))[3], covariance[3]

    step = 1e-4
    errors = step * torch.eye(3 * len(between), dtype=torch.float64)
    K = torch.stack([(estimate(e)[0] - estimate(-e)[0]) / (2 * step) for e in errors], 1)
    scatter = K @ torch.block_diag(*torch.linalg.inv(between.information)) @ K.T
    covariance = estimate(torch.zeros(len(errors), dtype=torch.float64))[1]
    np.testing.assert_allclose(covariance, scatter, rtol=0, atol=1e-5 * float(scatter.abs().max()))


def test_an_outlier_under_a_robust_loss_adds_no_certainty():
    def variance(extra):
        graph = gabp.FactorGraph()
        x = graph.variables(Euclidean(1), [[0.0]])
        graph.add(Prior, x, [0, 0], [[0.0], [0.1]], 1.0)
        if extra:
            graph.add(Prior, x, [0], [[1e6]], 1.0, loss=gabp.losses.GemanMcClure(1.0))
        return float(graph.marginals(graph.optimize()).covariance(x)[0, 0, 0])

    assert variance(False) == pytest.approx(0.5)
    assert variance(True) == pytest.approx(0.5, rel=1e-6)


def test_the_bethe_approximation_on_a_forest_is_exact_and_labelled_so():
    graph = gabp.FactorGraph()
    x = graph.variables(SE2, np.zeros((4, 3)))
    points = graph.variables(Euclidean(2), np.ones((2, 2)))
    graph.add(Prior, x, [0], np.zeros((1, 3)), 10.0)
    graph.add(Between, (x, x), ([0, 1, 1], [1, 2, 3]), [[1.0, 0.0, 0.1]] * 3, [4.0, 5.0, 6.0])
    graph.add(Landmark, (x, points), ([2, 3], [0, 1]), [[1.0, 2.0], [0.5, 0.5]], 3.0)
    result = graph.optimize()
    exact, bethe = graph.marginals(result), graph.marginals(result, variance="bethe")
    assert (exact.variance_kind, bethe.variance_kind) == ("exact", "exact")
    for s in (x, points):
        close(bethe.covariance(s), exact.covariance(s))
    close(bethe.joint(x, 2, points, 0), exact.joint(x, 2, points, 0))
    close(bethe.joint(x, [0, 3, 1], x, [1, 1, 1]), exact.joint(x, [0, 3, 1], x, [1, 1, 1]))
    with pytest.raises(InvalidSystemError, match="variables that share a factor"):
        bethe.joint(x, 0, x, 3)


def test_the_bethe_approximation_on_a_loop_understates_the_variance():
    graph, x, _ = pose_graph(SE2)
    result = graph.optimize()
    exact, bethe = graph.marginals(result), graph.marginals(result, "bethe")
    assert bethe.variance_kind == "bethe"
    share = np.trace(bethe.covariance(x), axis1=1, axis2=2) / np.trace(exact.covariance(x), axis1=1, axis2=2)
    assert (share < 1).all() and (share > 0.3).all()


def test_the_bethe_pair_belief_by_hand():
    """A triangle of scalars: the fixed point of the three coupled messages, iterated apart from the library."""
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), np.zeros((3, 1)))
    graph.add(Prior, x, [0, 1, 2], np.zeros((3, 1)), 1.0)
    graph.add(Between, (x, x), ([0, 1, 2], [1, 2, 0]), np.zeros((3, 1)), 1.0)
    message = 0.0
    for _ in range(100):
        message = -1 / (3 + message)  # every node has precision 3 and couplings -1
    bethe = graph.marginals(graph.optimize(), "bethe")
    pair = np.array([[3 + message, -1], [-1, 3 + message]])
    close(bethe.joint(x, 0, x, 1), np.linalg.inv(pair))


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_covariances_come_back_as_the_values_were_given(library, dtype):
    values = np.zeros((2, 1), dtype=dtype)
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), torch.from_numpy(values) if library == "torch" else values)
    graph.add(Prior, x, [0, 1], np.ones((2, 1)), [2.0])
    marginals = graph.marginals(graph.optimize())
    for back in (marginals.covariance(x), marginals.joint(x, 0, x, 1)):
        assert isinstance(back, torch.Tensor if library == "torch" else np.ndarray)
        assert str(back.dtype).removeprefix("torch.") == dtype
    close(marginals.covariance(x).ravel(), [0.5, 0.5])


def test_all_variables_held():
    graph, x, _ = pose_graph(SE2)
    graph.hold(x, np.arange(8))
    for kind in ("exact", "bethe"):
        marginals = graph.marginals(graph.optimize(), kind)
        assert not marginals.covariance(x).any() and marginals.joint(x, 0, x, 1).shape == (6, 6)


def test_a_held_gauge_has_no_uncertainty():
    graph, x, _ = pose_graph(SE2, anchored=False)
    covariance = graph.marginals(graph.optimize(gauge="hold")).covariance(x)
    assert not covariance[0].any() and (np.linalg.eigvalsh(covariance[1:]) > 0).all()


@pytest.mark.parametrize("kind", ["exact", "bethe"])
def test_a_free_gauge_is_named(kind):
    graph, _, _ = pose_graph(SE2, anchored=False)
    for result in (graph.optimize(gauge="free"), graph.optimize(throw=False)):
        with pytest.raises(InvalidSystemError, match=r"8 variables that variable 0 of set 0 \(SE2\) is in"):
            graph.marginals(result, kind)


@pytest.mark.parametrize("information", [[1.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]])
def test_a_direction_without_information_is_named(information):
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(2), np.zeros((3, 2)))
    graph.add(Prior, x, [0, 1], np.zeros((2, 2)), 1.0)
    graph.add(Prior, x, [2], np.zeros((1, 2)), information)
    with pytest.raises(InvalidSystemError, match=r"direction undetermined.*variable 2 of set 0"):
        graph.marginals(graph.optimize(throw=False))


def test_results_and_handles_that_are_refused():
    graph, x, _ = pose_graph(SE2)
    other, y, _ = pose_graph(SE2)
    result = graph.optimize()
    with pytest.raises(InvalidSystemError, match="result is of another graph"):
        graph.marginals(other.optimize())
    with pytest.raises(TypeError, match="not dict"):
        graph.marginals({})
    with pytest.raises(InvalidSystemError, match="variance must be one of 'exact', 'bethe'"):
        graph.marginals(result, "corrected")
    marginals = graph.marginals(result)
    with pytest.raises(InvalidSystemError, match="set of another graph"):
        marginals.covariance(y)
    with pytest.raises(TypeError, match="handle must be"):
        marginals.covariance("x")
    with pytest.raises(InvalidSystemError, match=r"i of pair 0 is 8, outside 0…7"):
        marginals.joint(x, 8, x, 0)
    with pytest.raises(InvalidSystemError, match=r"j of pair 1 is -1, outside 0…7"):
        marginals.joint(x, [0, 1], x, [0, -1])
    with pytest.raises(InvalidSystemError, match="different lengths: 2 and 1"):
        marginals.joint(x, [0, 1], x, 0)
    graph.variables(Euclidean(1), [[0.0]])
    with pytest.raises(InvalidSystemError, match="variables were added since"):
        graph.marginals(result)
