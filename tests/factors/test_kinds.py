"""Kinds of factors: analytic derivatives against automatic ones, and values worked out by hand."""

import math

import pytest
import torch

import gabp
from factor_models import MANIFOLDS, jacobian_by_autodiff, normal, random_values
from gabp.factors import SE2, SE3, SO3, BearingRange, Between, Euclidean, Landmark, Linear, Prior, Range, Reprojection
from gabp.factors.kinds import FunctionKind
from gabp.kernels.torch import quaternions

COUNT = 1000


def values_of(manifolds, seed=0):
    return [random_values(manifold, COUNT, seed + k) for k, manifold in enumerate(manifolds)]


def cameras(seed):
    rotation, translation = normal(COUNT, 3, seed=seed), normal(COUNT, 3, seed=seed + 1)
    translation[:, 2] -= 8.0  # the points are in front of the camera
    focal = 500 + 50 * normal(COUNT, 1, seed=seed + 2)
    return torch.cat([rotation, translation, focal, 0.01 * normal(COUNT, 2, seed=seed + 3)], 1)


def cases():
    for name, manifold in MANIFOLDS.items():
        yield f"Prior {name}", Prior([manifold]), values_of([manifold]), random_values(manifold, COUNT, 9)
        pair = [manifold, manifold]
        yield f"Between {name}", Between(pair), values_of(pair), random_values(manifold, COUNT, 9)
    for pose, space in ((SE2, 2), (SE3, 3)):
        seen = [pose, Euclidean(space)]
        yield f"Landmark {pose.name}", Landmark(seen), values_of(seen), normal(COUNT, space, seed=9)
        yield f"Range {pose.name}", Range(seen), values_of(seen), normal(COUNT, 1, seed=9)
        yield f"Range of two {pose.name}", Range([pose, pose]), values_of([pose, pose]), normal(COUNT, 1, seed=9)
    pair = [Euclidean(2), Euclidean(2)]
    yield "Range of two points", Range(pair), values_of(pair), normal(COUNT, 1, seed=9)
    seen = [SE2, Euclidean(2)]
    yield "BearingRange", BearingRange(seen), values_of(seen), normal(COUNT, 2, seed=9)
    kind = Linear([Euclidean(2), Euclidean(3)])
    matrix = normal(COUNT, 4, 6, seed=9)
    kind.normalize(matrix)
    yield "Linear", kind, values_of(kind.manifolds), matrix
    kind = Reprojection([Euclidean(9), Euclidean(3)])
    yield "Reprojection", kind, [cameras(1), normal(COUNT, 3, seed=7)], normal(COUNT, 2, seed=9)


CASES = {name: case for name, *case in cases()}


