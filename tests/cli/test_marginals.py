"""``gabp marginals``: the table, where it goes, and what it refuses."""

import csv
import re

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import gabp
from gabp.cli.command import main

CYCLE = sp.csr_array(np.array([[4.0, -1, 0, 1], [-1, 4, -1, 0], [0, -1, 4, -1], [1, 0, -1, 4]]))
B = np.array([1.0, -2.0, 0.5, 3.0])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a model on a cycle, one on a chain, and some that are none."""
    monkeypatch.chdir(tmp_path)
    scipy.io.mmwrite("a.mtx", CYCLE)
    scipy.io.mmwrite("b.mtx", B[:, None])
    scipy.io.mmwrite("b2.mtx", np.stack([B, B], 1))
    scipy.io.mmwrite("chain.mtx", sp.diags_array([-np.ones(3), 4 * np.ones(4), -np.ones(3)], offsets=[-1, 0, 1]))
    scipy.io.mmwrite("indefinite.mtx", sp.coo_array(np.array([[1.0, 2.0, 1.0], [2.0, 1.0, 2.0], [1.0, 2.0, 1.0]])))
    scipy.io.mmwrite("wide.mtx", sp.coo_array(np.ones((2, 3))))
    return tmp_path


def table(text):
    header, *rows = csv.reader(text.splitlines())
    numbers = np.array(rows, dtype=float)
    np.testing.assert_array_equal(numbers[:, 0], np.arange(len(rows)))
    return header, numbers[:, 1:]


@pytest.mark.parametrize("kind", ["bethe", "exact", "corrected"])
def test_the_table_is_that_of_the_library(folder, capsys, kind):
    assert main(["marginals", "a.mtx", "b.mtx", "--variance", kind]) == 0
    captured = capsys.readouterr()
    header, numbers = table(captured.out)
    expected = gabp.marginals(CYCLE, B, variance=kind, seed=0)
    np.testing.assert_array_equal(numbers[:, 0], expected.mean)
    np.testing.assert_array_equal(numbers[:, 1], expected.variance)
    if kind == "corrected":
        assert header == ["index", "mean", "variance", "stderr"]
        np.testing.assert_array_equal(numbers[:, 2], expected.variance_stderr)
    else:
        assert header == ["index", "mean", "variance"]
    assert captured.err == f"gabp marginals: variances {kind}\n"


def test_a_file_and_the_label_of_a_forest(folder, capsys):
    assert main(["marginals", "chain.mtx", "-o", "out.csv"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "variances exact" in captured.out
    assert captured.out.endswith("written to  out.csv\n")
    _, numbers = table((folder / "out.csv").read_text())
    np.testing.assert_allclose(numbers[:, 0], 1.0)  # b is A·1
    A = scipy.io.mmread("chain.mtx", spmatrix=False).toarray()
    np.testing.assert_allclose(numbers[:, 1], np.diag(np.linalg.inv(A)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("indefinite.mtx --variance exact", "indefinite.mtx: .*not positive definite"),
        ("indefinite.mtx", "indefinite.mtx: A is not positive definite"),
        ("wide.mtx", "wide.mtx: .*square"),
        ("a.mtx b2.mtx", r"shape \(4, 2\)"),
        ("a.mtx missing.mtx", "no such file"),
        ("a.mtx --variance guess", "invalid choice: 'guess'"),
        ("a.mtx -o out.mtx", "must end in .csv"),
    ],
)
def test_bad_input_is_2_and_one_line(folder, capsys, arguments, message):
    assert main(["marginals", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gabp")
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err), captured.err


@pytest.mark.parametrize("message", ["the factor would take 900 GB", ""])
def test_a_factor_that_does_not_fit(folder, capsys, monkeypatch, message):
    def too_large(*arguments, **settings):
        raise MemoryError(message)

    monkeypatch.setattr("gabp.marginals", too_large)
    assert main(["marginals", "a.mtx"]) == 2
    expected = message or "not enough memory for a problem of this size"
    assert capsys.readouterr().err == f"gabp marginals: error: a.mtx: {expected}\n"


def test_no_convergence_is_1(folder, capsys, monkeypatch):
    solution = gabp.solve(CYCLE, B, maxiter=0, method="flooding", throw=False)

    def failing(*arguments, **settings):
        raise gabp.ConvergenceError(solution)

    monkeypatch.setattr("gabp.marginals", failing)
    assert main(["marginals", "a.mtx"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gabp marginals: not converged: ")
    assert captured.err.count("\n") == 1
