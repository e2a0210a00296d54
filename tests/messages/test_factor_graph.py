"""The factor graph's messages against their sums written out."""

import numpy as np
import pytest
import torch

from gabp.messages.factor_graph import FactorGraph, FactorSweeps


def problem(rows, n, density, seed=0):
    rng = np.random.default_rng(seed)
    F = np.where(rng.random((rows, n)) < density, rng.normal(size=(rows, n)), 0.0)
    F[0] = rng.normal(size=n)  # one measurement of everything
    return F, rng.uniform(0.5, 2, rows), rng.uniform(n, 2 * n, n)


def at_fixed_point(F, variance, prior):
    row, column = np.nonzero(F)
    tensors = (torch.from_numpy(array) for array in (row, column, F[row, column], variance, prior))
    return FactorGraph.at_fixed_point(*tensors)


@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (9, 7), (12, 33)])
def test_settled_precisions_satisfy_the_message_equations(shape):
    F, variance, prior = problem(*shape, 0.5)
    graph = at_fixed_point(F, variance, prior)
    for e, (a, i) in enumerate(zip(graph.row.tolist(), graph.column.tolist(), strict=True)):
        in_row = (graph.row == a) & (graph.column != i)
        in_column = (graph.column == i) & (graph.row != a)
        predicted = variance[a] + (graph.coefficient[in_row] ** 2 / graph.cavity[in_row]).sum()
        expected = graph.prior[i] + (graph.coefficient[in_column] ** 2 / graph.uncertainty[in_column]).sum()
        assert float(graph.uncertainty[e]) == pytest.approx(float(predicted), rel=1e-13)
        assert float(graph.cavity[e]) == pytest.approx(float(expected), rel=1e-13)


def test_means_are_exact_at_the_fixed_point():
    F, variance, prior = problem(9, 7, 0.4)
    graph = at_fixed_point(F, variance, prior)
    r = torch.arange(14, dtype=torch.float64).reshape(7, 2)
    sweeps = FactorSweeps(graph, r, graph.damping)
    sweeps.sweep(200)
    A = F.T @ np.diag(1 / variance) @ F + np.diag(graph.prior.numpy())
    assert sweeps.mean().numpy() == pytest.approx(np.linalg.solve(A, r.numpy()), rel=1e-12)


def test_on_a_tree_beliefs_are_marginals():
    F = np.array([[1.0, -1, 0, 0], [0, 2, -1, 0], [0, 1, 0, 3], [4, 0, 0, 0]])
    variance, prior = np.array([0.1, 0.2, 0.3, 0.4]), np.zeros(4)
    graph = at_fixed_point(F, variance, prior)
    A = F.T @ np.diag(1 / variance) @ F
    assert 1 / graph.belief.numpy() == pytest.approx(np.diag(np.linalg.inv(A)), rel=1e-6)