@pytest.mark.parametrize("case", CASES)
def test_derivatives_are_the_automatic_ones(case):
    kind, values, measurement = CASES[case]
    residual, jacobian = kind.linearize(values, measurement)
    expected = jacobian_by_autodiff(kind, values, measurement)
    assert jacobian.shape == (COUNT, kind.dimension, sum(manifold.dimension for manifold in kind.manifolds))
    torch.testing.assert_close(residual, kind.residual(values, measurement), rtol=1e-12, atol=1e-11)
    scale = float(expected.abs().max())
    torch.testing.assert_close(jacobian, expected, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize("angle", [0.0, 1e-10, 1e-4, 1.0001e-4, 0.03, 0.032, math.pi - 1e-6])
@pytest.mark.parametrize("manifold", [SO3, SE3], ids=["SO3", "SE3"])
def test_derivatives_near_angle_0_and_near_pi(manifold, angle):
    """The relative rotation differs from the measured one by the angle."""
    x, z = random_values(manifold, COUNT), random_values(manifold, COUNT, 2)
    axis = normal(COUNT, 3, seed=3)
    omega = angle * axis / torch.linalg.vector_norm(axis, dim=1, keepdim=True)
    delta = omega if manifold is SO3 else torch.cat([normal(COUNT, 3, seed=4), omega], 1)
    y = manifold.compose(x, manifold.retract(z, delta))
    kind = Between([manifold, manifold])
    residual, jacobian = kind.linearize([x, y], z)
    torch.testing.assert_close(residual, delta, rtol=1e-9, atol=1e-14)
    expected = jacobian_by_autodiff(kind, [x, y], z)
    torch.testing.assert_close(jacobian, expected, rtol=1e-7, atol=1e-8)


def test_a_between_factor_by_hand():
    """One metre ahead and a quarter turn, measured as 0.9 m and 0.1 rad less."""
    x = [torch.tensor([[1.0, 2.0, math.pi / 2]]).double(), torch.tensor([[1.0, 3.0, math.pi]]).double()]
    kind = Between([SE2, SE2])
    residual = kind.residual(x, torch.tensor([[0.9, 0.0, math.pi / 2 - 0.1]]).double())
    c, s = math.cos(math.pi / 2 - 0.1), math.sin(math.pi / 2 - 0.1)
    torch.testing.assert_close(residual, torch.tensor([[0.1 * c, -0.1 * s, 0.1]]).double(), rtol=0, atol=1e-7)


def test_angles_of_a_between_factor_wrap():
    kind = Between([SE2, SE2])
    x = [torch.tensor([[0.0, 0, 3.0]]).double(), torch.tensor([[0.0, 0, -3.0]]).double()]
    residual = kind.residual(x, torch.zeros(1, 3).double())
    assert float(residual[0, 2]) == pytest.approx(2 * math.pi - 6)
    assert float(kind.linearize(x, torch.zeros(1, 3).double())[0][0, 2]) == pytest.approx(2 * math.pi - 6)


def test_a_bearing_by_hand():
    kind = BearingRange([SE2, Euclidean(2)])
    x = [torch.tensor([[1.0, 1.0, math.pi / 2]]).double(), torch.tensor([[1.0, 3.0]]).double()]
    torch.testing.assert_close(
        kind.residual(x, torch.tensor([[0.25, 1.5]]).double()), torch.tensor([[-0.25, 0.5]]).double()
    )


def test_a_camera_by_hand():
    """A point at depth 4, half a metre to the right, focal length 100: p = 1/8."""
    kind = Reprojection([Euclidean(9), Euclidean(3)])
    camera = torch.tensor([[0.0, 0, 0, 0, 0, -4.0, 100.0, 0.64, 4.096]]).double()
    point = torch.tensor([[0.5, 0.0, 0.0]]).double()
    pixel = kind.residual([camera, point], torch.zeros(1, 2).double())
    torch.testing.assert_close(pixel, torch.tensor([[12.5 * (1 + 0.01 + 0.001), 0.0]]).double())


def test_a_range_at_a_coincidence_has_no_slope():
    kind = Range([Euclidean(2), Euclidean(2)])
    x = [torch.ones(1, 2).double(), torch.ones(1, 2).double()]
    residual, jacobian = kind.linearize(x, torch.ones(1, 1).double())
    assert float(residual) == -1.0 and not bool(jacobian.any())


def test_a_function_of_single_variables():
    """Its derivative in the tangent space of a rotation is that of the rotated vector: -R [v]×."""

    def rotated(rotation, vector):
        return quaternions.rotate(rotation, vector)

    kind = FunctionKind(rotated, [SO3])
    x, v = random_values(SO3, 20), normal(20, 3, seed=1)
    residual, jacobian = kind.linearize([x], v)
    torch.testing.assert_close(residual, quaternions.rotate(x, v))
    torch.testing.assert_close(jacobian, -quaternions.rotation_matrix(x) @ quaternions.cross_matrix(v))


@pytest.mark.parametrize(
    ("kind", "manifolds", "message"),
    [
        (Prior, [SE2, SE2], "Prior takes one variable"),
        (Between, [SE2, SE3], "Between takes two variables of one manifold"),
        (Landmark, [SE2, Euclidean(3)], "Landmark takes a pose and a point"),
        (Landmark, [Euclidean(2), SE2], "Landmark takes a pose and a point"),
        (BearingRange, [SE3, Euclidean(3)], "BearingRange takes a pose and a point"),
        (Range, [SE2, SE3], "Range takes two poses or points"),
        (Range, [SO3, SO3], "Range takes two poses or points"),
        (Linear, [SE2], "Linear takes Euclidean variables"),
        (Reprojection, [Euclidean(3), Euclidean(9)], "Reprojection takes a camera and a point"),
    ],
)
def test_kinds_name_the_variables_that_they_take(kind, manifolds, message):
    with pytest.raises(gabp.InvalidSystemError, match=message):
        kind(manifolds)
