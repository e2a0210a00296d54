"""Gaussian belief propagation on sparse systems: solutions, uncertainties and convergence certificates."""

from gabp.api import backends, check, logdet, marginals, sample, solve
from gabp.autograd import Solver
from gabp.backprop import MessageTrace, backprop
from gabp.conditions import ComputationTree, ConvergenceReport, Verdict, unwrap
from gabp.discrete import MaxProductResult, maxproduct
from gabp.factors import (
    SE2,
    SE3,
    SO2,
    SO3,
    Euclidean,
    FactorGraph,
    OptimizationError,
    OptimizationProgress,
    OptimizationResult,
    OptimizationStatus,
    losses,
)
from gabp.files import read_bal, read_g2o, write_g2o
from gabp.gaussian import Gaussian
from gabp.marginals import Marginals
from gabp.solvers import ConvergenceError, Progress, Solution, Status, lstsq, rigid_body_modes
from gabp.system import InvalidSystemError, NotPositiveDefiniteError

__version__ = "0.1.0"

__all__ = [
    "SE2",
    "SE3",
    "SO2",
    "SO3",
    "ComputationTree",
    "ConvergenceError",
    "ConvergenceReport",
    "Euclidean",
    "FactorGraph",
    "Gaussian",
    "InvalidSystemError",
    "Marginals",
    "MaxProductResult",
    "MessageTrace",
    "NotPositiveDefiniteError",
    "OptimizationError",
    "OptimizationProgress",
    "OptimizationResult",
    "OptimizationStatus",
    "Progress",
    "Solution",
    "Solver",
    "Status",
    "Verdict",
    "backends",
    "backprop",
    "check",
    "logdet",
    "losses",
    "lstsq",
    "marginals",
    "maxproduct",
    "read_bal",
    "read_g2o",
    "rigid_body_modes",
    "sample",
    "solve",
    "unwrap",
    "write_g2o",
]
