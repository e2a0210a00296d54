"""Weiss and Freeman's figures, reproduced: the numbers that the pictures show."""

import numpy as np
import pytest

from gabp.demos.weiss_freeman import CONSTANT, GAUSS_SEIDEL, SOR, ZERO, SparseDataRun, figure_2, figure_3


@pytest.fixture(scope="module")
def runs() -> list[SparseDataRun]:
    return [figure_3(seed, sweeps=130) for seed in range(20)]


def test_figure_2() -> None:
    figure = figure_2()
    assert len(figure.values) == 91
    assert figure.replica_sum == pytest.approx(figure.true_variance, rel=0.02)
    assert figure.loopy_variance < 0.96 * figure.true_variance  # an attractive model: overconfident


def test_figure_3_variances(runs: list[SparseDataRun]) -> None:
    """Printed: median error 0.018, true variances from 0.01 to 0.94 with mean 0.322."""
    medians = [np.median(run.variance_error) for run in runs]
    assert min(medians) > 0.012 and max(medians) < 0.024
    assert min(run.true_variance.min() for run in runs) == pytest.approx(0.0096, abs=2e-4)
    assert all(0.9 < run.true_variance.max() < 1.45 for run in runs)
    assert all(0.30 < run.true_variance.mean() < 0.345 for run in runs)
    assert all((run.loopy_variance <= run.true_variance * (1 + 1e-9)).all() for run in runs)


def test_figure_3_worse_variances_belong_to_slower_nodes(runs: list[SparseDataRun]) -> None:
    assert min(run.speed_correlation for run in runs) > 0.7


def test_figure_3_who_wins_when(runs: list[SparseDataRun]) -> None:
    """GaBP from the constant start leads early; optimal SOR wins in the long run."""

    def error_after_five(method: str) -> float:
        return float(np.mean([run.mean_errors[method][4] for run in runs]))

    assert error_after_five(CONSTANT) == pytest.approx(0.052, abs=0.008)
    assert error_after_five(SOR) == pytest.approx(0.10, abs=0.015)
    assert error_after_five(GAUSS_SEIDEL) == pytest.approx(0.31, abs=0.02)
    assert error_after_five(CONSTANT) < error_after_five(ZERO) / 4
    assert np.median([run.sweeps_to(SOR, 1e-6) for run in runs]) == pytest.approx(28, abs=2)
    assert np.median([run.sweeps_to(CONSTANT, 1e-6) for run in runs]) == pytest.approx(73, abs=8)
