"""Marginals of a factor graph's variables at an estimate: covariances in their tangent spaces."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.covariances import CovarianceBlocks, bethe_blocks, exact_blocks
from gabp.factors.information import Information
from gabp.factors.optimizers.result import OptimizationResult
from gabp.factors.reading import read_index
from gabp.factors.structure import Structure
from gabp.factors.variables import Variables
from gabp.marginals import require_kind
from gabp.system import InvalidSystemError


@dataclass(frozen=True, eq=False, repr=False)
class GraphMarginals:
    """The Gaussian approximation of the variables about an estimate x: ``x ⊞ δ`` with ``δ ~ N(0, A⁻¹)``.

    ``A = Σ w JᵀΩJ`` is the information matrix at x, the weights ``w = ρ'(s)`` of robust losses included: an outlier
    that the optimum all but ignores does not make it more certain. Covariances are of ``δ``, in the units of the
    tangent spaces: of a pose in its own frame, translation before rotation in radians, not of the numbers that
    store it. A variable that is held has covariance 0.

    Attributes
    ----------
    variance_kind : {"exact", "bethe"}
        Exact for this Gaussian; on a forest the Bethe approximation is, and is labelled so.
    """

    variance_kind: str
    _structure: Structure = field(repr=False)
    _blocks: CovarianceBlocks | None = field(repr=False)

    @staticmethod
    def at(result: OptimizationResult, factors: Sequence[Factors], variance: str) -> "GraphMarginals":
        """See `gabp.FactorGraph.marginals`."""
        require_kind(variance, ("exact", "bethe"), "variance")
        information = Information.at(result, factors, "elimination" if variance == "exact" else "auto")
        if information.prepared is None:
            return GraphMarginals("exact", information.structure, None)
        blocks = exact_blocks(information) if variance == "exact" else bethe_blocks(information)
        return GraphMarginals(blocks.kind, information.structure, blocks)

    def covariance(self, variables: Variables) -> Any:
        """The covariance of each variable of a set, shape (N, d, d), d the dimension of its tangent space.

        Parameters
        ----------
        variables : Variables

        Returns
        -------
        array
            In the array library, device and float dtype of the set's initial values.

        Raises
        ------
        TypeError, InvalidSystemError
            The variables are none, or of another graph.
        """
        self._require_own(variables)
        every = torch.arange(self._count(variables))
        return variables.restore(self._between(variables, every, variables, every))

    def joint(self, x: Variables, i: Any, y: Variables, j: Any) -> Any:
        """The covariance of a pair of variables, ``x`` at ``i`` and ``y`` at ``j``, side by side.

        Pairs that share a factor, and others where elimination makes them neighbours, are known from the start; an
        exact joint of any other pair takes a solve.

        Parameters
        ----------
        x, y : Variables
        i, j : int, or integer array of shape (k,)
            Several pairs at once, where they are arrays.

        Returns
        -------
        array, shape (d_x + d_y, d_x + d_y), or (k, d_x + d_y, d_x + d_y)
            In the array library, device and float dtype of the initial values of ``x``.

        Raises
        ------
        TypeError, InvalidSystemError
            An index is out of range, or a set is of another graph; with the Bethe approximation, also where a pair
            shares no factor.
        """
        self._require_own(x)
        self._require_own(y)
        first, second = (
            read_index(index, self._count(s), name, "pair") for s, index, name in ((x, i, "i"), (y, j, "j"))
        )
        if len(first) != len(second):
            raise InvalidSystemError(f"i and j have different lengths: {len(first)} and {len(second)}")
        cross = self._between(x, first, y, second)
        above = torch.cat([self._between(x, first, x, first), cross], 2)
        below = torch.cat([cross.mT, self._between(y, second, y, second)], 2)
        joint = torch.cat([above, below], 1)
        return x.restore(joint[0] if np.ndim(i) == 0 and np.ndim(j) == 0 else joint)

    def _count(self, variables: Variables) -> int:
        """Of the variables of a set at the estimate: the set may have grown since."""
        return len(self._structure.unknown[variables.position])

    def _between(self, x: Variables, i: Tensor, y: Variables, j: Tensor) -> Tensor:
        """Covariances (k, d_x, d_y) of pairs; 0 where one is held."""
        shape = (x.manifold.dimension, y.manifold.dimension)
        block = torch.zeros(len(i), *shape, dtype=torch.float64)
        u, v = (torch.from_numpy(self._structure.unknown[s.position])[k] for s, k in ((x, i), (y, j)))
        free = (u >= 0) & (v >= 0)
        if self._blocks is not None and bool(free.any()):
            block[free] = self._blocks.between(u[free], v[free], shape)
        return block

    def _require_own(self, variables: Variables) -> None:
        if not isinstance(variables, Variables):
            raise TypeError(f"a handle must be what `variables` returned, not {type(variables).__name__}")
        sets = self._structure.sets
        if variables.position >= len(sets) or sets[variables.position] is not variables:
            raise InvalidSystemError(f"{variables!r} is a set of another graph")

    def __repr__(self) -> str:
        count = sum(int((first >= 0).sum()) for first in self._structure.unknown)
        held = sum(map(len, self._structure.unknown)) - count
        return f"GraphMarginals of {count} variables and {held} held ones, covariances {self.variance_kind}"
