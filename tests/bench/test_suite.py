"""The benchmark suite runs, and its problems and baseline are what they say. No timing is asserted."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import gabp
from factor_models import pose_graph

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))  # the suite lives beside the package, in a checkout only

from bench import small, textbook  # noqa: E402
from bench.auto import main as auto_main  # noqa: E402
from bench.factor_graphs import main as factor_graphs_main  # noqa: E402
from bench.gpu import main as gpu_main  # noqa: E402
from bench.peers import SUITE_PEERS  # noqa: E402
from bench.problems import PROBLEMS, problem_with_file  # noqa: E402
from bench.run import main as run_main  # noqa: E402
from bench.scale import main as scale_main  # noqa: E402
from bench.scale import poisson  # noqa: E402
from bench.sweeps import main as sweeps_main  # noqa: E402
from bench.systems import SYSTEMS, systems  # noqa: E402

PNG = b"\x89PNG\r\n\x1a\n"
GENERATED = [name for name in PROBLEMS if name != "terrain"]


@pytest.mark.parametrize("name", GENERATED)
def test_problems_are_symmetric_positive_definite(name):
    problem = PROBLEMS[name](1e-4)
    A = problem.A.toarray()
    assert problem.A.has_canonical_format
    np.testing.assert_allclose(A, A.T, rtol=0, atol=1e-12 * abs(A).max())
    assert np.linalg.eigvalsh(A)[0] > 0


def test_frustrated_is_not_walk_summable():
    A = PROBLEMS["frustrated"](1e-3).A.toarray()
    assert abs(np.linalg.eigvalsh(abs(A - np.diag(A.diagonal()))) / 3).max() > 1


def test_barabasi_albert_has_hubs():
    degrees = np.diff(PROBLEMS["barabasi-albert"](0.01).A.indptr) - 1
    assert degrees.max() > 10 * np.median(degrees)


def test_problem_with_its_right_hand_side(tmp_path):
    (tmp_path / "a.mtx").write_text("%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 2\n2 2 4\n")
    assert problem_with_file(tmp_path / "a.mtx").b.tolist() == [2.0, 4.0]
    (tmp_path / "a_b.mtx").write_text("%%MatrixMarket matrix array real general\n2 1\n5\n6\n")
    assert problem_with_file(tmp_path / "a.mtx").b.tolist() == [5.0, 6.0]


def test_textbook_converges_to_the_mean():
    problem = PROBLEMS["grid 2-D + 0.1"](1e-4)
    model = textbook.Model.of(problem.A, problem.b)
    P = h = torch.zeros_like(model.weight)
    for _ in range(200):
        P, h = textbook.joint_sweep(model, P, h)
    x = np.linalg.solve(problem.A.toarray(), problem.b)
    np.testing.assert_allclose(textbook.mean(model, P, h).numpy(), x, rtol=0, atol=1e-10)


@pytest.mark.slow  # a process for each peer
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # within torch-sla
@pytest.mark.parametrize("name", ["petsc-icc", "petsc-hypre", "reference", "torch-sla", "torch-sla-pyamg"])
def test_peers_of_the_suite(name):
    peer = SUITE_PEERS[name]
    if peer.missing:
        pytest.skip(f"not installed: {peer.missing}")
    problem = PROBLEMS["grid 2-D + 0.1"](4e-4)
    run = peer.run(problem.A, problem.b, 1e-8)
    assert np.linalg.norm(problem.b - problem.A @ run.x) <= 2e-6 * np.linalg.norm(problem.b)
    assert run.seconds > 0


@pytest.mark.slow  # a process for each peer
def test_run_writes_table_json_and_pictures(tmp_path, capsys):
    arguments = ["--problems", "Poisson 2-D,pyamg airfoil", "--peers", "gabp,cg,splu", "--scale", "1e-4"]
    assert run_main([*arguments, "--rounds", "1", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "solve.md", "solve.json", "solve.png", "accuracy-poisson-2-d.png",
    }  # fmt: skip
    assert (tmp_path / "solve.png").read_bytes().startswith(PNG)
    record = json.loads((tmp_path / "solve.json").read_text())
    assert [comparison["problem"] for comparison in record["comparisons"]] == ["Poisson 2-D", "pyamg airfoil"]
    assert len(record["code"].get("commit", "")) == (40 if (ROOT / ".git").exists() else 0)
    assert "| Poisson 2-D" in (tmp_path / "solve.md").read_text()


@pytest.mark.parametrize("name", [name for name in SYSTEMS if "," not in name])
def test_small_systems_are_symmetric_with_a_positive_diagonal(name):
    A = next(systems([name]))[1]
    assert abs(A - A.T).max() == 0
    assert (A.diagonal() > 0).all()
    assert A.has_canonical_format and A.indices.dtype == np.int32


def test_scaled_poisson_is_the_problem_of_the_suite():
    difference = poisson(30) - PROBLEMS["Poisson 2-D"](9e-4).A
    assert abs(difference).max() == 0


@pytest.mark.slow  # a process for each peer
def test_auto_writes_table_and_json(tmp_path, capsys):
    assert auto_main(["--only", "pyamg bar", "--only", "power 300", "--rounds", "1", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "auto.json").read_text())
    assert {verdict["status"] for verdict in record["verdicts"]["pyamg bar"]} == {"CONVERGED"}
    assert "| power 300 |" in (tmp_path / "auto.md").read_text()


def test_factor_graphs_writes_a_table(tmp_path, capsys):
    gabp.write_g2o(tmp_path / "ring.g2o", pose_graph(gabp.SE3, anchored=False)[0])
    arguments = [str(tmp_path / "ring.g2o"), "--rounds", "1", "--out", str(tmp_path / "table.md")]
    factor_graphs_main(arguments)
    text = (tmp_path / "table.md").read_text()
    assert "| ring |" in text and "chordal" in text and "not reached" not in text


@pytest.mark.slow  # a process for each size
def test_scale_writes_table_and_json(tmp_path, capsys):
    assert scale_main(["--largest", "250", "--rounds", "1", "--out", str(tmp_path)]) == 0
    (result,) = json.loads((tmp_path / "scale.json").read_text())["results"]
    assert result["n"] == 62_500 and result["residual"] <= 1e-8


@pytest.mark.slow  # a process for each peer
def test_sweeps_writes_table_json_and_picture(tmp_path, capsys):
    arguments = ["--problems", "grid 2-D + 0.1,random", "--scale", "1e-3", "--rounds", "1"]
    assert sweeps_main([*arguments, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "sweeps.png").read_bytes().startswith(PNG)
    record = json.loads((tmp_path / "sweeps.json").read_text())
    grid, random = record["reports"]
    assert {"CSR product", "mean", "precision + mean", "textbook: mean"} <= grid["sweeps"].keys()
    assert grid["bytes_per_edge"]["mean"] == pytest.approx(28 + 40 * grid["n"] / grid["edges"])
    assert random["slots_per_edge"] >= 1
    assert record["triad_bytes_per_second"] > 0


def test_the_registry_has_no_two_names_for_one_peer():
    names = [peer.name for peer in SUITE_PEERS.values()]
    assert len(set(names)) == len(names)
    assert all(sp.issparse(PROBLEMS[name](1e-4).A) for name in GENERATED)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.skipif(torch.cuda.is_available(), reason="beside a GPU it measures")
def test_without_a_gpu_the_model_says_that_it_is_one(tmp_path):
    assert gpu_main(["--problems", "random", "--scale", "0.001", "--out", str(tmp_path / "gpu.md")]) == 0
    text = (tmp_path / "gpu.md").read_text()
    assert "Modelled, not measured" in text
    assert "| random" in text and "mean_sweep" in text


def test_small_systems_are_small_and_positive_definite():
    for A in small.small_systems().values():
        assert A.shape[0] <= 500
        np.testing.assert_allclose(A.toarray(), A.toarray().T, rtol=0, atol=1e-12)
        assert np.linalg.eigvalsh(A.toarray())[0] > 0


def test_small_systems_are_timed_repeatedly_and_in_fresh_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(small, "RESULTS", tmp_path / "small.md")
    small.main(["--repeats", "1", "--processes", "1"])
    text = (tmp_path / "small.md").read_text()
    assert all(f"| {name}" in text for name in small.small_systems())
    assert "splu, first call" in text
