"""Equilibria ``x = f(x)`` within a program: cycles of its factor graph."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from gabp.backprop.tracing import active_recorder
from gabp.system import InvalidSystemError

_MAP_ROUNDING = 100.0  # in units of rtol: changes that rounding in f may cause at its fixed point


def fixed_point(
    f: Callable[[Tensor], Tensor], start: Tensor, *, rtol: float | None = None, limit: int = 10_000
) -> Tensor:
    """The equilibrium ``x = f(x)``, by fixed-point iteration from ``start``.

    Within a function given to `gabp.backprop`, ``f`` becomes a cycle of the factor graph, whose messages converge
    to the gradient by implicit differentiation, ``(I - Jᵀ) λ = g`` with ``J = ∂f/∂x``. ``f`` may depend on inputs
    and intermediate tensors of that function; the gradient does not depend on ``start``. Elsewhere, the result
    has no gradient. Import it by ``from gabp.backprop import fixed_point``.

    Parameters
    ----------
    f : callable
        Maps a tensor to a tensor of the same shape.
    start : Tensor
        Initial value. Where ``f`` is not a contraction, an equilibrium found by other means.
    rtol : float, optional
        Iterate until ``‖f(x) - x‖ <= rtol ‖f(x)‖``; by default 4 roundings of the dtype.
    limit : int
        Largest number of iterations.

    Returns
    -------
    Tensor
        Of the shape and dtype of ``start``.

    Raises
    ------
    TypeError, InvalidSystemError
        ``f`` does not return a tensor of the shape of its argument.
    ArithmeticError
        The iteration does not converge.

    References
    ----------
    F. J. Pineda, "Generalization of back-propagation to recurrent neural networks", Phys. Rev. Lett. 59 (1987).

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
    equilibrium = recorder.add_known(x, "equilibrium")
    recorder.close_cycle(equilibrium, f(equilibrium))
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
        stalled = change >= previous and change <= _MAP_ROUNDING * rtol * size
        if change <= rtol * size or stalled:
            return x
        previous = change
    raise ArithmeticError(f"x = f(x) did not converge in {limit} iterations (last change {change:.2g})")
