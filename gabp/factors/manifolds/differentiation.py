"""Forward differentiation of functions of single variables, batched."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch


def batched_derivative(
    function: Callable[..., Any], *, argnums: int | tuple[int, ...], in_dims: Any, has_aux: bool = False
) -> Callable[..., Any]:
    """``torch.func.vmap`` of ``torch.func.jacfwd``, with their arguments."""
    _load_rules()
    derivative = torch.func.jacfwd(function, argnums=argnums, has_aux=has_aux)
    return torch.func.vmap(derivative, in_dims=in_dims)


@functools.cache
def _load_rules() -> None:
    """At its first use torch compiles some of its rules, by a function that it deprecates itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jacfwd(torch.sin)(torch.zeros(1))
