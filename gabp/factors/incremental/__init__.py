"""Optimisation of a graph that grows: what a change does not reach is kept."""

from gabp.factors.incremental.optimizer import IncrementalOptimizer, IncrementalUpdate

__all__ = ["IncrementalOptimizer", "IncrementalUpdate"]
