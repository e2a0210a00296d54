"""What the factors leave undetermined: components that move as a whole, and single directions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gabp.factors.batches import Factors
from gabp.factors.linear_solves import LinearMethod, SystemSolve, smallest_direction
from gabp.factors.linearization import Linearization
from gabp.factors.structure import Structure, component_labels
from gabp.factors.variables import Variables
from gabp.system import NotPositiveDefiniteError

_NULL = 1e-14  # of an eigenvalue beside the diagonal: rounding of A alone makes up to 1e-15
_LOADING = 1e-9  # beside the diagonal, with which a singular matrix has a factor
_MOVES_WITH = 0.1  # of the largest movement, to be counted as part of a direction


@dataclass(frozen=True)
class Component:
    """A connected component without anything that holds it.

    Attributes
    ----------
    first : tuple of int
        Set and index of its first variable.
    size : int
        Its variables.
    """

    first: tuple[int, int]
    size: int


def free_components(
    sets: Sequence[Variables], factors: Sequence[Factors], held: Sequence[np.ndarray]
) -> list[Component]:
    """The components of which no variable is held and all factors are relative.

    A variable without any factor is such a component too.
    """
    offsets = np.cumsum([0, *map(len, held)])
    numbers = [batch.index.numpy() + [offsets[v.position] for v in batch.variables] for batch in factors]
    labels = component_labels(int(offsets[-1]), numbers)
    anchored = np.zeros(labels.max(initial=-1) + 1, dtype=bool)
    anchored[labels[np.concatenate(held)]] = True
    for batch, number in zip(factors, numbers, strict=True):
        if not batch.kind.relative:
            anchored[labels[number[:, 0]]] = True
    _, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    places = np.searchsorted(offsets, first, side="right") - 1
    return [
        Component((int(places[c]), int(first[c] - offsets[places[c]])), int(sizes[c]))
        for c in np.flatnonzero(~anchored)
    ]


def undetermined(
    structure: Structure, linearization: Linearization, linear: LinearMethod, prepared: SystemSolve | None = None
) -> str:
    """The variable that a direction without information moves most; empty where there is no such direction.

    Parameters
    ----------
    prepared : SystemSolve, optional
        Of the linearisation's system, where there is one.
    """
    system = linearization.system
    if system.n == 0:
        return ""
    if not bool(system.diagonal.min() > 0):
        return _named(structure, int((system.diagonal <= 0).nonzero()[0]), 1)
    failed = False
    if prepared is None:
        try:
            prepared = linear.prepare(system, linearization.common_motions)
        except NotPositiveDefiniteError:
            failed = True
            prepared = linear.prepare(system.loaded(_LOADING * system.diagonal), linearization.common_motions)
    smallest, direction = smallest_direction(system, prepared)
    if smallest > _NULL and not failed:
        return ""
    moved = direction.abs() * system.diagonal.sqrt()
    return _named(structure, int(moved.argmax()), int((moved >= _MOVES_WITH * moved.max()).sum()))


def _named(structure: Structure, unknown: int, moving: int) -> str:
    variables, index = structure.variable_of(unknown)
    return f"{variables.named(index)}, in a direction of {moving} unknown{'s' if moving > 1 else ''}"
