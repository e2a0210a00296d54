"""Gaussian belief propagation on sparse systems: solutions, uncertainties and convergence certificates."""

from gabp.api import check, solve
from gabp.conditions import ComputationTree, ConvergenceReport, Verdict, unwrap
from gabp.solvers import ConvergenceError, Progress, Solution, Solver, Status
from gabp.system import InvalidSystemError

__version__ = "0.1.0"

__all__ = [
    "ComputationTree",
    "ConvergenceError",
    "ConvergenceReport",
    "InvalidSystemError",
    "Progress",
    "Solution",
    "Solver",
    "Status",
    "Verdict",
    "check",
    "solve",
    "unwrap",
]
