"""Floor 2: certificates of convergence: dominance, walk-sums, spectra, the computation tree, the report."""

from gabp.conditions.check import check, check_system
from gabp.conditions.computation_tree import ComputationTree, unwrap
from gabp.conditions.definiteness import Curvature, curvature_certificate, search_negative_curvature
from gabp.conditions.report import ConvergenceReport
from gabp.conditions.verdict import Verdict
from gabp.conditions.walk_sums import Certificate, MMatrixSolver, certify

__all__ = [
    "Certificate",
    "ComputationTree",
    "ConvergenceReport",
    "Curvature",
    "MMatrixSolver",
    "Verdict",
    "certify",
    "check",
    "check_system",
    "curvature_certificate",
    "search_negative_curvature",
    "unwrap",
]
