"""Optimisation: the dense Gauss–Newton optimum, what is published, and how each failure ends and is named."""

import math
import pickle

import numpy as np
import pytest
import torch

import gabp
from factor_models import (
    MANIFOLDS,
    dense_optimum,
    dense_system,
    noisy_loop,
    normal,
    pose_graph,
    pose_graph_by_a_function,
    random_values,
)
from gabp import OptimizationStatus as Status
from gabp.factors import SE2, SE3, BearingRange, Between, Euclidean, Landmark, Linear, Prior, Range, Reprojection
from gabp.factors.linearization import initial_values, linearize
from gabp.factors.structure import Structure

METHODS = ["gauss-newton", "levenberg-marquardt", "dogleg"]
every_method = pytest.mark.parametrize("method", METHODS)
every_manifold = pytest.mark.parametrize("manifold", MANIFOLDS.values(), ids=MANIFOLDS.keys())


def landmark_graph(seed=0):
    """Poses of the plane that see points by position, by bearing and range, and by range."""
    poses, start, i, j, measurement = noisy_loop(SE2, seed=seed)
    points = 2 * normal(3, 2, seed=seed + 7)
    graph = gabp.FactorGraph()
    x = graph.variables(SE2, start)
    landmarks = graph.variables(Euclidean(2), points + 0.1 * normal(3, 2, seed=seed + 8))
    graph.add(Between, (x, x), (i, j), measurement, [50.0, 50.0, 100.0])
    graph.add(Prior, x, [0], poses[:1], 1e3)
    p, q = torch.arange(8).repeat(3), torch.arange(3).repeat_interleave(8)
    seen = SE2.observe(poses[p], points[q])
    distance = torch.linalg.vector_norm(seen, dim=1)
    graph.add(Landmark, (x, landmarks), (p, q), seen + 0.01 * normal(24, 2, seed=3), 100.0)
    polar = torch.stack([torch.atan2(seen[:, 1], seen[:, 0]), distance], 1)
    graph.add(BearingRange, (x, landmarks), (p, q), polar + 0.01 * normal(24, 2, seed=4), [100.0, 10.0])
    graph.add(Range, (x, landmarks), (p, q), distance + 0.01 * normal(24, seed=5), 10.0, loss=gabp.losses.Cauchy(1.0))
    return graph


def structure_of(graph):
    return Structure.of(graph.sets, graph.factors, [graph.held(s) for s in graph.sets])


@every_manifold
def test_the_linear_system_is_the_dense_one(manifold):
    graph, *_ = pose_graph(manifold, loss=gabp.losses.Huber(0.1))
    values = initial_values(structure_of(graph))
    made, (A, g) = linearize(structure_of(graph), values), dense_system(graph, values)
    np.testing.assert_allclose(made.system.to_scipy().toarray(), A, rtol=0, atol=1e-10 * np.abs(A).max())
    np.testing.assert_allclose(made.gradient.numpy(), g, rtol=0, atol=1e-10 * np.abs(g).max())
    assert made.objective == pytest.approx(graph.objective(), rel=1e-12)


def test_the_linear_system_of_several_sets_without_held_variables():
    graph = landmark_graph()
    x, points = graph.sets
    graph.hold(x, [0, 3])
    graph.hold(points, 1)
    made = linearize(structure_of(graph), initial_values(structure_of(graph)))
    A, g = dense_system(graph, initial_values(structure_of(graph)))
    held = np.concatenate([np.repeat(graph.held(s), s.manifold.dimension) for s in graph.sets])
    np.testing.assert_allclose(
        made.system.to_scipy().toarray(), A[~held][:, ~held], rtol=0, atol=1e-10 * np.abs(A).max()
    )
    np.testing.assert_allclose(made.gradient.numpy(), g[~held], rtol=0, atol=1e-10 * np.abs(g).max())


@every_method
@every_manifold
def test_finds_the_optimum_of_the_dense_method(manifold, method):
    graph, x, _ = pose_graph(manifold)
    values, objective = dense_optimum(graph, initial_values(structure_of(graph)))
    result = graph.optimize(method, rtol=1e-14)
    assert result.converged
    assert result.objective == pytest.approx(objective, rel=1e-11)
    difference = manifold.local(values[0], result.values(x))
    assert float(difference.abs().max()) < 1e-6


@every_method
@pytest.mark.parametrize("loss", [gabp.losses.Huber, gabp.losses.Cauchy, gabp.losses.GemanMcClure])
def test_robust_losses_reach_a_stationary_point(method, loss):
    graph, x, _ = pose_graph(SE2, loss=loss(1.0))
    result = graph.optimize(method, rtol=1e-13, throw=False)
    _, g = dense_system(graph, [result.values(x)])
    assert result.converged and np.abs(g).max() < 1e-4


