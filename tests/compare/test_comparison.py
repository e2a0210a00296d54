"""The comparison: what is right is timed, what is not is shown as what it is."""

import dataclasses
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from gabp.cli.command import main
from gabp.compare.benchmark_run import relative_residual, run_trial
from gabp.compare.comparison import Plan, Problem, Quartiles, compare
from gabp.compare.figure import overview_figure, problem_figure, save_comparison_figure
from gabp.compare.peers import PEERS, Peer, Run, TimedInProcess, pick_peers, prepare_krylov
from gabp.compare.table import comparison_table, headline_table, markdown_table

pytestmark = pytest.mark.slow  # a process for each peer

QUICK = Plan(rounds=2, accuracies=(1e-2, 1e-6))
PNG = b"\x89PNG\r\n\x1a\n"


ONE_STEP = Peer("one step", "krylov", TimedInProcess(partial(prepare_krylov, method="cg", maxiter=1)))
# silently solves with the transpose where A is not symmetric
TRANSPOSED = dataclasses.replace(PEERS["splu"], name="transposed", symmetric_only=False)
ABSENT = dataclasses.replace(ONE_STEP, name="absent", modules=("no_such_module",))


@pytest.fixture(scope="module")
def problem():
    A = sp.diags_array([-np.ones(39), 2.2 * np.ones(40), -np.ones(39)], offsets=[-1, 0, 1]).tocsr()
    return Problem("chain", A, A @ np.linspace(1.0, 2.0, 40), "a short chain")


@pytest.fixture(scope="module")
def comparison(problem):
    peers = [*pick_peers(["gabp", "cg", "splu"], PEERS), ABSENT]
    return compare(problem, peers, QUICK)


def test_right_peers_are_timed(comparison):
    assert {entry.peer for entry in comparison.timed} == {"gabp", "scipy cg", "scipy splu symmetric"}
    for entry in comparison.timed:
        assert entry.trial.status == "right"
        assert entry.trial.residual <= 1e-8
        assert entry.setup.median >= 0 and entry.solve.median > 0
        assert entry.total.low <= entry.total.median <= entry.total.high
    totals = [entry.total.median for entry in comparison.timed]
    assert totals == sorted(totals)


def test_the_others_are_paired_with_gabp(comparison):
    assert comparison.first.peer == "gabp"
    assert comparison.first.rounds == 2 * 2
    assert all(entry.rounds == 2 and entry.ratio.median > 0 for entry in comparison.timed if entry.peer != "gabp")
    assert comparison.best_of_others.family != "gabp"


def test_iterative_peers_are_also_timed_to_other_accuracies(comparison):
    cg = next(entry for entry in comparison.timed if entry.peer == "scipy cg")
    assert len(cg.accuracy) == 2
    assert cg.accuracy[0][0] <= 1e-2 and cg.accuracy[1][0] <= 1e-6
    splu = next(entry for entry in comparison.timed if entry.peer == "scipy splu symmetric")
    assert len(splu.accuracy) == 1


def test_absent_peers_are_named(comparison):
    assert comparison.absent == {"absent": "not installed: no_such_module"}
    assert "absent: not installed: no_such_module" in comparison_table(comparison)


def test_wrong_answers_are_shown_and_not_timed():
    A = sp.csr_array(np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 4.0]]))
    peers = [PEERS["gabp"], TRANSPOSED, ONE_STEP, PEERS["cg"]]
    comparison = compare(Problem("nonsymmetric", A, np.array([1.0, 2.0, 3.0])), peers, QUICK)
    assert [entry.peer for entry in comparison.timed] == ["gabp"]
    (wrong,) = comparison.untimed
    assert wrong.trial.status == "wrong"
    assert wrong.trial.residual > 0.1
    assert comparison.absent == {"one step": "for symmetric matrices", "scipy cg": "for symmetric matrices"}
    assert "- transposed: **wrong**, residual" in comparison_table(comparison)


def test_trial_of_a_peer_that_gives_up(problem):
    trial = run_trial(ONE_STEP, problem.A, problem.b, 1e-8, 20.0)
    assert trial.status == "failed"
    assert "not converged after 1 iterations" in trial.detail


def test_trial_of_a_peer_that_takes_too_long(problem):
    assert run_trial(PEERS["cg"], problem.A, problem.b, 1e-8, 0.0).status == "too slow"


