"""Pose graphs in g2o format: what is read and written back, and the line that is named of a damaged file."""

import bz2
import gzip
import math

import numpy as np
import pytest

import gabp
from factor_models import noisy_loop
from gabp.factors import SE2, SE3, Between, Euclidean, Landmark, Prior
from gabp.files import FileError, GraphFileError, format_g2o, parse_g2o

PLANAR = """\
# a comment
VERTEX_SE2 10 0 0 0

VERTEX_SE2 20 1 0 1.5707963267948966
VERTEX_XY 7 1 2
FIX 10
EDGE_SE2 10 20 1 0 1.57 4 0.5 0 9 0 16
EDGE_SE2_XY 20 7 2 0 25 0 25
EDGE_SE2 10 20 1.1 0 1.57 1 0 0 1 0 1
"""
SPATIAL = """\
VERTEX_SE3:QUAT 0 0 0 0 0 0 0 2
VERTEX_SE3:QUAT 5 1 2 3 0 0 3 4
EDGE_SE3:QUAT 0 5 1 2 3 0 0 3 4 1 2 3 0 0 0 9 5 0 0 0 20 0 0 0 6 0 0 7 0 8
""".replace("1 2 3 0 0 0 9 5", "10 2 3 0 0 0 19 5")


def parse(text):
    return parse_g2o(text.encode())


def test_planar_poses_and_points():
    graph = parse(PLANAR)
    poses, points = graph.sets
    assert (poses.manifold, points.manifold) == (SE2, Euclidean(2))
    assert poses.labels.tolist() == [10, 20] and points.labels.tolist() == [7]
    np.testing.assert_allclose(poses.initial, [[0, 0, 0], [1, 0, math.pi / 2]])
    between, landmark = graph.factors
    assert isinstance(between.kind, Between) and isinstance(landmark.kind, Landmark)
    assert between.index.tolist() == [[0, 1], [0, 1]] and landmark.index.tolist() == [[1, 0]]
    np.testing.assert_array_equal(between.information[0], [[4, 0.5, 0], [0.5, 9, 0], [0, 0, 16]])
    assert graph.held(poses).tolist() == [True, False]


def test_poses_of_space_with_quaternions_of_any_length():
    graph = parse(SPATIAL)
    (poses,) = graph.sets
    assert poses.manifold is SE3
    np.testing.assert_allclose(poses.initial[:, 3:], [[0, 0, 0, 1], [0, 0, 0.6, 0.8]])
    (between,) = graph.factors
    np.testing.assert_allclose(between.measurement[0], [1, 2, 3, 0, 0, 0.6, 0.8])
    np.testing.assert_array_equal(between.information[0, :3, :3], [[10, 2, 3], [2, 19, 5], [3, 5, 20]])
    assert graph.objective() == pytest.approx(0.0, abs=1e-20)


def test_priors():
    graph = parse("VERTEX_SE2 1 0 0 0\nEDGE_PRIOR_SE2 1 1 2 0.5 1 0 0 1 0 4\n")
    (prior,) = graph.factors
    assert isinstance(prior.kind, Prior) and graph.objective() == pytest.approx(0.5 * (1 + 4 + 1))


def test_missing_vertices_start_where_the_edges_lead():
    lines = [line for line in PLANAR.splitlines() if not line.startswith(("VERTEX", "FIX"))]
    graph = parse("\n".join(["VERTEX_SE2 10 5 5 0", *lines]))
    poses, points = graph.sets
    np.testing.assert_allclose(poses.initial, [[5, 5, 0], [6, 5, 1.57]])
    np.testing.assert_allclose(points.initial, [[6 + 2 * math.cos(1.57), 5 + 2 * math.sin(1.57)]])


def test_without_any_vertex_the_first_is_at_the_origin():
    graph = parse("EDGE_SE2 4 9 1 0 0 1 0 0 1 0 1\nEDGE_SE2 2 9 0 1 0 1 0 0 1 0 1\n")
    (poses,) = graph.sets
    assert poses.labels.tolist() == [2, 4, 9]
    np.testing.assert_allclose(poses.initial, [[0, 0, 0], [-1, 1, 0], [0, 1, 0]])


def test_a_component_without_fix_is_held_by_its_first_vertex():
    text = PLANAR.replace("FIX 10\n", "")
    result = parse(text).optimize()
    assert result.converged and "id 10 in the file" in result.held[0]
    assert parse(PLANAR).optimize().held == ()
    assert result.objective == pytest.approx(parse(PLANAR).optimize().objective)


@pytest.mark.parametrize("text", [PLANAR, SPATIAL], ids=["planar", "spatial"])
def test_what_is_written_reads_the_same(text):
    graph = parse(text)
    again = parse_g2o(format_g2o(graph))
    for before, after in zip(graph.sets, again.sets, strict=True):
        np.testing.assert_array_equal(before.labels, after.labels)
        np.testing.assert_allclose(before.initial, after.initial, rtol=0, atol=1e-16)
        np.testing.assert_array_equal(graph.held(before), again.held(after))
    for before, after in zip(graph.factors, again.factors, strict=True):
        np.testing.assert_array_equal(before.index, after.index)
        np.testing.assert_allclose(before.measurement, after.measurement, rtol=0, atol=1e-16)
        np.testing.assert_array_equal(before.information, after.information)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
