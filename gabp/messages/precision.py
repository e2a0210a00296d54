"""Precision messages: they depend on A alone, so they are settled once and serve every right-hand side."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gabp.kernels import reference
from gabp.system import System

Start = Literal["zero", "constant"]


@dataclass(frozen=True, eq=False)
class Precisions:
    """The outcome of the precision iteration.

    Attributes
    ----------
    message : Tensor, shape (m,)
        ``P_{k→i}`` in the slot of the message that ``i`` hears from ``k``.
    cavity : Tensor, shape (m,)
        ``P_{k\\i}``, the precision of the sender without the receiver's own message.
    belief : Tensor, shape (n,)
        ``J_i = A_ii + Σ_k P_{k→i}``; the Bethe variances are ``1 / J_i``.
    sweeps : int
    settled : bool
        The messages stopped changing to rounding.
    invalid_node : int or None
        A node whose cavity or belief is not a positive precision: the iteration has failed there.
    """

    message: Tensor
    cavity: Tensor
    belief: Tensor
    sweeps: int
    settled: bool
    invalid_node: int | None


def settle_precisions(
    system: System, *, start: Start = "zero", scaling: Tensor | None = None, limit: int = 10_000
) -> Precisions:
    """Flood the precision messages to their fixed point.

    Parameters
    ----------
    system : System
        With a positive diagonal, if symmetric.
    start : {"zero", "constant"}
        ``P = 0``, from which the messages decrease monotonically and a nonpositive cavity is a definite
        failure; or the constant-message start ``P_{k→i} = -|A_ik|`` of Weiss and Freeman (2001), which
        may pass through nonpositive cavities and recover.
    scaling : Tensor, shape (n,), optional
        A ``d > 0`` with ``(D - |O|) d > 0``: the constant start becomes ``-|A_ik| d_i / d_k``, which keeps
        every cavity positive.
    limit : int
        Sweeps to spend at most.
    """
    graph, diagonal, weight = system.graph, system.diagonal, system.weight
    source, destination, reverse = graph.source.long(), graph.destination, graph.reverse
    message = _starting_messages(system, start, scaling)
    transients_allowed = start == "constant" and scaling is None
    still = 4 * torch.finfo(weight.dtype).eps
    settled, invalid, sweeps = graph.edges == 0, None, 0
    while not settled and invalid is None and sweeps < limit:
        new, cavity = reference.flood_precisions(diagonal, weight, source, destination, reverse, message)
        sweeps += 1
        if not transients_allowed or not bool(torch.isfinite(new).all()):
            invalid = _first_invalid(cavity, source, system.symmetric)
        settled = bool(((new - message).abs() <= still * new.abs()).all())
        message = new
    belief = diagonal + reference.gather_messages(message, destination, graph.n)
    cavity = belief[source] - message[reverse]
    if invalid is None:
        invalid = _first_invalid(cavity, source, system.symmetric)
    if invalid is None:
        invalid = _first_invalid(belief, torch.arange(graph.n), system.symmetric)
    return Precisions(message, cavity, belief, sweeps, settled and invalid is None, invalid)


def bethe_variances(system: System) -> Tensor:
    """The Bethe variances ``1 / J_i``, shape (n,): exact on a forest, an approximation elsewhere.

    Raises
    ------
    ArithmeticError
        The precision messages are invalid, or did not settle: the model has no Bethe variances.
    """
    precisions = settle_precisions(system)
    if not precisions.settled:
        place = "" if precisions.invalid_node is None else f" at node {precisions.invalid_node}"
        raise ArithmeticError(f"the precision messages have no valid fixed point{place} (see gabp.check)")
    return 1 / precisions.belief


def _starting_messages(system: System, start: Start, scaling: Tensor | None) -> Tensor:
    if start == "zero":
        return torch.zeros_like(system.weight)
    if start != "constant":
        raise ValueError(f"start must be 'zero' or 'constant', not {start!r}")
    constant = -system.weight.abs()
    if scaling is None:
        return constant
    d = scaling.to(constant.dtype)
    return constant * d[system.graph.destination] / d[system.graph.source.long()]


def _first_invalid(precision: Tensor, node: Tensor, must_be_positive: bool) -> int | None:
    valid = precision > 0 if must_be_positive else (precision != 0) & torch.isfinite(precision)
    if bool(valid.all()):
        return None
    return int(node[int(valid.logical_not().nonzero()[0])])
