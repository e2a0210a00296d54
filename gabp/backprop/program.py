"""A torch function as a factor graph: tensors are the variables, operators are deterministic factors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Variable:
    """A tensor that depends on the inputs; used twice, it is one variable in two factors.

    Attributes
    ----------
    index : int
    name : str
        ``x0, x1, ...`` for the inputs, else the operator's name, numbered.
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
        The operator: takes the values of the parents, returns those of the outputs, as flat lists.
    parents, outputs : tuple of int
        Variables. An output is -1 where the operator returns something that is no new variable.
    closes_cycle : bool
        The factor ``δ(x - f(x))`` of an equilibrium: ``x`` is known before its parent is.
    """

    name: str
    evaluate: Callable[[Sequence[Tensor]], list[Any]]
    parents: tuple[int, ...]
    outputs: tuple[int, ...]
    closes_cycle: bool = False


@dataclass(frozen=True, eq=False)
class Program:
    """The factor graph of a function at given inputs, as far as its output depends on them.

    Attributes
    ----------
    variables : tuple of Variable
    factors : tuple of Factor
        In an order of evaluation.
    known : dict of int to Tensor
        Variables whose value does not come from a factor: the inputs, and the equilibria.
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
        """Whether an equilibrium feeds back into itself."""
        return any(factor.closes_cycle for factor in self.factors)

    @cached_property
    def depth(self) -> int:
        """Factors on the longest path to the output; a cycle counts once."""
        depth = dict.fromkeys(self.known, 0)
        deepest = 0
        for factor in self.factors:
            here = 1 + max(depth[parent] for parent in factor.parents)
            deepest = max(deepest, here)
            for output in factor.outputs:
                depth.setdefault(output, here)
        return deepest
