"""The picture of a report: drawn for every kind of matrix, and saved where asked."""

from pathlib import Path

import numpy as np
import pytest

from gabp.cli.check_figure import check_figure, headline
from gabp.conditions import check
from gabp.demos.weiss_freeman import figure_2, figure_3
from gabp.demos.weiss_freeman_figures import caption_3, draw_figure_2, draw_figure_3
from loopy_models import chorded_square, grid

KINDS = {
    "walk-summable": (grid(20), "Walk-summable"),
    "small": (grid(4), "Walk-summable"),
    "converges all the same": (chorded_square(0.395, flipped=True), "Not walk-summable, and yet"),
    "fails": (chorded_square(0.45, flipped=True), "does not converge"),
    "forest": (grid(1, 9, shift=-1.5), "A forest"),
    "no edges": (np.eye(3), "A forest"),
    "zero diagonal": (np.array([[0.0, 1.0], [1.0, 2.0]]), "No messages"),
    "nonsymmetric": (np.array([[2.0, 0.5], [0.1, 2.0]]), "A forest"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_matrix_is_drawn(kind: str, tmp_path: Path) -> None:
    A, expected = KINDS[kind]
    report = check(A)
    figure = check_figure(A, tmp_path / "check.png", report)
    assert expected in headline(report)
    assert (tmp_path / "check.png").stat().st_size > 10_000
    assert len(figure.axes) == 3


def test_the_predicted_line_is_parallel_to_the_observed_one() -> None:
    figure = check_figure(grid(8))
    observed, predicted = (line.get_ydata() for line in figure.axes[2].get_lines()[:2])
    late = slice(len(observed) * 2 // 3, None)
    slopes = [np.polyfit(np.arange(len(y[late])), np.log(y[late]), 1)[0] for y in (observed, predicted)]
    assert slopes[0] == pytest.approx(slopes[1], rel=0.05)


def test_weiss_freeman_figures_are_drawn(tmp_path: Path) -> None:
    draw_figure_2(figure_2()).savefig(tmp_path / "2.png")
    runs = [figure_3(seed, side=12, sweeps=120) for seed in range(2)]
    draw_figure_3(runs).savefig(tmp_path / "3.png")
    assert "optimal SOR wins" in caption_3(runs)
