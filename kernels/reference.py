"""The message equations, literally, in torch: ground truth on any device.

A model is held as *slots*: one per directed edge, sorted by destination. Slot ``e`` belongs to the
message that ``destination[e]`` hears from ``source[e]``; ``weight[e] = A[destination[e], source[e]]``;
``reverse[e]`` is the slot of the message that flows the other way. The slots of node ``i`` are
``start[i]:start[i + 1]``. Precision messages are ``(m,)``, potential messages ``(m, k)`` for ``k``
right-hand sides. ``A`` may be nonsymmetric (on a symmetric pattern): only the products
``weight[e] * weight[reverse[e]]`` enter the precisions (Fanaskov 2019, arXiv:1904.04093).
"""

import torch
from torch import Tensor


def gather_messages(messages: Tensor, destination: Tensor, n: int) -> Tensor:
    """Sum over the slots of each node: ``(m, ...) -> (n, ...)``."""
    total = messages.new_zeros((n, *messages.shape[1:]))
    return total.index_add_(0, destination, messages)


def multiply(diagonal: Tensor, weight: Tensor, source: Tensor, destination: Tensor, x: Tensor) -> Tensor:
    """``A @ x`` in ``x``'s dtype, for ``x`` of shape ``(n, k)``."""
    off_diagonal = weight.to(x.dtype)[:, None] * x[source]
    return diagonal.to(x.dtype)[:, None] * x + gather_messages(off_diagonal, destination, len(diagonal))


def flood_precisions(
    diagonal: Tensor, weight: Tensor, source: Tensor, destination: Tensor, reverse: Tensor, precision: Tensor
) -> tuple[Tensor, Tensor]:
    """One synchronous sweep of the precision messages.

    Returns the new messages ``P_{k->i} = -A_ik A_ki / P_{k\\i}`` and the cavities ``P_{k\\i}`` they came from.
    """
    belief = diagonal + gather_messages(precision, destination, len(diagonal))
    cavity = belief[source] - precision[reverse]
    return -weight * weight[reverse] / cavity, cavity


def flood_potentials(
    b: Tensor,
    weight: Tensor,
    source: Tensor,
    destination: Tensor,
    reverse: Tensor,
    cavity: Tensor,
    potential: Tensor,
) -> Tensor:
    """One synchronous sweep of the potential messages ``h_{k->i} = -A_ik h_{k\\i} / P_{k\\i}``."""
    belief = b + gather_messages(potential, destination, len(b))
    return -(weight / cavity)[:, None] * (belief[source] - potential[reverse])
