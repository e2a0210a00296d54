"""Derivatives of the optimum against differences of a dense optimum, at residuals that are not small."""

import copy
import pickle

import numpy as np
import pytest
import torch

import gabp
from factor_models import MANIFOLDS, newton_optimum, noisy_loop, normal
from gabp import InvalidSystemError
from gabp.factors import SE2, SE3, BearingRange, Between, Euclidean, Landmark, Linear, Prior, Range, Reprojection

every_manifold = pytest.mark.parametrize("manifold", MANIFOLDS.values(), ids=MANIFOLDS.keys())
every_loss = pytest.mark.parametrize("loss", [gabp.losses.Huber, gabp.losses.Cauchy, gabp.losses.GemanMcClure])


def check(build, parameters, seed=0, h=1e-4):
    """The derivative of a random function of the optimum along a random direction of all parameters.

    ``build`` makes a graph from tensors; the differences are of a dense Newton method's optimum.
    """
    leaves = [p.clone().requires_grad_() for p in parameters]
    graph = build(*leaves)
    result = graph.optimize(rtol=1e-15)
    pulls = [normal(s.count, s.manifold.dimension, seed=seed + 50 + s.position) for s in graph.sets]

    def measure(values):
        parts = zip(graph.sets, result.estimate, values, pulls, strict=True)
        return sum((pull * s.manifold.local(at, value)).sum() for s, at, value, pull in parts)

    directions = [normal(p.numel(), seed=seed + 90 + k).view(p.shape) for k, p in enumerate(parameters)]
    gradients = torch.autograd.grad(measure([result.values(s) for s in graph.sets]), leaves, retain_graph=True)
    of_objective = torch.autograd.grad(result.objective, leaves)
    ends = []
    for sign in (1, -1):
        moved = build(*(p + sign * h * d for p, d in zip(parameters, directions, strict=True)))
        values, objective = newton_optimum(moved, result.estimate)
        ends.append((float(measure(values)), objective))
    expected = (np.array(ends[0]) - np.array(ends[1])) / (2 * h)
    actual = [
        sum(float((g * d).sum()) for g, d in zip(gs, directions, strict=True)) for gs in (gradients, of_objective)
    ]
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-7)


def ring(manifold, measurement, factor, *, scale=None, loss=None, kind=Between, held=False):
    """A noisy ring of poses; informations as products of factors, so that they stay positive."""
    truth, start, i, j, _ = noisy_loop(manifold, noise=0.3)
    graph = gabp.FactorGraph()
    x = graph.variables(manifold, start)
    robust = None if loss is None else loss(scale)
    graph.add(kind, (x, x), (i, j), measurement, factor @ factor.mT, loss=robust)
    if held:
        graph.hold(x, [2, 5])
    else:
        graph.add(Prior, x, [0], truth[:1], 10.0)
    return graph


def ring_parameters(manifold):
    measurement = noisy_loop(manifold, noise=0.3)[-1]
    d = manifold.dimension
    return measurement, 0.3 * normal(len(measurement), d, d, seed=5) + torch.eye(d, dtype=torch.float64)


@every_manifold
def test_measurements_and_informations(manifold):
    check(lambda z, factor: ring(manifold, z, factor), ring_parameters(manifold))


@every_loss
@pytest.mark.parametrize("manifold", [SE2, SE3], ids=["SE2", "SE3"])
def test_the_scale_of_a_loss(manifold, loss):
    scale = torch.tensor(1.5, dtype=torch.float64)
    build = lambda z, factor, c: ring(manifold, z, factor, scale=c, loss=loss)  # noqa: E731
    check(build, (*ring_parameters(manifold), scale))


def test_held_variables():
    check(lambda z, factor: ring(SE3, z, factor, held=True), ring_parameters(SE3))


def test_a_function_of_the_user():
    def between(a, b, z):
        return SE3.local(z, SE3.relative(a, b))

    check(lambda z, factor: ring(SE3, z, factor, kind=between), ring_parameters(SE3))


def test_landmarks_bearings_and_ranges():
    """Two sets; shared informations in each of their forms; a measurement as a vector."""
    poses, start, i, j, steps = noisy_loop(SE2, noise=0.2)
    points = 2 * normal(3, 2, seed=7)
    p, q = torch.arange(8).repeat(3), torch.arange(3).repeat_interleave(8)
    seen = SE2.observe(poses[p], points[q])
    distance = torch.linalg.vector_norm(seen, dim=1)
    polar = torch.stack([torch.atan2(seen[:, 1], seen[:, 0]), distance], 1)

    def build(z, number, polar, diagonal, distance, step):
        graph = gabp.FactorGraph()
        x, y = graph.variables(SE2, start), graph.variables(Euclidean(2), points)
        graph.add(Between, (x, x), (i, j), steps, step)
        graph.add(Prior, x, [0], poses[:1], 10.0)
        graph.add(Landmark, (x, y), (p, q), z, number)
        graph.add(BearingRange, (x, y), (p, q), polar, diagonal)
        graph.add(Range, (x, y), (p, q), distance, 2.0)
        return graph

    noise = [0.2 * normal(24, *shape, seed=k) for k, shape in enumerate([(2,), (2,), ()])]
    diagonal = torch.tensor([3.0, 0.5], dtype=torch.float64)
    step = torch.tensor([4.0, 4.0, 8.0], dtype=torch.float64)
    number = torch.tensor(2.0, dtype=torch.float64)
    check(build, (seen + noise[0], number, polar + noise[1], diagonal, distance + noise[2], step))


