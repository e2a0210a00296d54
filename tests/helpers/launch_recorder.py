"""What launches of the CUDA kernels touch in memory, recorded in Triton's interpreter."""

import importlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch


@dataclass
class Launch:
    """One launch: its kernel, its tensors by the names of the parameters, and every access as (is_store, addresses)."""

    kernel: Any
    tensors: dict[str, torch.Tensor]
    constants: dict[str, int]
    accesses: list[tuple[bool, np.ndarray]] = field(default_factory=list)

    def by_argument(self) -> dict[str, list[tuple[bool, np.ndarray]]]:
        """The accesses as element numbers of the arguments; an address outside all of them is an error."""
        found = defaultdict(list)
        for is_store, addresses in self.accesses:
            name = next(name for name, t in self.tensors.items() if self._holds(t, addresses[0]))
            tensor = self.tensors[name]
            assert all(self._holds(tensor, address) for address in (addresses.min(), addresses.max())), name
            found[name].append((is_store, (addresses - tensor.data_ptr()) // tensor.itemsize))
        return found

    @staticmethod
    def _holds(tensor: torch.Tensor, address: int) -> bool:
        return tensor.data_ptr() <= address < tensor.data_ptr() + tensor.nbytes


class Recorder:
    """Records the launches while it is in force."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.launches: list[Launch] = []
        builder = importlib.import_module("triton.runtime.interpreter").InterpreterBuilder
        load, store = builder.create_masked_load, builder.create_masked_store
        kernel_class = importlib.import_module("gabp.kernels.cuda.launch").Kernel
        launch = kernel_class.__call__

        def note(is_store: bool, pointers: Any, mask: Any) -> None:
            wanted = np.broadcast_to(mask.data, pointers.data.shape).astype(bool)
            if wanted.any():
                self.launches[-1].accesses.append((is_store, pointers.data[wanted].astype(np.int64).ravel()))

        def noted_load(builder: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
            note(False, pointers, mask)
            return load(builder, pointers, mask, *rest)

        def noted_store(builder: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
            note(True, pointers, mask)
            return store(builder, pointers, value, mask, *rest)

        def noted_launch(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
            tensors = {n: a for n, a in zip(kernel.arguments, arguments, strict=True) if isinstance(a, torch.Tensor)}
            self.launches.append(Launch(kernel, tensors, constants))
            launch(kernel, programs, *arguments, **constants)

        monkeypatch.setattr(builder, "create_masked_load", noted_load)
        monkeypatch.setattr(builder, "create_masked_store", noted_store)
        monkeypatch.setattr(kernel_class, "__call__", noted_launch)
