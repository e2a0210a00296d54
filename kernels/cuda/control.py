"""The control of a precision sweep: an int64 tensor on the device that counts sweeps and stops them.

Once STOPPED is set, sweeps leave everything unchanged, so that the host can launch many before it reads the control.
"""

import torch
import triton.language as tl
from torch import Tensor

# Its elements: whether to stop, the sweeps done, the smallest node whose belief is not positive (or NONE) and the bits
# of the largest change after the last sweep, and the same two as the rows of a sweep report them.
STOPPED, SWEEPS, INVALID, CHANGE, WORST_INVALID, WORST_CHANGE = (tl.constexpr(i) for i in range(6))
NONE = tl.constexpr(2**31 - 1)  # no node


def make_control(device: torch.device) -> Tensor:
    """A control that lets sweeps run."""
    return torch.tensor([0, 0, NONE.value, 0, NONE.value, 0], device=device)
