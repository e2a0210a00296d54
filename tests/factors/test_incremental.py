"""The incremental optimiser: after every change the optimum of the batch method, and the same endings."""

import pickle

import numpy as np
import pytest
import torch

import gabp
from factor_models import MANIFOLDS, generator, normal, pose_graph, pose_graph_by_a_function, random_values
from gabp import OptimizationStatus as Status
from gabp.factors import SE2, SE3, BearingRange, Between, Euclidean, Prior
from gabp.system import InvalidSystemError


class Walk:
    """A walk on a Lie group that sees earlier poses again, one pose at a time."""

    def __init__(self, manifold=SE2, count=40, seed=0, noise=0.05, loss=None):
        self.manifold, self.loss, self.noise = manifold, loss, noise
        self.truth = random_values(manifold, 1, seed, spread=0.1)
        step = random_values(manifold, count - 1, seed + 1, spread=0.4)
        for k in range(count - 1):
            self.truth = torch.cat([self.truth, manifold.compose(self.truth[-1:], step[k : k + 1])])
        self.error = normal(4 * count, manifold.dimension, seed=seed + 2)
        self.random = generator(seed + 3)
        self.graph = gabp.FactorGraph()
        self.x = self.graph.variables(manifold, self.truth[:1])
        self.graph.add(Prior, self.x, [0], self.truth[:1], 1e4)
        self.used = 0

    def measure(self, i, j):
        measured = self.manifold.relative(self.truth[i], self.truth[j])
        self.used += len(i)
        return self.manifold.retract(measured, self.noise * self.error[self.used - len(i) : self.used])

    def go_on(self, values):
        """Add the next pose, measured from the last one, and with it every third time an earlier one."""
        k = self.x.count
        i = [k - 1]
        if k % 3 == 0:
            i.append(int(torch.randint(k, (1,), generator=self.random)))
        j = [k] * len(i)
        measurement = self.measure(i, j)
        self.graph.extend(self.x, self.manifold.compose(torch.as_tensor(values[k - 1 : k]), measurement[:1]))
        return self.graph.add(Between, (self.x, self.x), (i, j), measurement, 4.0, loss=self.loss)


def assert_at_optimum(graph, x, values, tolerance):
    """The batch method, from these values, does not move the variables by more."""
    batch = graph.optimize("gauss-newton", init={x: values}, rtol=1e-12)
    difference = x.manifold.local(torch.as_tensor(values), torch.as_tensor(batch.values(x)))
    assert float(difference.abs().max()) < tolerance


@pytest.mark.parametrize("manifold", MANIFOLDS.values(), ids=MANIFOLDS.keys())
def test_every_update_is_the_optimum_to_the_threshold(manifold):
    """A threshold of 1e-3 linearises so often that the error of second order is far below."""
    walk = Walk(manifold)
    optimizer = walk.graph.incremental(relinearize=1e-3, tolerance=1e-7)
    optimizer.update()
    for k in range(1, 40):
        walk.go_on(optimizer.values(walk.x))
        optimizer.update()
        if k % 5 == 0:
            for _ in range(3):  # one Gauss–Newton step each
                optimizer.update()
            assert_at_optimum(walk.graph, walk.x, optimizer.values(walk.x), 1e-3)


@pytest.mark.parametrize("loss", [None, gabp.losses.Huber(1.0), gabp.losses.Cauchy(1.0)])
def test_optimize_after_every_change_is_the_batch_optimum(loss):
    walk = Walk(SE3, count=25, loss=loss)
    result = walk.graph.optimize("incremental")
    for k in range(1, 25):
        walk.go_on(result.values(walk.x))
        result = walk.graph.optimize("incremental")
        assert result.converged and result.objective == pytest.approx(walk.graph.objective(result), rel=1e-10)
        if k % 6 == 0:
            batch = walk.graph.optimize("gauss-newton", init=result, rtol=1e-13)
            assert result.objective == pytest.approx(batch.objective, rel=1e-8)


