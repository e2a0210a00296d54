"""The backend of a device offers, concern by concern, what tensor operations offer."""

import inspect
from types import ModuleType

import pytest

from gabp.kernels import cuda, dispatch, reference
from gabp.kernels.torch import bounds, distance_colouring, markov_blankets, multigrid_cycle, rows
from kernel_backends import needs_triton

CONCERNS = {
    "rows": rows,
    "bounds": bounds,
    "multigrid_cycle": multigrid_cycle,
    "markov_blankets": markov_blankets,
    "distance_colouring": distance_colouring,
    "sequential": reference,
}
NODE_BY_NODE = ("sequential", "tree", "directed", "block")


def functions(literal: ModuleType) -> list[str]:
    """The public functions that a module defines; of the reference, those that visit one node after another."""
    names = [n for n, f in inspect.getmembers(literal, inspect.isfunction) if f.__module__ == literal.__name__]
    return [n for n in names if not n.startswith("_") and (literal is not reference or n.split("_")[0] in NODE_BY_NODE)]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_triton)])
@pytest.mark.parametrize("concern", CONCERNS)
def test_every_concern_is_complete(device, concern):
    expected = functions(CONCERNS[concern])
    assert expected
    kernels = getattr(dispatch.backend(device), concern)
    assert [name for name in expected if not hasattr(kernels, name)] == []


def test_the_factor_is_complete():
    assert {"symbolic", "Symbolic", "Factor"} <= set(dir(dispatch.backend("cpu").factor))


def test_other_devices_are_served_by_tensor_operations():
    backend = dispatch.backend("meta")
    assert (backend.name, backend.compiled, backend.coloured) == ("torch", False, None)
    assert backend.rows is rows


@needs_triton
def test_what_is_not_fused_runs_in_tensor_operations():
    fused = dispatch.backend("cuda")
    assert (fused.name, fused.compiled) == ("cuda", False)
    assert fused.multigrid_cycle is cuda.load("multigrid_cycle")
    assert fused.rows is rows
