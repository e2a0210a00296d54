"""Colours under which nodes of one colour are far apart, literally: the reference of the compiled kernel."""

from torch import Tensor


def colour_apart(start: Tensor, source: Tensor, distance: int, most: int, colour: Tensor) -> int:
    """Write a colour for each node that nobody within ``distance`` steps has; each node takes the first there is.

    Returns the number of colours, or 0 where ``most`` do not suffice.
    """
    for i in range(len(colour)):
        ball, rim = {i}, {i}
        for _ in range(distance):
            rim = {k for j in rim for k in source[int(start[j]) : int(start[j + 1])].tolist()} - ball
            ball |= rim
        taken = {int(colour[k]) for k in ball if k < i}
        free = next(c for c in range(len(taken) + 1) if c not in taken)
        if free >= most:
            return 0
        colour[i] = free
    return int(colour.max()) + 1