def test_cameras():
    cameras = torch.cat([0.1 * normal(4, 3), torch.zeros(4, 6).double()], 1)
    cameras[:, 3:] = torch.tensor([0.0, 0, -6, 500, 0.01, 0.001]).double() + torch.zeros(4, 6).double()
    cameras[:, 3:6] += 0.5 * normal(4, 3, seed=1)
    points = normal(6, 3, seed=2)
    c, p = torch.arange(4).repeat(6), torch.arange(6).repeat_interleave(4)
    kind = Reprojection([Euclidean(9), Euclidean(3)])
    pixels = kind.residual([cameras[c], points[p]], torch.zeros(24, 2).double()) + 20 * normal(24, 2, seed=3)

    def build(z, logarithm):
        graph = gabp.FactorGraph()
        x, y = graph.variables(Euclidean(9), cameras), graph.variables(Euclidean(3), points)
        graph.add(Reprojection, (x, y), (c, p), z, logarithm.exp())
        graph.add(Prior, x, range(4), cameras, [1e2] * 6 + [1e-2, 1e4, 1e4])
        graph.add(Prior, y, range(6), points, 10.0)
        return graph

    check(build, (pixels, torch.tensor([-4.0, -5.0], dtype=torch.float64)))


def test_linear_equations():
    """The gradient in the matrix of a linear least squares problem, and in a shared information."""

    def build(equations, factor):
        graph = gabp.FactorGraph()
        x = graph.variables(Euclidean(3), torch.zeros(4, 3))
        i = np.arange(12) % 4
        graph.add(Linear, (x, x), (i, (i + 1) % 4), equations, factor @ factor.mT)
        return graph

    check(build, (normal(12, 2, 7), normal(2, 2, seed=1)))


def test_a_factor_twice_on_one_variable_and_one_that_depends_on_none():
    def product(a, b, z):
        return a * b - z

    def constant(a, z):
        return z - 1.0 + 0.0 * a.detach()

    def build(z, weight):
        graph = gabp.FactorGraph()
        x = graph.variables(Euclidean(1), torch.tensor([[1.5], [2.0]], dtype=torch.float64))
        graph.add(product, (x, x), ([0, 0, 1], [0, 1, 1]), z, weight)
        graph.add(constant, x, [1], z[:1], weight)
        graph.add(Prior, x, [0, 1], [[1.0], [1.0]], 0.5)
        return graph

    check(build, (torch.tensor([[2.0], [4.0], [5.0]], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)))


def test_the_second_derivative_of_a_residual_counts():
    """``½ (x² - p)² + ½ x²`` is least at ``x² = p - ½``; the Gauss–Newton matrix would give 0.4 in place of ½."""
    p = torch.tensor([[1.5]], dtype=torch.float64, requires_grad=True)
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), torch.tensor([[1.2]], dtype=torch.float64))
    graph.add(lambda x, z: x * x - z, x, [0], p, 1.0)
    graph.add(Prior, x, [0], [[0.0]], 1.0)
    result = graph.optimize(rtol=1e-15)
    assert torch.autograd.grad(result.values(x).sum(), p, retain_graph=True)[0].item() == pytest.approx(0.5, rel=1e-6)
    assert torch.autograd.grad(result.objective, p)[0].item() == pytest.approx(0.5, rel=1e-6)  # ½ p - ⅛ at the optimum


def test_an_average_by_hand():
    """The weighted mean of measurements: its derivatives are the weights, and the deviations over their sum."""
    z = torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), torch.zeros(1, 1, dtype=torch.float64))
    graph.add(Prior, x, [0, 0, 0], z, w[:, None, None])
    mean = graph.optimize().values(x)
    mean.sum().backward()
    np.testing.assert_allclose(z.grad.ravel(), [0.25, 0.5, 0.25], rtol=1e-9)
    np.testing.assert_allclose(w.grad, (z.detach().ravel() - 2.75) / 4, rtol=1e-9)


def test_float32_parameters_and_values():
    z = torch.tensor([[1.0], [3.0]], requires_grad=True)
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), torch.zeros(1, 1))
    graph.add(Prior, x, [0, 0], z, 1.0)
    values = graph.optimize().values(x)
    values.sum().backward()
    assert values.dtype == z.grad.dtype == torch.float32 and z.grad.ravel().tolist() == [0.5, 0.5]


def averaging(z, **options):
    graph = gabp.FactorGraph(**options)
    x = graph.variables(Euclidean(1), torch.zeros(2, 1, dtype=torch.float64))
    graph.add(Between, (x, x), ([0], [1]), z, 1.0)
    return graph, x


def leaf():
    return torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)


