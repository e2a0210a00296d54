"""Sequential sweeps in the order of colours, in torch and in Triton, against the same in the order of rows."""

import pytest
import torch

from gabp.kernels import cuda, reference
from gabp.kernels.torch import messages
from gabp.kernels.torch.colouring import colour
from gabp.kernels.torch.rows import reverse_edges
from kernel_backends import CUDA, needs_triton
from kernel_models import SMALL_GRAPHS, Model, random_model

SWEEPS = 3


def sequential_means(model: Model, colours: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
    """The means after each sweep in row order, of the model with its rows sorted by colour."""
    order = torch.argsort(colours, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    row = torch.repeat_interleave(place, model.start.diff())
    column = place[model.source.long()]
    by_row = torch.argsort(row * len(order) + column)
    start = torch.zeros_like(model.start)
    start[1:] = torch.bincount(row, minlength=len(order)).cumsum(0)
    sorted_model = Model(start, column[by_row].int(), model.weight[by_row], model.diagonal[order])
    layout = messages.layout(*sorted_model)
    fixed = messages.precision_fixed_point(layout, limit=500)
    potential = b.new_zeros((len(column), b.shape[1]))
    ratio = (sorted_model.weight / fixed.coefficient)[layout.reverse]
    means = []
    for _ in range(SWEEPS):
        reference.sequential_potentials(start, layout.reverse, ratio, b[order], potential, 1)
        belief = b[order] + reference.gather_messages(potential, layout.destination, len(order))
        means.append((belief / fixed.belief[:, None])[place])
    return means


@pytest.fixture(params=SMALL_GRAPHS)
def case(request):
    model = random_model(*SMALL_GRAPHS[request.param]())
    n = len(model.diagonal)
    destination = torch.repeat_interleave(torch.arange(n), model.start.diff())
    b = torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    colours = colour(n, destination, model.source.long())
    return model, destination, colours, b, sequential_means(model, colours, b)


def test_plain(case):
    model, destination, colours, b, expected = case
    layout = messages.layout(*model)
    fixed = messages.precision_fixed_point(layout, limit=500)
    reverse = reverse_edges(model.start, model.source)
    ratio = (model.weight / fixed.coefficient)[reverse]
    slots_of = [(colours[destination] == c).nonzero().flatten() for c in range(int(colours.max()) + 1)]
    potential = b.new_zeros((len(model.source), 3))
    for mean in expected:
        reference.coloured_potentials(slots_of, destination, reverse, ratio, b, potential, 1)
        belief = b + reference.gather_messages(potential, destination, len(b))
        torch.testing.assert_close(belief / fixed.belief[:, None], mean, rtol=0, atol=1e-13)


@needs_triton
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_fused(case, dtype, tolerance):
    model, _, colours, b, expected = case
    layout = messages.layout(*model)
    fixed = messages.precision_fixed_point(layout, limit=500)
    coloured = cuda.load("coloured")
    given = (model.start, model.source, model.weight, fixed.belief, messages.precision_messages(layout, fixed))
    given = [
        tensor.to(CUDA.device, dtype) if tensor.is_floating_point() else tensor.to(CUDA.device) for tensor in given
    ]
    state = coloured.coloured_state(coloured.coloured_layout(*given, colours.to(CUDA.device)), b.to(CUDA.device))
    for mean in expected:
        coloured.coloured_sweeps(state, 1)
        actual = coloured.coloured_estimate(state)
        torch.testing.assert_close(actual.cpu(), mean, rtol=0, atol=tolerance * (1 + float(mean.abs().max())))