@every_method
def test_landmarks(method):
    graph = landmark_graph()
    result = graph.optimize(method, rtol=1e-13)
    _, g = dense_system(graph, [result.values(s) for s in graph.sets])
    assert np.abs(g).max() < 1e-3 and result.objective < 0.1 * graph.objective()
    assert result.gradient_norm == pytest.approx(np.linalg.norm(g), rel=0.5, abs=1e-6)


@every_method
@pytest.mark.parametrize("start", ["spanning-tree", None])
def test_odometry_alone_has_no_residual_but_rounding(method, start):
    truth, *_ = noisy_loop(SE2, count=30)
    i = torch.arange(29)
    graph = gabp.FactorGraph()
    x = graph.variables(SE2, SE2.retract(truth, 0.01 * normal(30, 3)))
    graph.add(Between, (x, x), (i, i + 1), SE2.relative(truth[i], truth[i + 1]), [100.0, 100.0, 400.0])
    graph.add(Prior, x, [0], truth[:1], 1e4)
    result = graph.optimize(method, init=start)
    assert result.converged and result.iterations < 10 and result.objective < 1e-22


@every_method
def test_a_linear_graph_is_solved_in_one_step(method):
    rng = np.random.default_rng(0)
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(3), np.zeros((4, 3)))
    i, j = np.arange(12) % 4, (np.arange(12) + 1) % 4
    equations = rng.normal(size=(12, 2, 7))
    graph.add(Linear, (x, x), (i, j), equations, 1.0)
    rows = np.zeros((12, 2, 4, 3))
    for f in range(12):
        rows[f, :, i[f]] += equations[f, :, :3]
        rows[f, :, j[f]] += equations[f, :, 3:6]
    expected = np.linalg.lstsq(rows.reshape(24, 12), equations[:, :, 6].reshape(24), rcond=None)[0]
    result = graph.optimize(method)
    np.testing.assert_allclose(result.values(x).reshape(-1), expected, rtol=0, atol=1e-7)
    assert result.iterations <= 3


def test_a_function_of_the_user_is_the_built_in_kind():
    built_in, graph = pose_graph_by_a_function()
    assert graph.objective() == pytest.approx(built_in.objective(), rel=1e-12)
    assert graph.optimize().objective == pytest.approx(built_in.optimize().objective, rel=1e-10)


def bundle(seed=0):
    """Four cameras before twenty points, their exact pixels, and start values somewhat off."""
    cameras = torch.cat([0.1 * normal(4, 3, seed=seed), torch.zeros(4, 6).double()], 1)
    cameras[:, 3:6] = torch.tensor([0.0, 0, -6]) + 0.5 * normal(4, 3, seed=seed + 1)
    cameras[:, 6:9] = torch.tensor([500.0, 0.01, 0.001])
    points = normal(20, 3, seed=seed + 2)
    c, p = torch.arange(4).repeat_interleave(20), torch.arange(20).repeat(4)
    pixels = Reprojection([Euclidean(9), Euclidean(3)]).residual([cameras[c], points[p]], torch.zeros(80, 2).double())
    graph = gabp.FactorGraph(gauge="free")
    scale = torch.tensor([0.01] * 6 + [5.0, 0.001, 0.0001])
    x = graph.variables(Euclidean(9), cameras + scale * normal(4, 9, seed=seed + 3))
    y = graph.variables(Euclidean(3), points + 0.05 * normal(20, 3, seed=seed + 4))
    graph.add(Reprojection, (x, y), (c, p), pixels, 1.0)
    return graph


def test_bundle_adjustment_recovers_exact_pixels():
    graph = bundle()
    result = graph.optimize()
    assert graph.objective() > 1e3 and result.converged and result.objective < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_a_ring_of_planar_poses_by_its_closed_form(method):
    """Weighted rotations round a ring share the error of closure in proportion to their variances."""
    count, error = 12, 0.3
    information = np.linspace(1.0, 4.0, count)
    graph = gabp.FactorGraph()
    x = graph.variables(gabp.SO2, np.zeros((count, 1)))
    steps = np.full((count, 1), 2 * math.pi / count)
    steps[-1] += error
    i = np.arange(count)
    graph.add(Between, (x, x), (i, (i + 1) % count), steps, information[:, None, None])
    result = graph.optimize(method, init="spanning-tree", gauge="hold")
    assert result.objective == pytest.approx(0.5 * error**2 / (1 / information).sum(), rel=1e-12)


