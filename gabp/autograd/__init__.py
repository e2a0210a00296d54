"""Floor 4: implicit differentiation of solutions, variances and log-determinants."""

from gabp.autograd.solver import Solver

__all__ = ["Solver"]
