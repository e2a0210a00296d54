"""Floor 4: implicit differentiation. Gradients of solutions, variances and log-determinants, once and twice."""

from gabp.autograd.solver import Solver

__all__ = ["Solver"]