def test_removed_factors_no_longer_pull():
    walk = Walk()
    optimizer = walk.graph.incremental(relinearize=1e-4, tolerance=0.0)
    optimizer.update()
    added = []
    for _ in range(1, 30):
        added.append(walk.go_on(optimizer.values(walk.x)))
        optimizer.update()
    wrong = walk.graph.add(Between, (walk.x, walk.x), ([3, 5], [20, 25]), np.full((2, 3), 2.0), 4.0)
    optimizer.optimize()
    walk.graph.remove(wrong)
    assert optimizer.optimize().converged
    assert_at_optimum(walk.graph, walk.x, optimizer.values(walk.x), 1e-4)
    walk.graph.remove(added[10])
    result = optimizer.optimize(throw=False)  # its odometry, and perhaps all that holds what follows
    batch = walk.graph.optimize("gauss-newton", throw=False)
    assert result.converged == batch.converged


def test_an_update_reaches_a_part_of_the_graph():
    walk = Walk(count=120)
    optimizer = walk.graph.incremental()
    optimizer.update()
    for _ in range(1, 119):
        walk.go_on(optimizer.values(walk.x))
        optimizer.update()
    for _ in range(5):
        still = optimizer.update()
    assert still.eliminated == still.linearized == 0
    k = walk.x.count
    walk.graph.extend(walk.x, optimizer.values(walk.x, [k - 1]))
    walk.graph.add(Between, (walk.x, walk.x), ([k - 1], [k]), SE2.relative(*walk.truth[[k - 1, k]])[None], 4.0)
    update = optimizer.update()
    assert update.linearized == 1 and update.eliminated < k / 2


def test_several_sets_kinds_and_held_variables():
    graph = gabp.FactorGraph()
    x = graph.variables(SE2, [[0.0, 0.0, 0.0], [9.0, 9.0, 0.0]])
    points = graph.variables(Euclidean(2), np.zeros((0, 2)))
    graph.hold(x, [0, 1])
    optimizer = graph.incremental(relinearize=1e-4, tolerance=0.0)
    assert optimizer.update().status is None
    rng = np.random.default_rng(0)
    for k in range(2, 12):
        graph.extend(x, [[k - 1.0, 0.0, 0.0]] + 0.05 * rng.standard_normal((1, 3)))
        graph.add(Between, (x, x), ([0 if k == 2 else k - 1], [k]), [[1.0, 0.0, 0.0]], 10.0)
        (new,) = graph.extend(points, [[k - 1.0, 2.0]])
        seen = [[np.pi / 2, 2.0], [np.pi / 2, 2.1]]
        graph.add(BearingRange, (x, points), ([k, k], [new, max(new - 1, 0)]), seen, [10.0, 1.0])
        optimizer.update()
    result = optimizer.optimize()
    batch = graph.optimize("gauss-newton", init=result, rtol=1e-13)
    assert result.objective == pytest.approx(batch.objective, rel=1e-8)
    np.testing.assert_array_equal(result.values(x)[:2], [[0.0, 0.0, 0.0], [9.0, 9.0, 0.0]])
    graph.hold(points, 3)
    graph.hold(x, 5)
    held = optimizer.optimize()
    assert held.converged and held.fixed[1].sum() == 1
    np.testing.assert_array_equal(held.values(points)[3], result.values(points)[3])


def test_a_function_of_the_user_and_a_large_first_batch():
    built_in, graph = pose_graph_by_a_function(count=30)
    assert graph.optimize("incremental").objective == pytest.approx(built_in.optimize().objective, rel=1e-8)


def test_from_other_values():
    graph, x, truth = pose_graph(SE2)
    result = graph.optimize("incremental", init={x: truth})
    assert result.history[0] < graph.objective()
    again = graph.optimize("incremental", init={x: x.initial})
    assert again.objective == pytest.approx(result.objective, rel=1e-8)
    assert graph.optimize("incremental", init=again).iterations == 0


def test_a_graph_is_pickled_without_its_factor():
    graph, x, _ = pose_graph(SE2)
    result = graph.optimize("incremental")
    again = pickle.loads(pickle.dumps(graph))
    assert again.optimize("incremental").objective == pytest.approx(result.objective, rel=1e-8)
    again.extend(again.sets[0], [[0.0, 0.0, 0.0]])
    assert again.sets[0].count == 9 and x.count == 8


# How it ends


