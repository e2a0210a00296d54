"""Gaussian belief propagation on sparse systems: solutions, uncertainties and convergence certificates."""

from gabp.api import logdet, marginals, sample, solve
from gabp.learning import Gaussian
from gabp.marginals import Marginals, NotPositiveDefiniteError
from gabp.solvers import ConvergenceError, Progress, Solution, Solver, Status
from gabp.system import InvalidSystemError

__version__ = "0.1.0"

__all__ = [
    "ConvergenceError",
    "Gaussian",
    "InvalidSystemError",
    "Marginals",
    "NotPositiveDefiniteError",
    "Progress",
    "Solution",
    "Solver",
    "Status",
    "logdet",
    "marginals",
    "sample",
    "solve",
]
