"""Kinds of factors: residuals of whole batches and their derivatives in the tangent spaces of the variables."""

from gabp.factors.kinds.base import FactorKind
from gabp.factors.kinds.between import Between
from gabp.factors.kinds.function import FunctionKind
from gabp.factors.kinds.landmarks import BearingRange, Landmark, Range
from gabp.factors.kinds.linear import Linear
from gabp.factors.kinds.prior import Prior
from gabp.factors.kinds.reprojection import Reprojection

__all__ = [
    "BearingRange",
    "Between",
    "FactorKind",
    "FunctionKind",
    "Landmark",
    "Linear",
    "Prior",
    "Range",
    "Reprojection",
]
