"""The factor graph as a container: what it takes, what it refuses and how it names the place."""

import math

import numpy as np
import pytest
import torch

import gabp
from factor_models import normal, pose_graph, random_values
from gabp import InvalidSystemError
from gabp.factors import SE2, SE3, Between, Euclidean, Prior


def empty(count=3):
    graph = gabp.FactorGraph()
    return graph, graph.variables(SE2, np.zeros((count, 3)))


def test_the_objective_is_half_the_sum_of_squares():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(2), [[1.0, 2.0], [4.0, 6.0]])
    graph.add(Between, (x, x), ([0], [1]), [[3.0, 3.0]], np.diag([5.0, 2.0]))
    assert graph.objective() == pytest.approx(1.0)
    assert graph.objective({x: [[0.0, 0.0], [4.0, 3.0]]}) == pytest.approx(2.5)


def test_the_objective_with_a_loss():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), [[3.0]])
    graph.add(Prior, x, [0], [[0.0]], 1.0, loss=gabp.losses.Huber(1.0))
    assert graph.objective() == 2.5


@pytest.mark.parametrize("information", [4.0, [4.0, 4.0], 4 * np.eye(2), np.tile(4 * np.eye(2), (3, 1, 1))])
def test_forms_of_the_information(information):
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(2), np.ones((3, 2)))
    graph.add(Prior, x, [0, 1, 2], np.zeros((3, 2)), information)
    assert graph.objective() == 12.0


def test_a_singular_information_leaves_directions_free():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(2), [[3.0, 5.0]])
    graph.add(Prior, x, [0], [[0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]])
    assert graph.objective() == pytest.approx(32.0)


@pytest.mark.parametrize("library", ["numpy", "torch", "list"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_come_back_as_they_were_given(library, dtype):
    values = np.array([[0.0], [1.0]], dtype=dtype)
    given = {"numpy": values, "torch": torch.from_numpy(values), "list": values.tolist()}[library]
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), given)
    graph.add(Prior, x, [0, 1], [[2.0], [3.0]], 1.0)
    back = graph.optimize().values(x)
    assert isinstance(back, torch.Tensor if library == "torch" else np.ndarray)
    assert str(back.dtype).removeprefix("torch.") == ("float64" if library == "list" else dtype)
    np.testing.assert_allclose(np.asarray(back), [[2.0], [3.0]])


def test_the_callers_arrays_are_not_written_to():
    values = np.zeros((2, 7)) + [0, 0, 0, 0, 0, 0, 2.0]
    given = values.copy()
    graph = gabp.FactorGraph()
    x = graph.variables(SE3, given)
    graph.add(Prior, x, [0, 1], random_values(SE3, 2), 1.0)
    graph.optimize().values(x)[:] = 7.0
    np.testing.assert_array_equal(given, values)
    assert float(x.initial.abs().max()) == 1.0


def test_what_the_caller_writes_later_makes_no_difference():
    values, measurement = np.ones((2, 1)), np.zeros((2, 1))
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), values)
    graph.add(Prior, x, [0, 1], measurement, 1.0)
    values[:], measurement[:] = 5.0, 7.0
    assert graph.objective() == 1.0


def test_removed_factors_no_longer_count():
    graph, x = empty()
    kept = graph.add(Prior, x, [0], [[1.0, 0, 0]], 1.0)
    removed = graph.add(Prior, x, [1], [[1.0, 0, 0]], 1.0)
    graph.remove(removed)
    assert graph.factors == (kept,) and graph.objective() == 0.5
    with pytest.raises(InvalidSystemError, match="not in the graph"):
        graph.remove(removed)


def test_the_representation_lists_sets_and_factors():
    graph, _x, _ = pose_graph(SE2)
    assert repr(graph).splitlines() == [
        "FactorGraph: 8 variables, 11 factors",
        "  Variables(SE2, 8)",
        "  Factors(Between of (SE2, SE2), 10)",
        "  Factors(Prior of (SE2), 1)",
    ]


@pytest.mark.parametrize(
    ("manifold", "values", "error", "message"),
    [
        (SE2, np.zeros((3, 2)), InvalidSystemError, r"values has shape \(3, 2\); SE2 needs \(N, 3\)"),
        (SE2, np.zeros(3), InvalidSystemError, r"values has shape \(3,\)"),
        (SE2, [[0, 0, math.nan]], InvalidSystemError, r"values\[0, 2\] is nan"),
        (SE2, [["a", "b", "c"]], TypeError, "values holds"),
        (SE2, np.zeros((1, 3), dtype=complex), InvalidSystemError, "values is complex"),
        ("SE2", np.zeros((1, 3)), TypeError, "manifold must be"),
    ],
)
def test_variables_that_are_refused(manifold, values, error, message):
    with pytest.raises(error, match=message):
        gabp.FactorGraph().variables(manifold, values)


