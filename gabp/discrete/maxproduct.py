"""Belief propagation on discrete pairwise models: maximum a posteriori assignments and marginals."""

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gabp.discrete.decoding import decode, tied_nodes
from gabp.discrete.messages import LogMessages, Mode, Schedule, normalised
from gabp.discrete.model import DiscreteModel, read_model
from gabp.discrete.slt import slt_optimal
from gabp.system import InvalidSystemError, require_damping, require_nonnegative

_log = logging.getLogger("gabp")

_TIE = 100.0  # in units of tol: messages that have converged to tol leave two values of a belief tied within this


@dataclass(frozen=True, eq=False, repr=False)
class MaxProductResult:
    """The result of `maxproduct`.

    Attributes
    ----------
    assignment : array, shape (n,), int64
        Mode "max": the most probable values jointly; exact on a forest. Mode "sum": the most probable value of each
        node by itself.
    beliefs : array, shape (n, K)
        Mode "max": max-marginals, scaled to a largest value of 1 at each node. Mode "sum": marginals, which sum to 1
        at each node. Exact on a forest, else those of the last iteration.
    score : float
        Log-probability of the assignment, up to the constant of the model, in nats.
    converged : bool
    iterations : int
    tied : array, shape (n,), bool
        Nodes with a belief of which the best two values are equal. On a graph with cycles, where max-product often
        ends in such fixed points, these have no optimality and the assignment is a heuristic.
    mode : {"max", "sum"}
    model : DiscreteModel
    """

    assignment: Any
    beliefs: Any
    score: float
    converged: bool
    iterations: int
    tied: Any
    mode: Mode
    model: DiscreteModel = field(repr=False)

    def slt_optimal(self) -> bool:
        """Whether no assignment in the single-loops-and-trees neighbourhood has a higher score.

        The neighbourhood consists of all changes of nodes whose induced graph is a disjoint union of trees and single
        loops. Weiss and Freeman (2001) prove that a max-product fixed point without ties is optimal in it.
        The search is exhaustive, hence for small models.

        Returns
        -------
        bool

        Raises
        ------
        InvalidSystemError
            The model has more than four million assignments.

        References
        ----------
        Y. Weiss and W. T. Freeman, "On the optimality of solutions of the max-product belief propagation algorithm in
        arbitrary graphs", IEEE Transactions on Information Theory 47 (2001).

        Examples
        --------
        >>> import numpy as np, gabp
        >>> agree = np.log([[0.8, 0.2], [0.2, 0.8]])
        >>> gabp.maxproduct(np.log([[0.9, 0.1], [0.5, 0.5]]), np.array([[0, 1]]), agree[None]).slt_optimal()
        True
        """
        device = self.model.unary.device
        return slt_optimal(
            self.model.graph,
            self.model.scores,
            torch.as_tensor(self.assignment, device=device),
            self.model.unary.shape[1],
        )

    def __repr__(self) -> str:
        n, values = self.model.unary.shape
        status = "converged" if self.converged else "not converged"
        return (
            f"MaxProductResult: {n} nodes of {values} values, {self.model.graph.edges // 2} edges, mode {self.mode!r}\n"
            f"  {status} after {self.iterations} iterations\n"
            f"  score  {self.score:.6g}, {int(self.tied.sum())} tied nodes"
        )


