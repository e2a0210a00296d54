"""Chordal initialisation: exact where measurements are, the relaxed problem's dense solution, what stays and fails."""

import numpy as np
import pytest
import torch

import gabp
from factor_models import dense_system, noisy_loop, pose_graph, random_values
from gabp.factors import SE2, SE3, SO2, SO3, Between, Euclidean, Landmark, Linear, Prior
from gabp.kernels.torch import quaternions

GROUPS = {group.name: group for group in (SO2, SE2, SO3, SE3)}
every_group = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS.keys())


def chordal(graph):
    """The start values and the objective there."""
    result = graph.optimize(init="chordal", maxiter=0, throw=False)
    return [result.values(variables) for variables in graph.sets], result.history[0]


def matrices(group, values):
    """The rotations of values, (m, d, d)."""
    if group in (SO3, SE3):
        return quaternions.rotation_matrix(values[:, -4:]).numpy()
    c, s = np.cos(values[:, -1].numpy()), np.sin(values[:, -1].numpy())
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], 1)


@every_group
def test_exact_measurements_are_followed_from_any_start(group):
    truth, _start, i, j, _ = noisy_loop(group, count=30)
    graph = gabp.FactorGraph()
    x = graph.variables(group, random_values(group, 30, seed=4))
    graph.add(Between, (x, x), (i, j), group.relative(truth[i], truth[j]), 2.0)
    graph.add(Prior, x, [7], truth[7:8], 3.0)
    (values,), objective = chordal(graph)
    assert objective < 1e-20
    assert float(group.local(truth, values).abs().max()) < 1e-10


@every_group
def test_rotations_are_those_of_the_relaxed_problem(group):
    """``min Σ κ ‖R_j - R_i R_z‖²`` over all matrices by dense least squares, each then projected by its SVD."""
    truth, _start, i, j, measurement = noisy_loop(group, count=9, noise=0.3)
    graph = gabp.FactorGraph()
    x = graph.variables(group, truth)
    precision = 1.0 + torch.arange(len(i), dtype=torch.float64)
    eye = torch.eye(group.dimension, dtype=torch.float64)
    graph.add(Between, (x, x), (i, j), measurement, precision[:, None, None] * eye)
    graph.hold(x, 0)
    fixed, measured = matrices(group, truth)[0], matrices(group, measurement)
    d = len(fixed)
    rows, right = np.zeros((len(i), d, 9, d)), np.zeros((len(i), d, d))
    for e, (a, b) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
        weight = float(precision[e]) ** 0.5
        rows[e, :, a] -= weight * measured[e].T
        rows[e, :, b] += weight * np.eye(d)
    right = -rows[:, :, 0].reshape(-1, d) @ fixed.T
    relaxed = np.linalg.lstsq(rows[:, :, 1:].reshape(-1, 8 * d), right, rcond=None)[0].reshape(8, d, d)
    u, _, v = np.linalg.svd(relaxed.transpose(0, 2, 1))
    u[:, :, -1] *= np.linalg.det(u @ v)[:, None]
    (values,), _ = chordal(graph)
    np.testing.assert_allclose(matrices(group, values)[1:], u @ v, rtol=0, atol=1e-10)


@pytest.mark.parametrize("group", [SE2, SE3], ids=["SE2", "SE3"])
def test_translations_minimise_the_objective_at_the_rotations_found(group):
    graph, _, _ = pose_graph(group, noise=0.3)
    values, _ = chordal(graph)
    _, gradient = dense_system(graph, values)
    moving = gradient.reshape(8, group.dimension)[:, : 2 if group is SE2 else 3]
    _, at_start = dense_system(graph, [variables.initial for variables in graph.sets])
    assert np.abs(moving).max() < 1e-9 * np.abs(at_start).max()


@every_group
def test_it_is_a_better_start_than_the_spanning_tree(group):
    graph, _, _ = pose_graph(group, count=40, noise=0.1)
    tree = graph.optimize(init="spanning-tree")
    result = graph.optimize("gauss-newton", init="chordal")
    assert result.history[0] < tree.history[0]
    assert result.objective == pytest.approx(tree.objective, rel=1e-6)


def test_measurements_between_two_sets_of_poses():
    truth, _start, i, j, _ = noisy_loop(SE3, count=10)
    graph = gabp.FactorGraph()
    x, y = (graph.variables(SE3, random_values(SE3, 5, seed=seed)) for seed in (4, 5))
    graph.hold(x, 0)
    start = x.initial[:1]
    z = SE3.relative(truth[i], truth[j])
    for a, first in ((x, 0), (y, 5)):
        for b, second in ((x, 0), (y, 5)):
            chosen = (i // 5 == first // 5) & (j // 5 == second // 5)
            if bool(chosen.any()):
                graph.add(Between, (a, b), (i[chosen] - first, j[chosen] - second), z[chosen], 1.0)
    values, objective = chordal(graph)
    assert objective < 1e-20
    torch.testing.assert_close(values[0][:1], start, rtol=0, atol=0)


def test_what_no_measurement_leads_to_keeps_its_values():
    """Held poses, a pose without factors, the first of a component without a prior, and points."""
    _truth, start, i, j, measurement = noisy_loop(SE2, count=8)
    graph = gabp.FactorGraph(gauge="hold")
    alone, loose = torch.tensor([[5.0, 6.0, 0.7]]).double(), torch.tensor([[1.0, 2.0, 0.3], [0, 0, 0]]).double()
    x = graph.variables(SE2, torch.cat([start, alone, loose]))
    points = graph.variables(Euclidean(2), [[3.0, 4.0]])
    graph.add(Between, (x, x), (i, j), measurement, 1.0)
    graph.add(Between, (x, x), ([9], [10]), [[1.0, 0, 0]], 1.0)
    graph.add(Landmark, (x, points), ([0], [0]), [[1.0, 1.0]], 1.0)
    graph.hold(x, [2, 4])
    (poses, seen), _ = chordal(graph)
    torch.testing.assert_close(poses[[2, 4, 8, 9]], x.initial[[2, 4, 8, 9]], rtol=0, atol=0)
    torch.testing.assert_close(poses[10], SE2.compose(loose[0], torch.tensor([1.0, 0, 0]).double()))
    np.testing.assert_array_equal(seen, [[3.0, 4.0]])


def test_a_graph_without_rotations_is_refused():
    graph = gabp.FactorGraph(gauge="hold")
    x = graph.variables(Euclidean(2), np.zeros((2, 2)))
    graph.add(Between, (x, x), ([0], [1]), [[1.0, 0.0]], 1.0)
    graph.add(Linear, x, [0], np.ones((1, 1, 3)), 1.0)
    with pytest.raises(gabp.InvalidSystemError, match="init='chordal' needs Between factors on SE2, SE3, SO2 or SO3"):
        graph.optimize(init="chordal")


@pytest.mark.parametrize(("information", "name"), [([1.0, 1.0, 0.0], "rotation"), ([1.0, 0.0, 1.0], "translation")])
def test_an_undetermined_pose_is_named(information, name):
    graph = gabp.FactorGraph(gauge="hold")
    x = graph.variables(SE2, np.zeros((2, 3)))
    graph.add(Between, (x, x), ([0], [1]), [[1.0, 0.0, 0.0]], information)
    with pytest.raises(gabp.InvalidSystemError, match=f"leave the {name} of variable 1 of set 0 .SE2. undetermined"):
        graph.optimize(init="chordal")
