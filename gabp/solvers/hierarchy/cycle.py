"""One cycle through the levels of a hierarchy of tensors."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gabp.kernels.torch.multigrid_cycle import BACKWARD, FORWARD, INNER_SCALARS, SUBSTITUTE, SUMS
from gabp.kernels.torch.multigrid_levels import MultigridLevel


@dataclass(frozen=True, eq=False)
class _Vectors:
    """Work vectors of a coarse level, for ``k`` right-hand sides."""

    b: Tensor
    first: Tensor
    second: Tensor | None = None  # this and the following: where the level is accelerated
    image: Tensor | None = None
    scalars: Tensor | None = None
    partials: Tensor | None = None


class Cycle:
    """Down by the forward halves of elimination sweeps, up by their backward halves.

    Parameters
    ----------
    levels : tuple of MultigridLevel
        Finest first.
    columns : int
        Right-hand sides.
    kernels : module
        `gabp.kernels.torch.multigrid_cycle`, or its twin for the device.
    accelerated : bool
        Two iterations of conjugate gradients on each coarse level (the K-cycle of Notay 2010), always both, so that no
        launch depends on a number on the device; or none: then the cycle is linear, symmetric and positive definite.
    """

    def __init__(self, levels: tuple[MultigridLevel, ...], columns: int, kernels: Any, accelerated: bool) -> None:
        self._levels, self._kernels = levels, kernels
        self._vectors = [_allocate(level, columns, accelerated) for level in levels[1:]]

    def apply(self, b: Tensor, x: Tensor) -> None:
        """``x ≈ A⁻¹ b`` on the finest level, shape (n, k) in the order of its rows."""
        self._run(0, b, x)

    def _run(self, depth: int, b: Tensor, x: Tensor) -> None:
        level, kernels = self._levels[depth], self._kernels
        if level.inverse is not None:
            kernels.eliminate(level.inverse, b, x)
            return
        for first, last in level.colours:
            kernels.relax(level, FORWARD, first, last, b, x)
        if level.aggregate is None:
            for first, last in reversed(level.colours[:-1]):
                kernels.relax(level, SUBSTITUTE, first, last, b, x)
            return
        coarse = self._vectors[depth]
        kernels.restrict(level.restriction, x, coarse.b)
        self._run(depth + 1, coarse.b, coarse.first)
        if coarse.second is not None:
            self._accelerate(depth + 1, coarse, coarse.second)
        kernels.prolong(level.aggregate, coarse.first, coarse.second, coarse.scalars, x)
        for first, last in reversed(level.colours):
            kernels.relax(level, BACKWARD, first, last, b, x)

    def _accelerate(self, depth: int, v: _Vectors, second: Tensor) -> None:
        level, kernels = self._levels[depth], self._kernels
        kernels.image(level, v.first, v.image, v.b, None, v.partials)
        kernels.finish_first(v.partials, v.scalars)
        kernels.subtract(v.b, v.image, v.scalars)
        self._run(depth, v.b, second)
        kernels.image(level, second, None, v.b, v.image, v.partials)
        kernels.finish_second(v.partials, v.scalars)


def _allocate(level: MultigridLevel, columns: int, accelerated: bool) -> _Vectors:
    shape, like = (level.n, columns), level.diagonal
    b, first = like.new_empty(shape), like.new_empty(shape)
    if not accelerated or level.inverse is not None:
        return _Vectors(b, first)
    return _Vectors(
        b,
        first,
        like.new_empty(shape),
        like.new_empty(shape),
        like.new_zeros((INNER_SCALARS, columns), dtype=torch.float64),
        like.new_empty((level.programs, SUMS, columns), dtype=torch.float64),
    )
