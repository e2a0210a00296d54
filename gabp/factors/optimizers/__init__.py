"""Minimisation of the objective of a factor graph, on one symbolic analysis."""

from gabp.factors.optimizers.descent import OptimizationProgress
from gabp.factors.optimizers.optimize import INCREMENTAL, MESSAGES, METHODS, optimize
from gabp.factors.optimizers.result import OptimizationError, OptimizationResult, OptimizationStatus
from gabp.factors.optimizers.robust import GraduatedNonConvexity

__all__ = [
    "INCREMENTAL",
    "MESSAGES",
    "METHODS",
    "GraduatedNonConvexity",
    "OptimizationError",
    "OptimizationProgress",
    "OptimizationResult",
    "OptimizationStatus",
    "optimize",
]