Z = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"indices": ([0, 1], [1, 3])}, InvalidSystemError, "index 1 of factor 1 is 3, outside 0…2"),
        ({"indices": ([-1, 1], [1, 2])}, InvalidSystemError, "index 0 of factor 0 is -1, outside 0…2"),
        ({"indices": ([0.5, 1], [1, 2])}, TypeError, "index 0 must hold integers"),
        ({"indices": ([0], [1, 2])}, InvalidSystemError, "different lengths: 1, 2"),
        ({"indices": ([0, 1],)}, InvalidSystemError, "2 handles need as many arrays of indices, not 1"),
        ({"indices": ([], [])}, InvalidSystemError, "no factors to add"),
        ({"measurement": np.zeros((2, 2))}, InvalidSystemError, r"shape \(2, 2\); 2 Between factors need \(2, 3\)"),
        ({"measurement": np.zeros((1, 3))}, InvalidSystemError, r"shape \(1, 3\); 2 Between factors need \(2, 3\)"),
        ({"measurement": [[0, 0, 0], [0, math.inf, 0]]}, InvalidSystemError, r"measurement\[1, 1\] is inf"),
        ({"information": np.zeros((2, 2))}, InvalidSystemError, r"information has shape \(2, 2\)"),
        ({"information": [[1.0, 2, 0], [0, 1, 0], [0, 0, 1]]}, InvalidSystemError, "information is not symmetric"),
        (
            {"information": np.stack([np.eye(3), np.triu(np.ones((3, 3)))])},
            InvalidSystemError,
            "of factor 1 is not s",
        ),
        (
            {"information": np.stack([np.eye(3), -np.eye(3)])},
            InvalidSystemError,
            "factor 1 is not positive",
        ),
        ({"information": -1.0}, InvalidSystemError, "not positive semidefinite: it has the eigenvalue -1"),
        ({"information": math.nan}, InvalidSystemError, "nan; every number must be finite"),
        ({"loss": 1.0}, TypeError, "loss must be one of gabp.losses"),
        ({"kind": "between"}, TypeError, "a kind of factor is a class"),
        ({"variables": ("x", "x")}, TypeError, "handles must be what `variables` returned"),
    ],
)
def test_factors_that_are_refused(changed, error, message):
    graph, x = empty()
    arguments = {
        "kind": Between,
        "variables": (x, x),
        "indices": ([0, 1], [1, 2]),
        "measurement": Z,
        "information": 1.0,
    }
    with pytest.raises(error, match=message):
        graph.add(**{**arguments, **changed})
    assert graph.factors == ()


def test_handles_of_another_graph_are_refused():
    (graph, _), (_, other) = empty(), empty()
    for call in (lambda: graph.add(Prior, other, [0], [[0.0, 0, 0]], 1.0), lambda: graph.hold(other, 0)):
        with pytest.raises(InvalidSystemError, match="set of another graph"):
            call()


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x, z: 1.0, TypeError, "must return a torch tensor"),
        (lambda x, z: torch.zeros(2, 2), InvalidSystemError, r"residual of shape \(d,\), not \(2, 2\)"),
    ],
)
def test_functions_that_are_refused(function, error, message):
    graph, x = empty()
    with pytest.raises(error, match=message):
        graph.add(function, x, [0], np.zeros((1, 2)), 1.0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "newton"}, InvalidSystemError, "there is no method 'newton'"),
        ({"init": "random"}, InvalidSystemError, "there is no init 'random'"),
        ({"gauge": "fix"}, InvalidSystemError, "there is no gauge 'fix'"),
        ({"gauge": "free", "method": "dogleg"}, InvalidSystemError, "needs the damping"),
        ({"maxiter": -1}, InvalidSystemError, "maxiter must be"),
        ({"rtol": math.nan}, InvalidSystemError, "rtol must be"),
        ({"callback": 3}, TypeError, "callback must be callable"),
        ({"init": {}, "method": 3}, InvalidSystemError, "there is no method 3"),
    ],
)
def test_options_that_are_refused(options, error, message):
    graph, _, _ = pose_graph(SE2)
    with pytest.raises(error, match=message):
        graph.optimize(**options)


def test_an_empty_graph_is_refused():
    with pytest.raises(InvalidSystemError, match="no variables"):
        gabp.FactorGraph().optimize()


def test_values_of_another_graph_are_refused():
    graph, _, _ = pose_graph(SE2)
    other = gabp.FactorGraph().variables(Euclidean(1), normal(2, 1))
    with pytest.raises(InvalidSystemError, match="no set of the graph"):
        graph.optimize().values(other)
