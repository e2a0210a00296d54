"""Coercion of devices."""

from typing import Any

import torch

from gabp.kernels import dispatch
from gabp.system.errors import InvalidSystemError

_KNOWN = ("cpu", "cuda")


def read_device(device: Any) -> torch.device | None:
    """Read a device, given as a torch device or by name; None stays None.

    Raises
    ------
    TypeError
        Neither a torch device nor a string.
    InvalidSystemError
        Not a device, or one without gabp kernels.
    RuntimeError
        CUDA where it is unavailable, with the reason that ``gabp.backends()["cuda"]`` gives.
    """
    if device is None:
        return None
    if not isinstance(device, (str, torch.device)):
        raise TypeError(f"device must be 'cpu', 'cuda' or a torch.device of these, not {type(device).__name__}")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise InvalidSystemError(f"{device!r} is not a device; gabp computes on 'cpu' and 'cuda'") from None
    if found.type not in _KNOWN:
        raise InvalidSystemError(f"gabp does not compute on the device '{found}'; it does on 'cpu' and 'cuda'")
    if found.type == "cuda":
        missing = dispatch.cuda_missing_because()
        if missing is not None:
            raise RuntimeError(missing)
        if found.index is not None and found.index >= torch.cuda.device_count():
            raise RuntimeError(f"there is no device '{found}': torch sees {torch.cuda.device_count()} CUDA devices")
    return found
