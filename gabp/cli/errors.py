"""The error of the command line for bad input."""

__all__ = ["CommandError"]


class CommandError(Exception):
    """Bad input; the message is the one line written to stderr."""
