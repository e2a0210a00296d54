"""``optimize(method="gbp")``: exact on trees, the optimum of Gauss–Newton on loops, and messages kept between calls."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gabp
from factor_models import MANIFOLDS, dense_system, noisy_loop, normal, pose_graph
from gabp import InvalidSystemError
from gabp import OptimizationStatus as Status
from gabp.factors import SE2, SE3, BearingRange, Between, Euclidean, Landmark, Linear, Prior, Range
from gabp.factors.belief_propagation import SCHEDULES

every_manifold = pytest.mark.parametrize("manifold", MANIFOLDS.values(), ids=MANIFOLDS.keys())
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def optimize(graph, **options):
    return graph.optimize("gbp", **{"maxiter": 2000, "rtol": 1e-14, **options})


def linear_graph(i, j, count, *, prior=1.0, dimension=2, seed=0):
    """Noisy differences between vectors, with a weak prior on each."""
    rng = np.random.default_rng(seed)
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(dimension), rng.normal(size=(count, dimension)))
    root = rng.normal(size=(len(i), dimension, dimension))
    graph.add(Between, (x, x), (i, j), rng.normal(size=(len(i), dimension)), root @ root.mT + np.eye(dimension))
    graph.add(Prior, x, np.arange(count), rng.normal(size=(count, dimension)), prior)
    return graph, x


def dense_posterior(graph, x):
    """Means (N, d) and marginal covariances (N, d, d) of a linear graph."""
    A, g = dense_system(graph, [x.initial])
    d = x.manifold.dimension
    inverse = np.linalg.inv(A)
    mean = x.initial.numpy() - (inverse @ g).reshape(-1, d)
    return mean, np.stack([inverse[k : k + d, k : k + d] for k in range(0, len(A), d)])


# Linear graphs


def test_a_chain_is_exact_after_as_many_sweeps_as_it_is_long():
    count = 12
    graph, x = linear_graph(np.arange(count - 1), np.arange(1, count), count)
    mean, covariance = dense_posterior(graph, x)
    result = optimize(graph, damping=0.0, maxiter=count, throw=False)
    np.testing.assert_allclose(result.values(x), mean, rtol=0, atol=1e-7)
    np.testing.assert_allclose(graph.beliefs.covariance(x), covariance, rtol=1e-7, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(parents=st.lists(st.integers(0, 100), min_size=1, max_size=12), schedule=st.sampled_from(sorted(SCHEDULES)))
def test_trees_have_exact_means_and_covariances(parents, schedule):
    child = np.arange(1, len(parents) + 1)
    graph, x = linear_graph(np.array(parents) % child, child, len(child) + 1)
    mean, covariance = dense_posterior(graph, x)
    result = optimize(graph, schedule=schedule, damping=0.0)
    np.testing.assert_allclose(result.values(x), mean, rtol=0, atol=1e-6)
    np.testing.assert_allclose(graph.beliefs.covariance(x), covariance, rtol=1e-7, atol=1e-9)
    assert result.iterations <= len(child) + 4


@every_schedule
def test_the_means_of_a_walk_summable_loopy_graph_are_exact(schedule):
    side = 6
    place = np.arange(side * side).reshape(side, side)
    i = np.concatenate([place[:, :-1].ravel(), place[:-1].ravel()])
    j = np.concatenate([place[:, 1:].ravel(), place[1:].ravel()])
    graph, x = linear_graph(i, j, side * side, dimension=1)
    mean, covariance = dense_posterior(graph, x)
    result = optimize(graph, schedule=schedule, rtol=1e-20)
    np.testing.assert_allclose(result.values(x), mean, rtol=0, atol=1e-9)
    bethe = graph.beliefs.covariance(x)
    assert (bethe < covariance * (1 + 1e-12)).all() and (bethe > 0.5 * covariance).all()


@every_schedule
def test_factors_on_three_variables(schedule):
    rng = np.random.default_rng(0)
    graph = gabp.FactorGraph()
    x, y = graph.variables(Euclidean(2), np.zeros((5, 2))), graph.variables(Euclidean(1), np.zeros((4, 1)))
    i = np.arange(4)
    graph.add(Linear, (x, y, x), (i, i, i + 1), rng.normal(size=(4, 2, 6)), 1.0)
    graph.add(Prior, x, [0, 1, 2, 3, 4], rng.normal(size=(5, 2)), 1.0)
    graph.add(Prior, y, i, rng.normal(size=(4, 1)), 1.0)
    A, g = dense_system(graph, [x.initial, y.initial])
    result = optimize(graph, schedule=schedule)
    together = np.concatenate([result.values(x).ravel(), result.values(y).ravel()])
    np.testing.assert_allclose(together, -np.linalg.solve(A, g), rtol=0, atol=1e-6)


# Nonlinear graphs


@every_schedule
@every_manifold
def test_loops_of_poses_reach_the_optimum_of_gauss_newton(manifold, schedule):
    graph, x, _ = pose_graph(manifold)
    expected = graph.optimize("gauss-newton", rtol=1e-14)
    result = optimize(graph, schedule=schedule)
    assert result.converged and result.method == "gbp"
    assert result.objective == pytest.approx(expected.objective, rel=1e-11)
    assert float(manifold.local(expected.values(x), result.values(x)).abs().max()) < 1e-6


@pytest.mark.parametrize("beta", [0.0, 1e-3, 10.0])
def test_the_optimum_does_not_depend_on_when_factors_are_linearized_anew(beta):
    graph, _x, _ = pose_graph(SE3, noise=0.2)
    assert optimize(graph, beta=beta).objective == pytest.approx(graph.optimize(rtol=1e-14).objective, rel=1e-11)


@every_schedule
@pytest.mark.parametrize("loss", [gabp.losses.Huber, gabp.losses.Cauchy, gabp.losses.GemanMcClure])
def test_robust_losses_ignore_a_false_loop_closure(schedule, loss):
    clean, x, truth = pose_graph(SE2)
    between, prior = clean.factors
    graph = gabp.FactorGraph()
    y = graph.variables(SE2, x.initial)
    measurement = between.measurement.clone()
    measurement[8] += torch.tensor([3.0, -2.0, 0.5])
    robust = graph.add(Between, (y, y), tuple(between.index.T), measurement, 10 * between.information, loss=loss(1.0))
    graph.add(Prior, y, [0], prior.measurement, prior.information)
    result = optimize(graph, schedule=schedule, rtol=1e-12)
    assert result.converged
    assert result.objective == pytest.approx(graph.optimize(rtol=1e-12).objective, rel=1e-10)
    graph.remove(robust)
    graph.add(Between, (y, y), tuple(between.index.T), measurement, 10 * between.information)
    error, plain = (float(SE2.local(truth, r.values(y)).abs().max()) for r in (result, graph.optimize()))
    assert error < 0.5 * plain


@every_schedule
def test_points_seen_from_poses(schedule):
    """Ranges have information in one direction of a point alone."""
    poses, start, i, j, measurement = noisy_loop(SE2)
    points = 2 * normal(3, 2, seed=7)
    graph = gabp.FactorGraph()
    x = graph.variables(SE2, start)
    landmarks = graph.variables(Euclidean(2), points + 0.1 * normal(3, 2, seed=8))
    graph.add(Between, (x, x), (i, j), measurement, [50.0, 50.0, 100.0])
    graph.add(Prior, x, [0], poses[:1], 1e3)
    p, q = torch.arange(8).repeat(3), torch.arange(3).repeat_interleave(8)
    seen = SE2.observe(poses[p], points[q])
    distance = torch.linalg.vector_norm(seen, dim=1)
    polar = torch.stack([torch.atan2(seen[:, 1], seen[:, 0]), distance], 1)
    graph.add(Landmark, (x, landmarks), (p[:2], q[:2]), seen[:2] + 0.01, 100.0)
    graph.add(BearingRange, (x, landmarks), (p[8:16], q[8:16]), polar[8:16] + 0.01, [100.0, 10.0])
    graph.add(Range, (x, landmarks), (p, q), distance + 0.01 * normal(24, seed=5), 10.0, loss=gabp.losses.Cauchy(1.0))
    expected = graph.optimize(rtol=1e-14)
    result = optimize(graph, schedule=schedule, rtol=1e-11)
    assert result.objective == pytest.approx(expected.objective, rel=1e-10)
    np.testing.assert_allclose(result.values(landmarks), expected.values(landmarks), rtol=0, atol=1e-5)


@every_schedule
def test_held_variables_keep_their_values(schedule):
    graph, x, _ = pose_graph(SE3, anchored=False)
    graph.hold(x, [2, 5])
    result = optimize(graph, schedule=schedule)
    torch.testing.assert_close(result.values(x)[[2, 5]], x.initial[[2, 5]], rtol=0, atol=0)
    assert result.objective == pytest.approx(graph.optimize(rtol=1e-14).objective, rel=1e-11)
    covariance = graph.beliefs.covariance(x)
    assert float(covariance[[2, 5]].abs().max()) == 0.0
    assert float(torch.linalg.eigvalsh(covariance[[0, 1]]).min()) > 0.0


def test_exact_measurements_are_met_to_rounding():
    truth, start, i, j, _ = noisy_loop(SE3)
    graph = gabp.FactorGraph()
    x = graph.variables(SE3, start)
    graph.add(Prior, x, range(8), truth, 1.0)
    graph.add(Between, (x, x), (i, j), SE3.relative(truth[i], truth[j]), 1.0)
    result = optimize(graph)
    assert result.converged and result.objective < 1e-22


# Messages that are kept


def chain_with_closures(count=40):
    """A chain of poses, with some loop closures and positions; one more closure is left to the caller."""
    truth, start, *_ = noisy_loop(SE2, count, noise=0.1)
    i, j = torch.tensor([*range(count - 1), 0, 7]), torch.tensor([*range(1, count), 12, 21])
    measurement = SE2.retract(SE2.relative(truth[i], truth[j]), 0.02 * normal(len(i), 3, seed=2))
    graph = gabp.FactorGraph()
    x = graph.variables(SE2, start)
    graph.add(Between, (x, x), (i, j), measurement, 100.0)
    graph.add(Prior, x, torch.arange(0, count, 3), truth[::3], [100.0, 100.0, 0.0])
    closure = SE2.retract(SE2.relative(truth[[18]], truth[[26]]), 0.02 * normal(1, 3, seed=9))
    return graph, x, closure


@every_schedule
def test_nothing_changes_without_a_change(schedule):
    graph, *_ = chain_with_closures()
    first = optimize(graph, schedule=schedule)
    again = optimize(graph, schedule=schedule, rtol=1e-12)
    assert again.converged and again.iterations <= 2
    assert again.history[0] == pytest.approx(first.objective, rel=1e-13)


@every_schedule
def test_few_sweeps_suffice_after_a_factor_was_added_and_after_it_was_removed(schedule):
    graph, x, closure = chain_with_closures()
    before = optimize(graph, schedule=schedule, rtol=1e-6)
    added = graph.add(Between, (x, x), ([18], [26]), closure, 100.0)
    kept = optimize(graph, schedule=schedule, rtol=1e-6)
    scratch = optimize(graph, schedule=schedule, rtol=1e-6, init={})
    assert kept.objective == pytest.approx(scratch.objective, rel=1e-5)
    assert kept.iterations < 0.7 * scratch.iterations
    graph.remove(added)
    removed = optimize(graph, schedule=schedule, rtol=1e-6)
    assert removed.objective == pytest.approx(before.objective, rel=1e-5)
    assert removed.iterations < 0.7 * before.iterations


def test_variables_may_be_added():
    graph, x, _ = chain_with_closures()
    optimize(graph)
    seen = graph.variables(Euclidean(2), [[0.0, 0.0]])
    graph.add(Landmark, (x, seen), ([3, 5], [0, 0]), [[1.0, 1.0], [1.0, 0.5]], 10.0)
    result = optimize(graph)
    assert result.objective == pytest.approx(graph.optimize(rtol=1e-14).objective, rel=1e-10)


def test_variables_may_be_held_between_calls():
    graph, x, _ = chain_with_closures()
    optimize(graph)
    graph.hold(x, 4)
    result = optimize(graph)
    torch.testing.assert_close(result.values(x)[4], x.initial[4], rtol=0, atol=0)
    assert result.objective == pytest.approx(graph.optimize(rtol=1e-14).objective, rel=1e-10)


def test_an_init_starts_without_messages():
    graph, *_ = chain_with_closures()
    first = optimize(graph)
    again = optimize(graph, init={})
    assert again.history == first.history


def test_beliefs_are_empty_before_the_first_messages():
    graph, x, _ = chain_with_closures()
    with pytest.raises(InvalidSystemError, match="no beliefs of Variables"):
        graph.beliefs.covariance(x)
    optimize(graph, rtol=1e-3)
    with pytest.raises(InvalidSystemError, match="no beliefs of Variables"):
        graph.beliefs.covariance(chain_with_closures()[1])


def test_a_graph_with_messages_is_pickled():
    graph, *_ = chain_with_closures()
    first = optimize(graph, rtol=1e-9)
    copy = pickle.loads(pickle.dumps(graph))
    again = optimize(copy, rtol=1e-7)
    assert again.iterations <= 1 and again.objective == pytest.approx(first.objective, rel=1e-9)


# How messages end


def frustrated_graph():
    """An equation on each pair of vectors: the precisions of the messages converge, their potentials do not."""
    rng = np.random.default_rng(2)
    i, j = np.triu_indices(7, 1)
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(3), np.zeros((7, 3)))
    graph.add(Linear, (x, x), (i, j), rng.normal(size=(len(i), 1, 7)), 1.0)
    return graph


def test_messages_that_diverge_are_reported_with_the_best_values():
    graph = frustrated_graph()
    result = optimize(graph, damping=0.0, throw=False)
    assert result.status is Status.DIVERGED and not result.converged
    assert result.objective == min(result.history) == pytest.approx(graph.objective(result))
    with pytest.raises(gabp.OptimizationError, match="DIVERGED"):
        optimize(graph, damping=0.0)


def test_gauge_freedom_is_named_and_may_be_held():
    graph, *_ = pose_graph(SE2, anchored=False)
    assert optimize(graph, throw=False).status is Status.GAUGE_FREEDOM
    held = optimize(graph, gauge="hold")
    assert held.objective == pytest.approx(graph.optimize(gauge="hold", rtol=1e-14).objective, rel=1e-11)


@every_schedule
def test_a_point_seen_by_one_range_is_indeterminate(schedule):
    graph, x, _truth = pose_graph(SE2)
    point = graph.variables(Euclidean(2), [[3.0, 4.0]])
    graph.add(Range, (x, point), ([0], [0]), [2.0], 1.0)
    result = optimize(graph, schedule=schedule, throw=False)
    assert result.status is Status.INDETERMINATE and "variable 0 of set 1" in result.detail


def test_a_residual_that_is_not_finite_is_named_with_its_factor():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[1.0], [-1.0]])
    graph.add(lambda value, z: value.sqrt() - z, x, [0, 1], [[1.0], [1.0]], 1.0)
    result = optimize(graph, throw=False)
    assert result.status is Status.NON_FINITE and "factor 1" in result.detail


@pytest.mark.parametrize(("damage", "place"), [(-1e3, "variable 3 of set 0"), (math.nan, "variable 3 of set 0")])
def test_a_belief_that_is_not_definite_is_named_with_its_variable(damage, place):
    graph, *_ = chain_with_closures()
    optimize(graph)
    graph.beliefs.messages[graph.factors[0]].precision[3, :9] = damage
    result = optimize(graph, throw=False)
    assert result.status is Status.INVALID_MESSAGE and not result.converged
    assert place in result.detail and result.objective == pytest.approx(graph.objective(result), rel=1e-14)
    assert optimize(graph).converged  # nothing is kept of it


def test_the_limit_of_sweeps_and_the_objective_of_each():
    graph, x, _ = pose_graph(SE3, noise=0.3)
    seen = []
    result = optimize(graph, maxiter=3, throw=False, callback=lambda p: seen.append((p.objective, p.values(x))))
    assert result.status is Status.MAX_ITERATIONS and result.iterations == 3
    assert [objective for objective, _ in seen] == list(result.history[1:])
    assert all(graph.objective({x: values}) == pytest.approx(objective) for objective, values in seen)


def test_a_callback_stops_the_messages():
    graph, *_ = pose_graph(SE3, noise=0.3)
    result = optimize(graph, callback=lambda progress: progress.iteration == 2)
    assert result.status is Status.STOPPED_BY_CALLBACK and result.iterations == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"schedule": "random"}, InvalidSystemError, "there is no schedule 'random'"),
        ({"damping": 1.0}, InvalidSystemError, r"damping must be in \[0, 1\)"),
        ({"beta": -1.0}, InvalidSystemError, "beta must be"),
        ({"beta": math.nan}, InvalidSystemError, "beta must be"),
        ({"momentum": 1.0}, TypeError, "takes no option 'momentum' with this method"),
        ({"method": "dogleg", "beta": 1.0}, TypeError, "those of method='gbp' are"),
        ({"gauge": "free"}, InvalidSystemError, "needs the damping"),
    ],
)
def test_options_that_are_refused(options, error, message):
    graph, _, _ = pose_graph(SE2)
    with pytest.raises(error, match=message):
        graph.optimize(**{"method": "gbp", **options})


def test_handles_of_another_graph_cannot_be_removed():
    (graph, *_), (other, *_) = pose_graph(SE2), pose_graph(SE2)
    with pytest.raises(InvalidSystemError, match="not in the graph"):
        graph.remove(other.factors[0])
    with pytest.raises(TypeError, match="what `add` returned"):
        graph.remove("between")
    assert len(graph.factors) == 2
