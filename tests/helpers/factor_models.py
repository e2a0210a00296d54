"""Random values, factors and graphs, and a dense Gauss–Newton method to compare with."""

import numpy as np
import torch

import gabp
from gabp.factors import SE2, SE3, SO2, SO3, Euclidean
from gabp.factors.manifolds.differentiation import batched_derivative

MANIFOLDS = {manifold.name: manifold for manifold in (Euclidean(1), Euclidean(3), SO2, SE2, SO3, SE3)}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def random_values(manifold, count, seed=0, spread=1.0):
    """Points all over the manifold, rotations by any angle among them."""
    return manifold.normalize(spread * normal(count, manifold.width, seed=seed))


def jacobian_by_autodiff(kind, values, measurement):
    """The derivative of one batch's residuals in the tangent spaces, side by side, by forward differentiation."""

    def residual(delta, x, z):
        parts = delta.split([manifold.dimension for manifold in kind.manifolds])
        moved = [m.retract(v, d)[None] for m, v, d in zip(kind.manifolds, x, parts, strict=True)]
        return kind.residual(moved, z[None])[0]

    zero = torch.zeros(sum(manifold.dimension for manifold in kind.manifolds), dtype=torch.float64)
    return batched_derivative(residual, argnums=0, in_dims=(None, 0, 0))(zero, tuple(values), measurement)


def dense_system(graph, values):
    """``A`` and the gradient of a graph's model, all variables free, from autodiff and one factor after another."""
    first = np.cumsum([0, *(s.count * s.manifold.dimension for s in graph.sets)])
    A, g = np.zeros((first[-1], first[-1])), np.zeros(first[-1])
    for batch in graph.factors:
        x = [values[s.position][i] for s, i in zip(batch.variables, batch.index.T, strict=True)]
        residual = batch.kind.residual(x, batch.measurement).numpy()
        jacobian = jacobian_by_autodiff(batch.kind, x, batch.measurement).numpy()
        information = np.broadcast_to(batch.information.numpy(), (len(batch), *batch.information.shape[1:]))
        for f, (r, J, omega) in enumerate(zip(residual, jacobian, information, strict=True)):
            s = torch.tensor(r @ omega @ r)
            weight = 1.0 if batch.loss is None else float(batch.loss.weight(s))
            places = [
                first[v.position] + int(i) * v.manifold.dimension + np.arange(v.manifold.dimension)
                for v, i in zip(batch.variables, batch.index[f], strict=True)
            ]
            place = np.concatenate(places)
            np.add.at(A, (place[:, None], place[None, :]), weight * J.T @ omega @ J)
            np.add.at(g, place, weight * J.T @ omega @ r)
    return A, g


def dense_optimum(graph, values, iterations=30):
    """Gauss–Newton with a dense solver, from values that are close: the values and the objective."""
    values = [value.clone() for value in values]
    for _ in range(iterations):
        A, g = dense_system(graph, values)
        delta = torch.from_numpy(-np.linalg.solve(A, g))
        begin = 0
        for s in graph.sets:
            size = s.count * s.manifold.dimension
            step = delta[begin : begin + size].reshape(s.count, -1)
            values[s.position] = s.manifold.retract(values[s.position], step)
            begin += size
    return values, graph.objective(dict(zip(graph.sets, values, strict=True)))


def newton_optimum(graph, values, iterations=5):
    """Newton's method with the dense Hessian, from values that are close: the values and the objective."""
    held = torch.cat([torch.from_numpy(graph.held(s)).repeat_interleave(s.manifold.dimension) for s in graph.sets])

    def moved(delta):
        parts = delta.split([s.count * s.manifold.dimension for s in graph.sets])
        steps = [part.view(s.count, -1) for s, part in zip(graph.sets, parts, strict=True)]
        return [s.manifold.retract(value, step) for s, value, step in zip(graph.sets, values, steps, strict=True)]

    def objective(delta):
        total, at = 0.0, moved(delta)
        for batch in graph.factors:
            x = [at[s.position][i] for s, i in zip(batch.variables, batch.index.T, strict=True)]
            residual = batch.kind.residual(x, batch.measurement)
            s = torch.einsum("fi,fij,fj->f", residual, batch.information.expand(len(batch), -1, -1), residual)
            total = total + 0.5 * (s if batch.loss is None else batch.loss.rho(s)).sum()
        return total

    for _ in range(iterations):
        zero = torch.zeros(len(held), dtype=torch.float64)
        g = torch.autograd.functional.jacobian(objective, zero)
        H = torch.autograd.functional.hessian(objective, zero, vectorize=True)
        zero[~held] = -torch.linalg.solve(H[~held][:, ~held], g[~held])
        values = moved(zero)
    return values, graph.objective(dict(zip(graph.sets, values, strict=True)))


