"""Pose graphs written as g2o files."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gabp.factors import FactorGraph, Factors, Variables
from gabp.files.g2o_words import EDGES, VERTICES, Edge
from gabp.files.raw import write_bytes
from gabp.system import InvalidSystemError


def write_g2o(path: str | os.PathLike[str], graph: FactorGraph, result: Any = None) -> None:
    """Write a pose graph as a g2o file, compressed if the name ends in ``.gz`` or ``.bz2``.

    Parameters
    ----------
    path : path
    graph : FactorGraph
        Of what the format has: SE2, SE3 and Euclidean(2) variables, `Between`, `Landmark` and `Prior` (SE2) factors.
    result : OptimizationResult, optional
        The values of the vertices; the initial ones by default.

    Raises
    ------
    InvalidSystemError
        The format does not have something that the graph has, such as a robust loss.
    FileError
        The file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, gabp
    >>> graph = gabp.FactorGraph()
    >>> x = graph.variables(gabp.SE2, np.zeros((1, 3)))
    >>> prior = graph.add(gabp.factors.Prior, x, [0], [[1.0, 2.0, 0.5]], 4.0)
    >>> path = pathlib.Path(tempfile.mkdtemp(), "graph.g2o")
    >>> gabp.write_g2o(path, graph, graph.optimize(rtol=0))
    >>> print(path.read_text().strip())
    VERTEX_SE2 0 1.0 2.0 0.5
    EDGE_PRIOR_SE2 0 1.0 2.0 0.5 4.0 0.0 0.0 4.0 0.0 4.0
    """
    write_bytes(path, format_g2o(graph, result))


def format_g2o(graph: FactorGraph, result: Any = None) -> bytes:
    """The text of a pose graph, with as many digits as bring back the same floats; see `write_g2o`."""
    words = {vertex.manifold: vertex.word for vertex in VERTICES}
    for variables in graph.sets:
        if variables.manifold not in words:
            raise InvalidSystemError(f"the g2o format has no vertex for {variables.manifold.name}")
    labels = _labels(graph.sets)
    lines: list[str] = []
    fixed: list[str] = []
    for variables, ids in zip(graph.sets, labels, strict=True):
        values = variables.initial if result is None else torch.as_tensor(result.values(variables)).double()
        lines += _format_rows(words[variables.manifold], ids[:, None], values.numpy())
        fixed += [f"FIX {label}" for label in ids[graph.held(variables)].tolist()]
    lines += fixed
    for batch in graph.factors:
        edge = _edge_of(batch, words)
        ids = np.stack([labels[s.position][i] for s, i in zip(batch.variables, batch.index.numpy().T, strict=True)], 1)
        row, column = np.triu_indices(edge.dimension)
        upper = batch.information.numpy()[:, row, column]
        upper = np.broadcast_to(upper, (len(batch), upper.shape[1]))
        lines += _format_rows(edge.word, ids, np.concatenate([batch.measurement.numpy(), upper], 1))
    return "\n".join([*lines, ""]).encode()


def _labels(sets: Sequence[Variables]) -> list[np.ndarray]:
    """The identifiers of all sets: their own, or the numbers after those of the sets before."""
    labels, free = [], 0
    for variables in sets:
        ids = np.arange(free, free + variables.count) if variables.labels is None else variables.labels
        free = max(free, int(ids.max(initial=-1)) + 1)
        labels.append(ids)
    every = np.concatenate(labels)
    if len(np.unique(every)) != len(every):
        raise InvalidSystemError("two variables have the same label, which a g2o file cannot tell apart")
    return labels


def _edge_of(batch: Factors, words: dict[Any, str]) -> Edge:
    ends = tuple(words[variables.manifold] for variables in batch.variables)
    found = [edge for edge in EDGES if isinstance(batch.kind, edge.kind) and edge.ends == ends]
    if not found:
        raise InvalidSystemError(f"the g2o format has no edge for {batch!r}")
    if batch.loss is not None:
        raise InvalidSystemError(f"the g2o format has no losses, as {batch!r} has")
    return found[0]


def _format_rows(word: str, ids: np.ndarray, values: np.ndarray) -> list[str]:
    return [
        f"{word} {' '.join(map(str, row))} {' '.join(map(repr, numbers))}"
        for row, numbers in zip(ids.tolist(), values.tolist(), strict=True)
    ]
