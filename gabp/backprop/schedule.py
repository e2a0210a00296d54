"""The messages of a program in both directions, and the schedules by which they are sent."""

import torch
from torch import Tensor

from gabp.backprop.local_factors import LocalFactor
from gabp.backprop.program import Program

_SWEEP_LIMIT = 10_000  # around a cycle
_ROUNDINGS = 4.0  # of the largest entry, by which a converged message around a cycle may change
_DIVERGENCE = (
    "the messages around the cycle do not converge, as the map of the equilibrium is not a contraction; "
    "adjoint_system (from gabp.backprop import adjoint_system) gives its gradient by a linear solve"
)


class Propagation:
    """Messages in both directions and the beliefs that they add up to; a subclass is a schedule.

    Parameters
    ----------
    program : Program
    boundary : Tensor
        The log-derivative of the potential on the output, of its shape.

    Attributes
    ----------
    values : dict of int to Tensor
        The point of each variable's delta.
    local : dict of int to LocalFactor
        By position of the factor, once the values of its parents are known.
    potential : dict of (int, int) to Tensor
        The log-derivative of the message from a factor to a parent.
    sent_forward : list of (factor, output, sweep)
    sent_backward : dict of (factor, parent) to sweep
        In the order of the last changes.
    sweeps : int
    """

    def __init__(self, program: Program, boundary: Tensor) -> None:
        self.program, self.boundary = program, boundary
        self.values = dict(program.known)
        self.local: dict[int, LocalFactor] = {}
        self.potential: dict[tuple[int, int], Tensor] = {}
        self.sent_forward: list[tuple[int, int, int]] = []
        self.sent_backward: dict[tuple[int, int], int] = {}
        self.sweeps = 0
        self.children: dict[int, list[int]] = {}  # by variable, the factors of which it is a parent
        for position, factor in enumerate(program.factors):
            for parent in factor.parents:
                self.children.setdefault(parent, []).append(position)

    def run(self) -> None:
        """Send messages until none changes.

        Raises
        ------
        ArithmeticError
            The messages around a cycle do not converge.
        """
        raise NotImplementedError

    def adjoint(self, variable: int) -> Tensor | None:
        """The sum of the potentials that ``variable`` receives; None before it has received any."""
        factors = self.children.get(variable, ())
        received = [self.potential[f, variable] for f in factors if (f, variable) in self.potential]
        if variable == self.program.output:
            received.append(self.boundary)
        if not received:
            return None
        total = received[0]
        for message in received[1:]:
            total = total + message
        return total

    def is_ready(self, position: int) -> bool:
        """Whether the values of all parents of a factor are known."""
        return all(parent in self.values for parent in self.program.factors[position].parents)

    def send_forward(self, position: int) -> dict[int, Tensor]:
        """The deltas that a factor sends to outputs of unknown value; that of an equilibrium is known."""
        factor = self.program.factors[position]
        self.local[position] = LocalFactor(factor, [self.values[parent] for parent in factor.parents])
        sent = {v: x for v, x in self.local[position].forward().items() if v not in self.values}
        self.sent_forward += [(position, variable, self.sweeps) for variable in sent]
        return sent

    def potentials_of(self, position: int) -> dict[int, Tensor]:
        """The potentials that a factor sends to its parents, from the current adjoints of its outputs."""
        outputs = self.program.factors[position].outputs
        adjoints = {variable: self.adjoint(variable) for variable in outputs if variable >= 0}
        return self.local[position].backward({v: a for v, a in adjoints.items() if a is not None})

    def accept(self, position: int, potentials: dict[int, Tensor]) -> set[int]:
        """Store the potentials of a factor; returns the parents for which they changed."""
        changed = set()
        for parent, new in potentials.items():
            old = self.potential.get((position, parent))
            if old is not None and self._is_unchanged(old, new):
                continue
            self.potential[position, parent] = new
            self.sent_backward.pop((position, parent), None)  # so that the order is that of the last change
            self.sent_backward[position, parent] = self.sweeps
            changed.add(parent)
        return changed

    def _is_unchanged(self, old: Tensor, new: Tensor) -> bool:
        if not self.program.has_cycle:
            return torch.equal(old, new)
        largest = new.abs().max() if new.numel() else new.new_zeros(())
        if not bool(torch.isfinite(largest)):
            raise ArithmeticError(_DIVERGENCE)
        return bool(((new - old).abs() <= _ROUNDINGS * torch.finfo(new.dtype).eps * largest).all())

    def begin_sweep(self) -> None:
        """Count a sweep; raises ArithmeticError beyond the limit."""
        if self.sweeps == _SWEEP_LIMIT:
            raise ArithmeticError(_DIVERGENCE)
        self.sweeps += 1


class TwoPass(Propagation):
    """From the inputs to the output and back; around a cycle, back again until no message changes."""

    def run(self) -> None:
        factors = self.program.factors
        if not factors:
            return
        self.begin_sweep()
        for position in range(len(factors)):
            self.values.update(self.send_forward(position))
        unconverged = True
        while unconverged:
            self.begin_sweep()
            unconverged = False
            for position in reversed(range(len(factors))):
                changed = self.accept(position, self.potentials_of(position))
                unconverged = unconverged or (bool(changed) and self.program.has_cycle)


class Flooding(Propagation):
    """All factors at once, from the messages of the sweep before; those without new messages are left out."""

    def run(self) -> None:
        factors = self.program.factors
        factor_of = {output: f for f, factor in enumerate(factors) for output in factor.outputs}
        ready = [f for f in range(len(factors)) if self.is_ready(f)]
        renewed: set[int] = set()  # factors of which an output has received a new message
        while ready or renewed:
            self.begin_sweep()
            deltas: dict[int, Tensor] = {}
            for f in ready:
                deltas.update(self.send_forward(f))
            sent = {f: self.potentials_of(f) for f in sorted(renewed.union(ready))}
            self.values.update(deltas)
            changed = {variable for f, potentials in sent.items() for variable in self.accept(f, potentials)}
            if not deltas and not changed:
                self.sweeps -= 1
            reached = {f for variable in deltas for f in self.children.get(variable, ())}
            ready = [f for f in sorted(reached) if f not in self.local and self.is_ready(f)]
            renewed = {factor_of[v] for v in changed if v in factor_of and factor_of[v] in self.local}
