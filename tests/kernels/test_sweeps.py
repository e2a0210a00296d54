"""Every backend against the literal torch backend, over graphs that make kernels stumble."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from gabp.kernels import cpu, eager
from gabp.kernels.cpu import engine

from .models import GRAPHS, Slots, slots, star

DTYPES = [torch.float64, torch.float32]
COLUMNS = [1, 3, 8]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uninitialised memory holds NaN: what a kernel reads without having written shows."""
    empty, new_empty = torch.empty, torch.Tensor.new_empty

    def poison(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor.fill_(torch.iinfo(tensor.dtype).max)

    monkeypatch.setattr(torch, "empty", lambda *a, **k: poison(empty(*a, **k)))
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *a, **k: poison(new_empty(self, *a, **k)))


@pytest.fixture(params=GRAPHS)
def edges(request: pytest.FixtureRequest) -> tuple[int, np.ndarray]:
    return GRAPHS[request.param]()


def close(actual: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    tolerance = 200 * torch.finfo(dtype).eps
    assert actual.shape == expected.shape
    scale = 1.0 + (float(expected.double().abs().max()) if expected.numel() else 0.0)
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=tolerance * scale)


def right_sides(model: Slots, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(columns)
    return torch.randn(len(model.diagonal), columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", COLUMNS)
class TestAgainstReference:
    def test_residual(self, edges, dtype, columns):
        model = slots(*edges, dtype=dtype)
        x, b = right_sides(model, columns), 3 * right_sides(model, columns) + 1
        r, norms = engine.residual(engine.layout(*model), x, b)
        expected = torch.from_numpy(b.numpy() - model.matrix @ x.numpy())
        close(r, expected, torch.float64)
        close(norms, expected.norm(dim=0), torch.float64)

    def test_mean_sweeps(self, edges, dtype, columns):
        model = slots(*edges, dtype=dtype)
        b = right_sides(model, columns)
        states = []
        for backend in (engine, eager):
            layout = backend.layout(*model)
            fixed = backend.precision_fixed_point(layout, limit=500)
            assert fixed.converged
            states.append((backend, backend.mean_state(layout, fixed, b)))
        for count in (0, 1, 1, 3, 4):
            means = []
            for backend, state in states:
                backend.mean_sweeps(state, count)
                means.append(backend.mean_estimate(state))
            close(means[0], means[1], dtype)

    def test_damped_sweeps(self, edges, dtype, columns):
        model = slots(*edges, dtype=dtype)
        b = right_sides(model, columns)
        layouts = [(k, k.layout(*model)) for k in (engine, eager)]
        prepared = [(k, layout, k.precision_fixed_point(layout, limit=500)) for k, layout in layouts]
        for undamped in (0, 1, 2, 3):
            means = []
            for backend, layout, fixed in prepared:
                state = backend.mean_state(layout, fixed, b)
                backend.mean_sweeps(state, undamped)
                backend.mean_sweeps(state, 3, 0.4)
                backend.mean_sweeps(state, 2, 0.1)
                backend.mean_sweeps(state, 1)
                means.append(backend.mean_estimate(state))
            close(means[0], means[1], dtype)

    @pytest.mark.parametrize("start", ["zero", "scaled"])
    def test_joint_sweeps(self, edges, dtype, columns, start):
        model = slots(*edges, dtype=dtype)
        b = right_sides(model, columns)
        scale = None if start == "zero" else 1 + 0.1 * torch.rand(len(b), generator=torch.Generator().manual_seed(1))
        states = [(k, k.joint_state(k.layout(*model), b, scale)) for k in (engine, eager)]
        for count in (0, 1, 1, 3):
            outcomes = []
            for backend, state in states:
                assert backend.joint_sweeps(state, count) == (count, None)
                outcomes.append(backend.joint_estimate(state))
            for actual, expected in zip(*outcomes, strict=True):
                close(actual, expected, dtype)

    def test_same_bits_for_any_number_of_threads(self, edges, dtype, columns):
        model = slots(*edges, dtype=dtype)
        b = right_sides(model, columns)
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            layout = engine.layout(*model)
            fixed = engine.precision_fixed_point(layout, limit=500)
            mean = engine.mean_state(layout, fixed, b)
            engine.mean_sweeps(mean, 5)
            joint = engine.joint_state(layout, b)
            engine.joint_sweeps(joint, 5)
            x = engine.mean_estimate(mean)
            results.append((fixed.belief, x, *engine.joint_estimate(joint), *engine.residual(layout, x, b)))
        for other in results[1:]:
            for first, same in zip(results[0], other, strict=True):
                assert torch.equal(first, same)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", ["zero", "constant", "scaled"])
def test_precision_fixed_point(edges, dtype, start):
    model = slots(*edges, dtype=dtype)
    n = len(model.diagonal)
    scale = {
        "zero": None,
        "constant": torch.ones(n),
        "scaled": 1 + 0.1 * torch.rand(n, generator=torch.Generator().manual_seed(1)),
    }[start]
    fast_layout, slow_layout = engine.layout(*model), eager.layout(*model)
    fast = engine.precision_fixed_point(fast_layout, scale, limit=500)
    slow = eager.precision_fixed_point(slow_layout, scale, limit=500)
    assert fast.converged and slow.converged
    assert abs(fast.sweeps - slow.sweeps) <= 2
    assert fast.belief.dtype == dtype
    close(fast.belief, slow.belief, dtype)
    messages = engine.precision_messages(fast_layout, fast)
    close(messages, eager.precision_messages(slow_layout, slow), dtype)
    limited = engine.precision_fixed_point(fast_layout, scale, limit=1)
    close(limited.belief, eager.precision_fixed_point(slow_layout, scale, limit=1).belief, dtype)
    assert not limited.converged and limited.sweeps == 1


def frustrated(strength: float, n: int = 3) -> Slots:
    """All pairs of ``n`` nodes linked with the same positive weight and unit diagonal."""
    start = torch.arange(0, n * (n - 1) + 1, n - 1)
    source = torch.tensor([k for i in range(n) for k in range(n) if k != i], dtype=torch.int32)
    return Slots(start, source, torch.full((len(source),), strength).double(), torch.ones(n, dtype=torch.float64))


class TestInvalidPrecisions:
    def test_a_nonpositive_belief_stops_the_iteration(self):
        outcomes = [k.precision_fixed_point(k.layout(*frustrated(0.7)), limit=50) for k in (engine, eager)]
        for outcome in outcomes:
            assert not outcome.converged
            assert outcome.invalid_node == 0
            assert outcome.sweeps <= 3
        assert outcomes[0].sweeps == outcomes[1].sweeps

    def test_the_smallest_invalid_node_is_named(self):
        model = slots(*GRAPHS["random wide"]())
        model.diagonal[4321] = model.diagonal[4765] = 0.1
        layouts = [(k, k.layout(*model)) for k in (engine, eager)]
        names = [k.precision_fixed_point(layout, limit=500).invalid_node for k, layout in layouts]
        assert names[0] == names[1] is not None

    @pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
    def test_a_nonpositive_diagonal_is_found_before_any_sweep(self, bad):
        model = slots(*GRAPHS["grid 17x23"]())
        model.diagonal[200] = bad
        for backend in (engine, eager):
            outcome = backend.precision_fixed_point(backend.layout(*model), limit=500)
            assert (outcome.sweeps, outcome.invalid_node, outcome.converged) == (0, 200, False)

    def test_joint_sweeps_stop_too(self):
        b = torch.ones(3, 2, dtype=torch.float64)
        outcomes = []
        for backend in (engine, eager):
            state = backend.joint_state(backend.layout(*frustrated(0.7)), b)
            outcomes.append(backend.joint_sweeps(state, 50))
            assert backend.joint_sweeps(state, 50) == (0, 0)
        assert outcomes[0] == outcomes[1]

    def test_transient_nonpositive_beliefs_may_be_allowed(self):
        model = slots(*GRAPHS["grid 17x23"](), margin=-0.45)  # walk-summable no longer, from 1 beliefs are negative
        n = len(model.diagonal)
        fast_layout, slow_layout = engine.layout(*model), eager.layout(*model)
        assert engine.precision_fixed_point(fast_layout, torch.ones(n), limit=9).invalid_node is not None
        fast = engine.precision_fixed_point(fast_layout, torch.ones(n), limit=9, must_be_positive=False)
        slow = eager.precision_fixed_point(slow_layout, torch.ones(n), limit=9, must_be_positive=False)
        assert fast.sweeps == slow.sweeps == 9
        assert fast.invalid_node == slow.invalid_node

    def test_an_undefined_mean_is_zero(self):
        # Laplacian rows hear of no data at first: from the constant start their precision is zero
        n, edges = GRAPHS["grid 3x3"]()
        model = slots(n, edges)
        rows = torch.repeat_interleave(torch.arange(n), model.start.diff())
        laplacian = model._replace(
            weight=torch.full_like(model.weight, -1.0),
            diagonal=torch.zeros(n, dtype=torch.float64).index_add_(0, rows, torch.ones(len(rows)).double()),
        )
        laplacian.diagonal[0] += 1.0
        b = torch.zeros(n, 1, dtype=torch.float64)
        b[0] = 5.0
        for count in (0, 1, 2):
            estimates = []
            for backend in (engine, eager):
                state = backend.joint_state(backend.layout(*laplacian), b, torch.ones(n))
                backend.joint_sweeps(state, count, must_be_positive=False)
                estimates.append(backend.joint_estimate(state))
            for actual, expected in zip(*estimates, strict=True):
                assert torch.isfinite(actual).all()
                close(actual, expected, torch.float64)


def test_a_star_with_a_hundred_thousand_leaves():
    model = slots(*star(100_000))
    layout = engine.layout(*model)
    assert len(layout.column) < 1.1 * len(model.source)
    fixed = engine.precision_fixed_point(layout, limit=50)
    b = right_sides(model, 2)
    state = engine.mean_state(layout, fixed, b)
    engine.mean_sweeps(state, 3)
    _, norms = engine.residual(layout, engine.mean_estimate(state), b)
    assert (norms < 1e-9).all()  # a tree of depth two: exact


def test_padding_stays_small_where_degrees_differ():
    model = slots(*GRAPHS["random wide"]())
    assert len(engine.layout(*model).column) < 1.1 * len(model.source)


def test_single_precision_means_from_double_precision_messages():
    model = slots(*GRAPHS["grid 120x40"]())
    b = right_sides(model, 3)
    layout = engine.layout(*model)
    state = engine.mean_state(layout, engine.precision_fixed_point(layout, limit=500), b, dtype=torch.float32)
    engine.mean_sweeps(state, 200)
    _, norms = engine.residual(layout, engine.mean_estimate(state), b)
    assert (norms < 1e-5 * b.norm(dim=0)).all()


def test_not_a_number_in_b_reaches_the_mean():
    model = slots(*GRAPHS["grid 17x23"]())
    b = right_sides(model, 2)
    b[7, 1] = torch.nan
    layout = engine.layout(*model)
    state = engine.mean_state(layout, engine.precision_fixed_point(layout, limit=500), b)
    engine.mean_sweeps(state, 60)
    mean = engine.mean_estimate(state)
    assert torch.isfinite(mean[:, 0]).all()
    assert torch.isnan(mean[:, 1]).all()


def test_the_extension_is_present():
    assert cpu.extension is not None, cpu.missing_because
