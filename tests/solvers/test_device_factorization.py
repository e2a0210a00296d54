"""The calls to nvmath-python fit its interface: that of the installed package, else one recorded from release 0.5.0."""

import importlib
from typing import Any
from unittest import mock

import pytest
import torch

from gabp.solvers import device_factorization
from gabp.system import make_system, read_matrix
from spd_matrices import grid


class RecordedDirectSolver:
    """The signatures of ``nvmath.sparse.advanced.DirectSolver``."""

    def __init__(self, a: Any, b: Any, *, options: Any = None, execution: Any = None, stream: Any = None) -> None: ...

    def plan(self, *, stream: Any = None) -> Any: ...

    def factorize(self, *, stream: Any = None) -> Any: ...

    def reset_operands(self, a: Any = None, b: Any = None, *, stream: Any = None) -> None: ...

    def solve(self, *, stream: Any = None) -> Any: ...

    def free(self) -> None: ...


def installed_direct_solver() -> Any:
    try:
        return importlib.import_module("nvmath.sparse.advanced").DirectSolver
    except Exception:  # as `device_factorization` does: an installed package may fail on a missing driver
        pytest.skip("nvmath-python is not installed, or cannot be imported here")


@pytest.mark.parametrize(
    "interface", [lambda: RecordedDirectSolver, installed_direct_solver], ids=["0.5.0", "installed"]
)
def test_calls_fit_the_interface_of_nvmath(monkeypatch, interface):
    """`create_autospec` refuses every call that the signatures do not admit."""
    direct_solver = mock.create_autospec(interface())
    system = make_system(read_matrix(grid(4, 5)))
    direct_solver.return_value.solve.return_value = torch.ones(system.n, dtype=torch.float64)
    package = mock.Mock(spec=["DirectSolver"], DirectSolver=direct_solver)
    monkeypatch.setattr(device_factorization.importlib, "import_module", lambda name: package)
    solve = device_factorization._by_nvmath(system)
    assert torch.equal(solve(torch.arange(20.0, dtype=torch.float64)), torch.ones(20, dtype=torch.float64))
    del solve
    calls = [name.removeprefix("()").lstrip(".") for name, *_ in direct_solver.mock_calls]
    assert calls == ["", "plan", "factorize", *["reset_operands", "solve"] * 2, "free"]
