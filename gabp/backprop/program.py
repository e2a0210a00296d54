"""A torch function as a factor graph: tensors are the variables, operators are deterministic factors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Variable:
    """A tensor that depends on the inputs, whatever the number of operators that use it.

    Attributes
    ----------
    index : int
    name : str
        ``x0, x1, ...`` for the inputs, else the name of the operator, numbered.
    shape : torch.Size
    """

    index: int
    name: str
    shape: torch.Size


@dataclass(frozen=True, eq=False)
class Factor:
    """``δ(x_out - f(x_parents))`` for one operator ``f``.

    Attributes
    ----------
    name : str
    evaluate : callable
        The operator, from the values of the parents to those of the outputs, as flat lists.
    parents, outputs : tuple of int
        Indices of variables; an output is -1 where the operator returns no new variable.
    closes_cycle : bool
        Whether it is the factor ``δ(x - f(x))`` of an equilibrium, where ``x`` is known before its parent.
    """

    name: str
    evaluate: Callable[[Sequence[Tensor]], list[Any]]
    parents: tuple[int, ...]
    outputs: tuple[int, ...]
    closes_cycle: bool = False


@dataclass(frozen=True, eq=False)
class Program:
    """The factor graph of a function at given inputs, restricted to what its output depends on.

    Attributes
    ----------
    variables : tuple of Variable
    factors : tuple of Factor
        In an order of evaluation.
    known : dict of int to Tensor
        Values of the inputs and equilibria, which no factor computes.
    inputs : tuple of int
    output : int or None
        None where the output does not depend on the inputs.
    output_value : Tensor
    """

    variables: tuple[Variable, ...]
    factors: tuple[Factor, ...]
    known: dict[int, Tensor]
    inputs: tuple[int, ...]
    output: int | None
    output_value: Tensor

    @property
    def has_cycle(self) -> bool:
        """Whether there is an equilibrium."""
        return any(factor.closes_cycle for factor in self.factors)

    @property
    def active(self) -> list[int]:
        """The inputs and all variables of the factors, in order of computation."""
        return sorted({*self.inputs, *(v for f in self.factors for v in (*f.parents, *f.outputs) if v >= 0)})

    @cached_property
    def depth(self) -> int:
        """Number of factors on the longest path to the output; a cycle counts once."""
        depth = dict.fromkeys(self.known, 0)
        deepest = 0
        for factor in self.factors:
            here = 1 + max(depth[parent] for parent in factor.parents)
            deepest = max(deepest, here)
            for output in factor.outputs:
                depth.setdefault(output, here)
        return deepest
