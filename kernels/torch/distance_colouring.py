"""Distance-d colouring, literally."""

from torch import Tensor


def colour_apart(start: Tensor, source: Tensor, distance: int, most: int, colour: Tensor) -> int:
    """Greedy colouring in which nodes within ``distance`` edges differ; writes ``colour`` ``(n,)`` int32.

    Returns the number of colours, or 0 where ``most`` do not suffice.
    """
    for i in range(len(colour)):
        ball, shell = {i}, {i}
        for _ in range(distance):
            shell = {k for j in shell for k in source[int(start[j]) : int(start[j + 1])].tolist()} - ball
            ball |= shell
        taken = {int(colour[k]) for k in ball if k < i}
        free = next(c for c in range(len(taken) + 1) if c not in taken)
        if free >= most:
            return 0
        colour[i] = free
    return int(colour.max()) + 1