def test_a_free_gauge_has_a_differentiable_objective_and_no_differentiable_values():
    graph, x = averaging(leaf(), gauge="free")
    graph.add(Between, (x, x), ([0], [1]), [[3.0]], 1.0)
    result = graph.optimize()
    result.objective.backward(retain_graph=True)
    with pytest.raises(InvalidSystemError, match="component of 2 variables that variable 0 of set 0"):
        result.values(x).sum().backward()


def test_a_held_gauge():
    z = leaf()
    graph, x = averaging(z)
    graph.optimize(gauge="hold").values(x).sum().backward()
    assert z.grad.item() == pytest.approx(1.0)


def test_a_gradient_that_is_not_finite_stays_so():
    z = leaf()
    graph, x = averaging(z)
    (graph.optimize(gauge="hold").values(x).sum() * torch.nan).backward()
    assert bool(z.grad.isnan().all())


def test_what_is_held_does_not_move():
    z = leaf()
    graph, x = averaging(z)
    graph.hold(x, [0, 1])
    graph.optimize().values(x).sum().backward()
    assert z.grad.item() == 0.0


def test_an_optimum_that_is_no_strict_minimum_is_refused():
    """``½ (x² + 1)² + …`` with its curvature cancelled: Gauss–Newton stays at x = 0, a maximum, where it starts."""
    z = torch.tensor([[1.0]], dtype=torch.float64, requires_grad=True)
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), torch.zeros(1, 1, dtype=torch.float64))
    graph.add(lambda x, z: torch.cat([x, 2 - x * x - 0 * z]), x, [0], z, 1.0)
    result = graph.optimize("gauss-newton")
    assert result.converged
    with pytest.raises(ArithmeticError, match="not positive definite at the estimate"):
        result.values(x).sum().backward()


def test_without_convergence_nothing_is_differentiable():
    measurement, factor = ring_parameters(SE2)
    graph = ring(SE2, measurement.requires_grad_(), factor)
    result = graph.optimize(maxiter=1, throw=False)
    assert not result.converged
    assert isinstance(result.objective, float) and not result.values(graph.sets[0]).requires_grad


def test_nothing_is_recorded_where_no_gradient_is_asked_for():
    graph, x = averaging(leaf())
    with torch.no_grad():
        assert not graph.optimize(gauge="hold").values(x).requires_grad
    graph, x = averaging(leaf().detach())
    assert not graph.optimize(gauge="hold").values(x).requires_grad


def test_several_results_of_one_graph_and_several_backward_passes():
    z = torch.cat([torch.zeros(1, 6), torch.ones(1, 1)], 1).double().requires_grad_()  # normalised: not linear
    graph = gabp.FactorGraph()
    x = graph.variables(SE3, z.detach())
    graph.add(Prior, x, [0], z, 1.0)
    first = graph.optimize()
    first.values(x).sum().backward(retain_graph=True)
    once = z.grad.clone()
    first.values(x).sum().backward()
    graph.optimize().values(x).sum().backward()
    torch.testing.assert_close(z.grad, 3 * once)


def test_the_parameters_are_those_at_the_time_of_adding():
    z = leaf()
    graph, x = averaging(z)
    with torch.no_grad():
        z.mul_(5.0)
    result = graph.optimize(gauge="hold")
    result.values(x).sum().backward()
    assert result.estimate[0][1].item() == pytest.approx(2.0) and z.grad.item() == pytest.approx(1.0)


def test_a_differentiable_result_in_other_places():
    """As a start, for marginals, copied and pickled, it is as good as one without gradients."""
    graph, x = averaging(leaf())
    graph.add(Prior, x, [0], [[0.0]], 1.0)
    result = graph.optimize()
    assert graph.optimize(init=result).iterations == 0 or graph.optimize(init=result).converged
    assert graph.marginals(result).covariance(x).shape == (2, 1, 1)
    assert "objective" in repr(result) and graph.objective(result) == pytest.approx(result.objective.item())
    again = pickle.loads(pickle.dumps(copy.copy(result)))
    torch.testing.assert_close(again.values(again.sets[0]).detach(), result.values(x).detach())


def test_values_of_a_numpy_set_are_numpy():
    graph = gabp.FactorGraph()
    x = graph.variables(Euclidean(1), np.zeros((1, 1)))
    graph.add(Prior, x, [0], leaf(), 1.0)
    assert graph.optimize().values(x).tolist() == [[2.0]]


@pytest.mark.parametrize("scale", [torch.tensor(2.0), torch.tensor([2.0], requires_grad=True)])
def test_the_scale_of_a_loss_as_a_tensor_is_its_number(scale):
    loss = gabp.losses.Huber(scale)
    assert loss == gabp.losses.Huber(2.0) and loss.scale == 2.0 and repr(loss) == "Huber(scale=2.0)"


@pytest.mark.parametrize("scale", [torch.tensor(-1.0), torch.tensor(float("nan"), requires_grad=True)])
def test_scales_that_are_refused(scale):
    with pytest.raises(InvalidSystemError, match="scale of a loss"):
        gabp.losses.Huber(scale)
