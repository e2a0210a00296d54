"""The compiled passes over a forest are those of the literal equations, with 1×1 and with 2×2 pivots."""

import numpy as np
import pytest
import torch

from gabp.kernels import cpu, reference


def forest(n: int, seed: int, magnitude: float):
    """Parents before children, some nodes roots; a diagonal of either sign, small beside the couplings or not."""
    rng = np.random.default_rng(seed)
    parent = np.array([-1, *(rng.integers(-1, i) if rng.random() < 0.95 else -1 for i in range(1, n))])
    up, down = (np.where(parent >= 0, rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 2, n), 0.0) for _ in range(2))
    pivot = magnitude * rng.standard_normal(n)
    pivot[rng.random(n) < 0.1] = 0.0
    return (
        torch.from_numpy(parent.astype(np.int32)),
        *(torch.from_numpy(values) for values in (up, down, pivot)),
        torch.full((n,), 7, dtype=torch.int32),
    )


@pytest.mark.parametrize("n", [1, 2, 7, 60])
@pytest.mark.parametrize("seed", range(5))
def test_trees_are_rooted_breadth_first_at_their_first_nodes(n, seed):
    rng = np.random.default_rng(seed)
    above = [int(rng.integers(i)) if i and rng.random() < 0.9 else -1 for i in range(n)]
    label = rng.permutation(n)
    undirected = {(int(label[i]), int(label[p])) for i, p in enumerate(above) if p >= 0}
    edges = sorted(undirected | {(v, u) for u, v in undirected})  # (destination, source)
    start = torch.tensor([sum(i < bound for i, _ in edges) for bound in range(n + 1)])
    source = torch.tensor([k for _, k in edges], dtype=torch.int32)
    found = []
    for kernels in (cpu.extension, reference):
        node, down, up = (torch.full((n,), 7) for _ in range(3))
        parent = torch.full((n,), 7, dtype=torch.int32)
        kernels.root_trees(start, source, node, parent, down, up)
        found.append([values.tolist() for values in (node, parent, down, up)])
    assert found[0] == found[1]
    node, parent, down, up = found[0]
    assert sorted(node) == list(range(n))
    depth, tree, roots = [], [], []
    for position, p in enumerate(parent):
        assert p < position
        depth.append(depth[p] + 1 if p >= 0 else 0)
        tree.append(tree[p] if p >= 0 else node[position])
        if p < 0:
            roots.append(node[position])
            continue
        assert edges[down[position]] == (node[position], node[p])
        assert edges[up[position]] == (node[p], node[position])
    assert roots == [min(i for i, t in zip(node, tree, strict=True) if t == root) for root in roots]
    assert len(roots) == above.count(-1)
    assert list(zip(tree, depth, strict=True)) == sorted(zip(tree, depth, strict=True))


def factor(kernels, model):
    parent, up, down, pivot, partner = (tensor.clone() for tensor in model)
    scale = float(torch.cat([up, down, pivot]).abs().max())
    return kernels.tree_factor(parent, up, down, scale, pivot, partner), pivot, partner


@pytest.mark.parametrize("magnitude", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("n", [1, 2, 5, 60])
@pytest.mark.parametrize("seed", range(10))
def test_the_passes_are_the_literal_ones(n, magnitude, seed):
    model = forest(n, seed, magnitude)
    ours, literal = factor(cpu.extension, model), factor(reference, model)
    assert ours[0] == literal[0]
    if literal[0] >= 0:  # singular
        return
    torch.testing.assert_close(ours[1], literal[1], rtol=1e-12, atol=1e-14)
    assert torch.equal(ours[2], literal[2])
    b = torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 3)))
    solutions = []
    for kernels, (_, pivot, partner) in ((cpu.extension, ours), (reference, literal)):
        x = b.clone()
        kernels.tree_solve(*model[:3], pivot, partner, x)
        solutions.append(x)
    torch.testing.assert_close(*solutions, rtol=1e-9, atol=1e-10)


def test_of_two_small_pivots_the_smaller_joins_the_parent():
    """Node 0 with the children 1 and 2, whose diagonals are small beside their couplings."""
    for first, second, joined in ((0.1, 0.2, 1), (0.2, 0.1, 2)):
        model = (
            torch.tensor([-1, 0, 0], dtype=torch.int32),
            *(torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64) for _ in range(2)),
            torch.tensor([0.5, first, second], dtype=torch.float64),
            torch.empty(3, dtype=torch.int32),
        )
        for kernels in (cpu.extension, reference):
            singular, _, partner = factor(kernels, model)
            assert singular == -1
            assert partner[0] == joined


def test_a_singular_pair_is_named():
    """Two nodes with ``A = [[1e-3, 1], [1, 1e3]]``."""
    model = (
        torch.tensor([-1, 0], dtype=torch.int32),
        *(torch.tensor([0.0, 1.0], dtype=torch.float64) for _ in range(2)),
        torch.tensor([1024.0, 2.0**-10], dtype=torch.float64),
        torch.empty(2, dtype=torch.int32),
    )
    for kernels in (cpu.extension, reference):
        parent, up, down, pivot, partner = (tensor.clone() for tensor in model)
        assert kernels.tree_factor(parent, up, down, 1.0, pivot, partner) == 0
