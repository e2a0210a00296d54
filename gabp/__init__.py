"""Gaussian belief propagation on sparse systems: solutions, uncertainties and convergence certificates."""

from gabp.api import solve
from gabp.solvers import ConvergenceError, Progress, Solution, Solver, Status
from gabp.system import InvalidSystemError

__version__ = "0.1.0"

__all__ = [
    "ConvergenceError",
    "InvalidSystemError",
    "Progress",
    "Solution",
    "Solver",
    "Status",
    "solve",
]
