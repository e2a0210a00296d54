"""Motions of a whole graph: what relative factors do not notice, and a hierarchy therefore has to represent."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gabp.factors.kinds.landmarks import space_of
from gabp.factors.manifolds import SE2, SE3, Euclidean, LieGroup, Manifold
from gabp.factors.manifolds.differentiation import batched_derivative
from gabp.factors.variables import Variables


def common_motions(sets: Sequence[Variables], unknown: Sequence[np.ndarray], values: Sequence[Tensor]) -> Tensor | None:
    """The near-null vectors of the linear system of poses, and of points that they observe.

    All poses moved by one group element from the left, ``x ↦ g x``, leave every relative factor as it is. Seen from
    each pose, ``g = x₀ exp(ξ) x₀⁻¹`` is the step ``Ad(x⁻¹ x₀) ξ`` (Solà, Deray and Atchuthan 2018, equation 30), which
    differs from pose to pose; a constant on neighbouring poses would be no near-null vector.

    Parameters
    ----------
    sets : sequence of Variables
    unknown : sequence of ndarray
        The first unknown of each variable of each set, -1 where it is held.
    values : sequence of Tensor
        The linearisation point.

    Returns
    -------
    Tensor, shape (n, k), float64, or None
        ``k`` is the dimension of the poses' group; None where some variables are neither poses of one group nor points
        that it moves.
    """
    groups = {s.manifold for s in sets if isinstance(s.manifold, LieGroup) and not isinstance(s.manifold, Euclidean)}
    if len(groups) != 1:
        return None
    (group,) = groups
    poses = next(value for s, value in zip(sets, values, strict=True) if s.manifold is group)
    origin = poses[len(poses) // 2]
    n = sum(int((first >= 0).sum()) * s.manifold.dimension for s, first in zip(sets, unknown, strict=True))
    motions = torch.zeros((n, group.dimension), dtype=torch.float64)
    for variables, first, value in zip(sets, unknown, values, strict=True):
        free = first >= 0
        moved = _steps(group, origin, variables.manifold, value[torch.from_numpy(free)])
        if moved is None:
            return None
        rows = first[free][:, None] + np.arange(variables.manifold.dimension)
        motions[torch.from_numpy(rows.ravel())] = moved.flatten(0, 1)
    return motions


def _steps(group: LieGroup, origin: Tensor, manifold: Manifold, value: Tensor) -> Tensor | None:
    """The derivative of each step in ξ, (m, dimension, k); None where the group does not move such values."""
    if manifold is group:
        return -group.relative_jacobian(origin.expand_as(value), value)
    frame = next((frame for frame in (SE2, SE3) if group is frame), None)
    if frame is None or not isinstance(manifold, Euclidean) or space_of(frame) != manifold.d:
        return None

    def moved(xi: Tensor, point: Tensor) -> Tensor:
        return frame.act(frame.retract(origin, xi), frame.observe(origin, point))

    return batched_derivative(moved, argnums=0, in_dims=(None, 0))(origin.new_zeros(group.dimension), value)
