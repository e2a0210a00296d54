"""Backpropagation as belief propagation on the factor graph of a program."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from gabp.backprop.curvature import curvature_messages
from gabp.backprop.message_trace import Message, MessageTrace
from gabp.backprop.schedule import Flooding, Propagation, TwoPass
from gabp.backprop.tracing import trace
from gabp.system import InvalidSystemError, require_number

Schedule = Literal["two-pass", "flooding"]
_SCHEDULES: dict[str, type[Propagation]] = {"two-pass": TwoPass, "flooding": Flooding}


def backprop(
    fn: Callable[..., Tensor],
    *inputs: Tensor,
    schedule: Schedule = "two-pass",
    loss_precision: float | None = None,
    return_messages: bool = False,
) -> Any:
    """The gradient of a function by belief propagation on its factor graph.

    The program is recorded operator by operator. Each operator ``v = f(u)`` is a factor ``δ(v - f(u))``, each
    input a factor ``δ(x - a)``, and the output has a potential ``exp(x_out)``. Forward messages are deltas at the
    values of the program. The backward message to ``u`` has the log-derivative ``(∂f/∂u)ᵀ λ_v``, where the adjoint
    ``λ_v`` is the sum of the log-derivatives that ``v`` receives. Only these local derivatives come from torch, one
    operator at a time; their composition is message passing.

    Parameters
    ----------
    fn : callable
        A torch function of ``inputs`` with a scalar result (a tensor of one element). It may branch, make views,
        change its own tensors in place, share weights and find equilibria
        (``from gabp.backprop import fixed_point``).
    *inputs : Tensor
        Floating point. Never modified.
    schedule : {"two-pass", "flooding"}
        From the inputs to the output and back, or all factors at once until no message changes, which takes at most
        ``2 D`` sweeps where the longest path has ``D`` factors. An equilibrium is a cycle, around which either
        iterates to convergence.
    loss_precision : float, optional
        Second derivative of a quadratic loss in the output, in the inverse squared units of the output. Adds precision
        messages ``Jᵀ Λ J``, the Gauss–Newton curvature, without changing the gradients. ``fn`` may then also return
        residuals ``r`` of any shape: the gradient is that of the loss ``½ loss_precision Σ r²``. Each factor sends
        curvature to one parent with the others fixed, and a variable sums what it receives as independent. The
        blocks equal those of the Gauss–Newton matrix where a single path leads from the variable to the output; where
        several do, their cross terms are missing.
    return_messages : bool
        Also return the messages.

    Returns
    -------
    gradients : Tensor or tuple of Tensor
        One per input, of its shape and dtype, detached.
    trace : MessageTrace
        Only with ``return_messages``.

    Raises
    ------
    TypeError, InvalidSystemError
        Inputs that are no floating point tensors; a result that is no real scalar; an unknown schedule.
    ArithmeticError
        The messages around a cycle do not converge (``from gabp.backprop import adjoint_system`` for its linear
        system).

    References
    ----------
    F. Eaton, "Belief propagation generalizes backpropagation", arXiv:2210.00610. The construction here is derived
    from its abstract.

    Examples
    --------
    >>> import torch, gabp
    >>> x = torch.tensor(0.7, dtype=torch.float64)
    >>> gradient, messages = gabp.backprop(lambda x: torch.sin(x) * x**2, x, return_messages=True)
    >>> round(float(gradient), 10)
    1.2766774339
    >>> messages.sweeps, messages.depth
    (2, 2)
    """
    _require_valid(schedule, loss_precision)
    program = trace(fn, inputs)
    messages = _SCHEDULES[schedule](program, _boundary(program.output_value, loss_precision))
    messages.run()
    curvature: list[tuple[int, int, Tensor]] = []
    roots: tuple[Tensor, ...] = ()
    if loss_precision is not None and program.output is None:
        roots = tuple(x.new_zeros((0, *x.shape)) for x in inputs)
    elif loss_precision is not None:
        curvature, roots = curvature_messages(program, messages.local, program.output_value, loss_precision)
    adjoints = [messages.adjoint(index) for index in program.inputs]
    gradients = tuple(torch.zeros_like(x) if g is None else g for x, g in zip(inputs, adjoints, strict=True))
    result = gradients[0] if len(gradients) == 1 else gradients
    return (result, _message_trace(messages, curvature, roots)) if return_messages else result


def _boundary(output: Tensor, loss_precision: float | None) -> Tensor:
    """The log-derivative of the potential on the output, of its shape."""
    if not output.is_floating_point():
        raise InvalidSystemError(f"fn must return a real floating point tensor, not one of {output.dtype}")
    if output.numel() == 1:
        return torch.ones_like(output)
    if loss_precision is None:
        raise InvalidSystemError(f"fn must return a scalar, not a tensor of shape {tuple(output.shape)}")
    return loss_precision * output


def _require_valid(schedule: str, loss_precision: float | None) -> None:
    if not isinstance(schedule, str):
        raise TypeError(f"schedule must be a string, not {type(schedule).__name__}")
    if schedule not in _SCHEDULES:
        raise InvalidSystemError(f"there is no schedule {schedule!r}; choose one of {tuple(_SCHEDULES)}")
    if loss_precision is not None:
        require_number(loss_precision, "loss_precision")
        if not 0 < loss_precision < float("inf"):
            raise InvalidSystemError(f"loss_precision must be positive and finite, not {loss_precision}")


def _message_trace(
    messages: Propagation, curvature: list[tuple[int, int, Tensor]], roots: tuple[Tensor, ...]
) -> MessageTrace:
    program = messages.program
    factors, variables = program.factors, program.variables

    def message(factor: int, variable: int, value: Tensor, sweep: int) -> Message:
        return Message(factors[factor].name, variables[variable].name, value, sweep)

    backward = [message(f, v, messages.potential[f, v], sweep) for (f, v), sweep in messages.sent_backward.items()]
    adjoints = {v: messages.adjoint(v) for v in program.active}
    return MessageTrace(
        forward=tuple(message(f, v, messages.values[v], sweep) for f, v, sweep in messages.sent_forward),
        backward=tuple(backward),
        sweeps=messages.sweeps,
        depth=program.depth,
        adjoints={variables[v].name: a for v, a in adjoints.items() if a is not None},
        curvature=tuple(message(f, v, root, messages.sweeps + 1) for f, v, root in curvature),
        curvature_roots=roots,
        program=program,
    )
