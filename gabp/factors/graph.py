"""The factor graph: variables on manifolds, factors of measurements, and their optimum."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.factors.batches import Factors, read_factors
from gabp.factors.belief_propagation import Beliefs
from gabp.factors.chordal import chordal_values
from gabp.factors.gradients import attach
from gabp.factors.incremental import IncrementalOptimizer
from gabp.factors.incremental.growth import Contents
from gabp.factors.linearization import Values
from gabp.factors.marginals import GraphMarginals
from gabp.factors.optimizers.descent import OptimizationProgress
from gabp.factors.optimizers.graduated import optimize_robustly
from gabp.factors.optimizers.optimize import GAUGES, INCREMENTAL, MESSAGES, Options, optimize
from gabp.factors.optimizers.propagation import PropagationOptions
from gabp.factors.optimizers.result import OptimizationError, OptimizationResult, OptimizationStatus
from gabp.factors.optimizers.robust import read_robust
from gabp.factors.reading import read_index
from gabp.factors.spanning_tree import spanning_tree_values
from gabp.factors.variables import Variables, read_manifold_values, read_variables
from gabp.system import InvalidSystemError, require_nonnegative

_INITIALISATIONS = {"chordal": chordal_values, "spanning-tree": spanning_tree_values}


class FactorGraph:
    """Variables on manifolds and factors between them: the objective ``½ Σ ρ(‖r‖²_Ω)`` over all factors.

    Parameters
    ----------
    gauge : str
        What `optimize` does with a connected component that only relative factors determine, so that it can be moved
        as a whole: ``"error"`` refuses it by name; ``"hold"`` keeps its first variable at its initial value;
        ``"free"`` leaves it to the damping of Levenberg–Marquardt, as is usual in bundle adjustment.

    Examples
    --------
    A robot drives round a square; its odometry does not quite close.

    >>> import math, numpy as np, gabp
    >>> graph = gabp.FactorGraph()
    >>> x = graph.variables(gabp.SE2, np.zeros((4, 3)))
    >>> prior = graph.add(gabp.factors.Prior, x, [0], np.zeros((1, 3)), 1e4)
    >>> step = [[1.0, 0.0, math.pi / 2], [1.1, 0.0, math.pi / 2], [1.0, 0.0, math.pi / 2], [1.0, 0.0, math.pi / 2]]
    >>> loop = graph.add(gabp.factors.Between, (x, x), ([0, 1, 2, 3], [1, 2, 3, 0]), step, [25.0, 25.0, 100.0])
    >>> result = graph.optimize(init="spanning-tree")
    >>> result.converged
    True
    >>> result.values(x)[2].round(3)
    array([ 0.997,  1.053, -3.136])

    Any function of single variables is a factor:

    >>> import torch
    >>> def distance_from(pose, place):
    ...     return torch.linalg.vector_norm(pose[:2] - place)[None] - 1.0
    >>> ranges = graph.add(distance_from, x, [2], torch.tensor([[1.0, 2.0]]), 100.0)
    >>> round(graph.optimize(init=result).objective, 5)
    0.05608
    """

    def __init__(self, *, gauge: str = "error") -> None:
        if gauge not in GAUGES:
            raise InvalidSystemError(f"there is no gauge {gauge!r}; choose one of {sorted(GAUGES)}")
        self.gauge = gauge
        self._contents = Contents()
        self._beliefs = Beliefs()
        self._incremental: IncrementalOptimizer | None = None

    @property
    def sets(self) -> tuple[Variables, ...]:
        """The handles of all variables, in the order in which they were added."""
        return tuple(self._sets)

    @property
    def factors(self) -> tuple[Factors, ...]:
        """The handles of all factors, in the order in which they were added."""
        return tuple(self._factors)

    @property
    def beliefs(self) -> Beliefs:
        """The beliefs and messages of the last ``optimize(method="gbp")``, from which the next one starts."""
        return self._beliefs

    def variables(self, manifold: Any, values: Any, *, labels: Any = None) -> Variables:
        """Add variables of one manifold.

        Parameters
        ----------
        manifold : Manifold
            ``gabp.SO2``, ``SE2``, ``SO3``, ``SE3``, ``gabp.Euclidean(d)`` or your own `gabp.factors.Manifold`.
        values : array, shape (N, width)
            Where optimisation starts. SE2: x, y, angle in radians; SE3: x, y, z and a quaternion x, y, z, w, of any
            length above 0; SO2: an angle; SO3: a quaternion.
        labels : integer array, shape (N,), optional
            Identifiers of the variables in messages and files.

        Returns
        -------
        Variables
            The handle by which factors and results refer to them.

        Raises
        ------
        TypeError, InvalidSystemError
            The manifold is none, or the values have another shape or are not finite; their place is named.
        """
        variables = read_variables(manifold, values, len(self._sets), labels)
        self._sets.append(variables)
        self._held.append(np.zeros(variables.count, dtype=bool))
        return variables

    def extend(self, variables: Variables, values: Any, *, labels: Any = None) -> np.ndarray:
        """Add variables to a set, behind those that it has: the poses of a robot, one after another.

        Results that were computed before keep the variables that they were computed for.

        Parameters
        ----------
        variables : Variables
        values : array, shape (m, width)
            Where optimisation of the new variables starts, as in `variables`.
        labels : integer array, shape (m,), optional
            Identifiers, where the set has them; the next integers by default.

        Returns
        -------
        ndarray, shape (m,), int64
            The indices of the new variables in the set.

        Raises
        ------
        TypeError, InvalidSystemError
            As in `variables`, or the set is of another graph. The set is left as it was.

        Examples
        --------
        >>> import gabp
        >>> graph = gabp.FactorGraph()
        >>> x = graph.variables(gabp.SE2, [[0.0, 0.0, 0.0]])
        >>> graph.extend(x, [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
        array([1, 2])
        >>> x
        Variables(SE2, 3)
        """
        self._require_own(variables)
        indices = variables.extend(values, labels)
        held = self._held[variables.position]
        self._held[variables.position] = np.append(held, np.zeros(len(indices), dtype=bool))
        return indices

    def hold(self, variables: Variables, indices: Any) -> None:
        """Keep variables at their initial values.

        Parameters
        ----------
        variables : Variables
        indices : int or integer array, shape (m,)

        Raises
        ------
        TypeError, InvalidSystemError
            An index is out of range.
        """
        self._require_own(variables)
        self._held[variables.position][read_index(indices, variables.count, "index").numpy()] = True
        self._contents.holds += 1

    def held(self, variables: Variables) -> np.ndarray:
        """Which variables keep their initial values, shape (N,), bool."""
        self._require_own(variables)
        return self._held[variables.position].copy()

    def add(
        self, kind: Any, variables: Any, indices: Any, measurement: Any, information: Any, *, loss: Any = None
    ) -> Factors:
        """Add factors of one kind.

        Measurements, informations and scales of losses that are torch tensors and require grad make the optimum
        differentiable in them, see `OptimizationResult`. Other tensors that a function refers to are constants.

        Parameters
        ----------
        kind : type or callable
            A class of `gabp.factors`, or a residual of your own: a function of one value of each variable, (width,),
            and one factor's measurement to a residual (d,), in torch operations.
        variables : Variables, or tuple of them
            The sets that the first, second, … variable of each factor is from.
        indices : integer array, shape (m,), or tuple of them
            Which variables, for each set.
        measurement : array, shape (m, …)
            As the kind states; any data, for a function.
        information : float, or array of shape (d,), (d, d) or (m, d, d)
            The inverse covariance of the residual, shared by all factors or one for each, positive semidefinite. A
            number multiplies the identity, a vector is a diagonal.
        loss : Loss, optional
            Of `gabp.losses`; the square of the whitened residual norm by default.

        Returns
        -------
        Factors
            The handle by which `remove` refers to them.

        Raises
        ------
        TypeError, InvalidSystemError
            An index is out of range, a shape does not fit, a number is not finite, an information is not symmetric
            positive semidefinite: the factor is named. The graph is left as it was.
        """
        batch = read_factors(kind, variables, indices, measurement, information, loss, self._sets)
        self._factors.append(batch)
        self._contents.changes.append((batch, True))
        return batch

    def remove(self, factors: Factors) -> None:
        """Remove factors that `add` returned.

        Raises
        ------
        TypeError, InvalidSystemError
            They are not, or no longer, in the graph.
        """
        if not isinstance(factors, Factors):
            raise TypeError(f"factors must be what `add` returned, not {type(factors).__name__}")
        for position, batch in enumerate(self._factors):
            if batch is factors:
                del self._factors[position]
                self._contents.changes.append((batch, False))
                self._beliefs.forget(batch)
                return
        raise InvalidSystemError(f"{factors!r} is not in the graph")

    def objective(self, values: Any = None) -> float:
        """``½ Σ ρ(rᵀΩr)`` over all factors.

        Parameters
        ----------
        values : OptimizationResult, or mapping from Variables to array, optional
            The initial values where a set of variables is not given.
        """
        at = self._values(values)
        return float(sum(batch.objective(at).sum() for batch in self._factors))

    def optimize(
        self,
        method: str = "levenberg-marquardt",
        *,
        init: Any = None,
        maxiter: int = 100,
        rtol: float = 1e-9,
        gauge: str | None = None,
        linear: str = "auto",
        robust: Any = None,
        callback: Callable[[OptimizationProgress], Any] | None = None,
        throw: bool = True,
        **options: Any,
    ) -> OptimizationResult:
        """Minimise the objective over all variables.

        Parameters
        ----------
        method : str
            ``"levenberg-marquardt"`` decreases the objective from any start; ``"dogleg"`` too, and ``"gauss-newton"``
            is the fastest from a good one. ``"gbp"`` passes messages between factors and variables, each of which
            needs its neighbours alone: Gaussian belief propagation [1]_. An iteration is a sweep; information travels
            by one factor in each, so that large loops take many, and some graphs never converge. ``"incremental"``
            takes Gauss–Newton steps of which a part is kept from one call to the next: after a few factors were added
            or removed, only what they reach is computed anew. See `incremental`.
        init : "spanning-tree", "chordal", OptimizationResult or mapping, optional
            Where to start: the initial values by default; the poses composed along `Between` factors, breadth first;
            the poses that fit `Between` and `Prior` factors in the chordal distance of their rotations, by two linear
            systems (L. Carlone et al., ICRA 2015); or values as in `objective`. Without it ``"gbp"`` goes on from the
            beliefs and messages that the graph keeps of the last time (`beliefs`): a few sweeps suffice after factors
            were added or removed.
            ``method="incremental"`` goes on where its last call ended by default.
        maxiter : int
            Steps to try at most.
        rtol : float
            Converged means that a full Gauss–Newton step decreases the objective, and is predicted to, by no more than
            this part of it; or that gradient or step vanish to rounding.
        gauge : str, optional
            ``"error"``, ``"hold"`` or ``"free"``; that of the graph by default, see `FactorGraph`.
        linear : str
            How the linear systems of the steps are solved: a method of `gabp.solve`, or ``"auto"``, elimination where
            a factor is affordable.
        robust : "gnc" or GraduatedNonConvexity, optional
            Find outliers by graduated non-convexity, see `gabp.factors.GraduatedNonConvexity`, and give them no
            influence; the result's ``weights`` name them.
        callback : callable, optional
            Called with an `OptimizationProgress` once per iteration; returning True stops.
        throw : bool
            Raise where it does not converge; ``False`` returns the result as it is.
        **options
            Of ``"gbp"``. ``schedule``: ``"flooding"``, all factors at once (default), or ``"residual"``, those first
            whose incoming messages changed most [2]_. ``damping`` in [0, 1): the share of the old that a message
            keeps, by default 0.4 with flooding, without which many loops diverge, else 0. ``beta``, 0.1 by default: a
            factor is linearised anew when a variable has moved farther than this in its tangent space, and also,
            near convergence, when it has moved farther than any variable moved in the last sweep.

        Returns
        -------
        OptimizationResult

        Raises
        ------
        TypeError, InvalidSystemError
            An argument is of the wrong kind or content, or the graph is empty.
        OptimizationError
            See ``throw``.

        Notes
        -----
        ``"gbp"`` is judged as the other methods are: objective and gradient are recomputed, and it has converged when a
        Gauss–Newton step, which is computed for that purpose and not taken, would gain no more than ``rtol``.

        References
        ----------
        .. [1] A. J. Davison and J. Ortiz, *FutureMapping 2: Gaussian belief propagation for spatial AI*,
           arXiv:1910.14139 (2019).
        .. [2] G. Elidan, I. McGraw and D. Koller, *Residual belief propagation: informed scheduling for asynchronous
           message passing*, UAI (2006).
        """
        if not self._sets:
            raise InvalidSystemError("the graph has no variables")
        require_nonnegative(maxiter, "maxiter", integer=True)
        require_nonnegative(rtol, "rtol")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        messages = PropagationOptions.read(method == MESSAGES, options)
        chosen = self.gauge if gauge is None else gauge
        graduated = read_robust(robust)
        if method == INCREMENTAL:
            if graduated is not None:
                raise InvalidSystemError("robust= solves the graph anew for each weighting: choose another method")
            follower = self._followed(chosen, linear, init)
            result = follower.optimize(maxiter=maxiter, rtol=rtol, callback=callback, throw=throw)
            return attach(result, self._factors)
        how = Options(method, chosen, linear, maxiter, rtol, callback, messages, self._beliefs)
        if init is not None:
            self._beliefs.clear()
        if graduated is not None:
            start = partial(self._robust_start, init)
            result = optimize_robustly(graduated, self._sets, self._factors, self._held, start, how)
        else:
            goes_on = method == MESSAGES and init is None
            values = self._believed() if goes_on else self._start(init, self._factors)
            result = optimize(self._sets, self._factors, self._held, values, how)
        if throw and not result.converged and result.status is not OptimizationStatus.STOPPED_BY_CALLBACK:
            raise OptimizationError(result)
        return result if graduated is not None else attach(result, self._factors)

    def marginals(self, result: OptimizationResult, variance: str = "exact") -> GraphMarginals:
        """Covariances of the variables about an estimate, in their tangent spaces.

        Parameters
        ----------
        result : OptimizationResult
            Of this graph. Factors that were added or removed since count as they are now, linearised at the estimate.
        variance : {"exact", "bethe"}
            By a sparse factor and its selected inverse, all variables together; or the fixed point of precision
            messages between the variables, which needs no factor. It is exact on a forest; loops make it too small, by
            orders of magnitude far from whatever holds a large graph of poses.

        Returns
        -------
        GraphMarginals

        Raises
        ------
        TypeError, InvalidSystemError
            The result is none, or of another graph; a component or a direction is undetermined, which is named.
        ArithmeticError
            A residual at the estimate is not finite; ``"bethe"``: the messages have no valid fixed point.
        MemoryError
            ``"exact"``: the factor does not fit.

        References
        ----------
        M. Kaess and F. Dellaert, "Covariance recovery from a square root information matrix for data association",
        Robotics and Autonomous Systems 57 (2009); K. Takahashi, J. Fagan and M. Chen, "Formation of a sparse bus
        impedance matrix and its application to short circuit study", PICA (1973).

        Examples
        --------
        Odometry along a line: every step adds its variance.

        >>> import numpy as np, gabp
        >>> graph = gabp.FactorGraph()
        >>> x = graph.variables(gabp.Euclidean(1), np.zeros((3, 1)))
        >>> prior = graph.add(gabp.factors.Prior, x, [0], [[0.0]], 4.0)
        >>> steps = graph.add(gabp.factors.Between, (x, x), ([0, 1], [1, 2]), [[1.0], [1.0]], 1.0)
        >>> marginals = graph.marginals(graph.optimize())
        >>> marginals.covariance(x).ravel()
        array([0.25, 1.25, 2.25])
        >>> marginals.joint(x, 0, x, 2)
        array([[0.25, 0.25],
               [0.25, 2.25]])
        """
        if not isinstance(result, OptimizationResult):
            raise TypeError(f"marginals are about an OptimizationResult, not {type(result).__name__}")
        if not result.is_of(self._sets):
            raise InvalidSystemError("the result is of another graph, or variables were added since; optimize again")
        return GraphMarginals.at(result, result.weighed(self._factors), variance)

    def incremental(
        self, *, gauge: str | None = None, relinearize: float = 0.05, tolerance: float = 1e-3
    ) -> IncrementalOptimizer:
        """Follow the optimum as the graph grows, at the cost of what each change reaches.

        `extend` and `add` enlarge the graph, `remove` takes factors out; each `update` of the optimiser then makes one
        Gauss–Newton step of all variables that the change moves.

        Parameters
        ----------
        gauge : str, optional
            ``"error"`` or ``"hold"``; that of the graph by default, see `FactorGraph`.
        relinearize : float
            How far a variable may be from where its factors were linearised, in any entry and in the units of the
            tangent space (metres and radians, say): the error of the estimate is of second order in it.
        tolerance : float
            Changes of a variable up to which others that depend on it are not computed anew.

        Returns
        -------
        IncrementalOptimizer
            Its `update` takes in what was added and removed since the last one.
        """
        return IncrementalOptimizer(self._contents, self.gauge if gauge is None else gauge, relinearize, tolerance)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_incremental": None}  # which is made again

    def __repr__(self) -> str:
        lines = [f"FactorGraph: {sum(s.count for s in self._sets)} variables, {sum(map(len, self._factors))} factors"]
        lines += [f"  {variables!r}" for variables in self._sets]
        lines += [f"  {batch!r}" for batch in self._factors]
        return "\n".join(lines)

    def _followed(self, gauge: str, linear: str, init: Any) -> IncrementalOptimizer:
        """The optimiser of ``method="incremental"``, as the last call left it or at the values given."""
        if linear not in ("auto", "elimination"):
            raise InvalidSystemError(f"method='incremental' solves by elimination, not by linear={linear!r}")
        if self._incremental is None or self._incremental.gauge != gauge:
            self._incremental = self.incremental(gauge=gauge)
        if init is not None and not self._incremental.is_at(init):
            self._incremental.restart(self._start(init, self._factors))
        return self._incremental

    @property
    def _sets(self) -> list[Variables]:
        return self._contents.sets

    @property
    def _held(self) -> list[np.ndarray]:
        return self._contents.held

    @property
    def _factors(self) -> list[Factors]:
        return self._contents.factors

    def _robust_start(self, init: Any, weighted: Sequence[Factors], inliers: Sequence[Factors]) -> Values:
        """A tree follows single factors, which must be right; other starts fit all, by their weights."""
        return self._start(init, inliers if isinstance(init, str) and init == "spanning-tree" and inliers else weighted)

    def _start(self, init: Any, factors: Sequence[Factors]) -> Values:
        if not isinstance(init, str):
            return self._values(init)
        if init not in _INITIALISATIONS:
            raise InvalidSystemError(f"there is no init {init!r}; choose one of {sorted(_INITIALISATIONS)}")
        return _INITIALISATIONS[init](self._sets, factors, self._held)

    def _believed(self) -> Values:
        """The means of the beliefs that are kept, initial values of other and of held variables."""
        values: list[Tensor] = [variables.initial for variables in self._sets]
        for position, believed in enumerate(self._beliefs.values):
            held = torch.from_numpy(self._held[position])[:, None]
            believed = torch.cat([believed, values[position][len(believed) :]])
            values[position] = torch.where(held, values[position], believed)
        return tuple(values)

    def _values(self, given: Any) -> Values:
        """The values of all sets, initial where they are not given."""
        values: list[Tensor] = [variables.initial for variables in self._sets]
        if given is None:
            return tuple(values)
        if isinstance(given, OptimizationResult):
            for variables in self._sets:
                if variables in given.sets:
                    known = given.estimate[variables.position]
                    values[variables.position] = torch.cat([known, variables.initial[len(known) :]])
            return tuple(values)
        if not isinstance(given, Mapping):
            raise TypeError(f"values must be a result or a mapping from handles to arrays, not {type(given).__name__}")
        for variables, array in given.items():
            self._require_own(variables)
            read = read_manifold_values(variables.manifold, array, "values")
            if len(read) != variables.count:
                raise InvalidSystemError(f"values has {len(read)} rows; {variables!r} needs {variables.count}")
            values[variables.position] = read
        return tuple(values)

    def _require_own(self, variables: Any) -> None:
        if not isinstance(variables, Variables):
            raise TypeError(f"a handle must be what `variables` returned, not {type(variables).__name__}")
        if variables.position >= len(self._sets) or self._sets[variables.position] is not variables:
            raise InvalidSystemError(f"{variables!r} is a set of another graph")