def _sleep_in_another_process(folder: Path, A: sp.csr_array, b: np.ndarray, rtol: float) -> Run:
    if A.shape[0] == 40:  # not the warm-up
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (folder / "process").write_text(str(sleeper.pid))
        sleeper.wait()
    return Run(np.zeros_like(b), 0.0, 0.0, 1)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the processes of a peer are found in Linux's /proc")
def test_nothing_is_left_running_of_a_peer_that_takes_too_long(problem, tmp_path):
    peer = Peer("sleeper", "krylov", partial(_sleep_in_another_process, tmp_path))
    assert run_trial(peer, problem.A, problem.b, 1e-8, 3.0).status == "too slow"
    status = Path(f"/proc/{(tmp_path / 'process').read_text()}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_trial_tightens_what_a_peer_is_asked_for(problem):
    trial = run_trial(PEERS["minres"], problem.A, problem.b, 1e-8, 20.0)
    assert trial.status == "right" and trial.share < 1.0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_trial_measures_memory():
    n = 200_000
    A = sp.diags_array([-np.ones(n - 1), 2.2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()
    trial = run_trial(PEERS["splu"], A, np.ones(n), 1e-8, 60.0)
    # at least the two factors of a chain, 12 bytes for each of 2n entries; at most some tens of times A
    assert 2 * 12 * 2 * n < trial.peak_bytes < 2000 * n


def test_relative_residual_of_what_is_not_finite(problem):
    assert relative_residual(problem.A, np.full(40, np.nan), problem.b) == np.inf


def test_pick_peers_names_those_there_are():
    with pytest.raises(KeyError, match=r"no peer 'nobody'.*jacobi-cg"):
        pick_peers(["cg", "nobody"], PEERS)


def test_quartiles():
    assert Quartiles.of([4.0, 1.0, 2.0, 3.0, 5.0]) == Quartiles(2.0, 3.0, 4.0)


def test_markdown_table_is_aligned():
    lines = markdown_table(("solver", "s"), [("a", "1.5"), ("longer", "2")]).splitlines()
    assert lines == ["| solver |   s |", "|--------|----:|", "| a      | 1.5 |", "| longer |   2 |"]


def test_headline_names_the_best_of_the_others(comparison):
    best = comparison.best_of_others
    row = headline_table([comparison]).splitlines()[-1]
    assert best.peer in row and f"{best.ratio.median:.2f}" in row


@pytest.mark.parametrize("draw", [problem_figure, lambda shown: overview_figure(shown, "a caption")])
def test_pictures(comparison, tmp_path, draw):
    save_comparison_figure(draw([comparison]), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)


class TestCommand:
    """``gabp bench``."""

    def test_table_json_and_picture(self, problem, tmp_path, capsys):
        scipy.io.mmwrite(tmp_path / "chain.mtx", problem.A)
        picture, numbers = tmp_path / "out.png", tmp_path / "out.json"
        files = ["--json", str(numbers), "--plot", str(picture)]
        assert main(["bench", str(tmp_path / "chain.mtx"), "--peers", "gabp,cg", *files]) == 0
        assert "### chain.mtx: 40 unknowns, 118 entries" in capsys.readouterr().out
        assert picture.read_bytes().startswith(PNG)
        record = json.loads(numbers.read_text())
        assert {"date", "processor", "cores", "memory_gib", "threads", "versions"} <= record["machine"].keys()
        (written,) = record["comparisons"]
        assert [entry["peer"] for entry in written["entries"]] == ["gabp", "scipy cg"]
        assert all(entry["trial"]["status"] == "right" for entry in written["entries"])

    @pytest.mark.parametrize(
        "arguments, said",
        [
            (["missing.mtx"], "missing.mtx: cannot be read"),
            (["--peers", "nobody"], "there is no peer 'nobody'"),
            (["--plot", "out.gif"], "must end in .png"),
        ],
    )
    def test_bad_input(self, arguments, said, capsys):
        assert main(["bench", *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1

    def test_refuses_what_is_not_square(self, tmp_path, capsys):
        scipy.io.mmwrite(tmp_path / "wide.mtx", sp.coo_array(np.ones((2, 3))))
        assert main(["bench", str(tmp_path / "wide.mtx")]) == 2
        assert "2×3" in capsys.readouterr().err