def test_gauge_freedom_is_named_until_a_prior_comes():
    graph, x, truth = pose_graph(SE2, anchored=False)
    optimizer = graph.incremental()
    update = optimizer.update(throw=False)
    assert update.status is Status.GAUGE_FREEDOM
    assert "component of 8 variables" in update.detail and "variable 0 of set 0 (SE2)" in update.detail
    with pytest.raises(gabp.OptimizationError, match="component of 8 variables"):
        optimizer.update()
    prior = graph.add(Prior, x, [2], truth[2:3], 1.0)
    assert optimizer.update().status is None
    graph.remove(prior)
    assert optimizer.optimize(throw=False).status is Status.GAUGE_FREEDOM


def test_one_variable_of_each_component_is_held_if_the_caller_allows_it():
    graph = gabp.FactorGraph(gauge="hold")
    x = graph.variables(Euclidean(1), [[5.0], [0.0], [0.0], [7.0]])
    graph.add(Between, (x, x), ([0, 3], [1, 2]), [[1.0], [1.0]], 1.0)
    result = graph.optimize("incremental")
    np.testing.assert_allclose(result.values(x), [[5.0], [6.0], [0.0], [-1.0]])
    assert len(result.held) == 2 and "variable 2 of set 0" in result.held[1]
    graph.add(Between, (x, x), ([1], [2]), [[1.0]], 1.0)  # one component from here on
    joined = graph.optimize("incremental")
    np.testing.assert_allclose(joined.values(x), [[5.0], [6.0], [7.0], [6.0]])
    assert len(joined.held) == 1


def test_an_indeterminate_direction_is_named_until_it_is_determined():
    graph, x, _ = pose_graph(SE2)
    alone = graph.variables(SE2, [[0.0, 0.0, 0.0]])
    graph.add(Prior, alone, [0], [[1.0, 1.0, 0.5]], [1.0, 1.0, 0.0])
    optimizer = graph.incremental()
    update = optimizer.update(throw=False)
    assert update.status is Status.INDETERMINATE and "variable 0 of set 1" in update.detail
    result = optimizer.optimize(throw=False)
    assert result.status is Status.INDETERMINATE and not result.converged
    graph.add(Between, (x, alone), ([0], [0]), [[0.0, 0.0, 0.0]], 1.0)
    assert optimizer.optimize().converged


def test_a_residual_that_is_not_finite_is_named_with_its_factor():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[1.0], [-1.0]])
    graph.add(Prior, x, [0, 1], [[1.0], [1.0]], 1.0)
    optimizer = graph.incremental()
    bad = graph.add(lambda value, z: value.sqrt() - z, x, [0, 1], [[1.0], [1.0]], 1.0)
    result = optimizer.optimize(throw=False)
    assert result.status is Status.NON_FINITE and not result.converged
    assert "factor 1" in result.detail and "variable 1 of set 0" in result.detail
    graph.remove(bad)
    assert optimizer.optimize().converged


def test_an_iteration_that_diverges_returns_the_best_values():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[2.0]])
    graph.add(lambda value, z: torch.atan(value) - z, x, [0], [[0.0]], 1.0)
    result = graph.optimize("incremental", throw=False)
    assert not result.converged and result.objective == min(result.history)


def test_a_graph_of_held_variables_is_at_its_optimum():
    graph, x, _ = pose_graph(SE2)
    graph.hold(x, range(8))
    result = graph.optimize("incremental")
    assert result.converged and result.iterations == 0


def test_a_callback_may_stop():
    graph, x, _ = pose_graph(SE3, noise=0.3)
    seen = []

    def stop(progress):
        seen.append(progress.objective)
        assert progress.objective == pytest.approx(graph.objective({x: progress.values(x)}))
        return True

    result = graph.optimize("incremental", callback=stop)
    assert result.status is Status.STOPPED_BY_CALLBACK and seen == list(result.history)[1:]


# Sets that grow


def test_a_set_grows_and_earlier_results_keep_their_variables():
    graph, x, truth = pose_graph(SE2)
    before = graph.optimize()
    indices = graph.extend(x, truth[:2])
    assert indices.tolist() == [8, 9] and x.count == 10 and graph.held(x).tolist() == [False] * 10
    assert before.values(x).shape == (8, 3) and "8 variables" not in repr(graph)
    graph.add(Between, (x, x), ([0, 1], [8, 9]), SE2.relative(truth[:2], truth[:2]), 1.0)
    after = graph.optimize(init=before)
    assert after.values(x).shape == (10, 3)
    torch.testing.assert_close(after.values(x)[8], after.values(x)[0], rtol=0, atol=1e-6)


