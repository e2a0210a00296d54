"""Bundle adjustment files: what is read, and the line that is named of a damaged one."""

import gzip

import numpy as np
import pytest

import gabp
from gabp.files import FileError, GraphFileError, parse_bal

CAMERA = [0.0, 0, 0, 0, 0, -4, 100, 0, 0]
POINTS = [[0.5, 0, 0], [0, 1, 0]]
PIXELS = [(0, 0, 12.0, 0.0), (0, 1, 0.0, 25.0), (1, 0, 12.5, 0.0)]


def text():
    lines = ["2 2 3", *(f"{c} {p}     {x:e} {y:e}" for c, p, x, y in PIXELS)]
    lines += [repr(number) for number in [*CAMERA, *CAMERA, *POINTS[0], *POINTS[1]]]
    return "\n".join([*lines, ""])


def test_cameras_points_and_pixels():
    graph = parse_bal(text().encode())
    cameras, points = graph.sets
    np.testing.assert_array_equal(cameras.initial, [CAMERA, CAMERA])
    np.testing.assert_array_equal(points.initial, POINTS)
    (seen,) = graph.factors
    assert seen.index.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert graph.objective() == pytest.approx(0.5 * 0.5**2)  # the first pixel is half a pixel off
    assert graph.gauge == "free"


def test_a_compressed_file(tmp_path):
    path = tmp_path / "problem.txt.gz"
    path.write_bytes(gzip.compress(text().encode()))
    assert gabp.read_bal(path).objective() == pytest.approx(0.125)


DAMAGE = {
    "no header": ("2 2 3\n", "2 2\n", "line 1: expected 'cameras points observations'"),
    "a header of words": ("2 2 3\n", "two 2 3\n", "line 1: expected 'cameras"),
    "no cameras": ("2 2 3\n", "0 2 3\n", "line 1: expected 'cameras"),
    "a line too few": ("100\n", "", "truncated: .* take 28 lines, the file holds 27"),
    "a line too many": ("100\n", "100\n100\n", "too long: .* the file holds 29"),
    "a camera that is not there": ("1 0     1.25", "2 0     1.25", r"line 4: camera 2 is outside 0…1"),
    "a point that is not there": ("0 1     0", "0 2     0", r"line 3: point 2 is outside 0…1"),
    "an index with a fraction": ("1 0     1.25", "1.5 0     1.25", "line 4: 1.5 is no identifier"),
    "two numbers on a line": ("100\n", "100 1\n", "line 11: expected 'number', 1 numbers, found 2"),
    "a word": ("100\n", "hundred\n", "line 11: 'hundred' is not a number"),
    "a value that is not finite": ("100\n", "inf\n", "line 11: inf is not finite"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_with_its_line(damage, tmp_path):
    old, new, message = DAMAGE[damage]
    damaged = text().replace(old, new, 1)
    assert damaged != text()
    with pytest.raises(GraphFileError, match=message):
        parse_bal(damaged.encode())
    path = tmp_path / "damaged.txt"
    path.write_text(damaged)
    with pytest.raises(FileError, match=r"damaged\.txt: "):
        gabp.read_bal(path)


def test_an_empty_file():
    with pytest.raises(GraphFileError, match="the file is empty"):
        parse_bal(b"\n\n")