def maxproduct(
    unary: Any,
    edges: Any,
    pairwise: Any,
    *,
    mode: Mode = "max",
    schedule: Schedule = "flooding",
    damping: float = 0.0,
    maxiter: int = 1000,
    tol: float = 1e-9,
) -> MaxProductResult:
    """Max-product or sum-product belief propagation on a discrete pairwise model.

    The model of n nodes with K values each is ``log p(x) = Σ_i unary[i, x_i] + Σ_e pairwise[e, x_i, x_j]`` up to a
    constant. On a forest two passes are exact, whatever the schedule. With cycles, a max-product fixed point without
    ties is optimal in a large neighbourhood (`MaxProductResult.slt_optimal`), and sum-product gives Bethe marginals.

    Parameters
    ----------
    unary : array or tensor, shape (n, K)
        Log-potentials in nats, on any device; ``-inf`` forbids a value.
    edges : array or tensor of integers, shape (E, 2)
        Pairs of distinct nodes; the log-potentials of a repeated pair are summed.
    pairwise : array or tensor, shape (E, K, K)
        Log-potentials: ``pairwise[e, a, b]`` of ``x_i = a`` and ``x_j = b`` for ``edges[e] = (i, j)``.
    mode : {"max", "sum"}
        Max-product for the most probable assignment, sum-product for marginals.
    schedule : {"flooding", "sequential"}
        All messages at once, or node by node in row order from the latest messages.
    damping : float in [0, 1)
        Weight of the previous log-message.
    maxiter : int
        Largest number of sweeps.
    tol : float
        Largest change of a normalised log-message at convergence; a few roundings of the largest message where these
        are more.

    Returns
    -------
    MaxProductResult
        In the array library and device of ``unary``. Without convergence ``.converged`` is False, and a warning is
        logged to ``logging.getLogger("gabp")``; nothing is raised.

    Raises
    ------
    TypeError, InvalidSystemError
        Arguments of the wrong kind, shape or content, with the place; or no assignment is possible, with a node that
        has no value.

    References
    ----------
    J. Pearl, "Probabilistic Reasoning in Intelligent Systems", Morgan Kaufmann (1988). Y. Weiss and W. T. Freeman,
    "On the optimality of solutions of the max-product belief propagation algorithm in arbitrary graphs", IEEE
    Transactions on Information Theory 47 (2001). J. S. Yedidia, W. T. Freeman and Y. Weiss, "Constructing free-energy
    approximations and generalized belief propagation algorithms", IEEE Transactions on Information Theory 51 (2005).

    Examples
    --------
    >>> import numpy as np, gabp
    >>> unary = np.log([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
    >>> agree = np.log([[0.8, 0.2], [0.2, 0.8]])
    >>> result = gabp.maxproduct(unary, np.array([[0, 1], [1, 2]]), np.stack([agree, agree]))
    >>> result.assignment
    array([0, 0, 0])
    """
    if mode not in ("max", "sum"):
        raise InvalidSystemError(f"mode must be 'max' or 'sum', not {mode!r}")
    if schedule not in ("flooding", "sequential"):
        raise InvalidSystemError(f"schedule must be 'flooding' or 'sequential', not {schedule!r}")
    require_damping(damping)
    require_nonnegative(maxiter, "maxiter", integer=True)
    require_nonnegative(tol, "tol")
    model = read_model(unary, edges, pairwise)
    messages = LogMessages(model, mode)
    if model.graph.is_forest:
        converged, iterations = messages.two_passes()
    else:
        converged, iterations = messages.iterate(schedule, damping, maxiter, tol)
    beliefs = messages.beliefs()
    _require_possible(beliefs)
    if not converged:
        _log.warning("%s-product did not converge in %d iterations; beliefs are those of the last", mode, iterations)
    tied = tied_nodes(beliefs, 0.0 if model.graph.is_forest else _TIE * tol)
    assignment = decode(messages, beliefs, tied) if mode == "max" else beliefs.argmax(1)

    def restore(tensor: Tensor) -> Any:
        return tensor if isinstance(unary, Tensor) else tensor.cpu().numpy()

    return MaxProductResult(
        assignment=restore(assignment),
        beliefs=restore(normalised(beliefs, mode).exp()),
        score=float(model.scores(assignment[None])[0]),
        converged=converged,
        iterations=iterations,
        tied=restore(tied),
        mode=mode,
        model=model,
    )


def _require_possible(beliefs: Tensor) -> None:
    impossible = torch.isneginf(beliefs).all(1)
    if bool(impossible.any()):
        i = int(impossible.nonzero()[0])
        raise InvalidSystemError(f"the model has no assignment: its -inf leave node {i} without any value")
