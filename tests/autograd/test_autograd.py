"""First and second derivatives of all differentiable results, against finite differences."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.autograd import gradcheck, gradgradcheck

import cases
import gabp

CHECK = {"eps": 1e-6, "atol": 1e-5, "rtol": 1e-5}
# a grid, a forest, a model that is not walk-summable, disconnected parts with an isolated node
GRAPHS = {
    "grid": (9, [(i, j) for i, j, _ in cases.grid_edges(3, 3)]),
    "tree": (6, [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)]),
    "triangles": (5, [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (2, 4)]),
    "parts": (7, [(0, 1), (2, 3), (3, 4), (4, 2), (5, 2)]),
}
METHODS = ["elimination", "flooding", "sequential", "double-loop"]
every_graph = pytest.mark.parametrize("graph", GRAPHS)


class Model:
    """Random couplings on a graph; ``matrix`` makes the torch matrix of its ``n + e`` numbers."""

    def __init__(self, graph: str, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.n, edges = GRAPHS[graph]
        self.i, self.j = torch.tensor(edges).T
        coupling = rng.choice([-1.0, 1.0], len(edges)) * rng.uniform(0.3, 1.0, len(edges))
        size = np.zeros(self.n)
        np.add.at(size, np.concatenate([self.i, self.j]), np.abs(np.tile(coupling, 2)))
        values = np.concatenate([1.2 * size + 0.5, coupling])
        self.values = torch.tensor(values, requires_grad=True)
        self.b = torch.tensor(rng.standard_normal(self.n), requires_grad=True)
        self.columns = torch.tensor(rng.standard_normal((self.n, 2)), requires_grad=True)

    def matrix(self, values: torch.Tensor, layout: str = "coo") -> torch.Tensor:
        node = torch.arange(self.n)
        place = torch.stack([torch.cat([node, self.i, self.j]), torch.cat([node, self.j, self.i])])
        value = torch.cat([values, values[self.n :]])
        if layout == "dense":
            return torch.zeros((self.n, self.n), dtype=values.dtype).index_put((place[0], place[1]), value)
        if layout == "coo":
            return torch.sparse_coo_tensor(place, value, (self.n, self.n), check_invariants=True)
        order = torch.argsort(place[0] * self.n + place[1])
        start = torch.zeros(self.n + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(place[0], minlength=self.n), 0, out=start[1:])
        arguments = (start, place[1][order], value[order], (self.n, self.n))
        make = torch.sparse_csr_tensor if layout == "csr" else torch.sparse_csc_tensor  # the matrix is symmetric
        return make(*arguments, check_invariants=True)


@pytest.mark.parametrize(("graph", "method"), [("triangles", method) for method in METHODS] + [("tree", "tree")])
def test_solutions_once_and_twice(graph, method):
    model = Model(graph)

    def x(values, b):
        return gabp.solve(model.matrix(values), b, method=method, rtol=1e-13).x

    assert gradcheck(x, (model.values, model.b), **CHECK)
    assert gradgradcheck(x, (model.values, model.b), **CHECK)


@pytest.mark.parametrize("layout", ["dense", "coo", "csr", "csc"])
def test_every_layout_carries_gradients(layout):
    """One output at a time: torch cannot accumulate CSC gradients of several uses of one tensor."""
    model = Model("triangles")

    def solution(values, b):
        return gabp.solve(model.matrix(values, layout), b, rtol=1e-13).x

    def determinant(values):
        return gabp.logdet(model.matrix(values, layout))

    assert gradcheck(solution, (model.values, model.b), **CHECK)
    assert gradgradcheck(solution, (model.values, model.b), **CHECK)
    assert gradcheck(determinant, (model.values,), **CHECK)
    assert gradgradcheck(determinant, (model.values,), **CHECK)


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_one_matrix_serves_several_outputs(layout):
    model = Model("triangles")

    def outputs(values, b):
        A = model.matrix(values, layout)
        return gabp.solve(A, b, rtol=1e-13).x, gabp.logdet(A), gabp.marginals(A, b, variance="exact").variance

    assert gradcheck(outputs, (model.values, model.b), **CHECK)
    assert gradgradcheck(outputs, (model.values, model.b), **CHECK)


def test_a_solver_set_up_once_carries_gradients():
    model = Model("triangles")

    def x(values, b):
        return gabp.Solver(model.matrix(values)).solve(b, rtol=1e-13).x

    assert gradcheck(x, (model.values, model.b), **CHECK)
    assert gradgradcheck(x, (model.values, model.b), **CHECK)


@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "whole"])
def test_new_values_on_an_old_pattern_carry_gradients(layout):
    model = Model("triangles")
    pattern = model.matrix(model.values.detach(), "coo" if layout == "whole" else layout)
    solver = gabp.Solver(pattern)

    def x(values, b):
        if layout == "coo":
            new = torch.cat([values, values[model.n :]])
        else:
            A = model.matrix(values, "coo" if layout == "whole" else layout)
            new = A if layout == "whole" else A.values()
        return solver.update(new).solve(b, rtol=1e-13).x

    assert gradcheck(x, (model.values, model.b), **CHECK)


def test_the_gradient_in_b_uses_updated_values_that_do_not_require_grad():
    solver = gabp.Solver(torch.eye(3, dtype=torch.float64).to_sparse())
    b = torch.ones(3, dtype=torch.float64, requires_grad=True)
    solver.update(torch.full((3,), 4.0, dtype=torch.float64)).solve(b).x.sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), 0.25)


def test_backward_solves_take_the_relative_tolerance_that_atol_amounts_to():
    """With ``rtol=0`` there is no other tolerance, and ``atol`` is in the units of b, not of the gradient."""
    model = Model("grid")
    A = model.matrix(model.values.detach(), "dense")
    x = gabp.solve(A, model.b, method="flooding", rtol=0.0, atol=1e-9).x
    (gradient,) = torch.autograd.grad(1e-6 * x.sum(), model.b)
    np.testing.assert_allclose(gradient.numpy(), 1e-6 * np.linalg.solve(A.numpy(), np.ones(model.n)), rtol=1e-7)


def test_several_right_hand_sides_at_once():
    model = Model("grid")

    def x(values, b):
        return gabp.solve(model.matrix(values), b, rtol=1e-13).x

    assert gradcheck(x, (model.values, model.columns), **CHECK)
    assert gradgradcheck(x, (model.values, model.columns), **CHECK)


def test_nonsymmetric_solutions():
    rng = np.random.default_rng(1)
    dense = np.where(rng.uniform(size=(6, 6)) < 0.4, rng.standard_normal((6, 6)), 0.0) + 5 * np.eye(6)
    place = torch.tensor(np.array(dense.nonzero()))
    values = torch.tensor(dense[dense.nonzero()], requires_grad=True)
    b = torch.tensor(rng.standard_normal((6, 2)), requires_grad=True)

    def x(values, b):
        A = torch.sparse_coo_tensor(place, values, (6, 6), check_invariants=True)
        return gabp.solve(A, b, symmetric=False, rtol=1e-13).x

    assert gradcheck(x, (values, b), **CHECK)
    assert gradgradcheck(x, (values, b), **CHECK)


WITH_POTENTIAL = {
    "mean": lambda model: model.mean(rtol=1e-13),
    "normalizer": lambda model: model.log_normalizer(),
}
OF_THE_MATRIX = {
    "exact variances": lambda model: model.variances("exact"),
    "covariances": lambda model: model.covariances([[0, 0], [0, 1], [1, 0], [0, 4], [4, 2]]),
    "exact log-determinant": lambda model: model.logdet(),
    "bethe variances": lambda model: model.variances("bethe"),
    "bethe log-determinant": lambda model: model.logdet("bethe"),
}


@every_graph
@pytest.mark.parametrize("output", WITH_POTENTIAL)
def test_outputs_of_matrix_and_potential_once_and_twice(graph, output):
    model = Model(graph)

    def function(values, b):
        return WITH_POTENTIAL[output](gabp.Gaussian(model.matrix(values), b))

    assert gradcheck(function, (model.values, model.b), **CHECK)
    assert gradgradcheck(function, (model.values, model.b), **CHECK)


@every_graph
@pytest.mark.parametrize("output", OF_THE_MATRIX)
def test_outputs_of_the_matrix_once_and_twice(graph, output):
    model = Model(graph)

    def function(values):
        return OF_THE_MATRIX[output](gabp.Gaussian(model.matrix(values)))

    assert gradcheck(function, (model.values,), **CHECK)
    assert gradgradcheck(function, (model.values,), **CHECK)


CONDITIONED = {
    "mean": lambda model: model.mean(rtol=1e-13),
    "variances": lambda model: model.variances("exact"),
    "bethe variances": lambda model: model.variances("bethe"),
    "log-determinant": lambda model: model.logdet(),
}


@every_graph
@pytest.mark.parametrize("output", CONDITIONED)
def test_a_conditioned_model_is_differentiable_in_matrix_potential_and_values(graph, output):
    model = Model(graph)
    known = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)

    def function(values, b, known):
        return CONDITIONED[output](gabp.Gaussian(model.matrix(values), b).condition([3, 1], known))

    assert gradcheck(function, (model.values, model.b, known), **CHECK)
    assert gradgradcheck(function, (model.values, model.b, known), **CHECK)


@pytest.mark.parametrize("factor_fits", [True, False])
def test_expectations_over_samples_are_differentiated_without_bias(monkeypatch, factor_fits):
    """``d E[x_i²] = dΣ_ii + 2 μ_i dμ_i``, to within five standard errors of the draws."""
    monkeypatch.setattr("gabp.gaussian.fits_in_memory", lambda graph: factor_fits)
    model, draws = Model("triangles"), 20_000

    def second_moment(values, b):
        given = gabp.Gaussian(model.matrix(values), b)
        return given.variances("exact")[2] + given.mean(rtol=1e-13)[2] ** 2

    expected = torch.autograd.grad(second_moment(model.values, model.b), (model.values, model.b))
    A = model.matrix(model.values).to_dense().detach().requires_grad_()
    b = model.b.detach().requires_grad_()
    x = gabp.Gaussian(A, b).sample(draws, seed=5)
    found = []
    for part in x.split(500):
        in_a, in_b = torch.autograd.grad(part[:, 2].square().mean(), (A, b), retain_graph=True)
        found.append(torch.cat([in_a.diagonal(), 2 * in_a[model.i, model.j], in_b]))
    found = torch.stack(found)
    assert ((found.mean(0) - torch.cat(expected)).abs() <= 5 * found.std(0) / len(found) ** 0.5).all()


def test_the_second_derivative_of_a_sampled_expectation():
    """For precision τ, ``x² = z²/τ`` along the pathwise derivative, so that the second derivative is ``2 x² / τ²``."""
    tau = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    x = gabp.Gaussian(tau * torch.eye(4, dtype=torch.float64)).sample(5, seed=0)
    (first,) = torch.autograd.grad(x.square().sum(), tau, create_graph=True)
    (second,) = torch.autograd.grad(first, tau)
    assert second.item() == pytest.approx(2 * float(x.detach().square().sum()) / 9, rel=1e-12)


@every_graph
def test_the_density_in_matrix_potential_and_point(graph):
    model = Model(graph)
    points = torch.tensor(np.random.default_rng(2).standard_normal((3, model.n)), requires_grad=True)

    def density(values, b, points):
        return gabp.Gaussian(model.matrix(values), b).log_prob(points)

    assert gradcheck(density, (model.values, model.b, points), **CHECK)
    assert gradgradcheck(density, (model.values, model.b, points), **CHECK)


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_the_gradient_lives_on_the_pattern(layout):
    model = Model("grid")
    A = model.matrix(model.values.detach(), layout).requires_grad_()
    gabp.logdet(A).backward()
    assert A.grad.layout == A.layout
    inverse = np.linalg.inv(A.detach().to_dense().numpy())
    pattern = A.detach().to_dense().numpy() != 0
    np.testing.assert_allclose(A.grad.to_dense().numpy(), np.where(pattern, inverse, 0.0), atol=1e-13)


def test_a_dense_matrix_gets_a_dense_gradient_on_its_pattern():
    model = Model("grid")
    A = model.matrix(model.values.detach(), "dense").requires_grad_()
    x = gabp.solve(A, model.b.detach(), rtol=1e-13).x
    (gradient,) = torch.autograd.grad(x.square().sum(), A)
    inverse = np.linalg.inv(A.detach().numpy())
    x = inverse @ model.b.detach().numpy()
    full = -np.outer(inverse @ (2 * x), x)
    expected = np.where(A.detach().numpy() != 0, (full + full.T) / 2, 0.0)
    np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-12)


def test_every_duplicate_has_the_gradient_of_the_sum():
    place = torch.tensor([[0, 0, 1, 0, 1], [0, 0, 1, 1, 0]])
    values = torch.tensor([1.0, 1.0, 3.0, -1.0, -1.0], dtype=torch.float64, requires_grad=True)
    A = torch.sparse_coo_tensor(place, values, (2, 2), check_invariants=True)
    gabp.logdet(A).backward()
    np.testing.assert_allclose(values.grad.numpy(), [0.6, 0.6, 0.4, 0.2, 0.2], rtol=1e-14)


def test_float32_gradients_have_dtype_float32():
    model = Model("grid")
    values, b = model.values.detach().float().requires_grad_(), model.b.detach().float().requires_grad_()
    x = gabp.solve(model.matrix(values), b).x
    assert x.dtype == torch.float32
    x.sum().backward()
    assert values.grad.dtype == b.grad.dtype == torch.float32
    dense = model.matrix(values.detach(), "dense").double().numpy()
    np.testing.assert_allclose(b.grad.numpy(), np.linalg.solve(dense, np.ones(model.n)), rtol=1e-4)


def test_x_requires_grad_only_if_an_argument_does():
    model = Model("grid")
    A = model.matrix(model.values.detach())
    x = gabp.solve(A, model.b).x
    assert x.requires_grad
    assert not gabp.solve(A, model.b.detach()).x.requires_grad
    with torch.no_grad():
        assert not gabp.solve(A, model.b).x.requires_grad


def test_corrected_variances_are_refused_where_gradients_are_required():
    model = Model("grid")
    with pytest.raises(gabp.InvalidSystemError, match="not differentiable"):
        gabp.marginals(model.matrix(model.values), model.b, variance="corrected")


def test_a_numpy_right_hand_side_gets_a_numpy_solution():
    model = Model("grid")
    b = model.b.detach().numpy()
    assert isinstance(gabp.solve(model.matrix(model.values), b).x, np.ndarray)


def test_the_backward_pass_reuses_the_set_up(monkeypatch):
    model = Model("grid")
    made = []
    monkeypatch.setattr(gabp.Solver, "_assemble", _counted(gabp.Solver._assemble, made))
    x = gabp.solve(model.matrix(model.values), model.b).x
    (first,) = torch.autograd.grad(x.square().sum(), model.values, create_graph=True)
    first.square().sum().backward()
    assert len(made) == 1


def _counted(function, calls):
    def count(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return count


def test_learning_by_gradients_finds_the_maximum_of_the_likelihood():
    """One parameter, solved by hand: n independent zero-mean samples of precision p have p̂ = 1 / mean(x²)."""
    x = torch.tensor(np.random.default_rng(3).standard_normal((1, 50)))
    node = torch.arange(50)
    log_p = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_p], max_iter=30, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        A = torch.sparse_coo_tensor(torch.stack([node, node]), log_p.exp().expand(50), (50, 50), check_invariants=True)
        value = -gabp.Gaussian(A).log_prob(x).sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert log_p.exp().item() == pytest.approx(1 / float(x.square().mean()), rel=1e-6)


def test_b_gets_a_gradient_with_a_scipy_matrix():
    A = sp.csr_array(2 * np.eye(3))
    b = torch.ones(3, dtype=torch.float64, requires_grad=True)
    gabp.solve(A, b).x.sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), 0.5)
