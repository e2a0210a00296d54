"""Every backend against the literal torch backend, over graphs that make kernels stumble."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gabp.kernels import cpu
from gabp.kernels.cpu import messages as compiled
from gabp.kernels.torch import messages as in_torch
from gabp.kernels.types import FixedPoint, MessageKernels
from kernel_backends import CPU, CUDA, Backend, Graph, every_backend, every_case, every_graph, row
from kernel_models import GRAPHS, Model, grid, random_graph, random_model, star


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def close(actual: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    tolerance = 200 * torch.finfo(dtype).eps
    actual, expected = actual.cpu(), expected.cpu()
    assert actual.shape == expected.shape
    scale = 1.0 + (float(expected.double().abs().max()) if expected.numel() else 0.0)
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=tolerance * scale)


def right_sides(graph: Graph, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(columns)
    return torch.randn(graph()[0], columns, generator=generator, dtype=torch.float64)


def scales(model: Model, start: str) -> torch.Tensor | None:
    """The ``d`` of a start by `precision_fixed_point`."""
    random = torch.rand(len(model.diagonal), generator=torch.Generator().manual_seed(1))
    return {"zero": None, "constant": torch.ones(len(random)), "scaled": 1 + 0.1 * random}[start]


@every_backend
def test_the_function_set_is_complete(backend):
    for kernels in (backend.kernels, in_torch):
        assert [name for name in vars(MessageKernels) if not name.startswith("_") and not hasattr(kernels, name)] == []


@functools.cache
def at_fixed_point(backend: Backend, graph: Graph, dtype: torch.dtype) -> list[tuple[Any, Any, FixedPoint]]:
    """The kernels under test and the literal ones, each with layout and precision fixed point of the same model."""
    model = random_model(*graph(), dtype=dtype).to(backend.device)
    layouts = [(kernels, kernels.layout(*model)) for kernels in (backend.kernels, in_torch)]
    return [(kernels, layout, kernels.precision_fixed_point(layout, limit=500)) for kernels, layout in layouts]


@every_case
class TestAgainstReference:
    def test_residual(self, backend, graph, dtype, columns):
        model = random_model(*graph(), dtype=dtype)
        x = right_sides(graph, columns).to(backend.device)
        b = 3 * x + 1
        r, norms = backend.kernels.residual(backend.kernels.layout(*model.to(backend.device)), x, b)
        expected = torch.from_numpy(b.cpu().numpy() - model.matrix @ x.cpu().numpy())
        close(r, expected, torch.float64)
        close(norms, expected.norm(dim=0), torch.float64)

    def test_mean_sweeps(self, backend, graph, dtype, columns):
        b = right_sides(graph, columns).to(backend.device)
        states = [(k, k.mean_state(layout, fixed, b)) for k, layout, fixed in at_fixed_point(backend, graph, dtype)]
        for count in (0, 1, 1, 3, 4):
            means = []
            for kernels, state in states:
                kernels.mean_sweeps(state, count)
                means.append(kernels.mean_estimate(state))
            close(means[0], means[1], dtype)

    def test_damped_sweeps(self, backend, graph, dtype, columns):
        b = right_sides(graph, columns).to(backend.device)
        for undamped in (0, 1, 2):
            means = []
            for kernels, layout, fixed in at_fixed_point(backend, graph, dtype):
                state = kernels.mean_state(layout, fixed, b)
                kernels.mean_sweeps(state, undamped)
                kernels.mean_sweeps(state, 2, 0.4)
                kernels.mean_sweeps(state, 1, 0.1)
                kernels.mean_sweeps(state, 1)
                means.append(kernels.mean_estimate(state))
            close(means[0], means[1], dtype)

    @pytest.mark.parametrize("start", ["zero", "scaled"])
    def test_joint_sweeps(self, backend, graph, dtype, columns, start):
        model = random_model(*graph(), dtype=dtype).to(backend.device)
        b = right_sides(graph, columns).to(backend.device)
        scale = scales(model, start)
        if scale is not None:
            scale = scale.to(backend.device)
        states = [(k, k.joint_state(k.layout(*model), b, scale)) for k in (backend.kernels, in_torch)]
        for count in (0, 1, 1, 3):
            outcomes = []
            for kernels, state in states:
                assert kernels.joint_sweeps(state, count) == (count, None)
                outcomes.append(kernels.joint_estimate(state))
            for actual, expected in zip(*outcomes, strict=True):
                close(actual, expected, dtype)


@pytest.mark.parametrize(("dtype", "columns"), [(torch.float64, 3), (torch.float32, 8)])
@pytest.mark.parametrize("name", GRAPHS)
def test_same_bits_for_any_number_of_threads(name, dtype, columns):
    model = random_model(*GRAPHS[name](), dtype=dtype)
    b = right_sides(GRAPHS[name], columns)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        layout = compiled.layout(*model)
        fixed = compiled.precision_fixed_point(layout, limit=500)
        mean = compiled.mean_state(layout, fixed, b)
        compiled.mean_sweeps(mean, 5)
        joint = compiled.joint_state(layout, b)
        compiled.joint_sweeps(joint, 5)
        x = compiled.mean_estimate(mean)
        results.append((fixed.belief, x, *compiled.joint_estimate(joint), *compiled.residual(layout, x, b)))
    for other in results[1:]:
        for first, same in zip(results[0], other, strict=True):
            assert torch.equal(first, same)


@every_graph
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("start", ["zero", "constant", "scaled"])
def test_precision_fixed_point(backend, graph, dtype, start):
    model = random_model(*graph(), dtype=dtype).to(backend.device)
    scale = scales(model, start)
    if scale is not None:
        scale = scale.to(backend.device)
    fast_layout, slow_layout = backend.kernels.layout(*model), in_torch.layout(*model)
    fast = backend.kernels.precision_fixed_point(fast_layout, scale, limit=500)
    slow = in_torch.precision_fixed_point(slow_layout, scale, limit=500)
    assert fast.converged and slow.converged
    assert abs(fast.sweeps - slow.sweeps) <= 2
    assert fast.belief.dtype == dtype
    close(fast.belief, slow.belief, dtype)
    messages = backend.kernels.precision_messages(fast_layout, fast)
    close(messages, in_torch.precision_messages(slow_layout, slow), dtype)
    limited = backend.kernels.precision_fixed_point(fast_layout, scale, limit=1)
    close(limited.belief, in_torch.precision_fixed_point(slow_layout, scale, limit=1).belief, dtype)
    assert not limited.converged and limited.sweeps == 1
    changes = [
        kernels.precision_fixed_point(layout, scale, limit=3).change
        for kernels, layout in ((backend.kernels, fast_layout), (in_torch, slow_layout))
    ]
    assert changes[0] == pytest.approx(changes[1], rel=1e-3, abs=20 * torch.finfo(dtype).eps)


def frustrated(strength: float, n: int = 3) -> Model:
    """All pairs of ``n`` nodes linked with the same positive weight and unit diagonal."""
    start = torch.arange(0, n * (n - 1) + 1, n - 1)
    source = torch.tensor([k for i in range(n) for k in range(n) if k != i], dtype=torch.int32)
    return Model(start, source, torch.full((len(source),), strength).double(), torch.ones(n, dtype=torch.float64))


@every_backend
class TestInvalidPrecisions:
    def test_a_nonpositive_belief_stops_the_iteration(self, backend):
        model = frustrated(0.7).to(backend.device)
        outcomes = [k.precision_fixed_point(k.layout(*model), limit=50) for k in (backend.kernels, in_torch)]
        for outcome in outcomes:
            assert not outcome.converged
            assert outcome.invalid_node == 0
            assert outcome.sweeps <= 3
        assert outcomes[0].sweeps == outcomes[1].sweeps

    def test_the_smallest_invalid_node_is_named(self, backend):
        model = random_model(*(random_graph(5001, 30000, 3) if backend is CPU else random_graph(200, 700, 3)))
        model.diagonal[len(model.diagonal) - 80] = model.diagonal[len(model.diagonal) - 7] = 0.1
        model = model.to(backend.device)
        layouts = [(k, k.layout(*model)) for k in (backend.kernels, in_torch)]
        names = [k.precision_fixed_point(layout, limit=500).invalid_node for k, layout in layouts]
        assert names[0] == names[1] is not None

    @pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
    def test_a_nonpositive_diagonal_is_found_before_any_sweep(self, backend, bad):
        model = random_model(*grid(17, 23))
        model.diagonal[200] = bad
        model = model.to(backend.device)
        for kernels in (backend.kernels, in_torch):
            outcome = kernels.precision_fixed_point(kernels.layout(*model), limit=500)
            assert (outcome.sweeps, outcome.invalid_node, outcome.converged) == (0, 200, False)

    def test_joint_sweeps_stop_too(self, backend):
        model = frustrated(0.7).to(backend.device)
        b = torch.ones(3, 2, dtype=torch.float64, device=backend.device)
        outcomes, estimates = [], []
        for kernels in (backend.kernels, in_torch):
            state = kernels.joint_state(kernels.layout(*model), b)
            outcomes.append(kernels.joint_sweeps(state, 50))
            assert kernels.joint_sweeps(state, 50) == (0, 0)
            estimates.append(kernels.joint_estimate(state))
        assert outcomes[0] == outcomes[1]
        for actual, expected in zip(*estimates, strict=True):
            close(actual, expected, torch.float64)

    def test_a_long_row_stops_with_the_others(self, backend):
        model = random_model(*star(100))
        model.diagonal[0] = 0.2 * model.diagonal[0]  # positive, but less than what the leaves take
        model, b = model.to(backend.device), right_sides(lambda: star(100), 2).to(backend.device)
        outcomes, estimates = [], []
        for kernels in (backend.kernels, in_torch):
            state = kernels.joint_state(kernels.layout(*model), b)
            outcomes.append(kernels.joint_sweeps(state, 4))
            estimates.append(kernels.joint_estimate(state))
        assert outcomes[0] == outcomes[1]
        assert outcomes[0][1] is not None
        for actual, expected in zip(*estimates, strict=True):
            close(actual, expected, torch.float64)

    def test_transient_nonpositive_beliefs_may_be_allowed(self, backend):
        model = random_model(*grid(17, 23) if backend is CPU else grid(9, 11), margin=-0.45)  # walk-summable no longer
        model = model.to(backend.device)
        ones = torch.ones(len(model.diagonal), device=backend.device)  # from 1 beliefs are negative
        kernels, fast_layout, slow_layout = backend.kernels, backend.kernels.layout(*model), in_torch.layout(*model)
        assert kernels.precision_fixed_point(fast_layout, ones, limit=9).invalid_node is not None
        fast = kernels.precision_fixed_point(fast_layout, ones, limit=9, must_be_positive=False)
        slow = in_torch.precision_fixed_point(slow_layout, ones, limit=9, must_be_positive=False)
        assert fast.sweeps == slow.sweeps == 9
        assert fast.invalid_node == slow.invalid_node

    def test_invalid_precisions_never_converge(self, backend):
        """Without edges nothing changes from the first sweep on, but the third belief is negative."""
        model = random_model(5, np.empty((0, 2), dtype=np.int64))
        model.diagonal[2] = -1.0
        model = model.to(backend.device)
        for kernels in (backend.kernels, in_torch):
            fixed = kernels.precision_fixed_point(kernels.layout(*model), limit=9, must_be_positive=False)
            assert (fixed.sweeps, fixed.invalid_node, fixed.converged) == (9, 2, False)

    def test_an_undefined_mean_is_zero(self, backend):
        # Laplacian rows hear of no data at first: from the constant start their precision is zero
        n, edges = grid(3, 3)
        model = random_model(n, edges)
        rows = torch.repeat_interleave(torch.arange(n), model.start.diff())
        laplacian = model._replace(
            weight=torch.full_like(model.weight, -1.0),
            diagonal=torch.zeros(n, dtype=torch.float64).index_add_(0, rows, torch.ones(len(rows)).double()),
        )
        laplacian.diagonal[0] += 1.0
        laplacian = laplacian.to(backend.device)
        b = torch.zeros(n, 1, dtype=torch.float64, device=backend.device)
        b[0] = 5.0
        for count in (0, 1, 2):
            estimates = []
            for kernels in (backend.kernels, in_torch):
                state = kernels.joint_state(kernels.layout(*laplacian), b, torch.ones(n, device=backend.device))
                kernels.joint_sweeps(state, count, must_be_positive=False)
                estimates.append(kernels.joint_estimate(state))
            for actual, expected in zip(*estimates, strict=True):
                assert torch.isfinite(actual).all()
                close(actual, expected, torch.float64)


@pytest.mark.parametrize(("backend", "leaves"), [row(CPU, 100_000, name="100,000"), row(CUDA, 2500, name="2,500")])
def test_a_star(backend, leaves):
    model = random_model(*star(leaves)).to(backend.device)
    b = right_sides(lambda: star(leaves), 2).to(backend.device)
    kernels = backend.kernels
    layout = kernels.layout(*model)
    fixed = kernels.precision_fixed_point(layout, limit=50)
    state = kernels.mean_state(layout, fixed, b)
    kernels.mean_sweeps(state, 3)
    _, norms = kernels.residual(layout, kernels.mean_estimate(state), b)
    assert (norms < 1e-9).all()  # a tree of depth two: exact


@every_backend
@pytest.mark.parametrize("graph", [lambda: star(100_000), lambda: random_graph(5001, 30000, 3)], ids=["star", "random"])
def test_padding_stays_small_where_degrees_differ(backend, graph):
    model = random_model(*graph()).to(backend.device)
    assert len(backend.kernels.layout(*model).column) < 1.1 * len(model.source)


@pytest.mark.parametrize(
    ("backend", "size", "sweeps"), [row(CPU, (120, 40), 200, name="120x40"), row(CUDA, (9, 11), 60, name="9x11")]
)
def test_single_precision_means_from_double_precision_messages(backend, size, sweeps):
    model = random_model(*grid(*size)).to(backend.device)
    b = right_sides(lambda: grid(*size), 3).to(backend.device)
    kernels = backend.kernels
    layout = kernels.layout(*model)
    state = kernels.mean_state(layout, kernels.precision_fixed_point(layout, limit=500), b, dtype=torch.float32)
    kernels.mean_sweeps(state, sweeps)
    _, norms = kernels.residual(layout, kernels.mean_estimate(state), b)
    assert (norms < 1e-5 * b.norm(dim=0)).all()


@pytest.mark.parametrize(
    ("backend", "size", "sweeps"), [row(CPU, (17, 23), 60, name="17x23"), row(CUDA, (9, 11), 20, name="9x11")]
)
def test_not_a_number_in_b_reaches_the_mean(backend, size, sweeps):
    model = random_model(*grid(*size)).to(backend.device)
    b = right_sides(lambda: grid(*size), 2).to(backend.device)
    b[7, 1] = torch.nan
    kernels = backend.kernels
    layout = kernels.layout(*model)
    state = kernels.mean_state(layout, kernels.precision_fixed_point(layout, limit=500), b)
    kernels.mean_sweeps(state, sweeps)
    mean = kernels.mean_estimate(state)
    assert torch.isfinite(mean[:, 0]).all()
    assert torch.isnan(mean[:, 1]).all()


def test_the_extension_is_present():
    assert cpu.extension is not None, cpu.missing_because
