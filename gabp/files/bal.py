"""Bundle adjustment problems in the format of *Bundle Adjustment in the Large* (Agarwal et al., ECCV 2010).

The first line is the number of cameras, points and observations; then a line ``camera point x y`` for each observation;
then 9 numbers for each camera and 3 for each point, one a line.
"""

import os

import numpy as np

from gabp.factors import Euclidean, FactorGraph, Reprojection
from gabp.files.errors import FileError
from gabp.files.lines import GraphFileError, fail, parse_ids, parse_numbers, shown
from gabp.files.raw import read_bytes

_CAMERA, _POINT = 9, 3


def read_bal(path: str | os.PathLike[str]) -> FactorGraph:
    """Read a bundle adjustment problem: a text file, or one compressed as ``.gz`` or ``.bz2``.

    Parameters
    ----------
    path : path

    Returns
    -------
    FactorGraph
        ``graph.sets`` are the cameras, Euclidean(9), and the points, Euclidean(3); one batch of
        `gabp.factors.Reprojection`, of information 1 per pixel. ``gauge="free"``: seven directions are left to the
        damping of Levenberg–Marquardt.

    Raises
    ------
    FileError
        The file cannot be read, or is damaged: the line and the reason are named.

    Examples
    --------
    >>> import pathlib, tempfile, gabp
    >>> path = pathlib.Path(tempfile.mkdtemp(), "problem.txt")
    >>> numbers = [0, 0, 0, 0, 0, -4, 100, 0, 0, 0.5, 0, 0]
    >>> _ = path.write_text("\\n".join(["1 1 1", "0 0 12.0 0.0", *map(str, numbers)]))
    >>> gabp.read_bal(path).objective()
    0.125
    """
    try:
        return parse_bal(read_bytes(path))
    except GraphFileError as error:
        raise FileError(f"{path}: {error}") from error


def parse_bal(data: bytes) -> FactorGraph:
    """Read the text of a bundle adjustment problem; see `read_bal`.

    Raises
    ------
    GraphFileError
    """
    lines = data.decode("latin-1").splitlines()
    numbers = [number for number, line in enumerate(lines, 1) if line and not line.isspace()]
    if not numbers:
        raise GraphFileError("the file is empty")
    text = [lines[number - 1] for number in numbers]
    head = text[0].split()
    if len(head) != 3 or not all(word.isdigit() and len(word) < 10 for word in head) or "0" in head:
        fail(numbers[0], f"expected 'cameras points observations', three positive numbers, not {shown(text[0])}")
    cameras, points, observations = map(int, head)
    wanted = 1 + observations + _CAMERA * cameras + _POINT * points
    if len(text) != wanted:
        what = "truncated" if len(text) < wanted else "too long"
        raise GraphFileError(
            f"{what}: {cameras} cameras, {points} points and {observations} observations (line {numbers[0]}) "
            f"take {wanted} lines, the file holds {len(text)}"
        )
    end = 1 + observations
    seen = parse_numbers(text[1:end], numbers[1:end], 4, "camera point x y")
    values = parse_numbers(text[end:], numbers[end:], 1, "number")[:, 0]
    index = parse_ids(seen[:, :2], numbers[1:end])
    for column, name, count in ((0, "camera", cameras), (1, "point", points)):
        outside = index[:, column] >= count
        if outside.any():
            row = int(outside.argmax())
            fail(numbers[1 + row], f"{name} {index[row, column]} is outside 0…{count - 1}")
    return _graph(values[: _CAMERA * cameras], values[_CAMERA * cameras :], index, seen[:, 2:])


def _graph(cameras: np.ndarray, points: np.ndarray, index: np.ndarray, pixels: np.ndarray) -> FactorGraph:
    graph = FactorGraph(gauge="free")
    sets = (
        graph.variables(Euclidean(_CAMERA), cameras.reshape(-1, _CAMERA)),
        graph.variables(Euclidean(_POINT), points.reshape(-1, _POINT)),
    )
    graph.add(Reprojection, sets, (index[:, 0], index[:, 1]), pixels, 1.0)
    return graph
