"""The compiled sparse factor against its dense statement, over graphs and processor levels."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import cases
from gabp.kernels import dispatch
from gabp.kernels.torch import factor as dense_factor
from gabp.system import System, make_system, read_matrix

SYSTEMS = {
    **{name: cases.BY_NAME[name].A for name in ("one_node", "isolated_nodes", "star", "path", "disconnected", "gram")},
    "grid": cases.laplacian(37 * 41, cases.grid_edges(37, 41), 0.01),
    "cube": cases.laplacian(11**3, cases.grid_edges(11, 11, 11), 0.01),
    "dense": np.ones((331, 331)) + np.eye(331),
    "hub": cases.laplacian(500, [(0, i, 1.0) for i in range(1, 500)] + [(i, i + 1, 1.0) for i in range(1, 499)], 0.1),
}
compiled = dispatch.backend("cpu").factor
COLUMNS = [1, 2, 3, 8, 17]
every_system = pytest.mark.parametrize("name", SYSTEMS)


def system(name: str) -> System:
    return make_system(read_matrix(SYSTEMS[name]))


def factors(name: str) -> tuple:
    s = system(name)
    model = (s.graph.start, s.graph.source, s.diagonal, s.weight)
    return s, *(k.Factor.of(k.Symbolic.of(*model[:2]), *model, 1) for k in (compiled, dense_factor))


@every_system
def test_the_factor_is_that_of_the_dense_statement(name):
    s, ours, dense = factors(name)
    assert ours.bad_node == dense.bad_node == -1
    assert ours.log_determinant == pytest.approx(dense.log_determinant, rel=1e-12, abs=1e-12)
    inverses = []
    for factor in (ours, dense):
        diagonal = torch.full((s.n,), torch.nan, dtype=torch.float64)
        weight = torch.full((s.graph.edges,), torch.nan, dtype=torch.float64)
        factor.selected_inverse(s.graph.start, s.graph.source, s.graph.reverse, diagonal, weight, 1)
        inverses.append((diagonal, weight))
    for mine, theirs in zip(*inverses, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


@every_system
def test_solves_and_coloured_noise(name):
    s, ours, dense = factors(name)
    b = torch.from_numpy(np.random.default_rng(0).standard_normal((s.n, max(COLUMNS))))
    expected = b.clone()
    dense.solve(expected, 1)
    for k in COLUMNS:
        x = b[:, :k].clone()
        ours.solve(x, 1)
        torch.testing.assert_close(x, expected[:, :k], rtol=1e-9, atol=1e-10)
    unit = torch.eye(s.n, dtype=torch.float64)
    coloured, covariance = unit.clone(), unit.clone()
    ours.solve_upper(coloured, 1)  # L⁻ᵀ: its outer product is the covariance whatever the order of elimination
    dense.solve(covariance, 1)
    torch.testing.assert_close(coloured @ coloured.T, covariance, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "entries"), [("path", 2 * 50 - 1), ("star", 2 * 30 - 1), ("dense", 331 * 332 / 2), ("isolated_nodes", 6)]
)
def test_the_size_of_the_factor_is_known_beforehand(name, entries):
    graph = system(name).graph
    found, flops = compiled.symbolic(graph.start, graph.source)
    assert found == entries
    assert flops >= entries
    assert compiled.Symbolic.of(graph.start, graph.source).entries == entries


def test_a_graph_without_nodes_is_refused():
    with pytest.raises(ValueError, match="at least one node"):
        compiled.Symbolic.of(torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int32))


def test_minimum_degree_keeps_grids_sparse():
    """A 100² grid: nested dissection, which is optimal up to a constant, has 31 n log2(n) / 4 entries or so."""
    graph = make_system(read_matrix(cases.laplacian(10_000, cases.grid_edges(100, 100), 0.1))).graph
    assert compiled.symbolic(graph.start, graph.source)[0] < 31 * 10_000 * np.log2(10_000) / 4


ISA_CHECK = """
import sys
sys.path[:0] = sys.argv[1:]
import test_factor
for name in test_factor.SYSTEMS:
    test_factor.test_the_factor_is_that_of_the_dense_statement(name)
"""


@pytest.mark.parametrize("isa", ["plain", "v3"])
def test_the_slower_instruction_sets(isa, tmp_path):
    here = os.path.dirname(__file__)
    environment = {**os.environ, "GABP_ISA": isa}
    command = [sys.executable, "-c", ISA_CHECK, here, str(Path(here).parents[1] / "helpers")]
    # from elsewhere: a checkout in the current folder would hide the installed package
    subprocess.run(command, check=True, env=environment, timeout=120, cwd=tmp_path)
