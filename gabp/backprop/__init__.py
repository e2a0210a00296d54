"""Floor 4: backpropagation as messages. Belief propagation on a program's factor graph (Eaton 2022)."""

from gabp.backprop.adjoint import AdjointSystem, adjoint_system
from gabp.backprop.equilibrium import fixed_point
from gabp.backprop.propagation import Message, MessageTrace, backprop

__all__ = ["AdjointSystem", "Message", "MessageTrace", "adjoint_system", "backprop", "fixed_point"]
