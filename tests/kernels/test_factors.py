"""The compiled kernels of factor graphs against their literal twins in torch."""

import pytest
import torch

from factor_models import normal, random_values
from gabp.factors import SE2, SE3
from gabp.kernels.cpu import cameras as compiled_cameras
from gabp.kernels.cpu import factor_messages as compiled_messages
from gabp.kernels.cpu import normal_equations as compiled
from gabp.kernels.cpu import poses as compiled_poses
from gabp.kernels.torch import cameras, factor_messages, normal_equations, poses
from gabp.kernels.torch.normal_equations import Factors, Places


def close(out, expected):
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 7, 100])
@pytest.mark.parametrize("name", ["se2", "se3"])
def test_relative_poses(name, count):
    manifold = SE2 if name == "se2" else SE3
    arguments = [random_values(manifold, count, seed) for seed in range(3)]
    function = f"between_{name}"
    for out, expected in zip(
        getattr(compiled_poses, function)(*arguments), getattr(poses, function)(*arguments), strict=True
    ):
        close(out, expected)


@pytest.mark.parametrize("name", ["se2", "se3"])
@pytest.mark.parametrize("size", [0.0, 1e-9, 0.9e-4, 1.1e-4, 0.0316, 1.0, 4.0])
def test_steps_from_poses(name, size):
    manifold = SE2 if name == "se2" else SE3
    x, delta = random_values(manifold, 33), size * normal(33, manifold.dimension, seed=1)
    function = f"retract_{name}"
    close(getattr(compiled_poses, function)(x, delta), getattr(poses, function)(x, delta))


@pytest.mark.parametrize("size", [0.0, 1e-9, 0.9e-4, 1.1e-4, 0.0316, 0.0317, 3.1])
def test_relative_poses_at_every_angle(size):
    """The relative rotation is near the measured one, and far from it."""
    x, z = random_values(SE3, 40), random_values(SE3, 40, seed=1)
    delta = size * torch.nn.functional.normalize(normal(40, 6, seed=2))
    y = SE3.compose(x, SE3.retract(z, delta))
    for out, expected in zip(compiled_poses.between_se3(x, y, z), poses.between_se3(x, y, z), strict=True):
        close(out, expected)


@pytest.mark.parametrize("size", [0.0, 1e-9, 0.0316, 0.0317, 1.0, 4.0])
def test_cameras(size):
    camera, point, pixel = normal(50, 9), normal(50, 3, seed=1), normal(50, 2, seed=2)
    camera[:, :3] = size * torch.nn.functional.normalize(camera[:, :3])
    camera[:, 5] -= 8
    errors = compiled_cameras.reprojection_errors(camera, point, pixel)
    close(errors, cameras.reprojection_errors(camera, point, pixel))
    out, expected = (kernels.linearize_reprojection(camera, point, pixel) for kernels in (compiled_cameras, cameras))
    close(out[0], errors)
    close(out[1], expected[1])


def chain(count, dimensions, held):
    """Factors along a chain of variables of the sizes given in turn, on the rows of its dense matrix."""
    variables = torch.arange(count)[:, None] + torch.arange(len(dimensions))
    sizes = torch.tensor([dimensions[v % len(dimensions)] for v in range(int(variables.max()) + 1)])
    # every factor begins at the first size
    variables = variables[:: len(dimensions)]
    first = torch.cumsum(sizes, 0) - sizes
    n = int(sizes.sum())
    unknown = first[variables]
    unknown[torch.isin(variables, torch.tensor(held))] = -1
    # a full matrix without its diagonal: row i begins at i (n - 1)
    start = unknown * (n - 1)
    shift = (unknown[:, None, :] > unknown[:, :, None]).long()
    block = start[:, :, None] + unknown[:, None, :] - shift
    stride = torch.full_like(unknown, n - 1)
    return Places(torch.tensor(dimensions), unknown, block.contiguous(), stride), n


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("root", ["identity", "shared", "own"])
@pytest.mark.parametrize(("rows", "dimensions"), [(6, [6, 6]), (3, [3, 3]), (2, [9, 3]), (1, [1]), (4, [2, 3, 1])])
def test_sums_of_products(rows, dimensions, root, weighted):
    places, n = chain(6 * len(dimensions), dimensions, held=[1, 4])
    count, width = len(places.unknown), sum(dimensions)
    roots = {"identity": None, "shared": normal(1, rows, rows), "own": normal(count, rows, rows)}
    weight = normal(count, seed=3).abs() if weighted else None
    factors = Factors(roots[root], normal(count, rows, seed=1), normal(count, rows, width, seed=2), weight)
    sums = []
    for kernels in (compiled, normal_equations):
        out = [torch.ones(size, dtype=torch.float64) for size in (n * (n - 1), n, n)]  # added to what is there
        kernels.add_products(factors, places, *out)
        sums.append(out)
    for out, expected in zip(*sums, strict=True):
        close(out, expected)
    single = [kernels.products(factors) for kernels in (compiled, normal_equations)]
    for out, expected in zip(*single, strict=True):
        close(out, expected)
    whitened = [kernels.whiten(factors.root, factors.residual) for kernels in (compiled, normal_equations)]
    for out, expected in zip(*whitened, strict=True):
        close(out, expected)


