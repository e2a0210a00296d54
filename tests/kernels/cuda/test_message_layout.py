"""The layout that the CUDA kernels sweep over."""

import numpy as np
import pytest
import torch

from gabp.kernels import cuda
from gabp.kernels.torch import sliced_ell
from gabp.kernels.torch.colouring import colour
from kernel_backends import CUDA, needs_triton
from kernel_models import Model, grid, random_graph, random_model, star

pytestmark = needs_triton

MODELS = {
    "grid": lambda: random_model(*grid(300, 300)),
    "random": lambda: random_model(*random_graph(70_000, 100_000, 1)),
    "star": lambda: random_model(*star(70_000)),
    "no edges": lambda: random_model(70, np.zeros((0, 2), dtype=np.int64)),
}


def arrange(model: Model, by_colour: bool = False):
    destination = torch.repeat_interleave(torch.arange(len(model.diagonal)), model.start.diff())
    colours = colour(len(model.diagonal), destination, model.source.long()) if by_colour else None
    return cuda.load("message_layout").arrange(*model, colours)


@pytest.mark.parametrize("by_colour", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_slot_points_at_its_source(name, by_colour):
    model = MODELS[name]()
    layout = arrange(model, by_colour)
    tile = torch.repeat_interleave(torch.arange(layout.matrix.tiles), layout.matrix.tile_start.diff())
    source = layout.matrix.tile_base[tile].long() + layout.matrix.column
    slot = layout.slot_of_edges()
    assert torch.equal(layout.node[source[slot]], model.source)
    assert torch.equal(layout.matrix.value[slot], model.weight)
    padding = torch.ones(layout.slots, dtype=torch.bool).index_fill_(0, slot, False)
    row = layout.matrix.tile_row.long()[tile]
    lane = (torch.arange(layout.slots) - layout.matrix.tile_start[tile]) % 64
    assert torch.equal(source[padding], torch.where(row >= 0, row + lane, -1 - row)[padding])
    assert not layout.matrix.value[padding].any()


def test_columns_take_16_bits_where_no_tile_reaches_far():
    assert arrange(MODELS["grid"]()).matrix.column.dtype == torch.int16
    assert arrange(MODELS["random"]()).matrix.column.dtype == torch.int32
    assert arrange(MODELS["star"]()).matrix.column.dtype == torch.int16  # the tiles of the centre share its leaves


@pytest.mark.parametrize(("nodes", "dtype"), [(2**16, torch.int16), (2**16 + 1, torch.int32)])
def test_the_limit_of_16_bits(nodes, dtype):
    """An edge from the first node to the last."""
    layout = arrange(random_model(nodes, np.array([[0, nodes - 1]])))
    assert layout.matrix.column.dtype == dtype
    assert int(layout.matrix.tile_base[0]) + int(layout.matrix.column[layout.slot_of_edges()[0]]) == nodes - 1


@pytest.mark.parametrize(
    "model", [lambda: random_model(*grid(9, 15)), lambda: random_model(*star(140))], ids=["grid", "star"]
)
def test_wide_columns_give_bitwise_identical_results(model, monkeypatch):
    """Every sweep, by columns of 16 and of 32 bits."""
    engine, given = cuda.load("messages"), model().to(CUDA.device)
    n = len(given.diagonal)
    b = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(CUDA.device)
    found = []
    for reach, dtype in ((2**16, torch.int16), (0, torch.int32)):
        monkeypatch.setattr(sliced_ell, "_REACH", reach)
        layout = engine.layout(*given)
        assert layout.matrix.column.dtype == dtype
        fixed = engine.precision_fixed_point(layout, torch.ones(n, device=b.device), limit=5)
        state, joint = engine.mean_state(layout, fixed, b), engine.joint_state(layout, b)
        engine.mean_sweeps(state, 2)
        engine.mean_sweeps(state, 1, 0.5)
        engine.joint_sweeps(joint, 2)
        means = engine.mean_estimate(state)
        found.append((fixed.belief, means, *engine.joint_estimate(joint), engine.residual(layout, means, b)[0]))
    for narrow, wide in zip(*found, strict=True):
        assert torch.equal(narrow, wide)
