"""The compiled passes of convergence proofs against numpy, and their bounds against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from gabp.kernels.cpu import bounds as compiled
from gabp.kernels.torch import bounds
from gabp.kernels.torch.bounds import Nodes, Numbers, Offsets
from gabp.kernels.torch.rows import reverse_edges
from kernel_models import GRAPHS, random_model, star

Pattern = tuple[Offsets, Nodes, Offsets]


@pytest.fixture(params=GRAPHS)
def model(request: pytest.FixtureRequest) -> tuple[Pattern, Numbers]:
    """Model of a graph, their reverses, and symmetric weights."""
    start, source, weight, _ = random_model(*GRAPHS[request.param]())
    reverse = reverse_edges(start, source)
    return (start.numpy(), source.numpy(), reverse.numpy()), weight.numpy()


def nodes(pattern: Pattern, seed: int = 0) -> Numbers:
    return np.random.default_rng(seed).uniform(0.5, 2.0, len(pattern[0]) - 1)


def edges(pattern: Pattern, seed: int = 1) -> Numbers:
    return np.random.default_rng(seed).uniform(0.1, 1.0, len(pattern[1]))


def close(got: Numbers, wanted: Numbers) -> None:
    """Up to the order of sums, which hubs make long."""
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13)


def test_multiply(model) -> None:
    (start, source, _), weight = model
    x = nodes(model[0]) - 1
    close(compiled.multiply(start, source, weight, x), bounds.multiply(start, source, weight, x))


def test_quotients(model) -> None:
    pattern, weight = model
    arguments = (*pattern[:2], np.abs(weight), nodes(pattern), nodes(pattern, 5))
    (pull, *numbers), (wanted, *expected) = compiled.quotients(*arguments), bounds.quotients(*arguments)
    close(pull, wanted)
    np.testing.assert_allclose(numbers, expected, rtol=1e-13)


def test_the_upper_quotient_holds_in_exact_arithmetic() -> None:
    """0.1 + 0.2 + ... in float64 is not what it seems; the bound is above the truth all the same."""
    n = 12
    rng = np.random.default_rng(3)
    start, source = np.arange(0, n * (n - 1) + 1, n - 1), np.array([k for i in range(n) for k in range(n) if k != i])
    weight, diagonal, d = rng.uniform(size=n * (n - 1)), rng.uniform(1, 2, n), rng.uniform(1, 2, n)
    exact = max(
        sum(Fraction(weight[e]) * Fraction(d[source[e]]) for e in range(start[i], start[i + 1]))
        / (Fraction(diagonal[i]) * Fraction(d[i]))
        for i in range(n)
    )
    for kernels in (bounds, compiled):
        upper = kernels.quotients(start, source.astype(np.int32), weight, diagonal, d)[1]
        assert exact <= Fraction(upper) <= exact * (1 + Fraction(1, 2**40))


def test_non_backtracking(model) -> None:
    pattern, weight = model
    arguments = (*pattern, edges(pattern), edges(pattern, 2), edges(pattern, 3))
    got, wanted = (kernels.non_backtracking(*arguments, np.full(len(weight), np.nan)) for kernels in (compiled, bounds))
    close(got, wanted)


def test_growth_leaves_out_zero_ratios(model) -> None:
    pattern, _ = model
    ratio, w = edges(pattern), edges(pattern, 2)
    assert compiled.growth(*pattern, ratio, w) == pytest.approx(bounds.growth(*pattern, ratio, w), rel=1e-13)
    none = np.zeros(len(w))
    assert compiled.growth(*pattern, none, none) == bounds.growth(*pattern, none, none) == 0.0
    if len(w):
        for kernels in (bounds, compiled):
            assert kernels.growth(*pattern, ratio, none) == np.inf
            assert kernels.growth(*pattern, ratio, np.where(np.arange(len(w)) == len(w) // 2, np.nan, w)) == np.inf


def test_floor_and_ceiling(model) -> None:
    """Of a dominant model ``-|A_ik|`` is a floor; the messages themselves, rounded up, never come below it."""
    pattern, weight = model
    start, source, _ = pattern
    diagonal = bounds.multiply(start, source, np.abs(weight), np.ones(len(start) - 1)) + 0.5
    floor = -np.abs(weight)
    low, wanted = (kernels.floor_cavities(*pattern, weight**2, diagonal, floor) for kernels in (compiled, bounds))
    close(low, wanted)
    message = np.zeros(len(weight))
    for _ in range(5):
        (message, lowest), (expected, smallest) = (
            kernels.ceiling_sweep(*pattern, weight**2, diagonal, message) for kernels in (compiled, bounds)
        )
        close(message, expected)
        assert lowest == pytest.approx(smallest, rel=1e-13) and lowest > 0
        assert np.all(message >= floor)
    if len(weight):
        for kernels in (bounds, compiled):
            assert kernels.floor_cavities(*pattern, weight**2, diagonal, message / 2) is None
            assert kernels.floor_cavities(*pattern, weight**2, diagonal, floor * np.nan) is None


def nearly_cancelled_star(leaves: int) -> tuple[Pattern, Numbers, Numbers, Numbers]:
    """A star in which the messages of the leaves take all but a thousandth of the centre's precision."""
    n, edges = star(leaves)
    start, source, weight, _ = random_model(n, edges, seed=3)
    square, message = weight.numpy() ** 2, -(weight.numpy() ** 2) / 3.0
    diagonal = np.full(n, 3.0)
    diagonal[0] = -1.001 * message[: int(start[1])].sum()
    pattern = (start.numpy(), source.numpy(), reverse_edges(start, source).numpy())
    return pattern, square, diagonal, message


