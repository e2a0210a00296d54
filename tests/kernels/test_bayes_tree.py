"""The compiled Bayes tree against a dense factor of all terms, whatever comes in whatever order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gabp.kernels import dispatch
from gabp.kernels.torch import bayes_tree as dense

compiled = dispatch.backend("cpu").bayes_tree


class Both:
    """The compiled tree and the dense statement, given the same."""

    def __init__(self):
        self.trees = compiled.BayesTree(), dense.BayesTree()
        self.dimension = []

    def add_variables(self, *dimension):
        self.dimension += dimension
        for tree in self.trees:
            tree.add_variables(np.array(dimension, dtype=np.int64))

    def add_terms(self, variables, rng, weight=1.0):
        """Terms of random residuals, as many as there are unknowns, on rows of variables."""
        for tree_call in self._terms(variables, rng, weight):
            for tree in self.trees:
                tree.add_terms(*tree_call)

    def replace_terms(self, terms, variables, rng):
        for tree in self.trees:
            tree.replace_terms(np.array(terms), *next(self._terms(variables, np.random.default_rng(rng), 1.0)))

    def _terms(self, variables, rng, weight):
        for row in variables:
            dimension = np.array([self.dimension[v] if v >= 0 else 2 for v in row])
            jacobian = rng.standard_normal((dimension.sum(), dimension.sum()))
            product = weight * (jacobian.T @ jacobian)[None]
            yield dimension, np.array([row]), product, rng.standard_normal((1, dimension.sum()))

    def update(self, threshold=0.0):
        """Eliminate and substitute in both; the steps must agree."""
        bad = [tree.eliminate() for tree in self.trees]
        assert (bad[0] < 0) == (bad[1] < 0)
        if bad[0] >= 0:
            return bad[0]
        for tree in self.trees:
            tree.substitute(threshold)
        ours, theirs = self.steps()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8 * max(1.0, np.abs(theirs).max()))
        b = np.random.default_rng(0).standard_normal(sum(self.dimension))
        solved = [b.copy(), b.copy()]
        for tree, x in zip(self.trees, solved, strict=True):
            tree.solve(x)
        np.testing.assert_allclose(*solved, rtol=0, atol=1e-8 * max(1.0, np.abs(solved[1]).max()))
        diagonals = np.full((2, len(b)), np.nan)
        for tree, x in zip(self.trees, diagonals, strict=True):
            tree.diagonal(x)
        np.testing.assert_allclose(*diagonals, rtol=1e-12)
        return -1

    def steps(self):
        result = []
        for tree in self.trees:
            rows = []
            for v, d in enumerate(self.dimension):
                step = np.full((1, d), np.nan)
                tree.step(np.array([v]), step)
                rows.append(step[0])
            result.append(np.concatenate(rows))
        return result


def chain(count, seed=0, dimension=2):
    """Variables in a chain, the first with a term of its own."""
    both, rng = Both(), np.random.default_rng(seed)
    both.add_variables(*[dimension] * count)
    both.add_terms([(0,), *((k, k + 1) for k in range(count - 1))], rng)
    return both, rng


def test_a_chain_that_grows():
    both, rng = chain(1)
    for k in range(1, 40):
        both.add_variables(1 + k % 3)
        both.add_terms([(k - 1, k)], rng)
        assert both.update() == -1
        assert both.trees[0].eliminated <= 9  # the end of the chain alone


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_history_of_changes(data):
    """Variables, terms of one to three variables, held and repeated ones among them, replacements and removals."""
    both, rng = Both(), np.random.default_rng(data.draw(st.integers(0, 1000)))
    terms: list[tuple[int, ...]] = []
    for _ in range(data.draw(st.integers(1, 8))):
        first = len(both.dimension)
        both.add_variables(*data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6)))
        anchors = [(v,) for v in range(first, len(both.dimension))]
        variable = st.integers(-1, len(both.dimension) - 1)
        some = st.lists(st.tuples(variable, variable) | st.tuples(variable, variable, variable), max_size=6)
        added = anchors + data.draw(some)
        both.add_terms(added, rng)
        terms += added
        for t in data.draw(st.sets(st.integers(0, len(terms) - 1), max_size=4)):
            if terms[t] is None:
                continue
            if len(terms[t]) > 1 and data.draw(st.booleans()):
                for tree in both.trees:
                    tree.remove_terms(np.array([t]))
                terms[t] = None
            else:
                both.replace_terms([t], [terms[t]], data.draw(st.integers(0, 1000)))
        assert both.update() == -1
        some_variables = np.arange(0, len(both.dimension), 2)
        np.testing.assert_array_equal(*(tree.terms_on(some_variables) for tree in both.trees))
        np.testing.assert_array_equal(*(tree.moved_beyond(0.3) for tree in both.trees))


def test_what_a_change_does_not_reach_is_kept():
    """A change at one end of a grid eliminates a part of it; a threshold keeps steps that hardly change."""
    both, rng = Both(), np.random.default_rng(0)
    size = 12
    both.add_variables(*[2] * size**2)
    number = np.arange(size**2).reshape(size, size)
    pairs = [*zip(number[:, :-1].flat, number[:, 1:].flat, strict=True)]
    pairs += zip(number[:-1].flat, number[1:].flat, strict=True)
    both.add_terms([(v,) for v in range(size**2)], rng, weight=3.0)
    both.add_terms(pairs, rng, weight=0.1)
    both.update()
    both.add_terms([(0, 1)], rng)
    before, _ = both.steps()
    assert both.trees[0].eliminate() == both.trees[1].eliminate() == -1
    assert 0 < both.trees[0].eliminated < size**2 / 2
    for tree in both.trees:
        tree.substitute(1e-3)
    ours, theirs = both.steps()
    kept = ours == before
    assert kept.sum() > size**2
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-3)


def test_a_variable_that_nothing_determines_is_named_and_may_be_determined_later():
    both, rng = chain(5)
    assert both.update() == -1
    both.add_variables(2, 2)
    both.add_terms([(5,), (3, 5)], rng)
    assert both.update() == 6
    assert not both.trees[0].complete
    both.add_terms([(6, 2)], rng)
    assert both.update() == -1
    both.add_variables(2)
    for tree in both.trees:
        tree.replace_terms(np.array([1]), np.array([2, 2]), np.array([[0, 1]]), np.zeros((1, 4, 4)), np.zeros((1, 4)))
    assert both.update() >= 0  # nothing holds 1 and what follows
    both.add_terms([(7, 1), (1,)], rng)
    assert both.update() == -1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tree: tree.add_variables(np.array([0])), "must be positive"),
        (lambda tree: tree.add_terms(np.array([2]), np.array([[9]]), np.eye(2)[None], np.zeros((1, 2))), "no such var"),
        (lambda tree: tree.add_terms(np.array([3]), np.array([[0]]), np.eye(3)[None], np.zeros((1, 3))), "another dim"),
        (lambda tree: tree.add_terms(np.array([2]), np.array([[0]]), np.eye(3)[None], np.zeros((1, 2))), "product has"),
        (lambda tree: tree.remove_terms(np.array([7])), "no such terms"),
        (lambda tree: tree.reset_steps(np.array([-1])), "no such variable"),
        (lambda tree: tree.step(np.array([0]), np.zeros((1, 3))), "step has another shape"),
        (lambda tree: tree.solve(np.zeros(1)), "x has another shape"),
    ],
)
def test_arguments_that_are_refused(call, message):
    both, _ = chain(3)
    both.update()
    with pytest.raises(ValueError, match=message):
        call(both.trees[0])


def test_a_tree_without_a_factor_solves_nothing():
    both, _ = chain(3)
    for call in (lambda tree: tree.substitute(0.0), lambda tree: tree.solve(np.zeros(6))):
        with pytest.raises(ValueError, match="eliminate first"):
            call(both.trees[0])
