"""Backpropagation as belief propagation on the factor graph of a program."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gabp.backprop.curvature import curvature_messages
from gabp.backprop.local_factors import LocalFactor
from gabp.backprop.program import Program
from gabp.backprop.tracing import trace
from gabp.system import InvalidSystemError, require_number

Schedule = Literal["two-pass", "flooding"]
_SCHEDULES = ("two-pass", "flooding")
_SWEEP_LIMIT = 10_000  # around a cycle
_UNSETTLED = (
    "the messages around the cycle do not settle, as the equilibrium's map does not contract there; "
    "gabp.backprop.adjoint_system gives its gradient by a linear solve"
)
_STILL = 4.0  # roundings of the largest entry by which a message around a cycle may still move


@dataclass(frozen=True, eq=False)
class Message:
    """A message from an operator's factor to one of its variables.

    Attributes
    ----------
    factor, variable : str
    value : Tensor
        Forward: the point of the delta. Backward: the derivative of the log-potential, of the variable's shape.
        Curvature: ``R``, shape (r, *shape), for the precision ``Σ_r R_r R_rᵀ``.
    sweep : int
        In which it took this value.
    """

    factor: str
    variable: str
    value: Tensor
    sweep: int

    def __repr__(self) -> str:
        return f"{self.factor} → {self.variable} {tuple(self.value.shape)} in sweep {self.sweep}"


@dataclass(frozen=True, eq=False, repr=False)
class MessageTrace:
    """The messages of a run of `backprop`.

    Attributes
    ----------
    forward : tuple of Message
        Deltas, from each factor to its outputs, in the order in which they were sent.
    backward : tuple of Message
        Potentials, from each factor to its parents, in the order in which they took their last value.
    sweeps : int
        Until no message changed any more: two passes, or at most twice ``depth`` floods without a cycle.
    depth : int
        Factors on the longest path from an input to the output.
    adjoints : dict of str to Tensor
        By variable, the sum of the potentials that it hears: the derivative of the output by it.
    curvature : tuple of Message
        Gauss–Newton precisions, from each factor to its parents; empty without ``loss_precision``.
    curvature_roots : tuple of Tensor
        For each input, ``R`` of shape (r, *shape): its precision is ``Σ_r R_r R_rᵀ``.
    program : Program
    """

    forward: tuple[Message, ...]
    backward: tuple[Message, ...]
    sweeps: int
    depth: int
    adjoints: dict[str, Tensor]
    curvature: tuple[Message, ...]
    curvature_roots: tuple[Tensor, ...]
    program: Program

    def gauss_newton(self, i: int = 0) -> Tensor:
        """The Gauss–Newton block of input ``i``, shape (d, d) for its ``d`` elements."""
        if not self.curvature_roots:
            raise InvalidSystemError("there are no curvature messages: call backprop with loss_precision")
        root = self.curvature_roots[i]
        root = root.reshape(len(root), -1)
        return root.T @ root

    def __repr__(self) -> str:
        return (
            f"MessageTrace: {len(self.program.factors)} factors, depth {self.depth}\n"
            f"  sweeps     {self.sweeps}\n"
            f"  forward    {len(self.forward)} delta messages\n"
            f"  backward   {len(self.backward)} potential messages\n"
            f"  curvature  {len(self.curvature)} precision messages"
        )


def backprop(
    fn: Callable[..., Tensor],
    *inputs: Tensor,
    schedule: Schedule = "two-pass",
    loss_precision: float | None = None,
    return_messages: bool = False,
) -> Any:
    """The gradient of a function by belief propagation on its factor graph.

    The program is recorded operator by operator. Each operator ``v = f(u)`` is a factor ``δ(v - f(u))``, each
    input a factor ``δ(x - a)``, and a positive potential ``exp(x_out)`` stands on the output. The messages
    forward are deltas at the values of the program. The message backward into ``u`` has the log-derivative
    ``(∂f/∂u)ᵀ λ_v``, where ``λ_v`` sums the log-derivatives that ``v`` hears: the adjoint. Only these local
    derivatives come from torch, one operator at a time; their composition is the message passing.

    Parameters
    ----------
    fn : callable
        An ordinary torch function of ``inputs`` with a scalar result (a tensor of one element). Branches,
        views, in-place operators, shared weights and `gabp.backprop.fixed_point` are welcome.
    *inputs : Tensor
        Floating point. Never modified.
    schedule : {"two-pass", "flooding"}
        Inputs to output and back, or every factor at once until nothing changes: at most ``2 D`` sweeps where
        the longest path has ``D`` factors. An equilibrium is a cycle, around which either goes until it is still.
    loss_precision : float, optional
        Second derivative of a quadratic loss in the output: adds precision messages ``Jᵀ Λ J``, the
        Gauss–Newton curvature, without changing the gradients. With it ``fn`` may also return residuals ``r`` of any
        shape: the gradient is then that of the loss ``½ loss_precision Σ r²``. Each factor passes the curvature
        to one parent with the others held at their values, and a variable adds what it hears as if
        independent. The blocks are therefore exact for the Gauss–Newton matrix where one path leads from the variable
        to the output; where several do, their cross terms are left out.
    return_messages : bool

    Returns
    -------
    gradients : Tensor or tuple of Tensor
        One per input, without a graph of their own.
    trace : MessageTrace
        Only with ``return_messages``.

    Raises
    ------
    TypeError, InvalidSystemError
        Inputs that are no floating point tensors; a result that is no real scalar; an unknown schedule.
    ArithmeticError
        The messages around a cycle do not settle (`gabp.backprop.adjoint_system` solves such equilibria).

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
    boundary = _boundary(program.output_value, loss_precision)
    run = _TwoPass(program, boundary) if schedule == "two-pass" else _Flooding(program, boundary)
    run.run()
    if program.output is None:
        roots = tuple(x.new_zeros((0, *x.shape)) for x in inputs) if loss_precision is not None else ()
        curvature: list[tuple[int, int, Tensor]] = []
    elif loss_precision is not None:
        curvature, roots = curvature_messages(program, run.local, program.output_value, loss_precision)
    else:
        curvature, roots = [], ()
    found = [run.adjoint(index) for index in program.inputs]
    gradients = tuple(torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True))
    answer = gradients[0] if len(gradients) == 1 else gradients
    return (answer, _as_trace(run, curvature, roots)) if return_messages else answer


