"""The command line: what it prints where, and every exit code."""

import dataclasses
import gzip
import io
import json
import logging
import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import gabp
from gabp.cli.command import main
from gabp.cli.json_text import json_text
from gabp.files import read_matrix

CYCLE = sp.csr_array(np.array([[4.0, -1, 0, 1], [-1, 4, -1, 0], [0, -1, 4, -1], [1, 0, -1, 4]]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder that holds a.mtx, a well-behaved system with a cycle."""
    monkeypatch.chdir(tmp_path)
    scipy.io.mmwrite("a.mtx", CYCLE, symmetry="symmetric")
    return tmp_path


def the_line(capsys):
    """What went to stderr, which is one line; stdout is empty."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("gabp")
    return captured.err


def test_without_a_right_hand_side_the_solution_is_one(folder, capsys):
    assert main(["solve", "a.mtx", "-o", "x.mtx"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Solution: CONVERGED")
    assert captured.out.endswith("x written to       x.mtx\n")
    assert captured.err == ""
    np.testing.assert_allclose(read_matrix("x.mtx"), np.ones((4, 1)), rtol=1e-7)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("form", ["array", "coordinate"])
def test_right_hand_sides(folder, form, columns):
    b = np.random.default_rng(0).standard_normal((4, columns))
    scipy.io.mmwrite("b.mtx", b if form == "array" else sp.coo_array(b))
    assert main(["solve", "a.mtx", "b.mtx", "-o", "x.mtx.gz", "--method", "flooding", "--rtol", "1e-10"]) == 0
    np.testing.assert_allclose(CYCLE @ read_matrix("x.mtx.gz"), b, atol=1e-9)


@pytest.mark.parametrize("name", ["a.mtx.gz", "a.npz", "dense.mtx"])
def test_every_kind_of_matrix_file(folder, name):
    (folder / "a.mtx.gz").write_bytes(gzip.compress((folder / "a.mtx").read_bytes()))
    sp.save_npz("a.npz", CYCLE.astype(np.int32))
    scipy.io.mmwrite("dense.mtx", CYCLE.toarray())
    assert main(["solve", name]) == 0


def test_json_has_the_fields_of_a_solution(folder, capsys):
    assert main(["solve", "a.mtx", "--json", "--method", "sequential", "-o", "x.mtx"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record) == [field.name for field in dataclasses.fields(gabp.Solution) if field.name != "x"]
    assert record["status"] == "CONVERGED"
    assert record["converged"] is True
    assert record["method"] == "sequential"
    assert 0 <= record["history"][-1] <= 1e-8


def test_json_is_strict():
    text = json_text({"a": np.array([1.0, np.nan]), "b": np.inf, "c": gabp.Status.DIVERGED, "d": (np.int64(3), None)})
    assert text == '{"a": [1.0, null], "b": null, "c": "DIVERGED", "d": [3, null]}'


def test_not_converged_is_1_and_the_best_x_is_written(folder, capsys):
    assert main(["solve", "a.mtx", "--method", "flooding", "--maxiter", "2", "-o", "x.mtx"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("Solution: MAX_ITERATIONS after 2 iterations")
    assert captured.err.startswith("gabp solve: not converged: stopped at maxiter")
    assert captured.err.count("\n") == 1
    assert 0 < np.abs(read_matrix("x.mtx") - 1).max() < 0.5


def test_nonsymmetric_systems_are_asked_for(folder, capsys):
    scipy.io.mmwrite("n.mtx", sp.coo_array(np.array([[4.0, 1.0, 0.0], [0.0, 4.0, 1.0], [1.0, 0.0, 4.0]])))
    assert main(["solve", "n.mtx"]) == 2
    line = the_line(capsys)
    assert line.startswith("gabp solve: error: n.mtx: A is not symmetric")
    assert "--nonsymmetric" in line
    assert main(["solve", "n.mtx", "--nonsymmetric"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("dissolve a.mtx", "invalid choice: 'dissolve'"),
        ("solve", "the following arguments are required: MATRIX.mtx"),
        ("solve a.mtx b.mtx c.mtx", "unrecognized arguments: c.mtx"),
        ("solve a.mtx --max 3", "unrecognized arguments: --max"),
        ("solve a.mtx --method magic", "invalid choice: 'magic'"),
        ("solve a.mtx --rtol tiny", "'tiny' is not a number between 0 and 1"),
        ("solve a.mtx --rtol nan", "'nan' is not a number between 0 and 1"),
        ("solve a.mtx --rtol -1e-3", "expected one argument|not a number between 0 and 1"),
        ("solve a.mtx --maxiter 0", "'0' is not a positive whole number"),
        ("solve a.mtx --maxiter 1.5", "'1.5' is not a positive whole number"),
        ("solve a.mtx --device abacus", "'abacus' is not a device; gabp computes on 'cpu' and 'cuda'"),
        ("solve a.mtx --device vulkan", "does not compute on the device 'vulkan'"),
        ("solve a.mtx --device meta", "does not compute on the device 'meta'; it does on 'cpu' and 'cuda'"),
        ("solve missing.mtx", "missing.mtx: cannot be read: no such file"),
        ("solve .", "unknown kind of file"),
        ("solve a.mtx missing.mtx", "missing.mtx: cannot be read: no such file"),
        ("solve a.mtx b2.mtx", "b2.mtx: the right-hand side has 2 rows, the matrix has 4"),
        ("solve a.mtx nan.mtx", r"nan.mtx|\[2\]|\[2, 0\]"),
        ("solve wide.mtx", "wide.mtx: .*square"),
        ("solve empty.mtx", "empty.mtx: "),
        ("solve infinite.mtx", r"infinite.mtx: .*inf.*\[1, 1\]|infinite.mtx: .*\[1, 1\].*inf"),
        ("solve negative.mtx --method flooding", r"negative.mtx: A\[1, 1\] is -1"),
        ("solve a.mtx --method double-loop --nonsymmetric", "cannot be used with --nonsymmetric"),
        ("solve a.mtx -o x.csv", "x.csv: the output file must end in .mtx or .mtx.gz"),
        ("solve a.mtx -o ./a.mtx", "a.mtx: cannot be written: it is the input"),
        ("solve a.mtx -o nowhere/x.mtx", "nowhere/x.mtx: cannot be written: there is no folder nowhere"),
        ("demo --out a.mtx", "a.mtx: cannot be made a folder: file exists"),
        ("demo now", "unrecognized arguments: now"),
    ],
)
def test_bad_input_is_2_and_one_line(folder, capsys, arguments, message):
    scipy.io.mmwrite("b2.mtx", np.ones((2, 1)))
    scipy.io.mmwrite("nan.mtx", np.array([[1.0], [1.0], [np.nan], [1.0]]))
    scipy.io.mmwrite("wide.mtx", sp.coo_array(np.ones((2, 3))))
    scipy.io.mmwrite("empty.mtx", sp.coo_array((0, 0)))
    scipy.io.mmwrite("infinite.mtx", sp.coo_array(np.diag([1.0, np.inf])))
    scipy.io.mmwrite("negative.mtx", sp.coo_array(np.array([[2.0, 1, 1], [1, -1, 1], [1, 1, 2]])))
    assert main(arguments.split()) == 2
    line = the_line(capsys)
    assert re.search(message, line), line


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["solve", "--help"], ["demo", "-h"]])
def test_help_is_0_and_on_stdout(capsys, arguments):
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"gabp {gabp.__version__}" if "--version" in arguments else "usage: gabp")
    assert captured.err == ""


def instead_of_solve(monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(gabp, "solve", fail)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "gabp solve: interrupted"),
        (MemoryError("Unable to allocate 7 TiB"), 2, "not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2, "not enough memory"),
    ],
)
def test_what_befalls_a_run(folder, capsys, monkeypatch, error, code, message):
    instead_of_solve(monkeypatch, error)
    assert main(["solve", "a.mtx"]) == code
    assert message in the_line(capsys)


def test_a_defect_of_the_library_is_not_called_bad_input(folder, monkeypatch):
    instead_of_solve(monkeypatch, RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        main(["solve", "a.mtx"])


def test_output_is_refused_before_the_work(folder, capsys, monkeypatch):
    instead_of_solve(monkeypatch, AssertionError("solved for nothing"))
    (folder / "x.mtx").mkdir()
    assert main(["solve", "a.mtx", "-o", "x.mtx"]) == 2
    assert "x.mtx: cannot be written: is a directory" in the_line(capsys)


@pytest.mark.filterwarnings("default")
def test_warnings_and_log_go_to_stderr_line_by_line(folder, capsys, monkeypatch):
    solve = gabp.solve

    def noisy(*arguments, **options):
        warnings.warn("first\nnotice", stacklevel=1)
        logging.getLogger("gabp").warning("second notice")
        return solve(*arguments, **options)

    monkeypatch.setattr(gabp, "solve", noisy)
    assert main(["solve", "a.mtx", "--json"]) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    assert captured.err == "gabp: warning: first notice\ngabp: warning: second notice\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_only(folder, capsys, monkeypatch):
    callbacks = []
    solve = gabp.solve

    def spy(*arguments, callback, **options):
        callbacks.append(callback)
        return solve(*arguments, callback=callback, **options)

    monkeypatch.setattr(gabp, "solve", spy)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["solve", "a.mtx", "--method", "flooding"]) == 0
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["solve", "a.mtx", "--method", "flooding"]) == 0
    assert callbacks[0] is None
    assert callbacks[1] is not None
    assert "relative residual" in terminal.getvalue()
    assert "\x1b" not in capsys.readouterr().out


def python_m_gabp(*arguments, **options):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    return subprocess.run(
        [sys.executable, "-m", "gabp", *arguments], stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def test_as_a_process_with_a_terminal_of_few_letters(folder):
    done = python_m_gabp("solve", "a.mtx", "-o", "‖x‖.mtx", stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("x written to       ?x?.mtx\n")
    assert (folder / "‖x‖.mtx").exists()


def test_a_reader_that_left_ends_it_silently(folder):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        done = python_m_gabp("solve", "a.mtx", stdout=pipe)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_full_disk_is_told_in_one_line(folder):
    with open("/dev/full", "w") as full:
        done = python_m_gabp("solve", "a.mtx", stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("gabp solve: error: the output cannot be written: ")
    assert done.stderr.count("\n") == 1
