"""Settings for all tests."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

# The systems here are small: threads would only fight for the cores, with each other and with other work.
torch.set_num_threads(1)

# A warning that torch gives once per process would fail whichever test comes first, and no other.
torch.set_warn_always(True)

# Without a GPU the CUDA kernels run in Triton's interpreter, which must be on before Triton is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def uninitialised_memory_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read without having been written shows: NaN, or the largest integer."""

    def fill(values: Any) -> Any:
        if isinstance(values, torch.Tensor):
            if values.is_floating_point():
                values.fill_(torch.nan)
            elif not values.is_complex() and values.dtype != torch.bool:
                values.fill_(torch.iinfo(values.dtype).max)
        elif values.dtype.kind == "f":
            values.fill(np.nan)
        elif values.dtype.kind in "iu":
            values.fill(np.iinfo(values.dtype).max)
        return values

    def poisoned(allocate: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: fill(allocate(*arguments, **options))

    allocations = {torch: ("empty", "empty_like"), torch.Tensor: ("new_empty",), np: ("empty", "empty_like")}
    for owner, names in allocations.items():
        for name in names:
            monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))
