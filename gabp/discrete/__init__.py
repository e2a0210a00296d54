"""Floor 4: discrete models. Max-product and sum-product, and the test whether an assignment is SLT-optimal."""

from gabp.discrete.maxproduct import MaxProductResult, maxproduct

__all__ = ["MaxProductResult", "maxproduct"]