def test_a_factor_on_one_variable_twice():
    """Both derivatives are in the variable's own block."""
    places = Places(
        torch.tensor([2, 2]), torch.tensor([[0, 0]]), torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor([[1, 1]])
    )
    jacobian = normal(1, 3, 4)
    factors = Factors(None, normal(1, 3, seed=1), jacobian, None)
    total = jacobian[0, :, :2] + jacobian[0, :, 2:]
    dense = total.T @ total
    for kernels in (compiled, normal_equations):
        weight, diagonal, gradient = (torch.zeros(2, dtype=torch.float64) for _ in range(3))
        kernels.add_products(factors, places, weight, diagonal, gradient)
        close(diagonal, dense.diagonal())
        close(weight, dense[0, 1].expand(2))
        close(gradient, total.T @ factors.residual[0])


def test_arrays_of_other_shapes_are_refused():
    places, n = chain(4, [3, 3], held=[])
    factors = Factors(None, normal(1, 3), normal(1, 3, 6), None)
    out = [torch.zeros(size, dtype=torch.float64) for size in (n * (n - 1), n, n)]
    with pytest.raises(ValueError, match="unknown has another shape"):
        compiled.add_products(factors, places, *out)
    with pytest.raises(ValueError, match="poses of one number and width"):
        compiled_poses.between_se2(normal(2, 3), normal(3, 3), normal(2, 3))


@pytest.mark.parametrize("dimensions", [[3], [2, 2], [3, 6], [6, 6], [1, 2, 4], [1, 1, 1, 1]])
def test_messages_from_factors_are_schur_complements(dimensions):
    count, width = 5, sum(dimensions)
    factors, incoming = random_factors(dimensions, count)
    sent, sent_potential, definite = factor_messages.outgoing_messages(dimensions, *factors, *incoming)
    assert bool(definite.all())
    for rows, block in factor_messages.slices(dimensions):
        joint, potential = factors[0].clone(), factors[1] + incoming[1]
        for other, packed in factor_messages.slices(dimensions):
            if other != rows:
                joint[:, other, other] += incoming[0][:, packed].unflatten(1, (other.stop - other.start, -1))
        potential[:, rows] -= incoming[1][:, rows]
        covariance = torch.linalg.inv(joint)
        marginal = torch.linalg.inv(covariance[:, rows, rows])
        mean = (covariance @ potential.reshape(count, width, 1))[:, rows]
        close(sent[:, block].reshape(marginal.shape), marginal)
        close(sent_potential[:, rows], (marginal @ mean)[..., 0])


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("dimensions", [[2], [1, 1], [3, 3], [6, 6], [6, 3], [9, 3], [1, 2, 4], [3, 3, 6], [1] * 5])
def test_compiled_messages_from_factors(dimensions, count):
    factors, incoming = random_factors(dimensions, count)
    out, expected = (k.outgoing_messages(dimensions, *factors, *incoming) for k in (compiled_messages, factor_messages))
    for array, reference in zip(out, expected, strict=True):
        close(array, reference)
    for rows, block in factor_messages.slices(dimensions):
        square = out[0][:, block].unflatten(1, (rows.stop - rows.start, -1))
        assert torch.equal(square, square.mT)


@pytest.mark.parametrize("kernels", [factor_messages, compiled_messages])
@pytest.mark.parametrize("damage", [-100.0, float("nan")])
def test_a_matrix_that_cannot_be_eliminated_is_marked(kernels, damage):
    (precision, potential), (incoming_precision, incoming) = random_factors([2, 2], 5)
    incoming_precision[3, 4:] = damage * torch.eye(2).reshape(-1)
    definite = kernels.outgoing_messages([2, 2], precision, potential, incoming_precision, incoming)[2]
    assert definite.tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("size", [1, 2, 3, 6, 9])
def test_messages_in_new_coordinates(size):
    dimensions = [2, size]
    _factors, (precision, potential) = random_factors(dimensions, 7)
    factor, variable = torch.tensor([0, 2, 3, 6]), torch.tensor([1, 1, 4, 0])
    delta, turn = normal(5, size, seed=3), normal(5, size, size, seed=4)
    part = factor_messages.slices(dimensions)[1]
    out, expected = [precision.clone(), potential.clone()], [precision.clone(), potential.clone()]
    compiled_messages.transport(*out, part, factor, variable, delta, turn)
    factor_messages.transport(*expected, part, factor, variable, delta, turn)
    for array, reference, before in zip(out, expected, (precision, potential), strict=True):
        close(array, reference)
        assert torch.equal(array[[1, 4, 5]], before[[1, 4, 5]])
    # the density is the same but for a factor: compare log-densities at two points
    for k, v in zip(factor.tolist(), variable.tolist(), strict=True):
        x = normal(2, size, seed=k)
        y = delta[v] + x @ turn[v].mT
        rows, block = part
        assert log_ratio(out[0][k, block], out[1][k, rows], x) == pytest.approx(
            log_ratio(precision[k, block], potential[k, rows], y), rel=1e-10
        )


def log_ratio(precision, potential, points):
    square = precision.reshape(len(potential), -1)
    first, second = (float(x @ potential - 0.5 * x @ square @ x) for x in points)
    return first - second


def random_factors(dimensions, count):
    """Factors of full rank, and messages of rank one to them, packed."""
    width = sum(dimensions)
    root = normal(count, width, width)
    vectors = [normal(count, size, 1, seed=place) for place, size in enumerate(dimensions)]
    packed = torch.cat([(v @ v.mT).flatten(1) for v in vectors], 1)
    return (root @ root.mT, normal(count, width, seed=8)), (packed, normal(count, width, seed=9))
