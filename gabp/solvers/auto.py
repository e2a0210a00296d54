"""Which method for which matrix."""

from dataclasses import dataclass, replace
from typing import Any

from gabp.messages import fits_in_memory
from gabp.solvers.double_loop import DoubleLoop
from gabp.solvers.elimination import Elimination
from gabp.solvers.hierarchy import Hierarchy, hierarchy_class
from gabp.solvers.nonsymmetric import Krylov
from gabp.solvers.schedules import Flooding, Sequential, Tree
from gabp.system import InvalidSystemError, System

METHODS: dict[str, Any] = {  # each a dataclass of the system and its options that is `Prepared`
    "tree": Tree,
    "flooding": Flooding,
    "sequential": Sequential,
    "double-loop": DoubleLoop,
    "hierarchy": Hierarchy,
    "krylov": Krylov,
    "elimination": Elimination,
}
_SYMMETRIC_ONLY = {"double-loop", "hierarchy"}
_SMALL = 20_000  # nodes up to which pivoted elimination takes a fraction of a second

# What the choice between factor and messages goes by. Measured on two cores of an x86-64 server; only the order
# of magnitude matters, since both sides err by factors.
_FLOPS = 1.5e10  # of the factorisation, per second
_SECONDS_PER_ENTRY = 1e-8  # of the factor, to fill and to solve by
_SECONDS_PER_SLOT = 1.5e-7  # of the hierarchy, set-up and some 13 iterations
_HARD_TO_ITERATE = 10  # how much longer messages take where A is not diagonally dominant
_WORTH_ANALYSING = 200_000  # nodes and edges up to which even an unused symbolic analysis costs next to nothing
_WORTH_ANALYSING_HARD = 5_000_000  # the same where A is not diagonally dominant
_INSTANT = 0.005  # seconds that are not worth a second thought


@dataclass(frozen=True)
class Choice:
    """A method and the reason for it."""

    method: str
    reason: str


def choose(system: System, method: str) -> list[Choice]:
    """The methods to try, best first; one only, where the caller named it.

    Raises
    ------
    InvalidSystemError
        There is no such method, or it cannot treat such a system.
    """
    if method == "auto":
        return _choices(system)
    if method not in METHODS:
        raise InvalidSystemError(f"there is no method {method!r}; choose 'auto' or one of {sorted(METHODS)}")
    if method in _SYMMETRIC_ONLY and not system.symmetric:
        raise InvalidSystemError(f"method {method!r} needs symmetric=True")
    return [Choice(method, "chosen by the caller")]


def method_class(name: str, system: System) -> Any:
    """What to set up for a method of `METHODS` on this system."""
    return hierarchy_class(system) if name == "hierarchy" else METHODS[name]


def _choices(system: System) -> list[Choice]:
    if system.graph.is_forest:
        return [
            Choice("tree", "the graph is a forest, where two passes are exact"),
            Choice("elimination", "the tree pass met a singular pivot"),
        ]
    if not system.symmetric:
        return _nonsymmetric_choices(system)
    if not bool((system.diagonal > 0).all()):
        return [Choice("elimination", "A has a nonpositive diagonal, so it is no precision matrix")]
    return _positive_diagonal_choices(system)


def _positive_diagonal_choices(system: System) -> list[Choice]:
    """Elimination where its predicted cost is below that of message passing, which comes next; or the reverse."""
    exact = Choice("elimination", "message passing stopped short of the tolerance")
    messages = Choice("hierarchy", "elimination found A singular; a consistent b may still be solved")
    dominant = bool((system.absolute_row_sums <= system.diagonal.double().abs() * (1 + 1e-12)).all())
    size = system.n + system.graph.edges
    if size > (_WORTH_ANALYSING if dominant else _WORTH_ANALYSING_HARD):
        return [
            replace(messages, reason="too large for elimination: message passing inside conjugate gradients"),
            exact,
        ]
    by_factor = system.graph.symbolic.flops / _FLOPS + system.graph.symbolic.entries * _SECONDS_PER_ENTRY
    by_messages = size * _SECONDS_PER_SLOT * (1 if dominant else _HARD_TO_ITERATE)
    if by_factor <= max(by_messages, _INSTANT) and fits_in_memory(system.graph):
        return [
            replace(exact, reason=f"little fill: {system.graph.symbolic.entries:.3g} entries in the factor"),
            messages,
        ]
    return [replace(messages, reason="much fill in a factor: message passing inside conjugate gradients"), exact]


def _nonsymmetric_choices(system: System) -> list[Choice]:
    if bool((system.diagonal == 0).any()):
        return [Choice("elimination", "A is nonsymmetric, with zeros on its diagonal")]
    if system.n <= _SMALL:
        return [
            Choice("elimination", f"A is nonsymmetric, and {system.n} nodes are few enough for elimination"),
            Choice("krylov", "elimination found A singular; a consistent b may still be solved"),
        ]
    return [
        Choice("krylov", "A is large and nonsymmetric: elimination sweeps inside a Krylov method"),
        Choice("elimination", "the Krylov method stopped short of the tolerance"),
    ]
