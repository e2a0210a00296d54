"""The demonstration, on a small hill: its model, its numbers, its picture and its exit codes."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

import gabp
from gabp.cli.command import main
from gabp.cli.commands import demo as command
from gabp.demos.terrain import Terrain, fitted_scale, load_terrain, reconstruct, smoothness_precision
from gabp.demos.terrain_figure import save_figure


@pytest.fixture(scope="module")
def hill():
    y, x = np.mgrid[-1:1:18j, -1:1:24j]
    return Terrain(height=500 + 300 * np.exp(-2 * (x**2 + y**2)) + 80 * x, spacing=(90.0, 70.0))


@pytest.fixture(scope="module")
def result(hill):
    return reconstruct(hill, fraction=0.15, seed=3)


def energy_minimum(values, given, trust=100.0):
    """The dense statement of the model: minimise Σ_neighbours (x_i - x_j)² + 100 Σ_given (x_i - y_i)²."""
    n = given.size
    node = np.arange(n).reshape(given.shape)
    A = np.diag(trust * given.ravel().astype(float))
    for first, second in [(node[:, 1:], node[:, :-1]), (node[1:], node[:-1])]:
        for i, j in zip(first.ravel(), second.ravel(), strict=True):
            A[i, i] += 1
            A[j, j] += 1
            A[i, j] -= 1
            A[j, i] -= 1
    return A, np.linalg.solve(A, trust * (given * values).ravel())


def test_the_model_is_a_grid_laplacian_with_data(hill):
    given = np.random.default_rng(0).random((4, 5)) < 0.3
    A, _ = energy_minimum(hill.height[:4, :5], given)
    np.testing.assert_array_equal(smoothness_precision(given).toarray(), A)


def test_the_mean_minimises_the_energy(hill, result):
    _, mean = energy_minimum(hill.height, result.given)
    assert result.given.sum() == 65
    assert result.relative_residual <= 1e-8
    np.testing.assert_allclose(result.mean.ravel(), mean, atol=1e-3)
    standardised = (result.mean - hill.height.mean()) / hill.height.std()
    y = ((hill.height - hill.height.mean()) / hill.height.std())[result.given]
    energy = 100 * np.sum((standardised[result.given] - y) ** 2) + sum(
        np.sum(np.diff(standardised, axis=axis) ** 2) for axis in (0, 1)
    )
    assert fitted_scale(y, standardised[result.given]) == pytest.approx(np.sqrt(energy / 64), rel=1e-6)


def test_the_bethe_deviation_is_that_of_the_messages(hill, result):
    A = energy_minimum(hill.height, result.given)[0]
    n = len(A)
    P = np.zeros((n, n))  # P[i, j]: what j hears from i
    for _ in range(200):
        belief = A.diagonal() + P.sum(axis=0)
        P = -(A**2) * (1 - np.eye(n)) / (belief[:, None] - P.T)
    variance = 1 / (A.diagonal() + P.sum(axis=0))
    expected = hill.height.std() * result.noise_scale * np.sqrt(variance)
    np.testing.assert_allclose(result.deviation.ravel(), expected, rtol=1e-9)


def test_smoothness_beats_the_nearest_neighbour(hill, result):
    np.testing.assert_array_equal(result.nearest[result.given], hill.height[result.given])
    assert result.rmse(result.mean) < 0.8 * result.rmse(result.nearest)
    assert result.rmse(hill.height) == 0


def test_the_draw_depends_on_the_seed_alone(hill, result):
    again = reconstruct(hill, fraction=0.15, seed=3)
    np.testing.assert_array_equal(again.mean, result.mean)
    other = reconstruct(hill, fraction=0.15, seed=4)
    assert (other.given != result.given).any()


def test_the_real_terrain():
    terrain = load_terrain()
    assert terrain.height.shape == (344, 403)
    assert 200 < terrain.height.min() < terrain.height.max() < 1100
    assert terrain.spacing == pytest.approx((92.8, 74.5), rel=0.01)


def test_picture(tmp_path, result):
    save_figure(result, tmp_path / "demo.png")
    picture = imread(tmp_path / "demo.png")
    assert picture.shape[:2] == (1440, 2560)
    assert len(np.unique(picture[::9, ::9].reshape(-1, picture.shape[2]), axis=0)) > 500


def test_command(tmp_path, hill, capsys, monkeypatch):
    monkeypatch.setattr(command, "load_terrain", lambda: hill)
    out = tmp_path / "new" / "folder"
    assert main(["demo", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "22 of 432 heights given" in captured.out
    numbers = json.loads((out / "demo.json").read_text())
    assert numbers["given"] == 22
    assert numbers["relative_residual"] <= 1e-8
    assert f"{numbers['rmse_metres']:.2f} m (nearest neighbour: " in captured.out
    assert (out / "demo.png").stat().st_size > 10_000


def test_command_that_does_not_converge_is_1(tmp_path, hill, capsys, monkeypatch):
    solve = gabp.solve
    monkeypatch.setattr(command, "load_terrain", lambda: hill)
    monkeypatch.setattr(gabp, "solve", lambda A, b, **options: solve(A, b, method="flooding", maxiter=3, **options))
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("gabp demo: not converged: stopped at maxiter")
