"""Floor 2: Gaussian belief propagation itself. Precision and potential messages, schedules, exact elimination."""

from gabp.messages.flooding import FloodingSweeps, JointFloodingSweeps
from gabp.messages.junction_tree import SparseFactor, fits_in_memory
from gabp.messages.nonsymmetric import GeneralFloodingSweeps, GeneralPrecisions, solve_general_fixed_point
from gabp.messages.precision import STARTS, Precisions, Start, bethe_variances, solve_precision_fixed_point
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
    "solve_general_fixed_point",
    "solve_precision_fixed_point",
]
