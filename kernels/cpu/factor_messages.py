"""Messages from Gaussian factors, compiled: see `gabp.kernels.torch.factor_messages`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gabp.kernels.cpu import extension
from gabp.kernels.torch.factor_messages import Part

_cpu: Any = extension


def outgoing_messages(
    dimensions: Sequence[int], precision: Tensor, potential: Tensor, incoming_precision: Tensor, incoming: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """See `gabp.kernels.torch.factor_messages.outgoing_messages`."""
    sent_precision, sent = (torch.empty_like(array) for array in (incoming_precision, incoming))
    definite = torch.empty(len(precision), dtype=torch.bool)
    given = (precision, potential, incoming_precision, incoming)
    _cpu.outgoing_messages(
        torch.tensor(dimensions), *(array.contiguous() for array in given), sent_precision, sent, definite
    )
    return sent_precision, sent, definite


def transport(
    precision: Tensor, potential: Tensor, part: Part, factor: Tensor, variable: Tensor, delta: Tensor, turn: Tensor
) -> None:
    """See `gabp.kernels.torch.factor_messages.transport`."""
    given = (factor, variable, delta, turn)
    _cpu.transport_messages(precision, potential, part[0].start, part[1].start, *(g.contiguous() for g in given))
