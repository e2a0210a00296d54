"""The Bethe approximation of variances, covariances and the log-determinant, from the precision messages."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.messages import Precisions, solve_precision_fixed_point
from gabp.system import EdgeGraph, System


@dataclass(frozen=True, eq=False)
class Bethe:
    """The Bethe approximation of a Gaussian model, exact on a forest.

    Attributes
    ----------
    variance : Tensor, shape (n,)
        ``1 / J_i``.
    covariance : Tensor, shape (m,)
        Of the end nodes of each directed edge, from its pair belief.
    log_determinant : Tensor, shape ()
    """

    variance: Tensor
    covariance: Tensor
    log_determinant: Tensor


def precision_fixed_point(system: System) -> Precisions:
    """The fixed point of the precision messages of ``system``, in float64.

    Raises
    ------
    ArithmeticError
        A precision becomes nonpositive, or the messages do not converge: there is no Bethe approximation.
    """
    precisions = solve_precision_fixed_point(system.astype(torch.float64))
    if precisions.converged:
        return precisions
    place = "" if precisions.invalid_node is None else f" at node {precisions.invalid_node}"
    raise ArithmeticError(
        f"the precision messages have no valid fixed point{place}, so there is no Bethe approximation "
        "(see gabp.check); choose the exact kind"
    )


def bethe_beliefs(graph: EdgeGraph, belief: Tensor, cavity: Tensor, weight: Tensor) -> Bethe:
    """Variances, edge covariances and log-determinant at the fixed point of the precision messages.

    The pair belief of an edge has the precision ``[[P_{i\\k}, A_ik], [A_ik, P_{k\\i}]]``, and
    ``log det A ≈ Σ_i log J_i + Σ_edges log(P_{k\\i} / J_k)``.

    Parameters
    ----------
    graph : EdgeGraph
    belief : Tensor, shape (n,)
        ``J_i = A_ii + Σ_k P_{k→i}``.
    cavity, weight : Tensor, shape (m,)
        ``P_{k\\i}`` and ``A_ik`` of each directed edge.
    """
    reverse = graph.reverse
    pair = cavity * cavity[reverse] - weight * weight[reverse]
    logarithm = belief.log().sum() + 0.5 * (cavity.log() - belief[graph.source.long()].log()).sum()
    return Bethe(1 / belief, -weight / pair, logarithm)
