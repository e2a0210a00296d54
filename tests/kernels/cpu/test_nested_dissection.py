"""Elimination orders by nested dissection, and the choice between them and minimum degree."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cases
from gabp.kernels import dispatch
from gabp.system import make_system, read_matrix

compiled = dispatch.backend("cpu").factor
LEFT, RIGHT, BETWEEN = 0, 1, 2


def graph_of(A):
    graph = make_system(read_matrix(A)).graph
    return graph.start, graph.source


def grid(*shape):
    return cases.laplacian(int(np.prod(shape)), cases.grid_edges(*shape), 0.1)


def star(n):
    return cases.laplacian(n, [(0, i, 1.0) for i in range(1, n)], 0.1)


def random_graph(n, edges, seed):
    ends = np.random.default_rng(seed).integers(0, n, (2, edges))
    A = sp.coo_array((-np.ones(edges), ends), (n, n)).tocsr()
    A = A + A.T
    A.setdiag(0.0)
    return sp.csr_array(sp.diags_array(np.abs(A).sum(axis=1) + 0.1) + A)


GRAPHS = {
    "one node": sp.csr_array(np.eye(1)),
    "no edges": sp.eye_array(700, format="csr"),
    "a path": grid(900),
    "a star": star(900),
    "many stars": cases.block_diagonal(*[star(30) for _ in range(40)], rng=np.random.default_rng(0)),
    "a clique": sp.csr_array(np.ones((300, 300)) + 300 * np.eye(300)),
    "cliques joined by one edge": sp.csr_array(
        sp.kron(sp.eye_array(8), np.ones((70, 70))) + cases.laplacian(560, [(i, i + 1, 1.0) for i in range(559)], 600.0)
    ),
    "a grid": grid(37, 41),
    "a box": grid(13, 12, 11),
    "grids apart": cases.block_diagonal(grid(20, 20), grid(7, 9), grid(30, 30), rng=np.random.default_rng(1)),
    "a random graph": random_graph(1500, 9000, 0),
    "a grid and a node beside all of its nodes": grid(40, 40)
    + cases.laplacian(1600, [(0, i, 1.0) for i in range(1, 1600)]),
}
every_graph = pytest.mark.parametrize("name", GRAPHS)


def assert_permutation(order, n):
    assert order.dtype == torch.int32
    np.testing.assert_array_equal(np.sort(order.numpy()), np.arange(n))


@every_graph
def test_an_order_is_a_permutation(name):
    assert_permutation(compiled.nested_dissection_order(*graph_of(GRAPHS[name]), 1), GRAPHS[name].shape[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1200), st.floats(0.0, 4.0), st.integers(0, 2**32 - 1))
def test_an_order_of_any_graph_is_a_permutation(n, edges_per_node, seed):
    start, source = graph_of(random_graph(n, int(edges_per_node * n), seed))
    assert_permutation(compiled.nested_dissection_order(start, source, 1), n)


@every_graph
def test_the_order_is_the_same_in_every_run_and_for_any_number_of_threads(name):
    start, source = graph_of(GRAPHS[name])
    first = compiled.nested_dissection_order(start, source, 1)
    for threads in (1, 2, 5):
        assert torch.equal(compiled.nested_dissection_order(start, source, threads), first)


@pytest.mark.parametrize("name", ["a path", "a grid", "a box", "grids apart", "many stars"])
def test_no_edge_joins_the_sides_of_a_separator(name):
    start, source = graph_of(GRAPHS[name])
    side = compiled.find_separator(start, source).numpy()
    assert len(side) == len(start) - 1  # no two nodes have the same neighbours
    destination = np.repeat(np.arange(len(start) - 1), np.diff(start.numpy()))
    ends = np.stack([side[destination], side[source.numpy()]])
    assert not ((ends == [[LEFT], [RIGHT]]).all(axis=0)).any()
    assert max((side == LEFT).sum(), (side == RIGHT).sum()) <= 0.6 * len(side)


def test_a_random_graph_has_no_light_separator():
    assert len(compiled.find_separator(*graph_of(GRAPHS["a random graph"]))) == 0


@pytest.mark.parametrize(
    ("shape", "most"), [((900,), 1), ((40, 40), 40), ((100, 30), 30), ((16, 16, 16), 256), ((40, 10, 10), 100)]
)
def test_separators_of_boxes_are_no_larger_than_a_plane_across(shape, most):
    side = compiled.find_separator(*graph_of(grid(*shape))).numpy()
    assert (side == BETWEEN).sum() <= most


def test_unknowns_with_the_same_neighbours_stay_together():
    A = sp.kron(grid(9, 8, 7), np.ones((3, 3))) + sp.eye_array(3 * 504)
    node = compiled.nested_dissection_order(*graph_of(sp.csr_array(A)), 1).numpy() // 3
    np.testing.assert_array_equal(node[0::3], node[1::3])
    np.testing.assert_array_equal(node[0::3], node[2::3])


@pytest.mark.parametrize("side", [40, 100])
def test_the_operations_on_a_square_grid_are_those_of_george(side):
    """829/84 n³ multiplications on n × n nodes with nine-point elements: George 1973, theorem 3.1, to leading order.

    A five-point grid needs fewer; operations are counted as squares of column counts, twice the multiplications.
    """
    start, source = graph_of(grid(side, side))
    order = compiled.nested_dissection_order(start, source, 1)
    assert compiled.eliminate_symbolically(start, source, order)[1] <= 2 * 829 / 84 * side**3


def test_dissection_takes_far_fewer_operations_than_minimum_degree_in_space():
    start, source = graph_of(grid(30, 30, 30))
    dissection, degree = (
        compiled.eliminate_symbolically(start, source, order)[1]
        for order in (
            compiled.nested_dissection_order(start, source, 1),
            compiled.minimum_degree_order(start, source),
        )
    )
    assert dissection < 0.6 * degree


# --- the choice -------------------------------------------------------------------------------------------------


def solid(side):
    """Three unknowns in every node of a box, each coupled to all of the 27 nodes around."""
    line = sp.diags_array([np.ones(side - 1), np.ones(side), np.ones(side - 1)], offsets=[-1, 0, 1])
    A = sp.kron(sp.kron(sp.kron(line, line), line), np.ones((3, 3)))
    return sp.csr_array(A + 100 * sp.eye_array(A.shape[0]))


def operations(start, source):
    orders = compiled.minimum_degree_order(start, source), compiled.nested_dissection_order(start, source, 1)
    return tuple(compiled.eliminate_symbolically(start, source, order)[1] for order in orders)


def test_solids_are_dissected_and_plane_grids_are_not():
    start, source = graph_of(solid(16))
    degree, dissection = operations(start, source)
    assert compiled.Symbolic.of(start, source).flops == dissection < 0.5 * degree
    start, source = graph_of(grid(80, 80))
    assert compiled.Symbolic.of(start, source).flops == operations(start, source)[0]


def test_a_graph_without_good_separators_is_eliminated_by_minimum_degree():
    start, source = graph_of(random_graph(3000, 9000, 0))
    assert compiled.Symbolic.of(start, source).flops == operations(start, source)[0]


def test_a_limit_on_the_operations_holds_for_the_cheaper_order():
    start, source = graph_of(solid(16))
    degree, dissection = operations(start, source)
    for most in (2 * degree, degree, 0.9 * degree):
        assert compiled.Symbolic.of(start, source, most).flops == dissection
    assert compiled.Symbolic.of(start, source, 0.99 * dissection) is None