@pytest.mark.parametrize("kernels", [bounds, compiled], ids=["numpy", "compiled"])
@pytest.mark.parametrize("leaves", [1, 40, 3000])
def test_the_ceiling_holds_in_exact_arithmetic(kernels, leaves: int) -> None:
    """`F(message)` without rounding is nowhere above it, nor are beliefs and cavities above the lowest it reports."""
    (start, source, reverse), square, diagonal, message = nearly_cancelled_star(leaves)
    exact = [Fraction(value) for value in message.tolist()]
    belief = [Fraction(d) + sum(exact[start[i] : start[i + 1]]) for i, d in enumerate(diagonal.tolist())]
    ceiling, lowest = kernels.ceiling_sweep(start, source, reverse, square, diagonal, message)
    cavities = [belief[source[e]] - exact[reverse[e]] for e in range(len(source))]
    for e, cavity in enumerate(cavities):
        new = -Fraction(square[e]) / cavity
        assert new <= Fraction(ceiling[e]) <= new + abs(new) / 10**6
    assert min(*belief, *cavities) <= Fraction(lowest)


@pytest.mark.parametrize("kernels", [bounds, compiled], ids=["numpy", "compiled"])
@pytest.mark.parametrize("leaves", [1, 40, 3000])
def test_floor_cavities_hold_in_exact_arithmetic(kernels, leaves: int) -> None:
    (start, source, reverse), square, diagonal, message = nearly_cancelled_star(leaves)
    floor = 2.0 * message  # of leaves
    diagonal = np.where(np.arange(len(diagonal)) == 0, 2.002 / 1.001 * diagonal, diagonal)
    floor[: start[1]] = 1.01 * message[: start[1]]
    diagonal[0] = -1.001 * floor[: start[1]].sum()
    low = kernels.floor_cavities(start, source, reverse, square * 1e-6, diagonal, floor)
    assert low is not None
    exact = [Fraction(value) for value in floor.tolist()]
    belief = [Fraction(d) + sum(exact[start[i] : start[i + 1]]) for i, d in enumerate(diagonal.tolist())]
    for e in range(len(source)):
        cavity = belief[source[e]] - exact[reverse[e]]
        assert Fraction(low[e]) <= cavity <= Fraction(low[e]) * (1 + Fraction(1, 10**6))


@pytest.mark.parametrize("kernels", [bounds, compiled], ids=["numpy", "compiled"])
def test_many_small_terms_of_a_quadratic_form_are_not_lost(kernels) -> None:
    n = 5000
    start, source = np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int32)
    d = np.full(n, 1e-8)
    d[0] = 1.0
    denominator = kernels.quotients(start, source, np.zeros(0), np.ones(n), d)[4]
    assert denominator == pytest.approx(1 + (n - 1) * 1e-16, rel=4e-16, abs=0)


def test_comparison_messages(model) -> None:
    pattern, weight = model
    arguments = (*pattern[:2], np.abs(weight), edges(pattern), nodes(pattern))
    close(compiled.comparison_messages(*arguments), bounds.comparison_messages(*arguments))


def test_bethe_form(model) -> None:
    pattern, _ = model
    arguments = (*pattern[:2], edges(pattern), nodes(pattern), nodes(pattern, 4), 9.0)
    np.testing.assert_allclose(compiled.bethe_form(*arguments), bounds.bethe_form(*arguments), rtol=1e-12)


def test_core(model) -> None:
    (start, source, _), _ = model
    np.testing.assert_array_equal(compiled.peel_leaves(start, source), bounds.peel_leaves(start, source))


def test_core_of_a_cycle_with_a_branch() -> None:
    """0 - 1 - 2 - 0 and the branch 2 - 3 - 4."""
    start, source = np.array([0, 2, 4, 7, 9, 10]), np.array([1, 2, 0, 2, 0, 1, 3, 2, 4, 3], dtype=np.int32)
    for kernels in (bounds, compiled):
        assert kernels.peel_leaves(start, source).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("balanced", [True, False])
def test_components_and_signs(model, balanced: bool) -> None:
    (start, source, _), weight = model
    if balanced:
        flips = np.random.default_rng(2).choice([-1.0, 1.0], len(start) - 1)
        weight = -np.abs(weight) * np.repeat(flips, np.diff(start)) * flips[source]
    (labels, sign), (wanted, expected) = (
        kernels.components_and_signs(start, source, weight) for kernels in (compiled, bounds)
    )
    np.testing.assert_array_equal(labels, wanted)
    assert (sign is None) == (expected is None)
    assert not balanced or sign is not None
    if sign is not None:
        assert np.all(np.repeat(sign, np.diff(start)) * sign[source] * weight <= 0)


def test_the_same_bits_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    start, source = np.arange(0, 4 * n + 1, 4), rng.integers(0, n, 4 * n).astype(np.int32)
    weight, diagonal, d = rng.uniform(size=4 * n), rng.uniform(1, 2, n), rng.uniform(1, 2, n)
    found = []
    threads = torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        found.append(compiled.quotients(start, source, weight, diagonal, d))
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]
