"""What a caller is told when a matrix is no precision matrix, or a factor does not fit."""

from gabp.system import InvalidSystemError


class NotPositiveDefiniteError(InvalidSystemError):
    """A is not positive definite, so there is no Gaussian with this precision matrix."""

    def __init__(self, node: int) -> None:
        super().__init__(
            f"A is not positive definite (nonpositive pivot at node {node}), so it is no precision matrix: "
            "it has no marginals, no log-determinant and no samples"
        )
        self.node = node

    def __reduce__(self) -> tuple:
        return NotPositiveDefiniteError, (self.node,)
