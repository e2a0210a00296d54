"""Pose graphs in the format of g2o (R. Kümmerle et al., *g2o: A general framework for graph optimization*, ICRA 2011).

A line is a word and its numbers: ``VERTEX_SE2 id x y θ``, ``VERTEX_XY id x y``, ``VERTEX_SE3:QUAT id x y z qx qy qz
qw``, ``EDGE_SE2 i j x y θ``, ``EDGE_SE2_XY i j x y``, ``EDGE_SE3:QUAT i j x y z qx qy qz qw`` and ``EDGE_PRIOR_SE2 i x
y θ``, each edge followed by the upper triangle of its information row by row; and ``FIX id``. Lines that begin with
``#`` are comments.
"""

from dataclasses import dataclass
from typing import Any

from gabp.factors import SE2, SE3, Between, Euclidean, Landmark, Prior


@dataclass(frozen=True)
class Vertex:
    """A word for a variable."""

    word: str
    manifold: Any
    form: str


@dataclass(frozen=True)
class Edge:
    """A word for a factor."""

    word: str
    kind: Any
    ends: tuple[str, ...]  # the words of its vertices
    width: int  # of the measurement
    dimension: int

    @property
    def form(self) -> str:
        """What a line should be."""
        names = ("i", "j")[: len(self.ends)]
        return f"{self.word} {' '.join(names)} measurement information"

    @property
    def numbers(self) -> int:
        """On a line."""
        return len(self.ends) + self.width + self.dimension * (self.dimension + 1) // 2


VERTICES = (
    Vertex("VERTEX_SE2", SE2, "VERTEX_SE2 id x y θ"),
    Vertex("VERTEX_XY", Euclidean(2), "VERTEX_XY id x y"),
    Vertex("VERTEX_SE3:QUAT", SE3, "VERTEX_SE3:QUAT id x y z qx qy qz qw"),
)
EDGES = (
    Edge("EDGE_SE2", Between, ("VERTEX_SE2", "VERTEX_SE2"), 3, 3),
    Edge("EDGE_SE2_XY", Landmark, ("VERTEX_SE2", "VERTEX_XY"), 2, 2),
    Edge("EDGE_SE3:QUAT", Between, ("VERTEX_SE3:QUAT", "VERTEX_SE3:QUAT"), 7, 6),
    Edge("EDGE_PRIOR_SE2", Prior, ("VERTEX_SE2",), 3, 3),
)
KNOWN = {row.word for row in (*VERTICES, *EDGES)} | {"FIX"}
ORIGIN = {"VERTEX_SE2": [0.0] * 3, "VERTEX_XY": [0.0] * 2, "VERTEX_SE3:QUAT": [0.0] * 6 + [1.0]}
