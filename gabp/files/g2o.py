"""Pose graphs read from g2o files; the words of the format are in `gabp.files.g2o_words`."""

import os
from collections.abc import Sequence

import numpy as np

from gabp.factors import FactorGraph, Variables
from gabp.factors.reading import InvalidFactorError
from gabp.factors.spanning_tree import spanning_tree_values
from gabp.files.errors import FileError
from gabp.files.g2o_words import EDGES, KNOWN, ORIGIN, VERTICES, Edge, Vertex
from gabp.files.lines import GraphFileError, fail, parse_ids, parse_numbers, shown
from gabp.files.raw import read_bytes


def read_g2o(path: str | os.PathLike[str]) -> FactorGraph:
    """Read a pose graph: a g2o text file, or one compressed as ``.gz`` or ``.bz2``.

    Parameters
    ----------
    path : path

    Returns
    -------
    FactorGraph
        ``graph.sets`` are the poses of the plane, the points of the plane and the poses of space, as far as the file
        has them; the ``labels`` of each are the identifiers in the file, ascending. ``graph.factors`` are the edges, in
        the order of the file. Vertices that only edges name start where these lead, breadth first from the others (or
        from the origin). FIX holds a variable; a component without any has its first variable held by ``optimize``, as
        in g2o (``gauge="hold"``).

    Raises
    ------
    FileError
        The file cannot be read, or is damaged: the line and the reason are named.

    Examples
    --------
    >>> import pathlib, tempfile, gabp
    >>> path = pathlib.Path(tempfile.mkdtemp(), "graph.g2o")
    >>> _ = path.write_text("FIX 1\\nEDGE_SE2 1 2 1 0 0.5 1 0 0 1 0 1\\nVERTEX_SE2 1 0 0 0\\n")
    >>> graph = gabp.read_g2o(path)
    >>> (poses,) = graph.sets
    >>> graph.optimize().values(poses)
    array([[0. , 0. , 0. ],
           [1. , 0. , 0.5]])
    """
    try:
        return parse_g2o(read_bytes(path))
    except GraphFileError as error:
        raise FileError(f"{path}: {error}") from error


def parse_g2o(data: bytes) -> FactorGraph:
    """Read the text of a pose graph; see `read_g2o`.

    Raises
    ------
    GraphFileError
    """
    return _Parser(data).graph()


