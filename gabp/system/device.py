"""Where to compute: which devices there are, and a clear word about those that are not."""

from typing import Any

import torch

from gabp.kernels import dispatch
from gabp.system.errors import InvalidSystemError

_KNOWN = ("cpu", "cuda")


def read_device(device: Any) -> torch.device | None:
    """The torch device that ``device`` (one, or its name) stands for; None stays None.

    Raises
    ------
    TypeError
        Neither a torch device nor a string.
    InvalidSystemError
        No device that gabp computes on.
    RuntimeError
        CUDA, where it cannot be used here: the sentence of ``gabp.backends()["cuda"]``.
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
