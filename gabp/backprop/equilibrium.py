"""Equilibria ``x = f(x)`` inside a function: cycles in its factor graph."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from gabp.backprop.tracing import active_recorder
from gabp.system import InvalidSystemError

_ROUNDING_OF_A_MAP = 100.0  # in units of rtol: where f itself rounds, its iteration may jitter that much


def fixed_point(
    f: Callable[[Tensor], Tensor], start: Tensor, *, rtol: float | None = None, limit: int = 10_000
) -> Tensor:
    """The equilibrium ``x = f(x)``, by iteration from ``start``.

    Inside a function given to `gabp.backprop`, ``f`` becomes a cycle of the factor graph, and the messages
    around it converge to the gradient by implicit differentiation: ``(I - Jᵀ) λ = g``. What ``f`` depends on may
    be anything of the function's, its inputs included; ``start`` has no influence on the gradient.
    Elsewhere it is an iteration without a gradient.

    Parameters
    ----------
    f : callable
        A tensor to a tensor of the same shape.
    start : Tensor
        Where ``f`` does not contract, an equilibrium found by other means may be given here.
    rtol : float, optional
        Iterate until ``‖f(x) - x‖ <= rtol ‖x‖``; 4 roundings of the dtype by default.
    limit : int
        Iterations at most.

    Raises
    ------
    TypeError, InvalidSystemError
        ``f`` does not return a tensor of the shape of its argument.
    ArithmeticError
        The iteration does not converge.

    Examples
    --------
    >>> import torch, gabp
    >>> from gabp.backprop import fixed_point
    >>> a = torch.tensor(2.0, dtype=torch.float64)
    >>> root = lambda a: fixed_point(lambda x: (x + a / x) / 2, torch.ones_like(a))
    >>> bool((gabp.backprop(root, a) - 0.5 / a.sqrt()).abs() < 1e-14)
    True
    """
    rtol = 4 * torch.finfo(start.dtype).eps if rtol is None else rtol
    recorder = active_recorder()
    with torch.no_grad(), nullcontext() if recorder is None else recorder.paused():
        x = _iterate(f, start.detach().clone(), rtol, limit)
    if recorder is None:
        return x
    equilibrium = recorder.open(x, "equilibrium")
    recorder.close(equilibrium, f(equilibrium))
    return equilibrium


def _iterate(f: Callable[[Tensor], Tensor], x: Tensor, rtol: float, limit: int) -> Tensor:
    previous = float("inf")
    for _ in range(limit):
        image = f(x)
        if not isinstance(image, Tensor):
            raise TypeError(f"f must return a tensor, not {type(image).__name__}")
        if image.shape != x.shape:
            raise InvalidSystemError(
                f"f changes the shape of its argument from {tuple(x.shape)} to {tuple(image.shape)}"
            )
        change = float(torch.linalg.vector_norm(image - x))
        size = float(torch.linalg.vector_norm(image))
        x = image
        stalled = change >= previous and change <= _ROUNDING_OF_A_MAP * rtol * size
        if change <= rtol * size or stalled:
            return x
        previous = change
    raise ArithmeticError(f"x = f(x) did not converge in {limit} iterations (last change {change:.2g})")
