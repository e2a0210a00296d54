"""Three-valued answers: YES and NO are proofs."""

from enum import Enum


class Verdict(Enum):
    """The answer to a question about a matrix: YES and NO are proven, UNDECIDED implies nothing."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"

    def __str__(self) -> str:
        return self.value
