"""The compiled and the Triton backend, each with graphs of a size that it can bear here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from gabp.kernels import cuda
from gabp.kernels.cpu import messages
from kernel_models import GRAPHS, SMALL_GRAPHS

Graph = Callable[[], tuple[int, np.ndarray]]

needs_triton = pytest.mark.skipif(
    cuda.triton_missing_because() is not None, reason="Triton is not installed: pip install 'gabp[cuda]'"
)


@dataclass(frozen=True, eq=False)
class Backend:
    """A backend, the device of its tensors in the tests, and graphs of a feasible size."""

    name: str
    device: str
    graphs: dict[str, Graph]

    @property
    def kernels(self) -> Any:
        return messages if self.name == "cpu" else cuda.load("messages")


CPU = Backend("cpu", "cpu", GRAPHS)
# On a GPU where there is one, else in Triton's interpreter, ten thousand times slower.
CUDA = Backend("cuda", "cuda", GRAPHS) if torch.cuda.is_available() else Backend("cuda", "cpu", SMALL_GRAPHS)


def numbers(backend: Backend, graph: str) -> list[tuple[torch.dtype, int]]:
    """The number types and right-hand sides to try."""
    if backend.graphs is GRAPHS:
        return [(dtype, columns) for dtype in (torch.float64, torch.float32) for columns in (1, 3, 8)]
    # right-hand sides travel in panels of 8, 4, 2 and 1: seven of them take three
    more = [(torch.float64, 7), (torch.float32, 1)] if graph == "star 100" else []
    return [(torch.float64, 1), (torch.float32, 8), *more]


def row(*values: Any, name: str = "") -> Any:
    """A row of a table of cases; skipped where its backend needs Triton and that is missing."""
    backend = values[0]
    marks = needs_triton if backend is CUDA else ()
    return pytest.param(*values, marks=marks, id=f"{backend.name}-{name}" if name else backend.name)


every_backend = pytest.mark.parametrize("backend", [row(backend) for backend in (CPU, CUDA)])
every_graph = pytest.mark.parametrize(
    ("backend", "graph"),
    [row(backend, graph, name=name) for backend in (CPU, CUDA) for name, graph in backend.graphs.items()],
)
every_case = pytest.mark.parametrize(
    ("backend", "graph", "dtype", "columns"),
    [
        row(backend, graph, dtype, columns, name=f"{name}-{str(dtype)[6:]}-{columns}")
        for backend in (CPU, CUDA)
        for name, graph in backend.graphs.items()
        for dtype, columns in numbers(backend, name)
    ],
)
