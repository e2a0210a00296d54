"""A model that follows a graph: what the graph gained and lost since the last time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.incremental.components import Components
from gabp.factors.incremental.model import IncrementalModel
from gabp.factors.variables import Variables


@dataclass(eq=False)
class Contents:
    """What is in a graph; its own lists, which change as it does.

    Attributes
    ----------
    sets : list of Variables
    held : list of ndarray, shape (count,), bool
    factors : list of Factors
    changes : list of tuple
        Every batch that was added, with True, or removed, with False, in order.
    holds : int
        How often variables were held.
    """

    sets: list[Variables] = field(default_factory=list)
    held: list[np.ndarray] = field(default_factory=list)
    factors: list[Factors] = field(default_factory=list)
    changes: list[tuple[Factors, bool]] = field(default_factory=list)
    holds: int = 0


class GrowingModel:
    """The model of a graph's contents at the last `take_changes`.

    Parameters
    ----------
    contents : Contents
    gauge : str
        ``"error"``, or ``"hold"``: the first variable of a component that nothing holds keeps its value.

    Attributes
    ----------
    model : IncrementalModel
    """

    def __init__(self, contents: Contents, gauge: str) -> None:
        self._contents, self._gauge = contents, gauge
        self._start: Sequence[Tensor] = ()
        self._gauge_held: set[tuple[int, int]] = set()
        self._seen = self._holds = 0  # of the changes, and how often variables had been held
        self._forget()

    def restart(self, values: Sequence[Tensor]) -> None:
        """Begin anew at the next change: at ``values``, initial ones where they are of fewer variables."""
        self._start = [value.clone() for value in values]
        self._forget()

    @property
    def sets(self) -> list[Variables]:
        return self._contents.sets

    def known(self, variables: Variables) -> int:
        """How many variables of a set the model has; 0 for one of another graph."""
        sets, position = self._contents.sets, variables.position
        inside = position < len(sets) and sets[position] is variables
        return self.model.points.count(position) if inside else 0

    @property
    def held(self) -> tuple[np.ndarray, ...]:
        """Which variables of each set keep their values."""
        sizes = (self.model.points.count(p) for p in range(len(self.sets)))
        pairs = zip(self._contents.held, sizes, strict=True)
        return tuple(self._with_gauge(p, 0, held[:size]) for p, (held, size) in enumerate(pairs))

    @property
    def held_by_gauge(self) -> tuple[str, ...]:
        """The variables that keep their values to remove gauge freedom."""
        return tuple(self._contents.sets[p].named(index) for p, index in sorted(self._gauge_held))

    def free_component(self) -> str:
        """The first component that nothing holds; empty where there is none."""
        free = sorted(self._components.free)
        if self._gauge == "hold" or not free:
            return ""
        position, index = self._components.place(free[0])
        size = self._components.size(free[0])
        more = f", and {len(free) - 1} more components" if len(free) > 1 else ""
        plural = "s" if size > 1 else ""
        return f"the component of {size} variable{plural} that {self._contents.sets[position].named(index)} is in{more}"

    def take_changes(self) -> None:
        """Follow the graph."""
        contents = self._contents
        changes = contents.changes[self._seen :]
        held_anew = contents.holds != self._holds
        if held_anew or not all(is_in for _, is_in in changes):
            self._find_components()
        else:
            self._extend_components(batch for batch, _ in changes)
        gauge_held = {self._components.place(c) for c in self._components.free} if self._gauge == "hold" else set()
        known = {(p, index) for p, index in gauge_held if index < self.model.points.count(p)}
        anew = held_anew or known != self._gauge_held or not self._seen
        self._gauge_held, self._seen, self._holds = gauge_held, len(contents.changes), contents.holds
        if anew:
            self._build()
        else:
            self._add_variables(())
            for batch, is_in in changes:
                (self.model.add_factors if is_in else self.model.remove_factors)(batch)

    def _forget(self) -> None:
        self.model = IncrementalModel(self._contents.sets)
        self._components = Components()
        self._gauge_held, self._seen, self._holds = set(), 0, 0

    def _build(self) -> None:
        """The model of all contents, at the estimate so far."""
        values = self.model.estimate() or self._start
        self.model = IncrementalModel(self._contents.sets)
        self._add_variables(values)
        for batch in self._contents.factors:
            self.model.add_factors(batch)

    def _add_variables(self, values: Sequence[Tensor]) -> None:
        """The variables that the model does not have, at ``values``, initial ones where there are none."""
        for position, (variables, held) in enumerate(zip(self._contents.sets, self._contents.held, strict=True)):
            known = self.model.points.count(position)
            if known == variables.count:
                continue
            start = variables.initial.numpy()[known:].copy()
            if position < len(values):
                start[: len(values[position])] = values[position].numpy()
            self.model.add_variables(position, start, self._with_gauge(position, known, held[known:]))

    def _with_gauge(self, position: int, first: int, held: np.ndarray) -> np.ndarray:
        held = held.copy()
        for p, index in self._gauge_held:
            if p == position and index >= first:
                held[index - first] = True
        return held

    def _find_components(self) -> None:
        self._components = Components()
        self._extend_components(self._contents.factors)

    def _extend_components(self, batches: Iterable[Factors]) -> None:
        for position, held in enumerate(self._contents.held):
            known = self._components.count(position)
            if known < len(held):
                self._components.add_variables(position, held[known:])
        for batch in batches:
            self._components.add_factors(batch)
