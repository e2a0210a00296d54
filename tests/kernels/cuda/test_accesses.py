"""What the CUDA kernels touch in memory, recorded in Triton's interpreter; and that no sweep waits for the device."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gabp.kernels import cuda
from kernel_backends import needs_triton
from kernel_models import Model, grid, random_graph, random_model, star
from launch_recorder import Launch, Recorder

pytestmark = [
    needs_triton,
    pytest.mark.skipif(torch.cuda.is_available(), reason="recorded in the interpreter, which is off beside a GPU"),
]

MODELS = {
    "grid": lambda: random_model(*grid(9, 15)),
    "degrees of all kinds": lambda: random_model(*random_graph(150, 400, 5)),
    "a long row": lambda: random_model(*star(140)),
}


def run_everything(model: Model, columns: int) -> Any:
    """Every kernel of the sweeps at least once; the layout."""
    engine, coloured = cuda.load("messages"), cuda.load("coloured")
    n = len(model.diagonal)
    b = torch.ones(n, columns, dtype=torch.float64)
    layout = engine.layout(*model)
    fixed = engine.precision_fixed_point(layout, torch.ones(n), limit=60)
    state = engine.mean_state(layout, fixed, b)
    engine.mean_sweeps(state, 2)
    engine.mean_sweeps(state, 1, 0.5)
    engine.joint_sweeps(engine.joint_state(layout, b), 1)
    engine.residual(layout, b, b)
    colours = torch.arange(n)
    in_turn = coloured.coloured_layout(
        model.start,
        model.source,
        model.weight,
        fixed.belief,
        engine.precision_messages(layout, fixed),
        colours[:n] // n,
    )
    sweeps = coloured.coloured_state(in_turn, b)
    coloured.coloured_estimate(sweeps)
    return layout


@pytest.fixture(params=MODELS)
def recorded(request, monkeypatch) -> tuple[list[Launch], Any]:
    recorder = Recorder(monkeypatch)
    layout = run_everything(MODELS[request.param](), columns=2)
    return recorder.launches, layout


def test_edges_are_streamed_and_only_node_vectors_gathered(recorded):
    launches, layout = recorded
    seen = set()
    for launch in launches:
        seen.add(launch.kernel.name)
        for name, accesses in launch.by_argument().items():
            if launch.kernel.arguments[name].per != "slot":
                continue
            assert launch.tensors[name].numel() % layout.slots == 0
            for _, elements in accesses:
                assert (np.diff(elements) == 1).all()  # neighbouring lanes, neighbouring numbers
                assert elements[0] % 64 == 0  # whole sectors, from aligned memory on
    assert {"mean_sweep", "damped_sweep", "reverse_messages", "joint_sweep", "residual_sweep", "newest_sums"} <= seen


def test_what_is_declared_is_what_is_moved(recorded):
    launches, layout = recorded
    rows_in_slices = 64 * int((layout.matrix.tile_row >= 0).sum())
    for launch in launches:
        accesses = launch.by_argument()
        if "tile_start" not in accesses:  # over long rows, or stopped by its control
            continue
        for name, argument in launch.kernel.arguments.items():
            columns = launch.constants.get("K", 1) if argument.columns else 1
            if argument.per == "slot":
                expected = layout.slots * columns * argument.moves
            elif argument.per == "row":
                expected = rows_in_slices * columns * argument.moves
            else:
                continue
            # numbers that are read, and numbers that are written, each counted once
            moved = sum(
                len(np.unique(np.concatenate(parts)))
                for store in (False, True)
                if (parts := [elements for is_store, elements in accesses.get(name, []) if is_store == store])
            )
            long_rows = len(layout.matrix.long_row) * columns  # whose tiles read their own row
            assert expected <= moved <= expected + long_rows * (argument.per == "row"), (launch.kernel.name, name)


class Operations(TorchDispatchMode):
    """The torch operations that run while it is in force."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


VIEWS = {"aten.select.int", "aten.slice.Tensor", "aten.view.default"}


def test_mean_sweeps_are_launches_and_nothing_else(monkeypatch):
    """No wait, no allocation, the same memory every second sweep: fit for a CUDA graph."""
    engine, kernel = cuda.load("messages"), cuda.load("launch").Kernel
    model = random_model(*star(140))
    layout = engine.layout(*model)
    fixed = engine.precision_fixed_point(layout, limit=60)
    state = engine.mean_state(layout, fixed, torch.ones(141, 1, dtype=torch.float64))
    launched = []

    def note(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
        pointers = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
        launched.append((kernel.name, programs, pointers, constants))

    monkeypatch.setattr(kernel, "__call__", note)
    with Operations() as operations:
        engine.mean_sweeps(state, 4)
    assert set(operations.names) <= VIEWS
    assert [name for name, *_ in launched] == ["mean_sweep", "finish_sums"] * 4
    assert launched[:4] == launched[4:]


def test_convergence_checks_of_precision_sweeps_are_few(monkeypatch):
    engine = cuda.load("messages")
    checks = []
    progress = engine.PrecisionState.progress
    monkeypatch.setattr(engine.PrecisionState, "progress", lambda self: checks.append(1) or progress(self))
    model = random_model(*grid(7, 7), margin=0.001)
    fixed = engine.precision_fixed_point(engine.layout(*model), limit=500)
    assert fixed.converged
    assert len(checks) <= 1 + np.log2(fixed.sweeps)
