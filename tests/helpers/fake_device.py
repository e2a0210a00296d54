"""A fake device: its tensors lie in the CPU's memory, but are kept apart from the CPU's as on a GPU.

Whatever mixes them with tensors of the CPU, or reads them without copying them there, is an error; what makes the host
wait for the device is counted. Triton's kernels get at the memory itself, so that they can be interpreted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("privateuseone:0")
AVAILABLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
_COPIES = {"_to_copy", "copy_", "_copy_from"}
_WAITS = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim"}


class DeviceTensor(torch.Tensor):
    """A tensor of the device, over ``memory`` that the CPU could see if it were asked to."""

    memory: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, memory: torch.Tensor) -> "DeviceTensor":
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            memory.shape,
            strides=memory.stride(),
            storage_offset=memory.storage_offset(),
            dtype=memory.dtype,
            device=DEVICE,
        )
        tensor.memory = memory
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def memory_of(value: Any) -> Any:
    """A device tensor's memory; anything else as it is."""
    return value.memory if isinstance(value, DeviceTensor) else value


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation where its tensors are."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    on_device = any(isinstance(tensor, DeviceTensor) for tensor in tensors)
    name = func.name().split("::")[1].split(".")[0]
    if on_device and name not in _COPIES:
        strangers = [t for t in tensors if not isinstance(t, DeviceTensor) and t.dim() > 0 and not _is_sparse(t)]
        assert not strangers, f"{func} mixes tensors of the device with those of the CPU"
    device = kwargs.get("device")
    if device is not None:
        kwargs = {**kwargs, "device": "cpu"}
    stays = on_device if device is None else torch.device(device).type != "cpu"
    args, kwargs = tree_map(memory_of, (args, kwargs))
    result = func(*args, **kwargs)
    return tree_map(_moved, result) if stays else result


def _moved(result: Any) -> Any:
    """A result on the device; sparse matrices stay as they are, and count as being on it."""
    return DeviceTensor(result) if isinstance(result, torch.Tensor) and not _is_sparse(result) else result


def _is_sparse(tensor: torch.Tensor) -> bool:
    return tensor.layout != torch.strided


class FakeDevice(TorchDispatchMode):
    """While it is in force there is such a device.

    Attributes
    ----------
    waits : list of str
        The operations that made the host wait for the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.name().split("::")[1].split(".")[0]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, DeviceTensor)]
        if tensors:
            to_host = name == "_to_copy" and torch.device(kwargs.get("device", DEVICE)).type == "cpu"
            by_mask = name in ("index", "index_put_") and any(t.dtype == torch.bool for t in tensors[1:])
            if to_host or by_mask or name in _WAITS:
                self.waits.append(name)
        return _run(func, args, kwargs)


class _OutOfSight(TorchFunctionMode):
    """Ways between Python's numbers and tensors that dispatch no operation go through tensors of the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.tolist and isinstance(args[0], DeviceTensor):
            return args[0].cpu().tolist()
        if func is torch.Tensor.new_tensor and isinstance(args[0], DeviceTensor):
            return torch.tensor(*args[1:], dtype=args[0].dtype).to(DEVICE)
        if func not in (torch.tensor, torch.as_tensor) or kwargs.get("device") is None:
            return func(*args, **kwargs)
        device = kwargs.pop("device")
        return func(*args, **kwargs).to(device)


@contextmanager
def fake_device() -> Iterator[FakeDevice]:
    """Make the device known to torch, and in force."""
    if not hasattr(torch, "privateuseone"):
        backend_registration._setup_privateuseone_for_python_backend()
    with _OutOfSight(), FakeDevice() as device:
        yield device
