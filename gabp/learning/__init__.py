"""Floor 4: gradients through solutions and as messages, the model object made of them, and discrete models."""

from gabp.learning.adjoint import AdjointSystem, adjoint_system
from gabp.learning.backpropagation import Message, MessageTrace, backprop
from gabp.learning.equilibrium import fixed_point
from gabp.learning.gaussian import Gaussian
from gabp.learning.maxproduct import MaxProductResult, maxproduct
from gabp.learning.solver import Solver

__all__ = [
    "AdjointSystem",
    "Gaussian",
    "MaxProductResult",
    "Message",
    "MessageTrace",
    "Solver",
    "adjoint_system",
    "backprop",
    "fixed_point",
    "maxproduct",
]
