"""Graduated non-convexity: the optimum of the inliers under gross outliers, its weights, and what is refused."""

import math
import pickle

import numpy as np
import pytest
import torch

import gabp
from factor_models import add_outliers, generator, normal, pose_graph, tour
from gabp import OptimizationStatus as Status
from gabp.factors import SE2, SE3, Between, Euclidean, GraduatedNonConvexity, Prior, Range
from gabp.factors.losses import Truncated


def distance(x, one, other):
    return float(x.manifold.local(one.estimate[0], other.estimate[0]).abs().max())


@pytest.mark.parametrize("init", ["spanning-tree", "chordal"])
@pytest.mark.parametrize("surrogate", ["truncated", "geman-mcclure"])
@pytest.mark.parametrize("manifold", [SE2, SE3], ids=["SE2", "SE3"])
def test_three_loop_closures_in_ten_are_wrong(manifold, surrogate, init):
    graph, x, steps, loops = tour(manifold)
    true = graph.optimize(rtol=1e-12)
    wrong = add_outliers(graph, x, loops, 0.3)
    assert distance(x, graph.optimize(throw=False), true) > 0.5  # least squares fails
    robust = GraduatedNonConvexity(surrogate, inliers=steps)
    result = graph.optimize("gauss-newton", init=init, robust=robust)
    assert result.converged
    assert result.weights(wrong).max() < 0.05
    assert (result.weights(loops) > 0.2).all()
    np.testing.assert_array_equal(result.weights(steps), 1.0)
    assert distance(x, result, true) < (1e-5 if surrogate == "truncated" else 0.05)


def test_the_objective_is_that_of_the_truncated_loss():
    graph, x, steps, loops = tour(SE2)
    true = graph.optimize(rtol=1e-12)
    wrong = add_outliers(graph, x, loops, 0.3)
    result = graph.optimize("gauss-newton", init="chordal", robust=GraduatedNonConvexity(inliers=steps))
    limit = 11.344867  # of χ² with three degrees of freedom at 0.99, from a table
    assert result.objective == pytest.approx(true.objective + 0.5 * limit * len(wrong), rel=1e-6)
    graph.remove(wrong)
    assert graph.objective(result) == pytest.approx(true.objective, rel=1e-9)


@pytest.mark.parametrize("how", ["odometry", "mask", "list"])
def test_the_ways_to_name_inliers(how):
    graph, x, steps, loops = tour(SE2)
    wrong = add_outliers(graph, x, loops, 0.3)
    inliers = {"odometry": how, "mask": {steps: True, loops: np.arange(len(loops)) % 2 == 0}, "list": [steps, loops]}
    result = graph.optimize(
        "gauss-newton", init="chordal", robust=GraduatedNonConvexity(inliers=inliers[how]), throw=False
    )
    assert result.weights(wrong).max() == 0 and result.weights(loops).min() == 1


def test_odometry_goes_by_the_labels():
    """Two robots, numbered 0 1 2 and 10 11 12: from 2 to 10 is no odometry."""
    graph = gabp.FactorGraph(gauge="hold")
    x = graph.variables(SE2, np.zeros((6, 3)), labels=[0, 1, 2, 10, 11, 12])
    z = np.tile([1.0, 0.0, 0.0], (5, 1))
    between = graph.add(Between, (x, x), (np.arange(5), np.arange(1, 6)), z, 100.0)
    wrong = graph.add(Between, (x, x), ([2, 2], [3, 3]), [[9.0, 0, 0], [1.0, 0, 0]], 100.0)
    result = graph.optimize(init="chordal", robust=GraduatedNonConvexity(inliers="odometry"))
    np.testing.assert_array_equal(result.weights(between), 1.0)
    np.testing.assert_array_equal(result.weights(wrong), [0.0, 1.0])


def test_without_outliers_it_is_least_squares():
    graph, *_ = pose_graph(SE3)
    plain, robust = graph.optimize(), graph.optimize(robust="gnc")
    assert robust.objective == pytest.approx(plain.objective, rel=1e-8)
    for batch in graph.factors:
        np.testing.assert_array_equal(robust.weights(batch), 1.0)


def test_outliers_among_ranges():
    """No pose graph: a position from distances to known places, three of ten wrong."""
    places = 3 * normal(10, 2, seed=3)
    truth = torch.tensor([0.4, -0.3]).double()
    graph = gabp.FactorGraph()
    known, x = graph.variables(Euclidean(2), places), graph.variables(Euclidean(2), np.zeros((1, 2)))
    graph.hold(known, range(10))
    distance = torch.linalg.vector_norm(places - truth, dim=1)
    distance[[2, 5, 7]] += torch.tensor([3.0, 4.0, 2.0]).double()
    ranges = graph.add(Range, (known, x), (range(10), [0] * 10), distance, 1e4)
    result = graph.optimize(robust="gnc")
    np.testing.assert_allclose(result.values(x), truth[None], atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(result.weights(ranges) < 0.5), [2, 5, 7])


