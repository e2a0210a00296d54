"""Manifolds of variables as arrays: one row per value, any leading shape.

Written here rather than taken from a Lie-group library: torchlie stores SO(3) and SE(3) as matrices and has no planar
groups, pypose wraps every array in a tensor subclass and installs pytest; what is needed is the page of formulas below.
"""

from gabp.factors.manifolds.base import LieGroup, Manifold
from gabp.factors.manifolds.euclidean import Euclidean
from gabp.factors.manifolds.planar import SE2, SO2
from gabp.factors.manifolds.spatial import SE3, SO3

__all__ = ["SE2", "SE3", "SO2", "SO3", "Euclidean", "LieGroup", "Manifold"]
