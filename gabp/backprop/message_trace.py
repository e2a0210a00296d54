"""The messages of a run of backpropagation, as reported to the caller."""

from dataclasses import dataclass

from torch import Tensor

from gabp.backprop.program import Program
from gabp.system import InvalidSystemError


@dataclass(frozen=True, eq=False)
class Message:
    """A message from the factor of an operator to one of its variables.

    Attributes
    ----------
    factor, variable : str
    value : Tensor
        Forward: the point of the delta. Backward: the derivative of the log-potential, of the variable's shape.
        Curvature: ``R``, shape (r, *shape), for the precision ``Σ_r R_r R_rᵀ``.
    sweep : int
        The sweep, from 1, in which it took this value.
    """

    factor: str
    variable: str
    value: Tensor
    sweep: int

    def __repr__(self) -> str:
        return f"{self.factor} → {self.variable} {tuple(self.value.shape)} in sweep {self.sweep}"


@dataclass(frozen=True, eq=False, repr=False)
class MessageTrace:
    """The messages of a run of `gabp.backprop`.

    Attributes
    ----------
    forward : tuple of Message
        Deltas, from each factor to its outputs, in order of sending.
    backward : tuple of Message
        Potentials, from each factor to its parents, in order of their last change.
    sweeps : int
        Sweeps until no message changes: two for the two-pass schedule, at most twice ``depth`` for flooding; more
        around a cycle.
    depth : int
        Number of factors on the longest path from an input to the output.
    adjoints : dict of str to Tensor
        For each variable, the sum of the potentials that it receives: the derivative of the output by it.
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
        """The Gauss–Newton block of input ``i``, shape (d, d) for its ``d`` elements.

        Raises
        ------
        InvalidSystemError
            `gabp.backprop` was called without ``loss_precision``.
        """
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