def noisy_loop(manifold, count=8, noise=0.05, seed=0):
    """Truth, start values and edges (i, j, measurement) of a ring with two chords, on a Lie group."""
    step = noise * normal(count, manifold.dimension, seed=seed + 1)
    truth = random_values(manifold, count, seed)
    i = torch.tensor([*range(count), 0, 1])
    j = torch.tensor([*range(1, count), 0, count // 2, count - 2])
    error = noise * normal(len(i), manifold.dimension, seed=seed + 2)
    measurement = manifold.retract(manifold.relative(truth[i], truth[j]), error)
    return truth, manifold.retract(truth, step), i, j, measurement


def pose_graph(manifold, *, loss=None, anchored=True, **options):
    """A graph of a noisy ring, its variables and the truth."""
    truth, start, i, j, measurement = noisy_loop(manifold, **options)
    graph = gabp.FactorGraph()
    x = graph.variables(manifold, start)
    root = normal(len(i), manifold.dimension, manifold.dimension, seed=5)
    information = root @ root.mT + torch.eye(manifold.dimension, dtype=torch.float64)
    graph.add(gabp.factors.Between, (x, x), (i, j), measurement, information, loss=loss)
    if anchored:
        graph.add(gabp.factors.Prior, x, [0], truth[:1], 100.0)
    return graph, x, truth


def pose_graph_by_a_function(**options):
    """A graph of poses in space, and the same with the user's own function in place of `Between`."""
    built_in, x, truth = pose_graph(SE3, **options)
    batch, _prior = built_in.factors

    def between(a, b, z):
        return SE3.local(z, SE3.relative(a, b))

    graph = gabp.FactorGraph()
    y = graph.variables(SE3, x.initial)
    graph.add(between, (y, y), tuple(batch.index.T), batch.measurement, batch.information)
    graph.add(gabp.factors.Prior, y, [0], truth[:1], 100.0)
    return built_in, graph


def tour(manifold, side=6, seed=0):
    """A graph of a robot that goes over a grid of places row by row and recognises its neighbours.

    Returns the graph, its poses, the handles of odometry and of true loop closures. Errors have 0.6 of the standard
    deviation that the informations state, so that no true measurement passes for an outlier.
    """
    count, space = side * side, 2 if manifold is SE2 else 3
    row, column = np.divmod(np.arange(count), side)
    column = np.where(row % 2, side - 1 - column, column)
    truth = torch.zeros(count, manifold.width, dtype=torch.float64)
    truth[:, 0], truth[:, 1] = torch.from_numpy(column), torch.from_numpy(row)
    truth[:, space:] = normal(count, manifold.width - space, seed=seed)
    truth = manifold.normalize(truth)
    near = (np.abs(row[:, None] - row) + np.abs(column[:, None] - column)) == 1
    i, j = np.nonzero(np.triu(near, 2))
    odometry = (np.arange(count - 1), np.arange(1, count))

    def measured(i, j, seed):
        noise = 0.012 * normal(len(i), manifold.dimension, seed=seed)
        return manifold.retract(manifold.relative(truth[i], truth[j]), noise)

    graph = gabp.FactorGraph(gauge="hold")
    x = graph.variables(manifold, truth)
    steps = graph.add(gabp.factors.Between, (x, x), odometry, measured(*odometry, seed + 1), 2500.0)
    loops = graph.add(gabp.factors.Between, (x, x), (i, j), measured(i, j, seed + 2), 2500.0)
    return graph, x, steps, loops


def add_outliers(graph, x, loops, share, seed=0):
    """False loop closures, at random anywhere: ``share`` of all loop closures."""
    wrong = round(share / (1 - share) * len(loops))
    chance = np.random.default_rng(seed)
    i = chance.integers(0, x.count - 2, wrong)
    j = chance.integers(i + 2, x.count)
    z = x.manifold.normalize(3 * normal(wrong, x.manifold.width, seed=seed + 9))
    return graph.add(gabp.factors.Between, (x, x), (i, j), z, 2500.0)
