"""Which method for which matrix."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from gabp.conditions import Verdict
from gabp.messages import fits_in_memory
from gabp.solvers.double_loop import DoubleLoop
from gabp.solvers.elimination import Elimination
from gabp.solvers.hierarchy import CompiledHierarchy, hierarchy_class
from gabp.solvers.nonsymmetric import Krylov
from gabp.solvers.schedules import Flooding, Sequential, Tree
from gabp.system import InvalidSystemError, System

METHODS: dict[str, Any] = {  # each a dataclass of the system and its options that is `MethodSetup`
    "tree": Tree,
    "flooding": Flooding,
    "sequential": Sequential,
    "double-loop": DoubleLoop,
    "hierarchy": CompiledHierarchy,
    "krylov": Krylov,
    "elimination": Elimination,
}
_SYMMETRIC_ONLY = {"double-loop", "hierarchy"}
_SMALL = 20_000  # nodes up to which pivoted elimination takes a fraction of a second

# What the choice between factor and messages goes by. Measured on two cores of an x86-64 server; only the order
# of magnitude matters, since both sides err by factors.
_FLOPS = 2.5e10  # of the factorisation, per second
_SECONDS_PER_ENTRY = 7e-9  # of the factor, to fill and to solve by
_SECONDS_PER_SLOT = 1.5e-7  # of the hierarchy, set-up and some 13 iterations
_SECONDS_PER_SLOT_AND_STEP = 8e-9  # of one iteration more
_SECONDS_TO_ORDER = 1.2e-7  # a node or an edge
_HARD_TO_ITERATE = 7  # how much longer messages take where A is thin or not diagonally dominant
_WORTH_ANALYSING = 200_000  # nodes and edges up to which even an unused symbolic analysis costs next to nothing
_WORTH_ANALYSING_HARD = 5_000_000  # the same where A is not diagonally dominant
_WORTH_ELIMINATING = 5.0  # seconds, ten times as many with pivots, where a Krylov method is a gamble
_WORTH_ANALYSING_THIN = 20_000_000  # the same where most nodes have two or three neighbours
_THIN = 3.3  # neighbours of a node, on average: chains, networks of lines; slow to coarsen, quick to eliminate
_WORTH_ANALYSING_FROM_DEVICE = 20_000  # the same for a system on a GPU, which does many steps meanwhile
_INSTANT = 0.005  # seconds that are not worth a second thought
_MOST_FLOPS = 1e13  # some minutes, which are spent on a factor only where messages have failed
_PATIENCE = 40  # steps of conjugate gradients, of which a hierarchy takes 10 to 30 where it does well
_WORTH_ROUNDING = 1_000_000  # directed edges from which float64 messages no longer fit into a cache
_ROUNDABLE = 2.0**40  # largest entry, and one over the smallest on the diagonal, for messages well inside float32


@dataclass(frozen=True)
class Choice:
    """A method, and why and how it is used.

    Attributes
    ----------
    method, reason : str
    patience : int
        After so many steps (0: never) `worth_eliminating` is asked.
    dtype : torch.dtype, optional
        Of the messages, where it is not the one they have by default.
    """

    method: str
    reason: str
    patience: int = 0
    dtype: torch.dtype | None = None


def choose(system: System, method: str, may_round: bool = False) -> list[Choice]:
    """The methods to try, best first; no other than the caller's, where he named one.

    Parameters
    ----------
    system : System
    method : str
    may_round : bool
        Whether float32 messages under refinement in float64 will do where they are faster.

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
    exact = Choice(method, "chosen by the caller")
    if may_round and method == "flooding" and _rounding_pays(system):
        rounded = replace(
            exact, reason="chosen by the caller; float32 messages, refined in float64", dtype=torch.float32
        )
        return [rounded, replace(exact, reason="float64 messages")]
    return [exact]


def _rounding_pays(system: System) -> bool:
    """Whether float32 messages reach the same residual in less time: measured in bench/README.md."""
    if not (system.symmetric and system.dtype == torch.float64 and system.graph.edges >= _WORTH_ROUNDING):
        return False
    return system.smallest_diagonal >= 1 / _ROUNDABLE and system.norm <= _ROUNDABLE


def method_class(name: str, system: System) -> Any:
    """What to set up for a method of `METHODS` on this system."""
    return hierarchy_class(system) if name == "hierarchy" else METHODS[name]


def recommended_method(system: System, positive_definite: Verdict) -> str:
    """The method that "auto" tries first, or the first that may succeed where A is known to be indefinite."""
    names = [choice.method for choice in _choices(system)]
    if positive_definite is Verdict.NO:
        names = [name for name in names if name not in _SYMMETRIC_ONLY]
    return names[0]