class _Messages:
    """Messages in both directions, and the beliefs that they add up to."""

    def __init__(self, program: Program, boundary: Tensor) -> None:
        self.program, self.boundary = program, boundary
        self.values = dict(program.known)
        self.local: dict[int, LocalFactor] = {}  # by factor, once its parents are known
        self.potential: dict[tuple[int, int], Tensor] = {}  # by factor and parent
        self.sent_forward: list[tuple[int, int, int]] = []  # factor, output, sweep
        self.sent_backward: dict[tuple[int, int], int] = {}
        self.sweeps = 0
        self.listeners: dict[int, list[int]] = {}  # by variable, the factors that it is a parent of
        for position, factor in enumerate(program.factors):
            for parent in factor.parents:
                self.listeners.setdefault(parent, []).append(position)

    def adjoint(self, variable: int) -> Tensor | None:
        """The sum of the potentials that ``variable`` hears; None as long as it hears none."""
        senders = self.listeners.get(variable, ())
        heard = [self.potential[f, variable] for f in senders if (f, variable) in self.potential]
        if variable == self.program.output:
            heard.append(self.boundary)
        if not heard:
            return None
        total = heard[0]
        for message in heard[1:]:
            total = total + message
        return total

    def can_fire(self, position: int) -> bool:
        """Whether the values of all parents have arrived."""
        return all(parent in self.values for parent in self.program.factors[position].parents)

    def send_forward(self, position: int) -> dict[int, Tensor]:
        """The deltas that a factor sends; what is known already (an equilibrium) stays."""
        factor = self.program.factors[position]
        self.local[position] = LocalFactor(factor, [self.values[parent] for parent in factor.parents])
        sent = {v: x for v, x in self.local[position].forward().items() if v not in self.values}
        self.sent_forward += [(position, variable, self.sweeps) for variable in sent]
        return sent

    def potentials_of(self, position: int) -> dict[int, Tensor]:
        """The potentials that a factor sends to its parents, from those that its outputs hear now."""
        outputs = self.program.factors[position].outputs
        adjoints = {variable: self.adjoint(variable) for variable in outputs if variable >= 0}
        return self.local[position].backward({v: a for v, a in adjoints.items() if a is not None})

    def accept(self, position: int, potentials: dict[int, Tensor]) -> set[int]:
        """Store the potentials of a factor; returns the parents for which they changed."""
        changed = set()
        for parent, new in potentials.items():
            old = self.potential.get((position, parent))
            if old is not None and self._is_still(old, new):
                continue
            self.potential[position, parent] = new
            self.sent_backward.pop((position, parent), None)  # so that the order is that of the last change
            self.sent_backward[position, parent] = self.sweeps
            changed.add(parent)
        return changed

    def _is_still(self, old: Tensor, new: Tensor) -> bool:
        if not self.program.has_cycle:
            return torch.equal(old, new)
        largest = new.abs().max() if new.numel() else new.new_zeros(())
        if not bool(torch.isfinite(largest)):
            raise ArithmeticError(_UNSETTLED)
        return bool(((new - old).abs() <= _STILL * torch.finfo(new.dtype).eps * largest).all())

    def begin_sweep(self) -> None:
        if self.sweeps == _SWEEP_LIMIT:
            raise ArithmeticError(_UNSETTLED)
        self.sweeps += 1


