"""What a sparse factor costs, predicted from its symbolic analysis."""

from typing import Any

from gabp.messages.junction_tree import fits_in_memory
from gabp.system import EdgeGraph

# Measured on two cores of an x86-64 server. Only the order of magnitude matters: what they are compared with is
# uncertain by factors too.
FLOPS_PER_SECOND = 2.5e10  # of the factorisation
SECONDS_PER_NONZERO = 7e-9  # of the factor, to compute and to solve with it
MOST_FLOPS = 1e13  # some minutes: no larger factor is made
FLOPS_FOR_A_VERDICT = 1e10  # half a second, spent on a definite answer
FLOPS_OF_A_CERTIFICATE = 1e9  # up to here a factor takes less time than a certificate of walk-summability


def seconds(symbolic: Any) -> float:
    """Predicted time of a factorisation and a solve."""
    return symbolic.flops / FLOPS_PER_SECOND + symbolic.entries * SECONDS_PER_NONZERO


def is_affordable(graph: EdgeGraph, flops: float) -> bool:
    """Whether a factor on ``graph`` takes at most so many operations and fits in memory."""
    return graph.symbolic_within(flops) is not None and fits_in_memory(graph)


def is_faster(graph: EdgeGraph, than: float) -> bool:
    """Whether a factor on ``graph`` fits in memory and is predicted to take no more than so many seconds."""
    symbolic = graph.symbolic_within(min(than * FLOPS_PER_SECOND, MOST_FLOPS))
    return symbolic is not None and seconds(symbolic) <= than and fits_in_memory(graph)
