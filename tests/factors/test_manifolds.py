"""Manifolds: retract and local are inverse, derivatives agree with automatic ones, near angle 0 and near π."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gabp
from factor_models import MANIFOLDS, normal, random_values
from gabp.factors import SE2, SE3, SO2, SO3, Euclidean, LieGroup
from gabp.kernels.torch import quaternions

ANGLES = [0.0, 1e-12, 1e-8, 0.9e-4, 1.1e-4, 1e-3, 0.0316, 0.0317, 1.0, math.pi - 1e-3, math.pi - 1e-9]

every_manifold = pytest.mark.parametrize("manifold", MANIFOLDS.values(), ids=MANIFOLDS.keys())


def close(out, expected, tolerance=1e-12):
    torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance)


def rotations(angle, seed=0):
    axis = normal(20, 3, seed=seed)
    return angle * axis / torch.linalg.vector_norm(axis, dim=1, keepdim=True)


@every_manifold
def test_local_inverts_retract(manifold):
    x, delta = random_values(manifold, 50), normal(50, manifold.dimension, seed=1).clamp(-1.8, 1.8)  # angles below π
    close(manifold.local(x, manifold.retract(x, delta)), delta)


@every_manifold
def test_retract_inverts_local(manifold):
    x, y = random_values(manifold, 50), random_values(manifold, 50, seed=1)
    back = manifold.retract(x, manifold.local(x, y))
    close(manifold.local(back, y), torch.zeros(50, manifold.dimension, dtype=torch.float64), 1e-9)


@every_manifold
def test_single_values_are_those_of_the_array(manifold):
    x, y = random_values(manifold, 5), random_values(manifold, 5, seed=1)
    delta = normal(5, manifold.dimension, seed=2)
    close(torch.func.vmap(manifold.retract)(x, delta), manifold.retract(x, delta))
    close(torch.stack([manifold.local(a, b) for a, b in zip(x, y, strict=True)]), manifold.local(x, y))


@every_manifold
def test_retract_all_is_retract(manifold):
    x, delta = random_values(manifold, 50), normal(50, manifold.dimension, seed=1)
    close(manifold.retract_all(x, delta), manifold.retract(x, delta))


@every_manifold
def test_derivatives_are_the_automatic_ones(manifold):
    """The base classes differentiate `retract`, `local` and `relative`."""
    x, y, z = (random_values(manifold, 200, seed) for seed in range(3))
    close(manifold.local_jacobian(x, y), super(type(manifold), manifold).local_jacobian(x, y), 1e-9)
    close(manifold.relative_jacobian(x, y), LieGroup.relative_jacobian(manifold, x, y), 1e-9)
    residual, jacobian = manifold.linearize_between(x, y, z)
    expected = LieGroup.linearize_between(manifold, x, y, z)
    close(residual, expected[0], 1e-12)
    close(manifold.residual_between(x, y, z), expected[0], 1e-12)
    close(jacobian, expected[1], 1e-10)


@every_manifold
def test_groups_compose(manifold):
    x, y, z = (random_values(manifold, 20, seed) for seed in range(3))
    zero = torch.zeros(20, manifold.dimension, dtype=torch.float64)
    close(manifold.local(manifold.compose(x, manifold.relative(x, y)), y), zero, 1e-9)
    left = manifold.compose(manifold.compose(x, y), z)
    close(manifold.local(left, manifold.compose(x, manifold.compose(y, z))), zero, 1e-9)


@pytest.mark.parametrize("angle", ANGLES)
def test_the_logarithm_inverts_the_exponential_at_every_angle(angle):
    omega = rotations(angle)
    torch.testing.assert_close(quaternions.log(quaternions.exp(omega)), omega, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("angle", ANGLES)
def test_the_exponential_has_unit_length(angle):
    length = torch.linalg.vector_norm(quaternions.exp(rotations(angle)), dim=1)
    torch.testing.assert_close(length, torch.ones_like(length), rtol=0, atol=5e-16)


@pytest.mark.parametrize("angle", ANGLES)
def test_the_jacobians_of_rotations_at_every_angle(angle):
    """Against central differences; the left Jacobian is the transpose of the right one."""
    omega = rotations(angle)
    step = 1e-6 * torch.eye(3, dtype=torch.float64)

    def perturbed(sign):
        turned, steps = quaternions.exp(omega)[:, None].expand(20, 3, 4), quaternions.exp(sign * step).expand(20, 3, 4)
        moved = quaternions.multiply(turned, steps)
        return quaternions.log(moved)

    difference = ((perturbed(1) - perturbed(-1)) / 2e-6).mT
    if angle < math.pi - 1e-3:  # past that the logarithm jumps
        close(quaternions.inverse_right_jacobian(omega), difference, 1e-8)
    left = quaternions.left_jacobian(omega)
    close(
        quaternions.inverse_right_jacobian(omega) @ left.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3), 1e-12
    )


def test_the_logarithm_takes_the_shorter_way():
    q = quaternions.exp(rotations(2.0))
    close(quaternions.log(-q), quaternions.log(q))


def test_rotation_matrices_rotate():
    q, v = random_values(SO3, 20), normal(20, 3, seed=1)
    close((quaternions.rotation_matrix(q) @ v[..., None])[..., 0], quaternions.rotate(q, v))
    u = normal(20, 3, seed=2)
    close((quaternions.cross_matrix(v) @ u[..., None])[..., 0], torch.linalg.cross(v, u))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1.0, math.pi - 1e-9, math.pi])
def test_a_quaternion_from_its_matrix(angle):
    axis = torch.nn.functional.normalize(torch.cat([normal(20, 3), torch.eye(3, dtype=torch.float64)]), dim=1)
    q = quaternions.exp(angle * axis)
    found = quaternions.from_rotation_matrix(quaternions.rotation_matrix(q))
    same = (found * q).sum(1, keepdim=True).sign()
    close(same * found, q, 1e-15)


@pytest.mark.parametrize("pose", [SE2, SE3], ids=["SE2", "SE3"])
def test_poses_act_on_points_and_observe_them(pose):
    x, point = random_values(pose, 20), normal(20, 2 if pose is SE2 else 3, seed=1)
    close(pose.observe(x, pose.act(x, point)), point)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_angles_stay_within_a_turn(a, b):
    x, y = SO2.normalize(torch.tensor([[a]], dtype=torch.float64)), torch.tensor([[b]], dtype=torch.float64)
    difference = SO2.local(x, y)
    assert abs(float(difference)) <= math.pi * (1 + 1e-12)
    assert math.isclose(math.cos(float(difference)), math.cos(b - a), abs_tol=1e-10)


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=7, max_size=7), st.lists(st.floats(-3, 3), min_size=6, max_size=6))
def test_rigid_motions_stay_rigid(numbers, delta):
    numbers = torch.tensor([numbers], dtype=torch.float64)
    if float(torch.linalg.vector_norm(numbers[0, 3:])) < 1e-3:
        return
    x = SE3.normalize(numbers)
    moved = SE3.retract(x, torch.tensor([delta], dtype=torch.float64))
    assert abs(float(torch.linalg.vector_norm(moved[0, 3:])) - 1) < 1e-14


def test_a_zero_quaternion_is_no_rotation():
    graph = gabp.FactorGraph()
    with pytest.raises(gabp.InvalidSystemError, match=r"values\[1\] has the quaternion 0"):
        graph.variables(SO3, [[0.0, 0, 0, 2], [0, 0, 0, 0]])


def test_quaternions_are_normalised():
    graph = gabp.FactorGraph()
    x = graph.variables(SO3, [[0.0, 0, 3, 4]])
    close(x.initial, torch.tensor([[0, 0, 0.6, 0.8]], dtype=torch.float64))


@pytest.mark.parametrize(("d", "error"), [(0, ValueError), (2.0, TypeError), (True, TypeError)])
def test_euclidean_needs_a_dimension(d, error):
    with pytest.raises(error, match="dimension of Euclidean"):
        Euclidean(d)