def test_results_are_written_and_read(tmp_path, suffix):
    _, start, i, j, measurement = noisy_loop(SE3)
    graph = gabp.FactorGraph()
    x = graph.variables(SE3, start)
    graph.add(Between, (x, x), (i, j), measurement, 2.0)
    result = graph.optimize(gauge="hold", rtol=1e-13)
    path = tmp_path / f"graph.g2o{suffix}"
    gabp.write_g2o(path, graph, result)
    again = gabp.read_g2o(path)
    assert again.objective() == pytest.approx(result.objective, rel=1e-12)
    assert {"": bytes, ".gz": gzip.decompress, ".bz2": bz2.decompress}[suffix](path.read_bytes()).startswith(b"VERTEX")


DAMAGE = {
    "an unknown word": ("VERTEX_XY 7", "VERTEX_XYZ 7", "line 5: 'VERTEX_XYZ' is not supported"),
    "a word of another case": ("FIX", "Fix", "line 6: 'Fix' is not supported"),
    "too few numbers": ("EDGE_SE2 10 20 1 0 1.57 4", "EDGE_SE2 10 20 1 0 1.57", "line 7: expected 'EDGE_SE2 i j"),
    "too many numbers": ("0 9 0 16", "0 9 0 16 1", "line 7: expected 'EDGE_SE2 i j"),
    "a line that ends": (" 1 0 1.5707963267948966", " 1", "line 4: expected 'VERTEX_SE2"),
    "no number": ("20 1 0 1.57079", "20 1 0 1.57a79", "line 4: '1.57a7963267948966' is not a number"),
    "a number that is not finite": ("7 1 2", "7 1 nan", "line 5: nan is not finite"),
    "an identifier with a fraction": ("VERTEX_XY 7 ", "VERTEX_XY 7.5 ", "line 5: 7.5 is no identifier"),
    "a negative identifier": ("VERTEX_XY 7 ", "VERTEX_XY -7 ", "line 5: -7 is no identifier"),
    "a vertex twice": ("VERTEX_SE2 20", "VERTEX_SE2 10", "line 4: vertex 10 is there already"),
    "a vertex of two kinds": ("VERTEX_XY 7", "VERTEX_XY 10", "vertex 10 is used as VERTEX_SE2 and as VERTEX_XY"),
    "a loop": ("EDGE_SE2 10 20 1.1", "EDGE_SE2 20 20 1.1", "line 9: the edge leads from vertex 20 to itself"),
    "an unknown vertex to fix": ("FIX 10", "FIX 11", "line 6: there is no vertex 11 to fix"),
    "nothing to fix": ("FIX 10", "FIX", "line 6: expected 'FIX id'"),
    "a negative information": ("25 0 25", "25 0 -25", "line 8: the information is not positive"),
    "a second negative information": (
        "1.57 1 0 0 1 0 1",
        "1.57 1 2 0 1 0 1",
        "line 9: the information of factor 1 is",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_with_its_line(damage, tmp_path):
    old, new, message = DAMAGE[damage]
    text = PLANAR.replace(old, new, 1)
    assert text != PLANAR
    with pytest.raises(GraphFileError) as error:
        parse(text)
    assert message in str(error.value) and "\n" not in str(error.value)
    path = tmp_path / "damaged.g2o"
    path.write_text(text)
    with pytest.raises(FileError, match=r"damaged\.g2o: "):
        gabp.read_g2o(path)


def test_a_zero_quaternion_is_named_with_its_line():
    with pytest.raises(GraphFileError, match=r"line 2: vertex 5: .* has the quaternion 0"):
        parse(SPATIAL.replace("1 2 3 0 0 3 4\n", "1 2 3 0 0 0 0\n"))
    with pytest.raises(GraphFileError, match=r"line 3: .* has the quaternion 0"):
        parse(SPATIAL.replace("1 2 3 0 0 3 4 10", "1 2 3 0 0 0 0 10"))


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "FIX 3\n"])
def test_empty_files(text):
    with pytest.raises(GraphFileError, match="no vertices and no edges"):
        parse(text)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileError, match="cannot be read: no such file"):
        gabp.read_g2o(tmp_path / "absent.g2o")
    for suffix, data, name in ((".gz", gzip.compress(b"VERTEX"), "gzip"), (".bz2", bz2.compress(b"VERTEX"), "bzip2")):
        path = tmp_path / f"cut.g2o{suffix}"
        path.write_bytes(data[:-6])
        with pytest.raises(FileError, match=f"damaged, truncated or not {name}"):
            gabp.read_g2o(path)


def test_what_the_format_does_not_have_is_not_written(tmp_path):
    graph = gabp.FactorGraph()
    graph.variables(Euclidean(3), np.zeros((1, 3)))
    with pytest.raises(gabp.InvalidSystemError, match=r"no vertex for Euclidean\(3\)"):
        gabp.write_g2o(tmp_path / "out.g2o", graph)
    graph = parse(PLANAR)
    graph.add(lambda x, z: x - z, graph.sets[0], [0], np.zeros((1, 3)), 1.0)
    with pytest.raises(gabp.InvalidSystemError, match="no edge for Factors"):
        gabp.write_g2o(tmp_path / "out.g2o", graph)
    graph = parse("VERTEX_SE2 1 0 0 0\n")
    graph.add(Prior, graph.sets[0], [0], np.zeros((1, 3)), 1.0, loss=gabp.losses.Huber(1.0))
    with pytest.raises(gabp.InvalidSystemError, match="no losses"):
        gabp.write_g2o(tmp_path / "out.g2o", graph)
    assert not (tmp_path / "out.g2o").exists()