def test_labels_go_on():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[0.0], [0.0]], labels=[5, 9])
    graph.extend(x, [[0.0]])
    graph.extend(x, [[0.0]], labels=[3])
    assert x.labels.tolist() == [5, 9, 10, 3]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda graph, x: graph.extend(x, [[0.0, 0.0]]), InvalidSystemError, r"needs \(N, 3\)"),
        (lambda graph, x: graph.extend(x, [[0.0, 0.0, np.nan]]), InvalidSystemError, r"values\[0, 2\] is nan"),
        (lambda graph, x: graph.extend(x, [[0.0, 0.0, 0.0]], labels=[1]), InvalidSystemError, "has no labels"),
        (lambda graph, x: graph.extend("x", [[0.0, 0.0, 0.0]]), TypeError, "a handle must be"),
        (lambda graph, x: graph.incremental(relinearize=-1.0), InvalidSystemError, "relinearize must be"),
        (lambda graph, x: graph.incremental(gauge="free"), InvalidSystemError, "needs the damping"),
        (lambda graph, x: graph.incremental(gauge="fix"), InvalidSystemError, "there is no gauge 'fix'"),
        (lambda graph, x: graph.incremental().values(x), InvalidSystemError, "at the last update"),
        (lambda graph, x: graph.optimize("incremental", linear="krylov"), InvalidSystemError, "eliminat"),
    ],
)
def test_arguments_that_are_refused(call, error, message):
    graph, x, _ = pose_graph(SE2)
    with pytest.raises(error, match=message):
        call(graph, x)
    assert x.count == 8


def chain(z):
    """Two numbers: the first is measured, and the difference of the second to it."""
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), torch.zeros(2, 1))
    prior = graph.add(Prior, x, [0], z, 1.0)
    step = graph.add(Between, (x, x), ([0], [1]), [[2.0]], 1.0)
    return graph, x, prior, step


def test_the_optimum_is_differentiable_and_goes_on_from_a_differentiable_result():
    z = torch.tensor([[1.0]], requires_grad=True)
    graph, x, _, _ = chain(z)
    result = graph.optimize("incremental")
    assert graph.optimize("incremental", init=result).iterations <= 1
    graph.extend(x, torch.zeros(1, 1))
    (3.0 * result.values(x)[1]).sum().backward()
    assert z.grad.item() == pytest.approx(3.0)


def test_marginals_keep_the_variables_that_they_were_computed_for_when_a_set_grows():
    graph, x, _, _ = chain([[1.0]])
    result = graph.optimize("incremental")
    marginals = graph.marginals(result)
    graph.extend(x, torch.zeros(1, 1))
    assert marginals.covariance(x).ravel().tolist() == pytest.approx([1.0, 2.0])
    with pytest.raises(InvalidSystemError, match="variables were added since"):
        graph.marginals(result)
    with pytest.raises(InvalidSystemError, match="outside 0…1"):
        marginals.joint(x, 0, x, 2)


def test_removed_factors_leave_beliefs_and_the_incremental_optimum():
    """Belief propagation goes on in a graph that has grown and lost factors, to the optimum of the other methods."""
    graph, x, prior, step = chain([[1.0]])
    graph.optimize("gbp", damping=0)
    graph.optimize("incremental")
    graph.remove(prior)
    assert prior not in graph.beliefs.messages and step in graph.beliefs.messages
    (new,) = graph.extend(x, torch.zeros(1, 1))
    graph.add(Prior, x, [new], [[9.0]], 1.0)
    graph.add(Between, (x, x), ([1], [new]), [[2.0]], 1.0)
    for method in ("gbp", "incremental"):
        assert graph.optimize(method).values(x).ravel().tolist() == pytest.approx([5.0, 7.0, 9.0])


def test_graduated_non_convexity_needs_another_method():
    graph, *_ = chain([[1.0]])
    with pytest.raises(InvalidSystemError, match="robust="):
        graph.optimize("incremental", robust="gnc")
