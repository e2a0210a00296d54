"""Floor 4: discrete models: max-product, sum-product and the test for optimal single-loop and tree assignments."""

from gabp.discrete.maxproduct import MaxProductResult, maxproduct

__all__ = ["MaxProductResult", "maxproduct"]
