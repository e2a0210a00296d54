"""Gaussian belief propagation on sparse systems: solutions, uncertainties and convergence certificates."""

from gabp.api import backends, check, logdet, marginals, sample, solve
from gabp.autograd import Solver
from gabp.backprop import MessageTrace, backprop
from gabp.conditions import ComputationTree, ConvergenceReport, Verdict, unwrap
from gabp.discrete import MaxProductResult, maxproduct
from gabp.gaussian import Gaussian
from gabp.marginals import Marginals
from gabp.solvers import ConvergenceError, Progress, Solution, Status, lstsq, rigid_body_modes
from gabp.system import InvalidSystemError, NotPositiveDefiniteError

__version__ = "0.1.0"

__all__ = [
    "ComputationTree",
    "ConvergenceError",
    "ConvergenceReport",
    "Gaussian",
    "InvalidSystemError",
    "Marginals",
    "MaxProductResult",
    "MessageTrace",
    "NotPositiveDefiniteError",
    "Progress",
    "Solution",
    "Solver",
    "Status",
    "Verdict",
    "backends",
    "backprop",
    "check",
    "logdet",
    "lstsq",
    "marginals",
    "maxproduct",
    "rigid_body_modes",
    "sample",
    "solve",
    "unwrap",
]
