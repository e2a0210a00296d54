"""Scaling to units that are powers of two: exact, without overflow on the way."""

import numpy as np
import pytest
import torch

import cases
from gabp.system import make_system, read_columns, read_matrix, times_power_of_two


@pytest.mark.parametrize("exponent", [-2000, -1030, -1, 0, 1, 1030, 2000])
def test_a_power_of_two_beyond_the_range_of_float64_is_applied_exactly(exponent):
    x = torch.tensor([[1.5 * 2.0 ** (-exponent // 2)]], dtype=torch.float64)
    scaled = times_power_of_two(x, torch.tensor([exponent]))
    assert float(scaled) == 1.5 * 2.0 ** (exponent + -exponent // 2)


def test_every_column_is_brought_to_moderate_size_and_back():
    values = np.array([[1e-300, 1.0, 3e200, 0.0], [2e-305, 1e-4, -1e190, 0.0]])
    columns = read_columns(values, 2)
    largest = columns.in_units.abs().amax(0)
    assert ((largest == 0) | ((largest >= 2.0**-17) & (largest <= 2.0**16))).all()
    np.testing.assert_array_equal(columns.from_units(columns.in_units).numpy(), values)


@pytest.mark.parametrize("decades", [0, 6, 150])
def test_equilibration_is_exact_symmetric_and_brings_the_diagonal_near_one(decades):
    unit = 10.0 ** np.random.default_rng(0).uniform(-decades, decades, 12)
    A = unit[:, None] * cases.laplacian(12, cases.grid_edges(3, 4), 1.0).toarray() * unit
    system = make_system(read_matrix((A + A.T) / 2))
    scaled, scale = system.equilibrated()
    graph = system.graph
    assert ((scaled.diagonal >= 0.5) & (scaled.diagonal <= 2)).all()
    assert torch.equal(scaled.diagonal, system.diagonal * scale * scale)
    assert torch.equal(scaled.weight, system.weight * scale[graph.destination] * scale[graph.source.long()])
    assert torch.equal(scaled.weight, scaled.weight[graph.reverse])
