"""Motions of a whole graph are null vectors of its relative factors, and make its hierarchy converge."""

import numpy as np
import pytest
import torch

import gabp
from factor_models import MANIFOLDS, noisy_loop, normal, random_values
from gabp.factors import SE2, SE3, SO2, SO3, Between, Euclidean, Landmark
from gabp.factors.linearization import initial_values, linearize
from gabp.factors.structure import Structure
from gabp.kernels import dispatch

GROUPS = {"SO2": SO2, "SE2": SE2, "SO3": SO3, "SE3": SE3}


def linearized(graph):
    structure = Structure.of(graph.sets, graph.factors, [graph.held(s) for s in graph.sets])
    return linearize(structure, initial_values(structure))


def exact_loop(group):
    truth, _, i, j, _ = noisy_loop(group)
    graph = gabp.FactorGraph()
    x = graph.variables(group, truth)
    graph.add(Between, (x, x), (i, j), group.relative(truth[i], truth[j]), 1.0)
    return graph, x, truth


def assert_null(made, dimension):
    motions = made.common_motions()
    assert motions.shape == (made.system.n, dimension)
    assert np.linalg.matrix_rank(motions.numpy()) == dimension
    moved = made.system.multiply(motions)
    assert float(moved.abs().max()) <= 1e-12 * float(made.system.diagonal.max() * motions.abs().max())


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_poses_moved_together_change_no_relative_pose(group):
    assert_null(linearized(exact_loop(group)[0]), group.dimension)


@pytest.mark.parametrize("group, space", [(SE2, 2), (SE3, 3)], ids=["plane", "space"])
def test_points_move_along_with_the_poses_that_see_them(group, space):
    graph, x, truth = exact_loop(group)
    points = normal(5, space, seed=9)
    landmarks = graph.variables(Euclidean(space), points)
    p, q = torch.arange(8).repeat(5), torch.arange(5).repeat_interleave(8)
    graph.add(Landmark, (x, landmarks), (p, q), group.observe(truth[p], points[q]), 2.0)
    assert_null(linearized(graph), group.dimension)


def test_held_variables_have_no_part_in_them():
    graph, x, _ = exact_loop(SE3)
    graph.hold(x, [0, 4])
    assert linearized(graph).common_motions().shape == (36, 6)


@pytest.mark.parametrize("kinds", [["SE2", "SE3"], ["SE2", "Euclidean(3)"], ["Euclidean(3)"]], ids=str)
def test_there_are_none_of_mixed_groups_and_of_points_alone(kinds):
    graph = gabp.FactorGraph()
    for kind in kinds:
        manifold = MANIFOLDS[kind]
        x = graph.variables(manifold, random_values(manifold, 2))
        graph.add(gabp.factors.Prior, x, [0, 1], random_values(manifold, 2, seed=3), 1.0)
    assert linearized(graph).common_motions() is None


def long_loop(group, count=900):
    """Odometry with small turns, and a closure every few poses."""
    step = group.retract(
        random_values(group, 1, spread=0.0).expand(count, -1) if group is SE2 else identity(count),
        0.3 * normal(count, group.dimension, seed=1),
    )
    poses = [step[:1]]
    for k in range(1, count):
        poses.append(group.compose(poses[-1], step[k : k + 1]))
    truth = torch.cat(poses)
    i = torch.cat([torch.arange(count - 1), torch.arange(0, count - 60, 7)])
    j = torch.cat([torch.arange(1, count), torch.arange(60, count, 7)])
    graph = gabp.FactorGraph()
    x = graph.variables(group, truth)
    graph.add(Between, (x, x), (i, j), group.relative(truth[i], truth[j]), 100.0)
    graph.hold(x, 0)
    return graph, x


def identity(count):
    return torch.tensor([0.0, 0, 0, 0, 0, 0, 1], dtype=torch.float64).expand(count, -1)


@pytest.mark.parametrize("group", [SE2, SE3], ids=["SE2", "SE3"])
@pytest.mark.skipif(dispatch.backend("cpu").hierarchy is None, reason="compiled kernels missing")
def test_they_make_the_hierarchy_converge(group):
    made = linearized(long_loop(group)[0])
    A = made.system.to_scipy()
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    settings = {"method": "hierarchy", "blocks": group.dimension}
    told = gabp.solve(A, b, near_nullspace=made.common_motions(), **settings)
    untold = gabp.solve(A, b, throw=False, **settings)
    assert told.converged and told.iterations <= 40
    assert untold.iterations >= 3 * told.iterations


def test_an_optimisation_by_the_hierarchy_ends_where_elimination_does():
    graph, x = long_loop(SE2, count=300)
    noisy = SE2.retract(x.initial, 0.01 * normal(300, 3, seed=2))
    start = gabp.FactorGraph()
    y = start.variables(SE2, noisy)
    batch = graph.factors[0]
    start.add(Between, (y, y), tuple(batch.index.T), batch.measurement, 100.0)
    start.hold(y, 0)
    results = [start.optimize(linear=linear) for linear in ("elimination", "hierarchy")]
    assert all(result.converged for result in results)
    np.testing.assert_allclose(results[0].values(y), results[1].values(y), atol=1e-6)
