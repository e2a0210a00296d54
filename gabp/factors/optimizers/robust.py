"""What a caller chooses of graduated non-convexity: the losses, and which factors are no outliers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special

from gabp.factors.batches import Factors
from gabp.factors.kinds import Between
from gabp.factors.losses import GemanMcClure, Loss, Truncated
from gabp.system import InvalidSystemError
from gabp.system.scalars import require_number

SURROGATES = ("truncated", "geman-mcclure")


@dataclass(frozen=True)
class GraduatedNonConvexity:
    """How `gabp.FactorGraph.optimize` tells outliers from inliers with ``robust=``; ``"gnc"`` takes the defaults.

    The objective is that of a loss of scale c, the residual norm that an inlier exceeds with probability
    ``1 - probability`` (a χ² quantile). It is approached through a sequence of surrogates that begins at least squares;
    each gives the factors weights, and these a least-squares problem, which starts anew from ``init``: ``"chordal"``
    fits the weighted factors, which recovers pose graphs best; ``"spanning-tree"`` goes along the inliers given.
    ``maxiter`` is for each problem, ``history`` holds the objectives of all of them, and ``result.weights(factors)`` is
    near 0 for outliers.

    Parameters
    ----------
    surrogate : str
        ``"truncated"`` for ``min(s, c²)``, by which an outlier has no influence at all; ``"geman-mcclure"`` for
        ``s / (1 + s / c²)``.
    probability : float
        With which a residual of an inlier stays below c.
    inliers : "odometry", Factors, sequence of Factors or mapping from Factors to bool array, optional
        Factors that are no outliers: those of the handles; those where an array is true; or every `Between` of two
        variables that succeed each other in one set. None by default.
    growth : float
        By which the losses approach the last one from step to step.

    Raises
    ------
    TypeError, InvalidSystemError
        A parameter is of the wrong kind or out of range.

    References
    ----------
    H. Yang, P. Antonante, V. Tzoumas and L. Carlone, *Graduated non-convexity for robust spatial perception*, IEEE
    Robotics and Automation Letters 5 (2020).

    Examples
    --------
    Five measurements of a number, one of them wrong:

    >>> import numpy as np, gabp
    >>> graph = gabp.FactorGraph()
    >>> x = graph.variables(gabp.Euclidean(1), [[0.0]])
    >>> measured = graph.add(gabp.factors.Prior, x, [0] * 5, [[1.0], [1.1], [0.9], [1.0], [50.0]], 100.0)
    >>> graph.optimize().values(x).round(6)
    array([[10.8]])
    >>> result = graph.optimize(robust="gnc")
    >>> result.values(x).round(6)
    array([[1.]])
    >>> result.weights(measured)
    array([1., 1., 1., 1., 0.])
    """

    surrogate: str = "truncated"
    probability: float = 0.99
    inliers: Any = None
    growth: float = 1.4

    def __post_init__(self) -> None:
        if self.surrogate not in SURROGATES:
            raise InvalidSystemError(f"there is no surrogate {self.surrogate!r}; choose one of {sorted(SURROGATES)}")
        require_number(self.probability, "probability")
        require_number(self.growth, "growth")
        if not 0 < self.probability < 1:
            raise InvalidSystemError(f"probability must be between 0 and 1, got {self.probability}")
        if not 1 < self.growth < math.inf:
            raise InvalidSystemError(f"growth must be a finite number > 1, got {self.growth}")

    def scale(self, dimension: int) -> float:
        """The residual norm, in standard deviations, that an inlier exceeds with probability ``1 - probability``."""
        return math.sqrt(scipy.special.chdtri(dimension, 1 - self.probability))

    def loss(self, dimension: int, control: float) -> Loss:
        """The surrogate at a value of the control parameter μ; the last one at infinity, or 1 for Geman–McClure."""
        if self.surrogate == "truncated":
            return Truncated(self.scale(dimension), control)
        return GemanMcClure(math.sqrt(control) * self.scale(dimension))

    @property
    def last_control(self) -> float:
        return math.inf if self.surrogate == "truncated" else 1.0


def read_robust(robust: Any) -> GraduatedNonConvexity | None:
    """The argument ``robust`` of `gabp.FactorGraph.optimize`.

    Raises
    ------
    TypeError, InvalidSystemError
    """
    if robust is None or isinstance(robust, GraduatedNonConvexity):
        return robust
    if not isinstance(robust, str):
        raise TypeError(f"robust must be 'gnc' or a gabp.factors.GraduatedNonConvexity, not {robust!r}")
    if robust != "gnc":
        raise InvalidSystemError(f"there is no robust={robust!r}; choose 'gnc'")
    return GraduatedNonConvexity()


def inlier_masks(inliers: Any, factors: Sequence[Factors]) -> list[np.ndarray]:
    """Which factors of each handle are taken as inliers."""
    if isinstance(inliers, str):
        if inliers != "odometry":
            raise InvalidSystemError(f"there are no inliers {inliers!r}; choose 'odometry', or give handles")
        masks = [_is_odometry(batch) for batch in factors]
    else:
        given = _by_handle(inliers)
        for handle in given:
            if not any(handle is batch for batch in factors):
                raise InvalidSystemError(f"inliers: {handle!r} is not in the graph")
        masks = [_mask(batch, given.get(batch, False)) for batch in factors]
    for batch, mask in zip(factors, masks, strict=True):
        if batch.loss is not None and not mask.all():
            raise InvalidSystemError(f"robust='gnc' has a loss of its own for {batch!r}; add it without {batch.loss!r}")
    return masks


def _by_handle(inliers: Any) -> dict[Factors, Any]:
    if isinstance(inliers, Mapping):
        given = dict(inliers)
    else:
        handles = [] if inliers is None else [inliers] if isinstance(inliers, Factors) else list(inliers)
        given = dict.fromkeys(handles, True)
    for handle in given:
        if not isinstance(handle, Factors):
            raise TypeError(f"inliers must be what `add` returned, not {type(handle).__name__}")
    return given


def _mask(batch: Factors, chosen: Any) -> np.ndarray:
    mask = np.asarray(chosen)
    if mask.dtype != bool or mask.shape not in ((), (len(batch),)):
        raise InvalidSystemError(f"inliers of {batch!r} must be a bool array of shape ({len(batch)},)")
    return np.broadcast_to(mask, len(batch))


def _is_odometry(batch: Factors) -> np.ndarray:
    """Whether each factor measures from one variable of a set to the next, by the labels where there are any."""
    if not isinstance(batch.kind, Between) or batch.variables[0] is not batch.variables[1]:
        return np.zeros(len(batch), dtype=bool)
    labels, index = batch.variables[0].labels, batch.index.numpy()
    number = index if labels is None else labels[index]
    return np.abs(number[:, 1] - number[:, 0]) == 1
