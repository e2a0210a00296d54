"""What the command line says when the user's input is at fault."""

__all__ = ["CommandError"]


class CommandError(Exception):
    """Something the user can put right; the message is the one line they see."""
