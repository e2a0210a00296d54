"""Walk-summability between vector-valued nodes, against dense norms and eigenvalues."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp

import gabp
from gabp.cli.command import main


def ring_of_pairs(coupling, stiffness=0.9, count=8):
    """A ring of strongly correlated pairs, coupled in their stiff direction."""
    A = np.kron(np.eye(count), np.array([[1.0, stiffness], [stiffness, 1.0]]))
    for i in range(count):
        k = (i + 1) % count
        A[2 * i : 2 * i + 2, 2 * k : 2 * k + 2] = A[2 * k : 2 * k + 2, 2 * i : 2 * i + 2] = coupling
    return A


def dense_radius(A, d, symmetric=True):
    """``ρ(N)`` from its definition."""
    count = len(A) // d
    N = np.zeros((count, count))
    own = [A[i * d : i * d + d, i * d : i * d + d] for i in range(count)]
    for i in range(count):
        for k in range(count):
            block = A[i * d : i * d + d, k * d : k * d + d]
            if i == k:
                continue
            if symmetric:
                left, right = (np.linalg.inv(scipy.linalg.sqrtm(own[j])) for j in (i, k))
                N[i, k] = np.linalg.norm(left @ block @ right, 2)
            else:
                N[i, k] = np.linalg.norm(np.linalg.solve(own[i], block), 2)
    return abs(np.linalg.eigvals(N)).max()


def test_pairs_are_block_walk_summable_where_scalars_are_not():
    A = ring_of_pairs(0.3)
    report = gabp.check(A, blocks=2)
    assert report.walk_summable is gabp.Verdict.NO
    assert report.block_walk_summable is gabp.Verdict.YES
    lower, upper = report.block_walk_radius
    assert lower <= dense_radius(A, 2) * (1 + 1e-12) and dense_radius(A, 2) <= upper * (1 + 1e-12)
    assert upper - lower < 1e-6
    assert gabp.Solver(A, blocks=2).report.block_walk_radius == report.block_walk_radius
    assert "block walk-summable  yes" in repr(report)
    assert report.to_dict()["block_walk_summable"] == "yes"
    assert np.linalg.norm(gabp.solve(A, np.ones(16), blocks=2, method="flooding").residual_norm) < 1e-7


@pytest.mark.parametrize(("coupling", "verdict"), [(0.47, "yes"), (0.48, "no")])
def test_both_verdicts_close_to_the_threshold(coupling, verdict):
    A = ring_of_pairs(coupling)  # the norm of a link is 2 · coupling / 1.9, and a ring has two links per node
    report = gabp.check(A, blocks=2)
    assert report.block_walk_summable.value == verdict
    assert bool(dense_radius(A, 2) < 1) is (verdict == "yes")


def test_the_threshold_itself_is_undecided():
    A = ring_of_pairs(0.475)
    assert gabp.check(A, blocks=2).block_walk_summable is gabp.Verdict.UNDECIDED


def test_blocks_of_size_one_have_the_scalar_radius():
    A = ring_of_pairs(0.05, 0.3)
    report = gabp.check(A, blocks=1)
    assert report.block_walk_summable is report.walk_summable
    assert report.block_walk_radius == pytest.approx(report.walk_radius, rel=1e-6)


def test_block_radius_is_invariant_to_the_scaling_of_variables():
    A = ring_of_pairs(0.3)
    scale = 10.0 ** np.random.default_rng(0).uniform(-60, 60, 16)
    found = gabp.check(scale[:, None] * A * scale, blocks=2)
    assert found.block_walk_radius == pytest.approx(gabp.check(A, blocks=2).block_walk_radius, rel=1e-3)


def test_bounds_of_a_nonsymmetric_matrix_enclose_its_block_radius():
    A = ring_of_pairs(0.1) + 0.05 * np.kron(np.eye(8, k=1), np.ones((2, 2)))
    report = gabp.check(A, blocks=2)
    lower, upper = report.block_walk_radius
    assert not report.symmetric
    assert lower <= dense_radius(A, 2, symmetric=False) * (1 + 1e-12)
    assert dense_radius(A, 2, symmetric=False) <= upper * (1 + 1e-12)


def test_report_without_blocks_has_no_block_radius():
    report = gabp.check(ring_of_pairs(0.3))
    assert report.block_walk_summable is report.block_walk_radius is None
    assert "block walk" not in repr(report)


def test_an_indefinite_diagonal_block_is_noted():
    report = gabp.check(np.kron(np.eye(3), np.array([[1.0, 2.0], [2.0, 1.0]])) + 0.1, blocks=2)
    assert report.block_walk_radius is None
    assert any("diagonal block" in note for note in report.notes)


def test_blocks_option_of_the_command_line(tmp_path, capsys):
    sp.save_npz(tmp_path / "A.npz", sp.csr_array(ring_of_pairs(0.3)))
    assert main(["check", str(tmp_path / "A.npz"), "--blocks", "2"]) == 0
    assert "block walk-summable  yes" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "A.npz"), "--blocks", "3"]) == 2
    assert "blocks of 3 do not divide 16 unknowns" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "A.npz"), "--blocks", "pairs"]) == 2
