"""Weiss and Freeman's claims about the computation tree, to 1e-12 on graphs with one and many loops."""

import numpy as np
import pytest

from gabp.conditions import unwrap
from gabp.system import InvalidSystemError
from loopy_models import Flooding, chorded_square


def bipartite_2_3() -> np.ndarray:
    """K_{2,3}, the graph of Weiss and Freeman's Figure 2."""
    A = np.diag([3.2, 3.3, 2.1, 2.2, 2.3])
    A[:2, 2:] = [[-0.9, -0.7, -0.8], [-0.6, -1.0, -0.5]]
    A[2:, :2] = A[:2, 2:].T
    return A


def frustrated_cycle() -> np.ndarray:
    A = 1.5 * np.eye(5)
    for i, weight in enumerate([0.5, -0.4, 0.6, 0.3, -0.7]):
        A[i, (i + 1) % 5] = A[(i + 1) % 5, i] = weight
    return A


def path() -> np.ndarray:
    return 2.0 * np.eye(4) - np.diag(np.ones(3), 1) - np.diag(np.ones(3), -1)


def isolated_and_pendant() -> np.ndarray:
    A = np.eye(5)
    A[:4, :4] = chorded_square(0.3)
    A = np.block([[A, np.zeros((5, 1))], [np.zeros((1, 5)), np.eye(1)]])
    A[0, 5] = A[5, 0] = 0.2
    return A


GRAPHS = {
    "K_2,3": bipartite_2_3(),
    "chorded square": chorded_square(0.3),
    "chorded square, not walk-summable": chorded_square(0.395, flipped=True),
    "frustrated cycle": frustrated_cycle(),
    "path": path(),
    "isolated and pendant nodes": isolated_and_pendant(),
}


@pytest.mark.parametrize("A", GRAPHS.values(), ids=GRAPHS.keys())
def test_root_belief_and_its_errors_are_those_of_the_analysis(A: np.ndarray) -> None:
    n = len(A)
    b = np.random.default_rng(1).standard_normal(n)
    covariance = np.linalg.inv(A)
    truth = covariance @ b
    flooding = Flooding(A, b, constant_start=True)
    for sweeps in range(1, 16):
        flooding.sweep()
        for root in range(0, n, 2):
            tree = unwrap(A, root, sweeps, b)
            # claim 1: the root's belief is the loopy belief
            assert tree.variance == pytest.approx(1 / flooding.precision[root], rel=1e-12)
            assert tree.mean == pytest.approx(flooding.mean[root], rel=1e-12, abs=1e-12)
            # claim 2: the error of the mean is C̃₁ E μ
            assert tree.mean_error == pytest.approx(tree.mean - truth[root], abs=1e-12)
            # claim 3: the error of the variance is C̃₁ E C₁ᵀ less the correlations with the replicas of the root
            predicted = tree.correlations @ tree.boundary(covariance[root]) - tree.variance_correction
            assert predicted == pytest.approx(tree.variance - covariance[root, root], abs=1e-12)


def test_correlations_are_the_root_row_of_the_inverse() -> None:
    tree = unwrap(bipartite_2_3(), 0, 6)
    np.testing.assert_allclose(tree.correlations, np.linalg.inv(tree.matrix.toarray())[0], rtol=1e-12, atol=1e-15)
    assert tree.mean is None and tree.mean_error is None


def test_size_and_variance_of_the_tree_of_figure_2() -> None:
    """Eight unwrappings of K_{2,3} give 91 nodes, and the starred correlations sum to the true variance."""
    A = bipartite_2_3()
    tree = unwrap(A, 2, 8)  # one of the three nodes of degree two
    assert tree.size == 91
    deep = unwrap(A, 2, 30)
    starred = deep.correlations[deep.replica_of == 2].sum()
    assert starred == pytest.approx(np.linalg.inv(A)[2, 2], rel=1e-6)
    assert deep.variance + deep.variance_correction == pytest.approx(starred, rel=1e-14)


def test_depth_zero_is_the_unary_belief() -> None:
    A = chorded_square(0.3)
    tree = unwrap(A, 0, 0, np.ones(4))
    assert tree.size == 1
    assert tree.variance == pytest.approx(1 / (1 - 0.9))


def test_belief_of_zero_precision() -> None:
    """A belief of precision zero is 0/0: mean 0, variance infinite."""
    tree = unwrap(np.array([[1.0, -1.0], [-1.0, 2.0]]), 0, 0, np.array([0.0, 1.0]))
    assert tree.mean == 0.0
    assert np.isinf(tree.variance)


def test_nodes_are_counted_before_the_tree_is_built() -> None:
    with pytest.raises(InvalidSystemError, match="more than the 1000 nodes"):
        unwrap(chorded_square(0.3), 0, 10**9, limit=1000)
    assert unwrap(path(), 0, 10**9).size == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.array([[1.0, 0.5], [0.2, 1.0]]), 0, 1), "not symmetric"),
        ((np.eye(2), 2, 1), "root 2 is not a node"),
        ((np.eye(2), -1, 1), "root -1"),
        ((np.eye(2), 0, -1), "depth must be"),
        ((np.eye(2), 0, 1, np.ones((2, 2))), "2 columns"),
        ((np.eye(2), 0, 1, np.ones(3)), "shape"),
    ],
)
def test_invalid_arguments_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InvalidSystemError, match=message):
        unwrap(*arguments)


@pytest.mark.parametrize(("root", "depth", "name"), [(1.0, 2, "root"), (0, 2.0, "depth"), (True, 2, "root")])
def test_root_and_depth_are_integers(root: object, depth: object, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        unwrap(np.eye(2), root, depth)
