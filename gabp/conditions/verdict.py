"""Three answers: yes and no are proofs, undecided is the honest rest."""

from enum import Enum


class Verdict(Enum):
    """The answer to a question about a matrix. YES and NO are proven; UNDECIDED claims nothing."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"

    def __str__(self) -> str:
        return self.value
