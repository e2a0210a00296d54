"""Floor 4: backpropagation as messages. Belief propagation on a program's factor graph (Eaton 2022).

`gabp.backprop` names the function once gabp is imported, so import other names by
``from gabp.backprop import adjoint_system, fixed_point``.
"""

from gabp.backprop.adjoint import AdjointSystem, adjoint_system
from gabp.backprop.equilibrium import fixed_point
from gabp.backprop.message_trace import Message, MessageTrace
from gabp.backprop.propagation import backprop

__all__ = ["AdjointSystem", "Message", "MessageTrace", "adjoint_system", "backprop", "fixed_point"]