class _TwoPass(_Messages):
    """Inputs to output, then back; around a cycle, back again until nothing changes."""

    def run(self) -> None:
        factors = self.program.factors
        if not factors:
            return
        self.begin_sweep()
        for position in range(len(factors)):
            self.values.update(self.send_forward(position))
        moving = True
        while moving:
            self.begin_sweep()
            moving = False
            for position in reversed(range(len(factors))):
                changed = self.accept(position, self.potentials_of(position))
                moving = moving or (bool(changed) and self.program.has_cycle)


class _Flooding(_Messages):
    """All factors at once, each from the messages of the sweep before; those that hear nothing new may rest."""

    def run(self) -> None:
        factors = self.program.factors
        makers = {output: f for f, factor in enumerate(factors) for output in factor.outputs}
        ready = [f for f in range(len(factors)) if self.can_fire(f)]
        renewing: set[int] = set()  # factors whose outputs heard something new
        while ready or renewing:
            self.begin_sweep()
            arriving: dict[int, Tensor] = {}
            for f in ready:
                arriving.update(self.send_forward(f))
            heard = {f: self.potentials_of(f) for f in sorted(renewing.union(ready))}
            self.values.update(arriving)
            changed = {variable for f, potentials in heard.items() for variable in self.accept(f, potentials)}
            if not arriving and not changed:
                self.sweeps -= 1
            reached = {f for variable in arriving for f in self.listeners.get(variable, ())}
            ready = [f for f in sorted(reached) if f not in self.local and self.can_fire(f)]
            renewing = {makers[v] for v in changed if v in makers and makers[v] in self.local}


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
        raise InvalidSystemError(f"there is no schedule {schedule!r}; choose one of {_SCHEDULES}")
    if loss_precision is not None:
        require_number(loss_precision, "loss_precision")
        if not 0 < loss_precision < float("inf"):
            raise InvalidSystemError(f"loss_precision must be positive and finite, not {loss_precision}")


def _as_trace(run: _Messages, curvature: list[tuple[int, int, Tensor]], roots: tuple[Tensor, ...]) -> MessageTrace:
    program = run.program
    factors, variables = program.factors, program.variables

    def message(factor: int, variable: int, value: Tensor, sweep: int) -> Message:
        return Message(factors[factor].name, variables[variable].name, value, sweep)

    backward = [message(f, v, run.potential[f, v], sweep) for (f, v), sweep in run.sent_backward.items()]
    present = {*program.inputs, *(v for factor in factors for v in (*factor.parents, *factor.outputs) if v >= 0)}
    adjoints = {v: run.adjoint(v) for v in sorted(present)}
    return MessageTrace(
        forward=tuple(message(f, v, run.values[v], sweep) for f, v, sweep in run.sent_forward),
        backward=tuple(backward),
        sweeps=run.sweeps,
        depth=program.depth,
        adjoints={variables[v].name: a for v, a in adjoints.items() if a is not None},
        curvature=tuple(message(f, v, root, run.sweeps + 1) for f, v, root in curvature),
        curvature_roots=roots,
        program=program,
    )
