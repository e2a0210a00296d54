"""Floor 2: certificates of convergence: dominance, walk-sums, spectra, the computation tree, the report."""

from gabp.conditions.check import check, check_system
from gabp.conditions.computation_tree import ComputationTree, unwrap
from gabp.conditions.report import ConvergenceReport
from gabp.conditions.verdict import Verdict
from gabp.conditions.walk_sums import Certificate, MMatrixSolver, certify

__all__ = [
    "Certificate",
    "ComputationTree",
    "ConvergenceReport",
    "MMatrixSolver",
    "Verdict",
    "certify",
    "check",
    "check_system",
    "unwrap",
]