def test_the_spanning_tree_follows_exact_measurements():
    for manifold in (SE2, SE3, gabp.SO3, Euclidean(2)):
        truth, _start, i, j, _ = noisy_loop(manifold, count=30)
        graph = gabp.FactorGraph()
        x = graph.variables(manifold, torch.cat([truth[:1], random_values(manifold, 29, seed=4)]))
        graph.add(Between, (x, x), (i, j), manifold.relative(truth[i], truth[j]), 1.0)
        result = graph.optimize("gauss-newton", init="spanning-tree", gauge="hold")
        assert result.history[0] < 1e-20
        assert float(manifold.local(truth, result.values(x)).abs().max()) < 1e-10


def test_the_spanning_tree_starts_from_priors_and_places_points():
    graph = landmark_graph()
    x, points = graph.sets
    far = {x: 10 * normal(8, 3), points: 10 * normal(3, 2)}
    assert graph.optimize(init="spanning-tree").history[0] < 0.01 * graph.objective(far)
    assert graph.optimize(init="spanning-tree").objective == pytest.approx(graph.optimize().objective, rel=1e-6)


def test_optimisation_goes_on_from_a_result():
    graph, x, truth = pose_graph(SE2)
    first = graph.optimize()
    assert graph.optimize("gauss-newton", init=first).iterations <= 1
    graph.add(Prior, x, [3], truth[3:4], 10.0)
    again = graph.optimize(init=first)
    assert again.history[0] == pytest.approx(graph.objective(first)) and again.objective < again.history[0]


def test_held_variables_keep_their_values():
    graph, x, _ = pose_graph(SE3, anchored=False)
    graph.hold(x, [2, 5])
    result = graph.optimize()
    torch.testing.assert_close(result.values(x)[[2, 5]], x.initial[[2, 5]], rtol=0, atol=0)
    assert result.converged and result.held == ()


def test_a_graph_of_held_variables_is_at_its_optimum():
    graph, x, _ = pose_graph(SE2)
    graph.hold(x, range(8))
    result = graph.optimize()
    assert result.converged and result.iterations == 0 and result.objective == graph.objective()


# How optimisations end


@every_method
def test_gauge_freedom_is_named_with_its_component(method):
    graph, x, _ = pose_graph(SE2, anchored=False)
    result = graph.optimize(method, throw=False)
    assert result.status is Status.GAUGE_FREEDOM and not result.converged
    assert "component of 8 variables" in result.detail and "variable 0 of set 0 (SE2)" in result.detail
    torch.testing.assert_close(result.values(x), x.initial)
    with pytest.raises(gabp.OptimizationError, match="component of 8 variables"):
        graph.optimize(method)


@every_method
def test_one_variable_of_each_component_is_held_if_the_caller_allows_it(method):
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[5.0], [0.0], [0.0], [7.0]])
    graph.add(Between, (x, x), ([0, 3], [1, 2]), [[1.0], [1.0]], 1.0)
    result = graph.optimize(method, gauge="hold")
    np.testing.assert_allclose(result.values(x), [[5.0], [6.0], [0.0], [-1.0]])
    assert len(result.held) == 2 and "variable 2 of set 0" in result.held[1]
    assert "held" in repr(result)


def test_a_variable_without_factors_is_a_component():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[0.0], [0.0]])
    graph.add(Prior, x, [0], [[1.0]], 1.0)
    result = graph.optimize(throw=False)
    assert result.status is Status.GAUGE_FREEDOM and "component of 1 variable that variable 1" in result.detail


@every_method
def test_an_indeterminate_direction_is_named_with_its_variable(method):
    """A prior on the position alone leaves the heading of an isolated pose free."""
    graph, _x, _ = pose_graph(SE2)
    alone = graph.variables(SE2, [[0.0, 0.0, 0.0]])
    graph.add(Prior, alone, [0], [[1.0, 1.0, 0.5]], [1.0, 1.0, 0.0])
    result = graph.optimize(method, throw=False)
    assert result.status is Status.INDETERMINATE and not result.converged
    assert "variable 0 of set 1" in result.detail


@every_method
def test_a_point_seen_by_one_range_is_indeterminate(method):
    graph, x, _truth = pose_graph(SE2)
    point = graph.variables(Euclidean(2), [[3.0, 4.0]])
    graph.add(Range, (x, point), ([0], [0]), [2.0], 1.0)
    result = graph.optimize(method, throw=False)
    assert result.status is Status.INDETERMINATE and "variable 0 of set 1" in result.detail


