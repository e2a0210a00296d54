"""Sparse factors on a GPU, by NVIDIA's cuDSS."""

import importlib
import textwrap
import threading
import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from gabp.system import System

Solve = Callable[[Tensor], Tensor]
_MOST_NONZEROS = 2**31 - 1  # for the 32-bit indices of the libraries


def device_factorization(system: System) -> tuple[Solve | None, str]:
    """Factor a system on its own device, where a library for that is installed.

    cuDSS is called through nvmath-python (one factorisation for all right-hand sides), or through a torch that is built
    with it (one for each). The calls follow the documentation of both; they have been tested against stand-ins for
    these libraries and the signatures of nvmath-python 0.5, not on a GPU.

    Returns
    -------
    callable or None
        From ``b`` to ``A⁻¹ b``, both of shape (n, k), in float64. None for a system on the CPU, and where no library
        can be used.
    str
        What factored the system, or why it has to be factored on the CPU; empty for a system there.
    """
    if system.device.type == "cpu":
        return None, ""
    if system.n + system.graph.edges > _MOST_NONZEROS:
        return None, "factored on the CPU: too many nonzeros for cuDSS"
    why = []
    for name, factor in (("nvmath-python", _by_nvmath), ("torch", _by_torch)):
        try:
            return _by_columns(factor(system)), f"factored by cuDSS in {name}"
        except Exception as error:  # of any kind: the CPU has a factor too
            why.append(f"{name}: {textwrap.shorten(str(error), 120) or type(error).__name__}")
    return None, f"factored on the CPU, as cuDSS cannot be used ({'; '.join(why)})"


def _by_columns(solve: Solve) -> Solve:
    return lambda b: torch.stack([solve(column.contiguous()) for column in b.unbind(1)], 1)


def _by_nvmath(system: System) -> Solve:
    library = importlib.import_module("nvmath.sparse.advanced")
    solver = library.DirectSolver(_torch_csr(system), _ones(system))
    solver.plan()
    solver.factorize()

    lock = threading.Lock()  # the solver keeps one right-hand side at a time

    def solve(b: Tensor) -> Tensor:
        with lock:
            solver.reset_operands(b=b)
            return solver.solve()

    weakref.finalize(solve, solver.free).atexit = False
    return _checked(solve, system)


def _by_torch(system: System) -> Solve:
    A = _torch_csr(system)
    return _checked(lambda b: torch.sparse.spsolve(A, b), system)


def _checked(solve: Solve, system: System) -> Solve:
    """``solve``, if its solutions are finite; a factorisation that broke down may not raise."""
    if not bool(solve(_ones(system)).isfinite().all()):
        raise ArithmeticError("the factor broke down")
    return solve


def _ones(system: System) -> Tensor:
    return torch.ones(system.n, dtype=torch.float64, device=system.device)


def _torch_csr(system: System) -> Tensor:
    """The matrix as a CSR tensor on its device, in float64 with 32-bit indices."""
    graph, n = system.graph, system.n
    nodes = torch.arange(n, device=system.device)
    row, column = torch.cat([graph.destination, nodes]), torch.cat([graph.source.long(), nodes])
    value = torch.cat([system.weight, system.diagonal]).double()
    order = torch.argsort(row * n + column)
    start = (graph.start + torch.arange(n + 1, device=system.device)).to(torch.int32)
    return torch.sparse_csr_tensor(start, column[order].to(torch.int32), value[order], (n, n), check_invariants=False)
