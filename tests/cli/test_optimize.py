"""``gabp optimize``: what it writes where, the picture, and what it refuses in one line."""

import csv
import dataclasses
import gzip
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gabp
from factor_models import add_outliers, pose_graph, tour
from gabp.cli.command import main
from gabp.cli.graph_figure import graph_figure
from gabp.factors import SE2, SE3, Euclidean, Landmark
from gabp.factors.linearization import linearize
from gabp.factors.structure import Structure
from gabp.files import write_text

PNG = b"\x89PNG\r\n\x1a\n"
CAMERA = [0.0, 0, 0, 0, 0, -4, 100, 0, 0]


def dense_marginals(graph, result):
    """The covariances of all variables by a dense inverse: 0 where held."""
    structure = Structure.of(graph.sets, result.weighed(graph.factors), result.fixed)
    inverse = np.linalg.inv(linearize(structure, result.estimate).system.to_scipy().toarray())

    def covariance(variables):
        found = np.zeros((variables.count, *(variables.manifold.dimension,) * 2))
        for index, first in enumerate(structure.unknown[variables.position]):
            if first >= 0:
                own = slice(first, first + variables.manifold.dimension)
                found[index] = inverse[own, own]
        return found

    return SimpleNamespace(covariance=covariance)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with pose graphs of the plane and of space, and a bundle adjustment problem."""
    monkeypatch.chdir(tmp_path)
    for name, manifold in (("plane.g2o", SE2), ("space.g2o", SE3)):
        gabp.write_g2o(name, pose_graph(manifold, anchored=False)[0])
    graph, x, _odometry, loops = tour(SE2, side=5)
    points = graph.variables(Euclidean(2), np.zeros((1, 2)))
    graph.add(Landmark, (x, points), ([0, 3], [0, 0]), SE2.observe(x.initial[[0, 3]], torch.ones(2)), 10.0)
    add_outliers(graph, x, loops, 0.3)
    gabp.write_g2o("wrong-loops.g2o", graph)
    pixels = ["0 0 12.0 0.0", "0 1 0.0 25.0", "1 0 12.5 0.0"]
    values = [repr(float(v)) for v in [*CAMERA, *CAMERA, 0.5, 0, 0, 0, 1, 0]]
    write_text("bundle.txt", "\n".join(["2 2 3", *pixels, *values, ""]))
    return tmp_path


def the_line(capsys):
    """What went to stderr, which is one line; stdout is empty."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("method", ["gauss-newton", "levenberg-marquardt", "dogleg"])
