"""What a caller is told when the system itself is at fault."""


class InvalidSystemError(ValueError):
    """The matrix, the right-hand side or a parameter has content that no method can work with.

    The message names the place (index and value) and, where there is one, the remedy.
    """
