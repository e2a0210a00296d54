"""Vector-valued nodes."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import gabp
from gabp.kernels import dispatch, reference
from gabp.messages.blocks import (
    BlockSweep,
    leaves_first,
    solve_block_fixed_point,
)
from gabp.solvers.hierarchy.blocks import greedy_matching
from gabp.system import blocks, make_system, read_matrix
from gabp.system.blocks import BlockPartition, BlockSystem, find_blocks, read_partition

SEQUENTIAL = dispatch.backend("cpu").sequential
needs_compiled = pytest.mark.skipif(
    not dispatch.backend("cpu").compiled, reason="without the compiled kernels there is nothing to compare"
)


def random_blocks(count, d, edges, seed=0, coupling=0.4):
    """A positive definite matrix with full d × d blocks on the given edges."""
    rng = np.random.default_rng(seed)
    A = np.zeros((count * d, count * d))
    for i, k in edges:
        rows, columns = slice(i * d, i * d + d), slice(k * d, k * d + d)
        A[rows, columns] = coupling * rng.normal(size=(d, d))
        A[columns, rows] = A[rows, columns].T
    for i in range(count):
        root = rng.normal(size=(d, d))
        A[i * d : i * d + d, i * d : i * d + d] += root @ root.T
    return A + np.eye(count * d) * (0.1 - np.linalg.eigvalsh(A)[0])


def chain(count):
    return [(i, i + 1) for i in range(count - 1)]


def ring(count):
    return [(i, (i + 1) % count) for i in range(count)]


def blocks_of(A, blocks, symmetric=True):
    matrix = read_matrix(A)
    return BlockSystem.of(make_system(matrix, symmetric), read_partition(blocks, matrix))


def correlated_pairs(count):
    """A ring of strongly correlated pairs, linked in the direction in which the pairs are stiff."""
    A = np.kron(np.eye(count), np.array([[1.0, 0.9], [0.9, 1.0]]))
    for i, k in ring(count):
        A[2 * i : 2 * i + 2, 2 * k : 2 * k + 2] = A[2 * k : 2 * k + 2, 2 * i : 2 * i + 2] = 0.3
    return A


def pose_graph(poses, seed=0, sideways=300.0):
    """The Gauss–Newton matrix of a robot that walks a city grid and recognises where it has been."""
    rng = np.random.default_rng(seed)
    side = int(poses**0.5 / 2)
    place, heading, at, way = np.zeros((poses, 2)), np.zeros(poses), np.zeros(2, dtype=int), 0
    steps = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    for p in range(1, poses):
        way = (way + rng.choice([0, 0, 0, 1, 3])) % 4
        while (np.abs(at + steps[way]) > side).any():
            way = (way + rng.choice([1, 3])) % 4
        at = at + steps[way]
        place[p], heading[p] = at, way * np.pi / 2
    street = 0.3  # the streets run askew, so that no entry of a block happens to be zero
    place = place @ np.array([[np.cos(street), np.sin(street)], [-np.sin(street), np.cos(street)]])
    heading = heading + street
    pairs = [(p, p + 1) for p in range(poses - 1)]
    seen = {}
    for p in range(poses):
        key = tuple(place[p].round(6))
        if key in seen and p - seen[key] > 5 and rng.random() < 0.5:
            pairs.append((seen[key], p))
        seen[key] = p
    i, j = np.array(pairs).T
    c, s = np.cos(heading[i]), np.sin(heading[i])
    dx, dy = (place[j] - place[i]).T
    one, nil = np.ones(len(i)), np.zeros(len(i))
    to_i = np.array([[-c, -s, -s * dx + c * dy], [s, -c, -c * dx - s * dy], [nil, nil, -one]]).transpose(2, 0, 1)
    to_j = np.array([[c, s, nil], [-s, c, nil], [nil, nil, one]]).transpose(2, 0, 1)
    information = np.diag([600.0, sideways, 2500.0])
    e = np.arange(len(i))
    rows = (3 * e[:, None, None] + np.arange(3)[None, :, None]) + np.zeros((1, 1, 3), dtype=int)
    columns = [
        3 * node[:, None, None] + np.arange(3)[None, None, :] + np.zeros((1, 3, 1), dtype=int) for node in (i, j)
    ]
    entries = np.concatenate([to_i.ravel(), to_j.ravel()])
    where = np.concatenate([rows.ravel()] * 2), np.concatenate([column.ravel() for column in columns])
    J = sp.coo_array((entries, where), (3 * len(i), 3 * poses)).tocsr()
    anchor = sp.coo_array((np.full(3, 1e4), (range(3), range(3))), (3 * poses, 3 * poses))
    return (J.T @ sp.kron(sp.eye_array(len(i)), information) @ J + anchor).tocsr()


@pytest.mark.parametrize("d", [1, 2, 3, 4, 6])
def test_a_chain_of_blocks_is_exact_in_one_pass(d):
    A = random_blocks(7, d, chain(7), coupling=2.0)
    b = np.random.default_rng(1).normal(size=(7 * d, 2))
    solution = gabp.solve(A, b, blocks=d, rtol=1e-12)
    assert solution.method == "tree"
    assert solution.iterations == 1
    assert solution.x == pytest.approx(np.linalg.solve(A, b), rel=1e-9, abs=1e-12)


def test_blocks_converge_where_scalars_diverge():
    A = correlated_pairs(8)
    b = np.linspace(-1, 1, 16)
    with pytest.raises(gabp.ConvergenceError):
        gabp.solve(A, b, method="flooding")
    for method in ("flooding", "sequential"):
        solution = gabp.solve(A, b, blocks=2, method=method, rtol=1e-12)
        assert solution.x == pytest.approx(np.linalg.solve(A, b), rel=1e-9, abs=1e-12)


def test_the_sequential_schedule_takes_about_half_the_sweeps():
    path = sp.diags_array([-np.ones(7), np.full(8, 2.05), -np.ones(7)], offsets=[-1, 0, 1])
    grid = sp.kron(path, sp.eye_array(8)) + sp.kron(sp.eye_array(8), path)
    A = sp.kron(grid, np.array([[2.0, 1.0], [1.0, 1.5]])).tocsr()
    b = np.random.default_rng(2).normal(size=(128, 2))
    flooding, sequential = (gabp.solve(A, b, blocks=2, method=method) for method in ("flooding", "sequential"))
    assert sequential.iterations < 0.6 * flooding.iterations


@pytest.mark.parametrize("method", ["flooding", "sequential", "krylov", "hierarchy", "elimination", "auto"])
def test_a_general_partition(method):
    """Blocks of one, two and three unknowns, not next to one another."""
    rng = np.random.default_rng(3)
    A = random_blocks(6, 2, ring(6), coupling=0.1)
    labels = np.array([9, 4, 4, 7, 7, 7, 4, 1, 1, 0, 2, 2])
    b = rng.normal(size=12)
    solution = gabp.solve(A, b, blocks=labels, method=method, rtol=1e-12)
    assert solution.x == pytest.approx(np.linalg.solve(A, b), rel=1e-9, abs=1e-12)


def test_the_settled_beliefs_of_a_chain_are_its_marginals():
    A = random_blocks(5, 3, chain(5), coupling=1.0)
    precisions = solve_block_fixed_point(blocks_of(A, 3))
    covariance = np.linalg.inv(A)
    for i in range(5):
        own = slice(3 * i, 3 * i + 3)
        assert torch.linalg.inv(precisions.belief[i]).numpy() == pytest.approx(
            covariance[own, own], rel=1e-10, abs=1e-13
        )


def test_a_cavity_that_is_no_precision_is_found():
    A = random_blocks(4, 2, ring(4), coupling=3.0)
    assert solve_block_fixed_point(blocks_of(A, 2)).invalid_node is not None
    solution = gabp.solve(A, np.ones(8), blocks=2, method="flooding", throw=False)
    assert solution.status is gabp.Status.INVALID_PRECISION


def nonsymmetric_blocks(count, d, edges, seed=5):
    """A symmetric model in blocks with as much again added to one of its directions."""
    A = random_blocks(count, d, edges, coupling=0.3)
    upper = np.triu(0.2 * np.random.default_rng(seed).normal(size=A.shape))
    return A + np.where(A != 0, upper, 0.0)


GENERAL = [{"method": "flooding"}, {"method": "sequential"}, {"method": "elimination"}, {"method": "auto"}] + [
    {"method": "krylov", "krylov": krylov} for krylov in ("bicgstab", "gmres")
]


@pytest.mark.parametrize("arguments", GENERAL, ids=lambda arguments: "-".join(arguments.values()))
def test_nonsymmetric_blocks(arguments):
    A = nonsymmetric_blocks(6, 2, ring(6))
    b = np.random.default_rng(6).normal(size=(12, 2))
    solution = gabp.solve(A, b, symmetric=False, blocks=2, rtol=1e-10, **arguments)
    assert solution.x == pytest.approx(np.linalg.solve(A, b), rel=1e-8, abs=1e-9)


def test_blocks_of_turns_have_no_scalar_messages():
    """Every diagonal entry is zero: scalar nodes have no precision, pairs of them do."""
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    A = np.kron(np.eye(20), turn) + 0.2 * np.kron(np.eye(20, k=1) - np.eye(20, k=-3), np.eye(2))
    b = np.ones(40)
    with pytest.raises(gabp.ConvergenceError):
        gabp.solve(A, b, symmetric=False, method="krylov")
    for method in ("flooding", "sequential", "krylov"):
        solution = gabp.solve(A, b, symmetric=False, method=method, blocks=2, rtol=1e-12)
        assert solution.x == pytest.approx(np.linalg.solve(A, b))


@pytest.mark.parametrize("make", [random_blocks, nonsymmetric_blocks])
@pytest.mark.parametrize("d", [1, 2, 3, 5, 6])
def test_the_sweep_is_what_it_says(d, make):
    A = make(6, d, [*ring(6), (0, 3)])
    block = np.arange(6 * d) // d
    J, L, U = (np.where(part(block[:, None], block), A, 0.0) for part in (np.equal, np.greater, np.less))
    for i in range(6):
        own = block == i
        for k in range(i):
            other = block == k
            J[np.ix_(own, own)] -= (
                A[np.ix_(own, other)] @ np.linalg.inv(J[np.ix_(other, other)]) @ A[np.ix_(other, own)]
            )
    expected = np.linalg.inv((J + L) @ np.linalg.inv(J) @ (J + U))
    found = BlockSweep.of(blocks_of(A, d, symmetric=make is random_blocks)).apply(torch.eye(6 * d, dtype=torch.float64))
    assert found.numpy() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@needs_compiled
@pytest.mark.parametrize("d", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("coupling", [0.3, 5.0])  # the larger one meets pivots that are not positive definite
@pytest.mark.parametrize("symmetric", [True, False])
def test_compiled_and_literal_sweeps_agree(d, coupling, symmetric):
    A = random_blocks(9, d, [*ring(9), (0, 4), (2, 7)], coupling=coupling)
    if not symmetric:
        A = A - 0.5 * np.triu(A, 1)
    system = blocks_of(A, d, symmetric)
    graph = system.graph
    r = torch.randn(9, d, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for kernels in (SEQUENTIAL, reference):
        inverse = torch.full_like(system.diagonal, torch.nan)
        arguments = (system.diagonal, system.weight, graph.start, graph.source, graph.reverse, symmetric)
        assert kernels.block_pivots(*arguments, inverse) == -1
        y = torch.full_like(r, torch.nan)
        kernels.block_elimination_sweep(system.weight, graph.start, graph.source, inverse, r, y)
        found.append((inverse, y))
    torch.testing.assert_close(*found)


@needs_compiled
@pytest.mark.parametrize("symmetric", [True, False])
def test_compiled_and_literal_kernels_find_the_same_bad_block(symmetric):
    system = blocks_of(np.kron(np.diag([1.0, 1.0, 0.0, 1.0]) + 0.0, np.eye(2)) + 0.1 * np.eye(8, k=4), 2, False)
    graph, inverse = system.graph, torch.zeros_like(system.diagonal)
    arguments = (system.diagonal, system.weight, graph.start, graph.source, graph.reverse, symmetric, inverse)
    assert SEQUENTIAL.block_pivots(*arguments) == reference.block_pivots(*arguments) == 2


@needs_compiled
@pytest.mark.parametrize("d", [1, 2, 3, 5, 6])
def test_compiled_and_literal_sequential_sweeps_agree(d):
    system = blocks_of(random_blocks(9, d, [*ring(9), (0, 4), (2, 7)], coupling=0.3), d)
    graph = system.graph
    ratio = solve_block_fixed_point(system).ratio[graph.reverse].contiguous()
    b = torch.randn(9, d, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for kernels in (SEQUENTIAL, reference):
        potential = torch.zeros(graph.edges, d, 2, dtype=torch.float64)
        kernels.block_sequential_potentials(graph.start, graph.reverse, ratio, b, potential, 3)
        found.append(potential)
    torch.testing.assert_close(*found)


def test_renumbering_keeps_the_model():
    A = random_blocks(6, 2, [(0, 3), (3, 1), (3, 5), (5, 2)], coupling=1.0)
    b = torch.ones(12, 1, dtype=torch.float64)
    sweep = BlockSweep.of(leaves_first(blocks_of(A, 2)))
    assert sweep.apply(b).numpy() == pytest.approx(np.linalg.solve(A, b.numpy()))


def found_in(A):
    return find_blocks(make_system(read_matrix(A)).graph)


def test_blocks_are_found_in_a_plain_matrix():
    A = pose_graph(60)
    assert np.array_equal(found_in(A), np.arange(180) // 3)
    shuffle = np.random.default_rng(0).permutation(180)
    found = found_in(A[shuffle][:, shuffle])
    assert all(len(set(shuffle[found == label] // 3)) == 1 for label in range(60))
    assert np.array_equal(found_in(pose_graph(60, sideways=600.0)), np.arange(180) // 3)  # with zeros
    grid = sp.diags_array([-np.ones(9), np.full(10, 2.0), -np.ones(9)], offsets=[-1, 0, 1])
    assert len(set(found_in(grid))) == 10
    assert np.bincount(found_in(np.ones((20, 20)))).max() == 8


def blocks_row_by_row(A) -> np.ndarray:
    """The literal definition: each row joins the open block of its pattern, which closes at eight."""
    open_block, labels, count = {}, np.empty(len(A), dtype=np.int64), 0
    for i, row in enumerate(A):
        pattern = tuple(np.flatnonzero(row))
        label, members = open_block.get(pattern, (-1, 8))
        if members == 8:
            label, members, count = count, 0, count + 1
        labels[i] = label
        open_block[pattern] = (label, members + 1)
    return labels


@pytest.mark.parametrize("seed", range(12))
def test_equal_rows_are_grouped_as_row_by_row(seed):
    """Shuffled nodes of 1 to 11 unknowns, each node all of one pattern; some have no neighbours."""
    rng = np.random.default_rng(seed)
    node = np.repeat(np.arange(15), rng.integers(1, 12, 15))
    adjacent = rng.random((15, 15)) < 0.1 * (seed % 3)
    A = (adjacent | adjacent.T | np.eye(15, dtype=bool))[node][:, node].astype(float)
    shuffle = rng.permutation(len(node))
    A = A[shuffle][:, shuffle]
    assert np.array_equal(blocks._blocks_of_equal_rows(make_system(read_matrix(A)).graph), blocks_row_by_row(A))


@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize("kept", [1.0, 0.8, 0.5])
def test_blocks_with_zeros_in_them_are_found(size, kept):
    """Nodes of a grid whose blocks lack some of their entries."""
    rng = np.random.default_rng(size)
    stored = np.kron(grid_of_nodes(12), np.ones((size, size))) > 0
    absent = np.triu(rng.random(stored.shape) > kept, 1)
    A = np.where(absent | absent.T, 0.0, stored)
    assert np.array_equal(found_in(A + np.eye(len(A))), np.arange(len(A)) // size)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_scalar_grid_has_no_blocks(width):
    """A stencil that reaches ``width`` nodes along the rows fills successive unknowns, wherever their blocks begin."""
    offsets = list(range(-width, width + 1)) + [-12, 12]
    A = sp.diags_array([np.ones(144 - abs(k)) for k in offsets], offsets=offsets)
    assert len(set(found_in(A).tolist())) == 144


def grid_of_nodes(side):
    path = np.eye(side) + np.eye(side, k=1) + np.eye(side, k=-1)
    return np.kron(path, np.eye(side)) + np.kron(np.eye(side), path)


def test_a_pose_graph_takes_fewer_iterations_in_blocks():
    A = pose_graph(900)
    b = np.random.default_rng(1).normal(size=A.shape[0])
    scalar = gabp.solve(A, b, blocks=1, method="krylov")
    block = gabp.solve(A, b, blocks="auto", method="krylov")
    assert block.converged
    assert np.linalg.norm(b - A @ block.x) <= 1e-8 * np.linalg.norm(b)
    assert block.iterations < 0.5 * scalar.iterations


@pytest.mark.parametrize("poses", [5000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_the_hierarchy_of_blocks_halves_the_iterations_of_the_scalar_one(poses):
    A = pose_graph(poses)
    b = np.random.default_rng(1).normal(size=(A.shape[0], 2))
    block = gabp.solve(A, b, blocks="auto", method="hierarchy")
    assert np.linalg.norm(b - A @ block.x, axis=0) == pytest.approx([0, 0], abs=1e-8 * np.linalg.norm(b))
    if dispatch.backend("cpu").compiled:  # in tensor operations the scalar one takes minutes
        assert block.iterations <= 0.5 * gabp.solve(A, b, method="hierarchy").iterations


@pytest.mark.parametrize("ties", [False, True])
def test_the_matching_is_greedy(ties):
    """Against the definition, edge by edge; equal strengths may be taken in any order, but always in the same."""
    graph = make_system(read_matrix(sp.csr_array(pose_graph(300)))).graph
    row, column = graph.destination, graph.source.long()
    strength = torch.rand(graph.edges, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    strength = torch.ones_like(strength) if ties else torch.maximum(strength, strength[graph.reverse])
    first = greedy_matching(row, column, strength, graph.reverse, graph.n)
    pairs = {(int(i), k) for k, i in enumerate(first) if int(i) != k}
    assert len({node for pair in pairs for node in pair}) == 2 * len(pairs)
    assert pairs <= set(zip(row.tolist(), column.tolist(), strict=True))
    partner = {}
    for e in torch.argsort(strength, descending=True).tolist():
        i, k = int(row[e]), int(column[e])
        if i not in partner and k not in partner:
            partner[i], partner[k] = k, i
    single = first == torch.arange(graph.n)
    single[first[~single]] = False
    assert not bool((single[row] & single[column]).any())
    if not ties:
        assert pairs == {(i, k) for i, k in partner.items() if i < k}


def test_auto_eliminates_pose_graphs_and_iterates_where_factors_fill():
    A = pose_graph(1500)
    solution = gabp.solve(A, np.ones(4500), blocks=3)
    assert solution.method == "elimination"
    assert "little fill" in solution.method_reason


def test_a_hierarchy_of_blocks_of_many_sizes():
    rng = np.random.default_rng(2)
    n = 2000
    labels = np.repeat(np.arange(n), rng.integers(1, 4, n))[:n]
    grid = sp.random_array((n, n), density=1.5 / n, rng=rng, data_sampler=lambda size: -rng.random(size)).tocsr()
    within = sp.csr_array((np.ones(n), (np.arange(n), labels)), (n, n))
    A = grid + grid.T + within @ within.T
    A = A + sp.diags_array(np.abs(A).sum(1) + 0.01)
    b = np.ones(n)
    solution = gabp.solve(A, b, blocks=labels, method="hierarchy", rtol=1e-10)
    assert solution.iterations < 30
    assert np.linalg.norm(b - A @ solution.x) <= 1e-10 * np.linalg.norm(b)


@pytest.mark.parametrize("method", ["krylov", "hierarchy"])
def test_indefinite_matrices_are_reported(method):
    A = np.kron(np.eye(3), np.array([[1.0, 2.0], [2.0, 1.0]])) + 0.1 * np.kron(np.ones((3, 3)) - np.eye(3), np.eye(2))
    solution = gabp.solve(sp.block_diag([A] * 200), np.ones(1200), blocks=2, method=method, throw=False)
    assert solution.status is gabp.Status.NOT_POSITIVE_DEFINITE


def test_a_solver_in_blocks_can_be_pickled_and_updated():
    A = pose_graph(50)
    solver = pickle.loads(pickle.dumps(gabp.Solver(A, blocks=3)))
    b = np.ones(150)
    x = solver.solve(b).x
    assert solver.update(2 * A.data).solve(b).x == pytest.approx(x / 2, rel=1e-6)


def test_partitions():
    partition = BlockPartition.of(np.array([5, 5, 2, 5, 0]))
    assert partition.member.tolist() == [[0, 1, 3], [2, -1, -1], [4, -1, -1]]
    x = torch.arange(10.0).reshape(5, 2)
    assert torch.equal(partition.scatter(partition.gather(x)), x)
    assert partition.gather(x)[1, 1:].abs().max() == 0


def test_arguments_are_checked():
    A, b = np.eye(6), np.ones(6)
    with pytest.raises(gabp.InvalidSystemError, match="do not divide"):
        gabp.solve(A, b, blocks=4)
    with pytest.raises(gabp.InvalidSystemError, match=r"expected the block of each unknown, \(6,\)"):
        gabp.solve(A, b, blocks=np.zeros(5, dtype=int))
    with pytest.raises(gabp.InvalidSystemError, match="'auto'"):
        gabp.solve(A, b, blocks="find")
    with pytest.raises(TypeError, match="integers"):
        gabp.solve(A, b, blocks=np.zeros(6))
    with pytest.raises(gabp.InvalidSystemError, match="blocks go with"):
        gabp.solve(A, b, blocks=2, method="double-loop")
    with pytest.raises(gabp.InvalidSystemError, match="'flooding', 'krylov', 'sequential'"):
        gabp.solve(A, b, blocks=2, method="hierarchy", symmetric=False)
    with pytest.raises(gabp.InvalidSystemError, match="needs a forest"):
        gabp.solve(random_blocks(4, 2, ring(4)), np.ones(8), blocks=2, method="tree")
    with pytest.raises(gabp.InvalidSystemError, match="damping"):
        gabp.solve(A, b, blocks=2, method="flooding", damping=1.0)