def test_a_callback_sees_all_iterations_and_stops_them():
    graph, x, steps, loops = tour(SE2, side=4)
    add_outliers(graph, x, loops, 0.3)
    seen = []
    robust = GraduatedNonConvexity(inliers=steps)
    result = graph.optimize(robust=robust, callback=lambda progress: seen.append(progress.iteration), throw=False)
    assert seen == list(range(1, result.iterations + 1))
    stopped = graph.optimize(robust=robust, callback=lambda progress: progress.iteration == 7)
    assert stopped.status is Status.STOPPED_BY_CALLBACK and stopped.iterations == 7


def test_what_only_outliers_determine_is_named():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), np.zeros((2, 1)))
    graph.add(Prior, x, [0, 0, 1, 1], [[0.0], [0.0], [0.0], [100.0]], 1e4)
    result = graph.optimize(robust="gnc", throw=False)
    assert not result.converged
    assert "variable 1 of set 0" in result.detail


def test_weights_of_losses_and_of_none():
    graph, x, _ = pose_graph(SE2, loss=gabp.losses.Huber(0.1))
    between, prior = graph.factors
    result = graph.optimize()
    s = between.squared_residuals(result.estimate)
    np.testing.assert_array_equal(result.weights(between), between.loss.weight(s).numpy())
    np.testing.assert_array_equal(result.weights(prior), [1.0])
    with pytest.raises(TypeError, match="must be what `add` returned"):
        result.weights(x)
    with pytest.raises(gabp.InvalidSystemError, match="no set of the graph"):
        result.weights(pose_graph(SE2)[0].factors[0])


def test_weights_of_factors_added_later_are_refused():
    graph, x, _ = pose_graph(SE2)
    result = pickle.loads(pickle.dumps(graph.optimize(robust="gnc")))
    with pytest.raises(gabp.InvalidSystemError, match="was not in the graph that was optimised"):
        result.weights(graph.add(Prior, x, [0], np.zeros((1, 3)), 1.0))


@pytest.mark.parametrize("control", [1e-3, 0.5, 1.0, 30.0, math.inf])
def test_surrogates_are_continuous_and_their_weight_is_the_slope(control):
    loss = Truncated(2.0, control)
    s = torch.sort(40 * torch.rand(400, dtype=torch.float64, generator=generator(1)))[0]
    step = 1e-7
    slope = (loss.rho(s + step) - loss.rho(s)) / step
    torch.testing.assert_close(slope, loss.weight(s), rtol=0, atol=1e-5)
    assert float(loss.rho(s).max()) <= 4.0 + 1e-12
    assert bool((loss.rho(s) >= s.clamp(max=4.0) * (1 - 1e-12)).all()) or control < math.inf


def graph_with_loss():
    return pose_graph(SE2, loss=gabp.losses.Huber(1.0))[0]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda graph: "ransac", gabp.InvalidSystemError, "there is no robust='ransac'; choose 'gnc'"),
        (lambda graph: 3, TypeError, "robust must be 'gnc' or a gabp.factors.GraduatedNonConvexity"),
        (lambda graph: GraduatedNonConvexity("huber"), gabp.InvalidSystemError, "there is no surrogate 'huber'"),
        (lambda graph: GraduatedNonConvexity(probability=1.0), gabp.InvalidSystemError, "between 0 and 1"),
        (lambda graph: GraduatedNonConvexity(growth=1.0), gabp.InvalidSystemError, "growth must be"),
        (lambda graph: GraduatedNonConvexity(inliers="loops"), gabp.InvalidSystemError, "choose 'odometry'"),
        (lambda graph: GraduatedNonConvexity(inliers=[3]), TypeError, "inliers must be what `add` returned, not int"),
        (
            lambda graph: GraduatedNonConvexity(inliers=graph_with_loss().factors),
            gabp.InvalidSystemError,
            "is not in the graph",
        ),
        (
            lambda graph: GraduatedNonConvexity(inliers={graph.factors[0]: [True, False]}),
            gabp.InvalidSystemError,
            r"must be a bool array of shape \(10,\)",
        ),
        (lambda graph: "gnc", gabp.InvalidSystemError, r"loss of its own for Factors\(Between .* without Huber"),
    ],
)
def test_what_is_refused(make, error, message):
    graph = graph_with_loss()
    with pytest.raises(error, match=message):
        graph.optimize(robust=make(graph))
