"""What one direction proves of a symmetric matrix."""

import torch
from torch import Tensor

from gabp.solvers.solution import Status
from gabp.system import System

_ROUNDING = 16 * torch.finfo(torch.float64).eps  # of a curvature


def proven_by(system: System, direction: Tensor) -> Status | None:
    """NOT_POSITIVE_DEFINITE or SINGULAR where ``direction`` proves it beyond rounding, else None.

    What counts is the curvature ``pᵀAp`` against ``|p|ᵀ|A||p|``, the size of the terms that it sums up: both keep
    their ratio whatever the units of the unknowns are. A ratio at rounding level says that no float64 arithmetic
    can tell A from a singular matrix.

    Parameters
    ----------
    system : System
        Symmetric, with a positive diagonal.
    direction : Tensor, shape (n,)
        Not zero.
    """
    unit, scale = system.equilibrated()
    p = (direction.to(scale) / scale)[:, None]
    p = p / p.abs().max()
    nothing = torch.zeros_like(p)
    curvature = -float((p * unit.extended_precision_residual(p, nothing)).sum())
    rounding = _ROUNDING * float((p.abs() * unit.term_sizes(p, nothing)).sum())
    if curvature < -rounding:
        return Status.NOT_POSITIVE_DEFINITE
    return Status.SINGULAR if curvature <= rounding else None
