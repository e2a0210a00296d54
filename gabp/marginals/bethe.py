"""What the settled precision messages say of variances, covariances and the log-determinant."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.messages import Precisions, solve_precision_fixed_point
from gabp.system import System


@dataclass(frozen=True, eq=False)
class Bethe:
    """The Bethe approximation of a Gaussian model: exact on a forest, an approximation elsewhere.

    Attributes
    ----------
    variance : Tensor, shape (n,)
        ``1 / J_i``.
    covariance : Tensor, shape (m,)
        Of the two ends of each slot's edge, from its pair belief.
    log_determinant : Tensor, shape ()
    """

    variance: Tensor
    covariance: Tensor
    log_determinant: Tensor


def settled_precisions(system: System) -> Precisions:
    """The fixed point of the precision messages of ``system``, in float64.

    Raises
    ------
    ArithmeticError
        They are invalid, or do not settle: the model has no Bethe approximation.
    """
    precisions = solve_precision_fixed_point(system.astype(torch.float64))
    if precisions.converged:
        return precisions
    place = "" if precisions.invalid_node is None else f" at node {precisions.invalid_node}"
    raise ArithmeticError(
        f"the precision messages have no valid fixed point{place}, so there is no Bethe approximation "
        "(gabp.check tells why); ask for the exact kind"
    )


def bethe_beliefs(
    belief: Tensor, cavity: Tensor, weight: Tensor, source: Tensor, reverse: Tensor, destination: Tensor
) -> Bethe:
    """Variances, edge covariances and log-determinant from the beliefs ``J`` and cavities at the fixed point.

    The pair belief of an edge has the precision ``[[P_{i\\k}, A_ik], [A_ik, P_{k\\i}]]``, and
    ``log det A ≈ Σ_i log J_i + Σ_edges log(P_{k\\i} / J_k)``.
    """
    pair = cavity * cavity[reverse] - weight * weight[reverse]
    logarithm = belief.log().sum() + 0.5 * (cavity.log() - belief[source].log()).sum()
    return Bethe(1 / belief, -weight / pair, logarithm)
