"""Floor 2: Gaussian belief propagation itself. Precision and potential messages, schedules, the tree pass."""

from gabp.messages.potential import FloodingSweeps, PotentialSweeps, SequentialSweeps
from gabp.messages.precision import Precisions, bethe_variances, settle_precisions
from gabp.messages.tree import TreeFactor

__all__ = [
    "FloodingSweeps",
    "PotentialSweeps",
    "Precisions",
    "SequentialSweeps",
    "TreeFactor",
    "bethe_variances",
    "settle_precisions",
]
