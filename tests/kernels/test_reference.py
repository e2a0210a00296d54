"""The literal kernels against the loop-by-loop statement of the equations, sweep by sweep."""

import itertools

import numpy as np
import pytest
import torch

import cases
import oracles
from gabp.kernels import reference
from gabp.system import EdgeGraph, make_system, read_matrix

SWEEPS = 12
SYSTEMS = ["bipartite", "ring", "complete", "chord_0.395", "caterpillar", "frustrated_grid"]


def in_edge_order(messages: np.ndarray, graph: EdgeGraph) -> np.ndarray:
    """The message of each edge out of a dense ``[sender, receiver]`` table."""
    return messages[graph.source.numpy(), graph.destination.numpy()]


@pytest.mark.parametrize("start", ["zero", "constant", "scaled"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_flooding_is_the_equations_sweep_by_sweep(name, start):
    case = cases.BY_NAME[name]
    A = case.A.toarray()
    d = np.random.default_rng(41).uniform(0.8, 1.25, case.n)
    system = make_system(read_matrix(case.A))
    graph, weight = system.graph, system.weight
    source, b = graph.source.long(), torch.from_numpy(case.b)[:, None]
    starting = oracles.starting_precisions(A, d if start == "scaled" else start)
    precision, potential = torch.from_numpy(in_edge_order(starting, graph)), weight.new_zeros((len(weight), 1))
    sweeps = oracles.flooding(A, case.b, start=d if start == "scaled" else start)
    for sweep in itertools.islice(sweeps, 1, SWEEPS):
        new, cavity = reference.flood_precisions(
            system.diagonal, weight, source, graph.destination, graph.reverse, precision
        )
        potential = reference.flood_potentials(b, weight, source, graph.destination, graph.reverse, cavity, potential)
        precision = new
        for mine, stated in [(precision, sweep.precision), (potential[:, 0], sweep.potential)]:
            expected = in_edge_order(stated, graph)
            np.testing.assert_allclose(mine.numpy(), expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
