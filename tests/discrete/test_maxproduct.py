"""Discrete models: exactness on trees, and SLT optimality (Weiss and Freeman 2001)."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import gabp


def random_model(seed, n, values, edges=None):
    """Random potentials; random edges, about one and a half per node, where none are given."""
    rng = np.random.default_rng(seed)
    if edges is None:
        pairs = list(itertools.combinations(range(n), 2))
        chosen = rng.choice(len(pairs), min(len(pairs), 3 * n // 2), replace=False)
        edges = np.array([pairs[c] for c in sorted(chosen)])
    return rng.normal(size=(n, values)), np.asarray(edges), rng.normal(size=(len(edges), values, values))


def random_tree(seed, n):
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    return np.array([(order[i], order[rng.integers(i)]) for i in range(1, n)])


def every_score(unary, edges, pairwise):
    n, values = unary.shape
    assignments = np.array(list(itertools.product(range(values), repeat=n)))
    score = unary[np.arange(n), assignments].sum(1)
    for (i, j), table in zip(edges, pairwise, strict=True):
        score = score + table[assignments[:, i], assignments[:, j]]
    return assignments, score


def marginals(unary, edges, pairwise):
    assignments, score = every_score(unary, edges, pairwise)
    weight = np.exp(score - score.max())
    weight /= weight.sum()
    n, values = unary.shape
    return np.array([[weight[assignments[:, i] == a].sum() for a in range(values)] for i in range(n)])


@pytest.mark.parametrize("seed", range(5))
def test_max_is_exact_on_trees(seed):
    model = random_model(seed, 7, 3, random_tree(seed, 7))
    result = gabp.maxproduct(*model)
    assignments, score = every_score(*model)
    assert result.converged
    assert result.assignment.tolist() == assignments[score.argmax()].tolist()
    assert result.score == pytest.approx(score.max())
    assert result.beliefs.max(1) == pytest.approx(np.ones(7))
    assert result.slt_optimal()


@pytest.mark.parametrize("seed", range(5))
def test_sum_is_exact_on_trees(seed):
    model = random_model(seed, 7, 3, random_tree(seed, 7)[:-1])  # with a node of its own
    result = gabp.maxproduct(*model, mode="sum")
    assert result.beliefs == pytest.approx(marginals(*model), abs=1e-12)
    assert result.assignment.tolist() == marginals(*model).argmax(1).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_ties_on_a_tree_are_broken_consistently(seed):
    unary, edges, pairwise = random_model(seed, 8, 2, random_tree(seed, 8))
    model = np.zeros_like(unary), edges, np.round(pairwise)
    result = gabp.maxproduct(*model)
    assert result.score == pytest.approx(every_score(*model)[1].max())


@pytest.mark.parametrize("mode", ["max", "sum"])
def test_forbidden_values(mode):
    """A proper colouring of a path whose ends are given: every message has a -inf."""
    unary = np.zeros((4, 3))
    unary[0, 1:] = unary[3, 1:] = -np.inf
    differ = np.where(np.eye(3) > 0, -np.inf, 0.0)
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    result = gabp.maxproduct(unary, edges, np.stack([differ] * 3), mode=mode)
    if mode == "sum":
        assert result.beliefs == pytest.approx(np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5], [1, 0, 0]]))
    else:
        assert result.score == 0.0


@pytest.mark.parametrize("schedule", ["flooding", "sequential"])
@pytest.mark.parametrize("mode", ["max", "sum"])
def test_schedules_and_damping_reach_one_fixed_point(mode, schedule):
    unary, edges, pairwise = random_model(3, 8, 2)
    plain = gabp.maxproduct(unary, edges, 0.3 * pairwise, mode=mode, tol=1e-12)
    damped = gabp.maxproduct(unary, edges, 0.3 * pairwise, mode=mode, schedule=schedule, damping=0.3, tol=1e-12)
    assert plain.converged
    assert damped.converged
    assert damped.beliefs == pytest.approx(plain.beliefs, abs=1e-10)


def test_the_sequential_schedule_takes_fewer_sweeps():
    unary, edges, pairwise = random_model(3, 8, 2)
    flooding, sequential = (
        gabp.maxproduct(unary, edges, 0.3 * pairwise, schedule=schedule) for schedule in ("flooding", "sequential")
    )
    assert sequential.iterations < flooding.iterations


def test_a_single_loop_is_solved_where_it_converges():
    """On one loop a max-product fixed point is the global optimum (Weiss 2000)."""
    ring = np.array([(i, (i + 1) % 7) for i in range(7)])
    solved = 0
    for seed in range(20):
        model = random_model(seed, 7, 2, ring)
        result = gabp.maxproduct(*model, damping=0.2, maxiter=200)
        if result.converged:
            assert result.score == pytest.approx(every_score(*model)[1].max())
            solved += 1
    assert solved >= 15


def test_fixed_points_are_slt_optimal_on_random_graphs():
    graphs, checked = 500, 0
    for seed in itertools.count():
        unary, edges, pairwise = random_model(seed, 5 + seed % 4, 2 + seed % 2)
        result = gabp.maxproduct(unary, edges, pairwise, damping=0.3, maxiter=150, tol=1e-8)
        if result.converged and not result.tied.any():
            checked += 1
            assert result.slt_optimal(), seed
        if checked == graphs:
            break
    assert seed < 1.4 * graphs  # most converge without ties: the sample is not selected


def test_a_fixed_point_with_ties_may_not_be_optimal():
    unary, edges, pairwise = random_model(197, 6, 3)
    result = gabp.maxproduct(unary, edges, pairwise, damping=0.3)
    assert result.converged
    assert result.tied.tolist() == [False, False, True, True, False, True]
    assert not result.slt_optimal()


def test_a_suboptimal_assignment_is_not_slt_optimal():
    unary, edges, pairwise = np.zeros((3, 2)), np.array([[0, 1], [1, 2]]), np.zeros((2, 2, 2))
    unary[:, 1] = 1.0
    result = gabp.maxproduct(unary, edges, pairwise)
    assert result.slt_optimal()
    worse = replace(result, assignment=np.array([0, 1, 1]))
    assert not worse.slt_optimal()


def test_two_loops_are_outside_the_neighbourhood():
    """A complete graph of four ferromagnets: all flipped is better, but its induced graph has three loops."""
    edges = np.array(list(itertools.combinations(range(4), 2)))
    agree = np.stack([4.0 * np.eye(2)] * 6)
    unary = np.tile([0.0, 0.1], (4, 1))
    result = gabp.maxproduct(unary, edges, agree, damping=0.5)
    assert result.assignment.tolist() == [1, 1, 1, 1]
    assert replace(result, assignment=np.zeros(4, dtype=int)).slt_optimal()


def test_results_of_tensors_are_tensors_and_repeated_edges_are_summed():
    unary, edges, pairwise = (torch.as_tensor(part) for part in random_model(1, 5, 2))
    once = gabp.maxproduct(unary, edges, pairwise, mode="sum", damping=0.2)
    turned = torch.cat([edges, edges.flip(1)]), torch.cat([0.5 * pairwise, 0.5 * pairwise.mT])
    twice = gabp.maxproduct(unary, *turned, mode="sum", damping=0.2)
    assert isinstance(once.beliefs, torch.Tensor)
    torch.testing.assert_close(once.beliefs, twice.beliefs)
    assert gabp.maxproduct(unary.float(), edges, pairwise.float(), damping=0.2, tol=1e-5).beliefs.dtype == torch.float32


def test_no_edges_at_all():
    result = gabp.maxproduct(np.array([[0.0, 1.0], [2.0, 1.0]]), np.zeros((0, 2)), np.zeros((0, 2, 2)))
    assert result.assignment.tolist() == [1, 0]


@pytest.mark.parametrize("mode", ["max", "sum"])
def test_one_node_and_one_value(mode):
    alone = gabp.maxproduct(np.array([[0.0, 2.0, 1.0]]), [], np.zeros((0, 3, 3)), mode=mode)
    assert alone.converged
    assert alone.assignment.tolist() == [1]
    assert alone.score == 2.0
    certain = gabp.maxproduct(*random_model(0, 4, 1, [(0, 1), (1, 2), (2, 3), (3, 0)]), mode=mode)
    assert certain.converged
    assert certain.assignment.tolist() == [0, 0, 0, 0]
    assert certain.beliefs.tolist() == [[1.0]] * 4
    assert not certain.tied.any()


@pytest.mark.parametrize("mode", ["max", "sum"])
@pytest.mark.parametrize("schedule", ["flooding", "sequential"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_tolerance_of_zero_means_rounding(dtype, schedule, mode):
    unary, edges, pairwise = random_model(3, 8, 3)
    arguments = (10 * unary).astype(dtype), edges, pairwise.astype(dtype)
    result = gabp.maxproduct(*arguments, mode=mode, schedule=schedule, damping=0.3, tol=0.0)
    assert result.converged
    assert result.beliefs.dtype == dtype
    assert result.beliefs == pytest.approx(
        gabp.maxproduct(10 * unary, edges, pairwise, mode=mode, damping=0.3).beliefs,
        abs=1e-4 if dtype == "f4" else 1e-8,
    )


def test_the_sequential_schedule_updates_nodes_in_row_order():
    unary, edges, pairwise = random_model(8, 9, 2)
    result = gabp.maxproduct(unary, edges, pairwise, mode="sum", schedule="sequential", maxiter=2)
    message = {(i, j): np.zeros(2) for i, j in [*map(tuple, edges), *map(tuple, edges[:, ::-1])]}
    table = {tuple(e): t for e, t in zip(edges, pairwise, strict=True)}
    table |= {(j, i): t.T for (i, j), t in table.items()}
    for _ in range(2):
        for i in range(9):
            for _, j in [pair for pair in message if pair[0] == i]:
                cavity = unary[i] + sum(message[k, to] for k, to in message if to == i and k != j)
                new = np.logaddexp.reduce(cavity[:, None] + table[i, j], axis=0)
                message[i, j] = new - np.logaddexp.reduce(new)
    belief = np.exp([unary[i] + sum(message[k, to] for k, to in message if to == i) for i in range(9)])
    assert result.beliefs == pytest.approx(belief / belief.sum(1, keepdims=True), rel=1e-10)


@pytest.mark.parametrize("mode", ["max", "sum"])
def test_a_model_without_an_assignment_is_refused(mode):
    same, apart = np.where(np.eye(2) > 0, 0.0, -np.inf), np.where(np.eye(2) > 0, -np.inf, 0.0)
    given = np.array([[0.0, -np.inf], [0.0, 0.0], [0.0, 0.0]])
    triangle = np.array([[0, 1], [1, 2], [0, 2]])
    for unary, edges, pairwise in [
        (np.array([[0.0, -np.inf], [-np.inf, 0.0]]), [(0, 1)], same[None]),
        (np.full((1, 2), -np.inf), [], np.zeros((0, 2, 2))),
        (given, triangle, np.stack([same, same, apart])),
    ]:
        with pytest.raises(gabp.InvalidSystemError, match=r"no assignment.*node"):
            gabp.maxproduct(unary, np.array(edges), pairwise, mode=mode)


def test_a_long_chain_needs_no_sweeps():
    n = 1500
    unary, edges, pairwise = random_model(0, n, 2, [(i, i + 1) for i in range(n - 1)])
    result = gabp.maxproduct(unary, edges, pairwise)
    best = unary[0]  # Viterbi
    for i in range(1, n):
        best = unary[i] + (best[:, None] + pairwise[i - 1]).max(0)
    assert result.converged
    assert result.score == pytest.approx(best.max())


def test_arguments_are_checked():
    unary, edges, pairwise = random_model(0, 4, 2)
    with pytest.raises(gabp.InvalidSystemError, match="mode"):
        gabp.maxproduct(unary, edges, pairwise, mode="min")
    with pytest.raises(gabp.InvalidSystemError, match="schedule"):
        gabp.maxproduct(unary, edges, pairwise, schedule="tree")
    with pytest.raises(gabp.InvalidSystemError, match="damping"):
        gabp.maxproduct(unary, edges, pairwise, damping=1.0)
    with pytest.raises(gabp.InvalidSystemError, match=r"edges\[0\].*same node"):
        gabp.maxproduct(unary, np.array([[1, 1]]), pairwise[:1])
    with pytest.raises(gabp.InvalidSystemError, match=r"edges\[0\].*outside"):
        gabp.maxproduct(unary, np.array([[1, 4]]), pairwise[:1])
    with pytest.raises(gabp.InvalidSystemError, match="pairwise has shape"):
        gabp.maxproduct(unary, edges, pairwise[1:])
    for wrong in (edges.astype(float), "ab", [(0, 1), (2,)]):
        with pytest.raises(TypeError, match="integers"):
            gabp.maxproduct(unary, wrong, pairwise)
    with pytest.raises(TypeError, match="unary"):
        gabp.maxproduct(unary.tolist(), edges, pairwise)
    unary[2, 1] = np.nan
    with pytest.raises(gabp.InvalidSystemError, match=r"unary\[2, 1\]"):
        gabp.maxproduct(unary, edges, pairwise)


@pytest.mark.parametrize("wrong", [{"maxiter": -1}, {"tol": -1.0}, {"tol": np.nan}, {"tol": np.inf}], ids=repr)
def test_limits_are_checked(wrong):
    with pytest.raises(gabp.InvalidSystemError, match=next(iter(wrong))):
        gabp.maxproduct(np.zeros((3, 2)), np.zeros((0, 2), int), np.zeros((0, 2, 2)), **wrong)


@pytest.mark.parametrize("wrong", [{"maxiter": 1.5}, {"tol": "fine"}, {"damping": "a"}], ids=repr)
def test_limits_of_the_wrong_kind(wrong):
    with pytest.raises(TypeError, match=next(iter(wrong))):
        gabp.maxproduct(np.zeros((3, 2)), np.zeros((0, 2), int), np.zeros((0, 2, 2)), **wrong)


def test_no_convergence_is_reported_and_logged(caplog):
    model = random_model(3, 8, 2)
    assert gabp.maxproduct(*model, damping=0.3).converged
    assert not caplog.records
    result = gabp.maxproduct(*model, maxiter=2)
    assert not result.converged
    assert result.iterations == 2
    assert "did not converge in 2 iterations" in caplog.text
    assert caplog.records[0].name == "gabp"


@pytest.mark.parametrize("mode", ["max", "sum"])
def test_damping_leaves_forbidden_values_forbidden(mode):
    """On a ring of four, whose node 0 is fixed to the value 0, no two neighbours take it: messages of -inf."""
    unary, edges, pairwise = random_model(3, 4, 3, [(0, 1), (1, 2), (2, 3), (3, 0)])
    pairwise *= 0.3
    pairwise[:, 0, 0] = unary[2, 1] = unary[0, 1:] = -np.inf
    plain, damped = (gabp.maxproduct(unary, edges, pairwise, mode=mode, damping=damping) for damping in (0.0, 0.4))
    assert plain.converged and damped.converged
    np.testing.assert_allclose(damped.beliefs, plain.beliefs, atol=1e-7)
    assert damped.beliefs[2, 1] == damped.beliefs[1, 0] == damped.beliefs[3, 0] == 0