@every_method
def test_holding_a_point_does_not_fix_ranges_in_the_plane(method):
    """A triangle of ranges can still be turned about the point that is held."""
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(2), [[0.0, 0.0], [1.0, 0.1], [0.2, 1.0]])
    graph.add(Range, (x, x), ([0, 1, 2], [1, 2, 0]), [1.0, 1.2, 1.1], 1.0)
    assert graph.optimize(method, gauge="hold", throw=False).status is Status.INDETERMINATE


@every_method
def test_a_residual_that_is_not_finite_is_named_with_its_factor(method):
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[1.0], [-1.0]])
    graph.add(lambda value, z: value.sqrt() - z, x, [0, 1], [[1.0], [1.0]], 1.0)
    result = graph.optimize(method, throw=False)
    assert result.status is Status.NON_FINITE and not result.converged
    assert "factor 1" in result.detail and "variable 1 of set 0" in result.detail


def test_gauss_newton_that_diverges_returns_the_best_values():
    """Newton's method on atan from 2 runs away; damping does not."""
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[2.0]])
    graph.add(lambda value, z: torch.atan(value) - z, x, [0], [[0.0]], 1.0)
    result = graph.optimize("gauss-newton", throw=False)
    assert not result.converged and result.objective == min(result.history) == graph.objective()
    for method in ("levenberg-marquardt", "dogleg"):
        assert graph.optimize(method).objective < 1e-20


@pytest.mark.parametrize("method", ["levenberg-marquardt", "dogleg"])
def test_a_wrong_derivative_stagnates(method):
    class Wrong(Prior):
        def linearize(self, x, measurement):
            residual, jacobian = super().linearize(x, measurement)
            return residual, -jacobian

    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[1.0]])
    graph.add(Wrong, x, [0], [[0.0]], 1.0)
    result = graph.optimize(method, throw=False)
    assert result.status is Status.STAGNATED and result.objective == 0.5


@every_method
def test_the_limit_of_iterations(method):
    graph, *_ = pose_graph(SE3, noise=0.3)
    result = graph.optimize(method, maxiter=1, throw=False)
    assert result.status is Status.MAX_ITERATIONS and result.iterations == 1 and len(result.history) == 2


@every_method
def test_a_callback_sees_every_iteration_and_may_stop(method):
    graph, x, _ = pose_graph(SE3, noise=0.3)
    seen = []

    def stop_at_two(progress):
        seen.append((progress.iteration, progress.objective))
        assert progress.objective == pytest.approx(graph.objective({x: progress.values(x)}))
        return progress.iteration == 2

    result = graph.optimize(method, callback=stop_at_two)
    assert result.status is Status.STOPPED_BY_CALLBACK
    assert seen == list(enumerate(result.history))[1:]


@every_method
def test_the_objective_is_that_of_the_values_returned(method):
    graph, *_ = pose_graph(SE3, noise=0.3)
    result = graph.optimize(method)
    assert result.objective == pytest.approx(graph.objective(result), rel=1e-14)
    assert result.history[0] == pytest.approx(graph.objective()) and result.history[-1] == result.objective


def test_exact_measurements_are_met_to_rounding():
    truth, start, i, j, _ = noisy_loop(SE3)
    graph = gabp.FactorGraph()
    x = graph.variables(SE3, start)
    graph.add(Prior, x, [0], truth[:1], 1.0)
    graph.add(Between, (x, x), (i, j), SE3.relative(truth[i], truth[j]), 1.0)
    for method in METHODS:
        result = graph.optimize(method)
        assert result.converged and result.objective < 1e-22


@pytest.mark.parametrize("linear", ["elimination", "hierarchy", "auto"])
def test_the_linear_method_makes_no_difference(linear):
    graph, *_ = pose_graph(SE2)
    assert graph.optimize(linear=linear).objective == pytest.approx(graph.optimize().objective, rel=1e-9)


def test_the_representation_names_status_and_objective():
    graph, *_ = pose_graph(SE2)
    text = repr(graph.optimize("gauss-newton"))
    assert text.startswith("OptimizationResult: CONVERGED") and "objective" in text and "gradient norm" in text


@pytest.mark.parametrize("manifold", [SE2, SE3, Euclidean(2)], ids=["SE2", "SE3", "Euclidean"])
def test_results_are_pickled(manifold):
    graph, x, _ = pose_graph(manifold)
    result, variables = pickle.loads(pickle.dumps((graph.optimize(), x)))
    assert variables.manifold == manifold and result.converged
    torch.testing.assert_close(result.values(variables), graph.optimize().values(x))


def test_what_was_held_is_reported():
    graph, *_ = pose_graph(SE2, anchored=False)
    assert graph.optimize(gauge="hold").fixed[0].tolist() == [True] + [False] * 7