class _Parser:
    """The lines of a file by their first word, and the graph that they make."""

    def __init__(self, data: bytes) -> None:
        self.rest: dict[str, list[str]] = {word: [] for word in KNOWN}
        self.line: dict[str, list[int]] = {word: [] for word in KNOWN}
        for number, line in enumerate(data.decode("latin-1").splitlines(), 1):
            words = line.split(None, 1)
            if not words or words[0].startswith("#"):
                continue
            if words[0] not in KNOWN:
                fail(number, f"{shown(words[0])} is not supported; {', '.join(sorted(KNOWN))} can be read")
            self.rest[words[0]].append(words[1] if len(words) > 1 else "")
            self.line[words[0]].append(number)
        if not any(self.rest[row.word] for row in (*VERTICES, *EDGES)):
            raise GraphFileError("the file has no vertices and no edges")

    def graph(self) -> FactorGraph:
        edges = {edge: self._edge_numbers(edge) for edge in EDGES if self.rest[edge.word]}
        self.graph_read = FactorGraph(gauge="hold")
        self.sets: dict[str, Variables] = {}
        found = [self._add_vertices(vertex, edges) for vertex in VERTICES]
        missing = [mask for mask in found if mask is not None]
        self._require_distinct_sets()
        self._fix()
        for edge, numbers in edges.items():
            self._add_edges(edge, numbers)
        if any(mask.any() for mask in missing):
            return self._with_missing_placed(missing)
        return self.graph_read

    def _edge_numbers(self, edge: Edge) -> np.ndarray:
        lines = self.line[edge.word]
        numbers = parse_numbers(self.rest[edge.word], lines, edge.numbers, edge.form)
        ids = parse_ids(numbers[:, : len(edge.ends)], lines)
        if len(edge.ends) == 2:
            loop = ids[:, 0] == ids[:, 1]
            if loop.any():
                row = int(loop.argmax())
                fail(lines[row], f"the edge leads from vertex {ids[row, 0]} to itself")
        return numbers

    def _add_vertices(self, vertex: Vertex, edges: dict[Edge, np.ndarray]) -> np.ndarray | None:
        """Add a set of variables; which of them no line gives a value."""
        lines = self.line[vertex.word]
        numbers = parse_numbers(self.rest[vertex.word], lines, 1 + vertex.manifold.width, vertex.form)
        given = parse_ids(numbers[:, 0], lines)
        named = [
            parse_ids(table[:, end], self.line[edge.word])
            for edge, table in edges.items()
            for end, word in enumerate(edge.ends)
            if word == vertex.word
        ]
        ids = np.unique(np.concatenate([given, *named]))
        if not len(ids):
            return None
        place = np.searchsorted(ids, given)
        first = np.full(len(ids), -1)
        first[place[::-1]] = np.arange(len(given))[::-1]
        again = first[place] != np.arange(len(given))
        if again.any():
            row = int(again.argmax())
            fail(lines[row], f"vertex {given[row]} is there already, in line {lines[first[place[row]]]}")
        values = np.tile(ORIGIN[vertex.word], (len(ids), 1))
        values[place] = numbers[:, 1:]
        try:
            self.sets[vertex.word] = self.graph_read.variables(vertex.manifold, values, labels=ids)
        except InvalidFactorError as error:
            fail(lines[first[error.factor]], f"vertex {ids[error.factor]}: {error}")
        return first < 0

    def _require_distinct_sets(self) -> None:
        """An identifier is of one kind of vertex."""
        seen: dict[int, str] = {}
        for word, variables in self.sets.items():
            labels = _ids(variables).tolist()
            for label in labels:
                if label in seen:
                    raise GraphFileError(f"vertex {label} is used as {seen[label]} and as {word}")
            seen.update(dict.fromkeys(labels, word))

    def _fix(self) -> None:
        for text, line in zip(self.rest["FIX"], self.line["FIX"], strict=True):
            words = text.split()
            ids = parse_ids(parse_numbers([text], [line], max(len(words), 1), "FIX id")[0], [line] * len(words))
            for label in ids.tolist():
                for variables in self.sets.values():
                    where = np.flatnonzero(variables.labels == label)
                    if len(where):
                        self.graph_read.hold(variables, where)
                        break
                else:
                    fail(line, f"there is no vertex {label} to fix")

    def _add_edges(self, edge: Edge, numbers: np.ndarray) -> None:
        ends, d = len(edge.ends), edge.dimension
        sets = tuple(self.sets[word] for word in edge.ends)
        indices = tuple(
            np.searchsorted(_ids(variables), numbers[:, end].astype(np.int64)) for end, variables in enumerate(sets)
        )
        information = np.zeros((len(numbers), d, d))
        row, column = np.triu_indices(d)
        information[:, row, column] = information[:, column, row] = numbers[:, ends + edge.width :]
        measurement = numbers[:, ends : ends + edge.width]
        try:
            self.graph_read.add(edge.kind, sets, indices, measurement, information)
        except InvalidFactorError as error:
            fail(self.line[edge.word][error.factor], str(error))

    def _with_missing_placed(self, missing: Sequence[np.ndarray]) -> FactorGraph:
        """The same graph with the variables that are missing where the edges lead from the others."""
        old = self.graph_read
        held = [~mask for mask in missing]
        values = spanning_tree_values(old.sets, old.factors, held)
        graph = FactorGraph(gauge=old.gauge)
        sets = [graph.variables(s.manifold, v.numpy(), labels=s.labels) for s, v in zip(old.sets, values, strict=True)]
        for before, after in zip(old.sets, sets, strict=True):
            graph.hold(after, np.flatnonzero(old.held(before)))
        for batch in old.factors:
            chosen = tuple(sets[variables.position] for variables in batch.variables)
            graph.add(type(batch.kind), chosen, tuple(batch.index.unbind(1)), batch.measurement, batch.information)
        return graph


def _ids(variables: Variables) -> np.ndarray:
    assert variables.labels is not None  # of a graph that was read
    return variables.labels
