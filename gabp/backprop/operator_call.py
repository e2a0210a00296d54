"""Recorded operators, to be evaluated again at other values of their parents."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_leaves, tree_unflatten


@dataclass(frozen=True)
class Parent:
    """An argument of an operator that is a variable, by its position among the factor's parents."""

    position: int


@dataclass(frozen=True, eq=False)
class RandomState:
    """The states of the random generators of the CPU and of the CUDA devices of an operator's arguments."""

    cpu: Tensor
    cuda: dict[int, Tensor]

    @staticmethod
    def now(leaves: Sequence[Any]) -> "RandomState":
        devices = {leaf.get_device() for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_cuda}
        return RandomState(torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in devices})

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Context in which the generators have these states."""
        with torch.random.fork_rng(devices=list(self.cuda)):
            torch.set_rng_state(self.cpu)
            for device, state in self.cuda.items():
                torch.cuda.set_rng_state(state, device)
            yield


@dataclass(frozen=True, eq=False)
class OperatorCall:
    """An operator with its constant arguments, as a function of the values of its parents.

    Attributes
    ----------
    operator : callable
    leaves : list
        The flat arguments; a `Parent` stands for the value of a variable.
    spec : TreeSpec
        How the arguments are nested.
    written : tuple of int
        Arguments that the operator changes in place. It receives copies, which come first among the results.
    random_state : RandomState or None
        Of the recorded call, for operators that draw random numbers.
    """

    operator: Callable[..., Any]
    leaves: list[Any]
    spec: TreeSpec
    written: tuple[int, ...] = ()
    random_state: RandomState | None = None

    def __call__(self, values: Sequence[Tensor]) -> list[Any]:
        """The results, as a flat list, at these ``values`` of the parents."""
        leaves = [values[leaf.position] if isinstance(leaf, Parent) else leaf for leaf in self.leaves]
        for position in self.written:
            leaves[position] = leaves[position].clone()
        args, kwargs = tree_unflatten(leaves, self.spec)
        if self.random_state is None:
            results = tree_leaves(self.operator(*args, **kwargs))
        else:
            with self.random_state.restored():  # repeats the draw of the recorded call
                results = tree_leaves(self.operator(*args, **kwargs))
        changed = [leaves[position] for position in self.written]
        return changed + [result for result in results if not any(result is tensor for tensor in changed)]


def written_arguments(func: Any, args: tuple, kwargs: dict, leaves: list[Any]) -> tuple[int, ...]:
    """Positions of the flat arguments that the operator changes in place."""
    if not func._schema.is_mutable:
        return ()
    changed: list[Any] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            changed += [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return tuple(i for i, leaf in enumerate(leaves) if any(leaf is tensor for tensor in changed))