def _choices(system: System) -> list[Choice]:
    if system.graph.is_forest:
        return [
            Choice("tree", "the graph is a forest, where two passes are exact"),
            Choice("elimination", "the tree pass met a singular pivot"),
        ]
    if not system.symmetric:
        return nonsymmetric_choices(system)
    if not system.smallest_diagonal > 0:
        return [Choice("elimination", "A has a nonpositive diagonal, so it is no precision matrix")]
    return _positive_diagonal_choices(system)


def _positive_diagonal_choices(system: System) -> list[Choice]:
    """Elimination where its predicted cost is below that of message passing, which comes next; or the reverse."""
    exact = Choice("elimination", "message passing stopped short of the tolerance or promised to take longer")
    messages = Choice("hierarchy", "elimination found A singular; a consistent b may still be solved")
    dominant = _is_dominant(system)
    size = system.n + system.graph.edges
    thin = system.graph.edges <= _THIN * system.n
    worth = _WORTH_ANALYSING_THIN if thin else _WORTH_ANALYSING if dominant else _WORTH_ANALYSING_HARD
    if system.device.type != "cpu":  # where most factors are not
        worth = min(worth, _WORTH_ANALYSING_FROM_DEVICE)
    if size > worth:
        patient = replace(messages, reason="too large for elimination: message passing inside conjugate gradients")
        return [replace(patient, patience=_PATIENCE), exact]
    if factor_is_quicker(system, size * _SECONDS_PER_SLOT * (1 if dominant and not thin else _HARD_TO_ITERATE)):
        return [replace(exact, reason=little_fill(system)), messages]
    patient = replace(messages, reason="much fill in a factor: message passing inside conjugate gradients")
    return [replace(patient, patience=_PATIENCE), exact]


def worth_eliminating(system: System, steps: float) -> bool:
    """Whether elimination is likely done before message passing has taken so many ``steps`` more."""
    size = system.n + system.graph.edges
    seconds = size * (steps * _SECONDS_PER_SLOT_AND_STEP - _SECONDS_TO_ORDER)
    # a wrong guess then costs no more than the steps would have
    return seconds > size * _SECONDS_TO_ORDER and factor_is_quicker(system, seconds)


def can_eliminate(system: System) -> bool:
    """Whether a factor can be had at all: in memory, and in minutes."""
    if not system.symmetric:
        return True
    return system.graph.symbolic_within(_MOST_FLOPS) is not None and fits_in_memory(system.graph)


def factor_is_quicker(system: System, by_messages: float) -> bool:
    """Whether a sparse factor fits, and is predicted to take no longer than the seconds that messages take."""
    seconds = max(by_messages, _INSTANT)
    symbolic = system.graph.symbolic_within(min(seconds * _FLOPS, _MOST_FLOPS))
    if symbolic is None or symbolic.flops / _FLOPS + symbolic.entries * _SECONDS_PER_ENTRY > seconds:
        return False
    return fits_in_memory(system.graph)


def little_fill(system: System) -> str:
    """The reason for a factor."""
    return f"little fill: {system.graph.symbolic.entries:.3g} entries in the factor"


def nonsymmetric_choices(system: System) -> list[Choice]:
    """Elimination where it is quick, else the Krylov method; each with the other to come after it."""
    if bool((system.diagonal == 0).any()):
        return [Choice("elimination", "A is nonsymmetric, with zeros on its diagonal")]
    if system.n <= _SMALL:
        return [
            Choice("elimination", f"A is nonsymmetric, and {system.n} nodes are few enough for elimination"),
            Choice("krylov", "elimination found A singular; a consistent b may still be solved"),
        ]
    if not _is_dominant_either_way(system) and factor_is_quicker(system, _WORTH_ELIMINATING):
        return [
            Choice("elimination", f"A is nonsymmetric and not dominant; {little_fill(system)}"),
            Choice("krylov", "elimination found A singular; a consistent b may still be solved"),
        ]
    return [
        Choice("krylov", "A is large and nonsymmetric: elimination sweeps inside a Krylov method"),
        Choice("elimination", "the Krylov method stopped short of the tolerance"),
    ]


def _is_dominant(system: System) -> bool:
    """Whether every diagonal entry is at least the sum of the others in its row, up to rounding."""
    return system.dominance <= 1 + 1e-12


def _is_dominant_either_way(system: System) -> bool:
    """Whether A or its transpose is diagonally dominant."""
    return _is_dominant(system) or _is_dominant(replace(system, weight=system.weight[system.graph.reverse]))
