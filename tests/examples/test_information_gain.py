"""The information gain example: predictions against log-determinants after the measurement."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from factor_models import dense_system
from gabp.factors import SE2, Between

PATH = Path(__file__).parents[2] / "examples" / "information_gain.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("information_gain", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def log_determinant(graph, result):
    return np.linalg.slogdet(dense_system(graph, result.estimate)[0])[1]


def test_the_predicted_gain_is_what_the_measurement_brings(example):
    graph, x = example.spiral()
    result = graph.optimize(init="spanning-tree")
    before = log_determinant(graph, result)
    i, j = np.array([0, 3, 10, 0]), np.array([32, 34, 42, 1])
    gains = example.predicted_gains(graph, result, x, i, j)
    for k in range(len(i)):
        z = SE2.relative(result.values(x)[i[k], None], result.values(x)[j[k], None])
        added = graph.add(Between, (x, x), ([i[k]], [j[k]]), z, example.INFORMATION)
        assert float(gains[k]) == pytest.approx(0.5 * (log_determinant(graph, result) - before), rel=1e-8)
        graph.remove(added)


def test_long_loops_tell_more_than_odometry_again(example, capsys):
    graph, x = example.spiral()
    gains = example.predicted_gains(graph, graph.optimize(init="spanning-tree"), x, np.array([0, 0]), np.array([1, 32]))
    assert gains[1] > gains[0] > 0
    example.main()
    assert "in sight of each other" in capsys.readouterr().out
