"""Errors raised for invalid systems."""


class InvalidSystemError(ValueError):
    """The matrix, the right-hand side or a parameter has content that no method accepts.

    The message names the place (index and value) and, where there is one, the remedy.
    """


class NotPositiveDefiniteError(InvalidSystemError):
    """A is not positive definite, so there is no Gaussian with this precision matrix.

    Attributes
    ----------
    node : int
        The first nonpositive pivot, or the largest entry of a direction of negative curvature.
    """

    def __init__(self, node: int, evidence: str = "nonpositive pivot") -> None:
        super().__init__(
            f"A is not positive definite ({evidence} at node {node}), so it is no precision matrix: "
            "it has no marginals, no log-determinant and no samples"
        )
        self.node, self._evidence = node, evidence

    def __reduce__(self) -> tuple:
        return NotPositiveDefiniteError, (self.node, self._evidence)
