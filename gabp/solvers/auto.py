"""Which method for which matrix."""

from dataclasses import dataclass, replace
from typing import Any

from gabp.kernels import cpu
from gabp.solvers.double_loop import DoubleLoop
from gabp.solvers.elimination import Elimination
from gabp.solvers.hierarchy import Hierarchy
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
_INSIDE_CG = "double-loop" if cpu.extension is None else "hierarchy"  # which is compiled only
_SMALL = 20_000  # nodes up to which a sparse factorisation takes a fraction of a second


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


def _choices(system: System) -> list[Choice]:
    if system.graph.is_forest:
        return [
            Choice("tree", "the graph is a forest, where two passes are exact"),
            Choice("elimination", "the tree pass met a singular pivot"),
        ]
    exact = Choice("elimination", f"{system.n} nodes: small enough for exact elimination")
    if not system.symmetric:
        return _nonsymmetric_choices(system, exact)
    if not bool((system.diagonal > 0).all()):
        return [Choice("elimination", "A has a nonpositive diagonal, so it is no precision matrix")]
    messages = Choice(_INSIDE_CG, "large, with cycles: message passing inside conjugate gradients")
    if system.n <= _SMALL:
        return [exact, replace(messages, reason="elimination found A singular; a consistent b may still be solved")]
    return [messages, Choice("elimination", "message passing stopped short of the tolerance")]


def _nonsymmetric_choices(system: System, exact: Choice) -> list[Choice]:
    if bool((system.diagonal == 0).any()):
        return [Choice("elimination", "A is nonsymmetric, with zeros on its diagonal")]
    krylov = Choice("krylov", "A is large and nonsymmetric: elimination sweeps inside a Krylov method")
    if system.n <= _SMALL:
        return [exact, Choice("krylov", "elimination found A singular; a consistent b may still be solved")]
    return [krylov, Choice("elimination", "the Krylov method stopped short of the tolerance")]
