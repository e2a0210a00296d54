"""Floor 2: Gaussian belief propagation itself. Precision and potential messages, schedules, the tree pass."""

from gabp.messages.flooding import FloodingSweeps, JointFloodingSweeps
from gabp.messages.junction_tree import SparseFactor, fits_in_memory
from gabp.messages.nonsymmetric import GeneralFloodingSweeps, GeneralPrecisions, settle_general_precisions
from gabp.messages.precision import STARTS, Precisions, Start, bethe_variances, settle_precisions
from gabp.messages.sequential import sequential_sweeps
from gabp.messages.tree import TreeFactor

__all__ = [
    "STARTS",
    "FloodingSweeps",
    "GeneralFloodingSweeps",
    "GeneralPrecisions",
    "JointFloodingSweeps",
    "Precisions",
    "SparseFactor",
    "Start",
    "TreeFactor",
    "bethe_variances",
    "fits_in_memory",
    "sequential_sweeps",
    "settle_general_precisions",
    "settle_precisions",
]
