"""Floor 5: factor graphs. Variables on manifolds, factors of measurements, nonlinear least squares on one analysis."""

from gabp.factors import losses
from gabp.factors.batches import Factors
from gabp.factors.graph import FactorGraph
from gabp.factors.kinds import BearingRange, Between, FactorKind, Landmark, Linear, Prior, Range, Reprojection
from gabp.factors.losses import Loss
from gabp.factors.manifolds import SE2, SE3, SO2, SO3, Euclidean, LieGroup, Manifold
from gabp.factors.marginals import GraphMarginals
from gabp.factors.optimizers import (
    GraduatedNonConvexity,
    OptimizationError,
    OptimizationProgress,
    OptimizationResult,
    OptimizationStatus,
)
from gabp.factors.variables import Variables

__all__ = [
    "SE2",
    "SE3",
    "SO2",
    "SO3",
    "BearingRange",
    "Between",
    "Euclidean",
    "FactorGraph",
    "FactorKind",
    "Factors",
    "GraduatedNonConvexity",
    "GraphMarginals",
    "Landmark",
    "LieGroup",
    "Linear",
    "Loss",
    "Manifold",
    "OptimizationError",
    "OptimizationProgress",
    "OptimizationResult",
    "OptimizationStatus",
    "Prior",
    "Range",
    "Reprojection",
    "Variables",
    "losses",
]