@pytest.mark.parametrize("init", [[], ["--init", "chordal"], ["--init", "spanning-tree"]])
def test_the_graph_written_is_that_of_the_library(folder, capsys, method, init):
    assert main(["optimize", "space.g2o", "-o", "out.g2o.gz", "--method", method, *init]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("OptimizationResult: CONVERGED") and captured.err == ""
    assert captured.out.endswith("graph          out.g2o.gz\n")
    expected = gabp.read_g2o("space.g2o").optimize(method)
    assert gabp.read_g2o("out.g2o.gz").objective() == pytest.approx(expected.objective, rel=1e-6)


def test_json_has_the_fields_of_a_result(folder, capsys):
    assert main(["optimize", "plane.g2o", "--json", "--rtol", "1e-6"]) == 0
    record = json.loads(capsys.readouterr().out)
    fields = [field.name for field in dataclasses.fields(gabp.OptimizationResult)]
    assert list(record) == [f for f in fields if f not in ("estimate", "sets", "fixed", "graduated")] + ["outliers"]
    assert record["converged"] is True and record["outliers"] == []


def test_false_loop_closures_are_listed_and_drawn(folder, capsys):
    arguments = ["wrong-loops.g2o", "--robust", "gnc", "--init", "chordal", "--plot", "g.png", "-o", "out.g2o"]
    assert main(["optimize", *arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    graph = gabp.read_g2o("wrong-loops.g2o")
    assert record["outliers"] == graph.factors[0].index[-7:].tolist()
    assert (folder / "g.png").read_bytes().startswith(PNG)
    assert main(["optimize", *arguments]) == 0
    assert "outliers       7 of 49 factors" in capsys.readouterr().out


def test_a_loss_is_used_and_not_written(folder, capsys):
    assert main(["optimize", "plane.g2o", "--loss", "cauchy:0.5", "-o", "out.g2o", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    graph = gabp.read_g2o("plane.g2o")
    for batch in graph.factors:
        graph.remove(batch)
        arguments = (batch.variables, tuple(batch.index.T), batch.measurement, batch.information)
        graph.add(type(batch.kind), *arguments, loss=gabp.losses.Cauchy(0.5))
    assert record["objective"] == pytest.approx(graph.optimize().objective, rel=1e-9)
    assert len(gabp.read_g2o("out.g2o").factors[0]) == len(gabp.read_g2o("plane.g2o").factors[0])


@pytest.mark.parametrize("method", ["gauss-newton", "dogleg", "gbp", "incremental"])
def test_every_method_reaches_the_optimum(folder, capsys, method):
    assert main(["optimize", "plane.g2o", "--method", method, "--maxiter", "2000", "--json"]) == 0
    expected = gabp.read_g2o("plane.g2o").optimize().objective
    assert json.loads(capsys.readouterr().out)["objective"] == pytest.approx(expected, rel=1e-6)


def test_covariances(folder, capsys):
    assert main(["optimize", "wrong-loops.g2o", "--robust", "gnc", "--init", "chordal", "--covariance", "c.csv"]) == 0
    rows = list(csv.DictReader((folder / "c.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [str(i) for i in range(26)]
    assert [row["manifold"] for row in rows] == ["SE2"] * 25 + ["Euclidean(2)"]
    graph = gabp.read_g2o("wrong-loops.g2o")
    robust = gabp.factors.GraduatedNonConvexity(inliers="odometry")
    expected = dense_marginals(graph, graph.optimize(init="chordal", robust=robust))
    poses, points = (expected.covariance(variables) for variables in graph.sets)
    assert float(rows[7]["covariance_1_2"]) == pytest.approx(poses[7, 1, 2])
    assert float(rows[25]["covariance_0_1"]) == pytest.approx(points[0, 0, 1])
    assert rows[25]["covariance_2_2"] == ""


@pytest.mark.parametrize("name", ["plane.g2o", "space.g2o", "wrong-loops.g2o", "bundle.txt"])
def test_every_kind_of_file_is_drawn(folder, capsys, name):
    assert main(["optimize", name, "--plot", "g.png"]) in (0, 1)
    assert (folder / "g.png").stat().st_size > 10_000


def test_ellipses_have_the_covariance_of_the_position_in_the_world():
    """Of a pose turned by 90°, whose own x axis is the world's y axis."""
    graph = gabp.FactorGraph()
    x = graph.variables(SE2, [[0.0, 0.0, np.pi / 2], [1.0, 1.0, 0.0]])
    graph.add(gabp.factors.Prior, x, [0, 1], x.initial, [1e2, 1e4, 1.0])
    result = graph.optimize()
    figure = graph_figure(graph, result, {x: torch.diag(torch.tensor([1e-2, 1e-4, 1.0])).expand(2, 3, 3).numpy()})
    (ellipses,) = [c for c in figure.axes[1].collections if hasattr(c, "get_widths")]
    np.testing.assert_allclose(ellipses.get_angles() % 180, [90.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(ellipses.get_widths(), 2 * 0.1 * 5.991464547**0.5)
    np.testing.assert_allclose(ellipses.get_heights(), 2 * 0.01 * 5.991464547**0.5)


def test_no_convergence_is_1(folder, capsys):
    assert main(["optimize", "plane.g2o", "--maxiter", "1"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("OptimizationResult: MAX_ITERATIONS")
    assert captured.err.startswith("gabp optimize: not converged: stopped at maxiter")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("VERTEX_SE2 0 0 0 0\nVERTEX_SE2 1 1 x 0\n", "line 2: 'x' is not a number"),
        ("VERTEX_SE2 0 0 0 0\nEDGE_SE3 0 1\n", "line 2: 'EDGE_SE3' is not supported"),
        ("EDGE_SE2 0 0 1 0 0 1 0 0 1 0 1\n", "line 1: the edge leads from vertex 0 to itself"),
        ("", "the file has no vertices"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(folder, capsys, text, message):
    (folder / "bad.g2o").write_text(text)
    assert main(["optimize", "bad.g2o"]) == 2
    line = the_line(capsys)
    assert line.startswith("gabp optimize: error: bad.g2o: ") and message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("missing.g2o", "missing.g2o: cannot be read: no such file"),
        ("graph.mtx", "graph.mtx: must end in .g2o, or in .txt or .bal"),
        ("plane.g2o --loss hubert:1", "there is no loss 'hubert'; choose one of cauchy"),
        ("plane.g2o --loss huber:-1", "'-1' is no scale: huber:1.0 is an example"),
        ("plane.g2o --loss huber:1 --robust gnc", "--loss cannot be used with --robust"),
        ("plane.g2o -o out.txt", "must end in .g2o"),
        ("plane.g2o -o plane.g2o", "plane.g2o"),
        ("plane.g2o --plot out.pdf", "must end in .png"),
        ("plane.g2o --covariance out.txt", "must end in .csv"),
        ("bundle.txt -o out.g2o", r"out.g2o: the g2o format has no vertex for Euclidean\(9\)"),
        ("bundle.txt --init chordal", "bundle.txt: init='chordal' needs Between factors"),
        ("bundle.txt --method gauss-newton", "bundle.txt: gauge='free' needs the damping"),
        ("plane.g2o --method newton", "invalid choice: 'newton'"),
        ("plane.g2o --rtol 2", "not a number between 0 and 1"),
    ],
)
def test_bad_input_is_2_and_one_line(folder, capsys, arguments, message):
    assert main(["optimize", *arguments.split()]) == 2
    assert re.search(message, the_line(capsys))


def test_a_damaged_compressed_file(folder, capsys):
    (folder / "bad.g2o.gz").write_bytes(gzip.compress(b"VERTEX_SE2 0 0 0 0")[:-9])
    assert main(["optimize", "bad.g2o.gz"]) == 2
    assert "damaged, truncated or not gzip" in the_line(capsys)
