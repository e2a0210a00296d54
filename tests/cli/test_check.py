"""``gabp check``: reports for people and programs, and what it refuses."""

import json
import re

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import gabp
from gabp.cli.command import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with matrices of which check has different things to say."""
    monkeypatch.chdir(tmp_path)
    chain = sp.diags_array([-np.ones(4), 4 * np.ones(5), -np.ones(4)], offsets=[-1, 0, 1])
    scipy.io.mmwrite("chain.mtx", chain.tocoo())
    scipy.io.mmwrite("indefinite.mtx", sp.coo_array(np.array([[1.0, 2.0, 1.0], [2.0, 1.0, 2.0], [1.0, 2.0, 1.0]])))
    scipy.io.mmwrite("lopsided.mtx", sp.coo_array(np.array([[2.0, 1.0], [0.0, 2.0]])))
    scipy.io.mmwrite("negative.mtx", sp.coo_array(np.diag([1.0, -1.0])))
    return tmp_path


def test_the_report_is_printed(folder, capsys):
    assert main(["check", "chain.mtx"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{gabp.check(scipy.io.mmread('chain.mtx', spmatrix=False))!r}\n"
    assert captured.err == ""


def test_json_says_the_same(folder, capsys):
    assert main(["check", "chain.mtx", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["n"], record["is_forest"], record["walk_summable"]) == (5, True, "yes")
    lower, upper = record["walk_radius"]
    assert lower <= np.cos(np.pi / 6) / 2 <= upper  # ρ(|R|) of a path of 5 nodes with |R_ij| = 1/4


@pytest.mark.parametrize("name", ["indefinite.mtx", "lopsided.mtx", "negative.mtx"])
def test_what_is_odd_is_reported_and_not_an_error(folder, capsys, name):
    assert main(["check", name, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["positive_definite"] != "yes"
    assert captured.err == ""


def test_the_scaling_goes_to_a_file_and_not_into_the_json(folder, capsys):
    assert main(["check", "chain.mtx", "--json", "--scaling", "d.mtx"]) == 0
    assert "scaling" not in json.loads(capsys.readouterr().out)
    A, d = scipy.io.mmread("chain.mtx").toarray(), scipy.io.mmread("d.mtx").ravel()
    assert (d > 0).all() and (A @ d > 0).all()


def test_plot(folder, capsys):
    assert main(["check", "chain.mtx", "--plot", "report.png"]) == 0
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.startswith("ConvergenceReport")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("check", "the following arguments are required: MATRIX.mtx"),
        ("check missing.mtx", "missing.mtx: cannot be read: no such file"),
        ("check wide.mtx", "wide.mtx: .*square"),
        ("check infinite.mtx", "infinite.mtx: .*inf"),
        ("check chain.mtx --plot report.svg", "report.svg: the output file must end in .png"),
        ("check indefinite.mtx --scaling d.mtx", "d.mtx: there is no scaling to write: walk-summability is not proven"),
        ("check chain.mtx --scaling chain.mtx", "chain.mtx: cannot be written: it is the input"),
        ("check chain.mtx --plot nowhere/report.png", "there is no folder nowhere"),
    ],
)
def test_bad_input_is_2_and_one_line(folder, capsys, arguments, message):
    scipy.io.mmwrite("wide.mtx", sp.coo_array(np.ones((2, 3))))
    scipy.io.mmwrite("infinite.mtx", sp.coo_array(np.diag([1.0, np.inf])))
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gabp")
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err), captured.err
