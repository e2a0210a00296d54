"""`gabp.backprop` against autograd."""

import pytest
import torch

import backprop_programs as programs
import gabp
from gabp.backprop import adjoint_system, fixed_point

SCHEDULES = ("two-pass", "flooding")


def autograd(fn, inputs):
    leaves = [x.clone().requires_grad_() for x in inputs]
    found = torch.autograd.grad(fn(*leaves), leaves, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def as_tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("program", programs.EVERY, ids=lambda make: make.__name__)
def test_gradients_are_those_of_autograd(program, schedule):
    fn, inputs = program()
    before = [x.clone() for x in inputs]
    gradients, messages = gabp.backprop(fn, *inputs, schedule=schedule, return_messages=True)
    for x, copy, ours, theirs in zip(inputs, before, as_tuple(gradients), autograd(fn, inputs), strict=True):
        assert torch.equal(x, copy)
        assert ours.shape == x.shape
        assert (ours - theirs).norm() <= 1e-12 * theirs.norm()
    assert messages.sweeps <= 2 * messages.depth


def test_names_of_the_package_are_importable_beside_the_function():
    """``gabp.backprop`` is the function, and ``from gabp.backprop import`` still finds the package."""
    assert callable(gabp.backprop)
    assert adjoint_system.__module__ == "gabp.backprop.adjoint"
    assert fixed_point.__module__ == "gabp.backprop.equilibrium"


def test_the_example_of_the_scalar_program():
    fn, (x,) = programs.scalar_example()
    assert float(gabp.backprop(fn, x)) == pytest.approx(1.2766774339, abs=5e-11)


def test_messages_have_the_values_and_sweeps_of_the_program():
    fn, (x,) = programs.scalar_example()
    _, messages = gabp.backprop(fn, x, schedule="flooding", return_messages=True)
    forward = {message.variable: float(message.value) for message in messages.forward}
    assert forward["sin"] == pytest.approx(float(x.sin()))
    assert forward["pow"] == pytest.approx(float(x**2))
    backward = {
        (message.factor, message.variable): (float(message.value), message.sweep) for message in messages.backward
    }
    assert backward["mul", "sin"] == (pytest.approx(float(x**2)), 2)
    assert backward["mul", "pow"] == (pytest.approx(float(x.sin())), 2)
    assert backward["sin", "x0"] == (pytest.approx(float(x**2 * x.cos())), 3)
    assert backward["pow", "x0"] == (pytest.approx(float(x.sin() * 2 * x)), 3)
    assert messages.sweeps == 3
    assert float(messages.adjoints["x0"]) == sum(value for (_, to), (value, _) in backward.items() if to == "x0")


def test_flooding_a_chain_takes_twice_its_depth_less_one():
    fn, inputs = programs.chain()
    _, messages = gabp.backprop(fn, *inputs, schedule="flooding", return_messages=True)
    assert messages.depth == 1000
    assert messages.sweeps == 2 * messages.depth - 1  # the last factor sends back as it sends forward


def test_a_variable_used_twice_is_one_variable_in_two_factors():
    fn, inputs = programs.recurrent_shared()
    _, messages = gabp.backprop(fn, *inputs, return_messages=True)
    assert sum(message.variable == "x0" for message in messages.backward) == 6  # W, once per step


def test_random_operators_repeat_their_draw():
    x = torch.ones(50, dtype=torch.float64)

    def fn(x):
        return torch.nn.functional.dropout(x.sin(), 0.5).sum() + torch.native_dropout(x, 0.5, True)[0].sum()

    torch.manual_seed(3)
    (expected,) = autograd(fn, (x,))
    for schedule in SCHEDULES:
        torch.manual_seed(3)
        assert torch.equal(gabp.backprop(fn, x, schedule=schedule), expected)


def test_a_constant_has_the_value_at_its_use():
    x = programs.random(3)
    scale = torch.ones(3, dtype=torch.float64)

    def fn(x):
        y = x * scale
        scale.add_(1)
        return (y + x * scale).sum()

    assert torch.equal(gabp.backprop(fn, x), torch.full_like(x, 3.0))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_float32(schedule):
    fn, inputs = programs.mlp()
    inputs = tuple(x.float() for x in inputs)
    for ours, theirs in zip(gabp.backprop(fn, *inputs, schedule=schedule), autograd(fn, inputs), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("program", programs.SCALAR, ids=lambda make: make.__name__)
def test_the_linear_system_has_the_same_gradients(program):
    fn, inputs = program()
    system = adjoint_system(fn, *inputs)
    solution = gabp.solve(system.matrix, system.boundary, symmetric=False, method="flooding", rtol=1e-14)
    for ours, theirs in zip(system.gradients(solution.x), autograd(fn, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_without_a_cycle_no_precision_message_is_sent():
    system = adjoint_system(*(lambda program: (program[0], *program[1]))(programs.random_dag()))
    product = system.matrix.multiply(system.matrix.T).tolil()
    product.setdiag(0)
    assert abs(product).max() == 0


def equilibrium():
    W, u = 0.4 * programs.random(5, 5), programs.random(5, seed=1)

    def fn(W, u):
        return fixed_point(lambda x: torch.tanh(W @ x + u), torch.zeros_like(u)).square().sum()

    x = fixed_point(lambda x: torch.tanh(W @ x + u), torch.zeros_like(u))
    slope = 1 - x**2
    adjoint = slope * torch.linalg.solve(torch.eye(5, dtype=torch.float64) - (slope[:, None] * W).T, 2 * x)
    return fn, (W, u), (torch.outer(adjoint, x), adjoint)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_equilibrium_has_the_implicit_gradient(schedule):
    fn, inputs, expected = equilibrium()
    gradients, messages = gabp.backprop(fn, *inputs, schedule=schedule, return_messages=True)
    assert messages.sweeps > 2 * messages.depth
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_an_equilibrium_as_a_linear_system():
    fn, inputs, expected = equilibrium()
    system = adjoint_system(fn, *inputs)
    solution = gabp.solve(system.matrix, system.boundary, symmetric=False, rtol=1e-13)
    for ours, theirs in zip(system.gradients(solution.x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_the_linear_system_has_the_gradient_where_the_map_is_no_contraction():
    a = torch.tensor(3.0, dtype=torch.float64)
    root = torch.tensor(3.0, dtype=torch.float64).sqrt()

    def fn(a):  # x = x + x² - a has a slope of 1 + 2√a at its equilibrium √a
        return fixed_point(lambda x: x + x**2 - a, root, rtol=1e-15)

    with pytest.raises(ArithmeticError, match="adjoint_system"):
        gabp.backprop(fn, a)
    system = adjoint_system(fn, a)
    solution = gabp.solve(system.matrix, system.boundary, symmetric=False)
    assert float(system.gradients(solution.x)[0]) == pytest.approx(float(0.5 / root), rel=1e-9)


def test_the_adjoint_system_requires_a_scalar():
    with pytest.raises(gabp.InvalidSystemError, match=r"scalar.*\(2,\)"):
        adjoint_system(torch.sin, torch.ones(2))


def test_a_divergent_iteration_or_another_shape_is_refused():
    with pytest.raises(ArithmeticError, match="did not converge"):
        fixed_point(lambda x: -x, torch.ones(2), limit=50)
    with pytest.raises(gabp.InvalidSystemError, match="shape"):
        fixed_point(lambda x: x[:1], torch.ones(2))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_curvature_messages_are_gauss_newton(schedule):
    A, x = programs.random(7, 4), programs.random(4, seed=1)
    gradient, messages = gabp.backprop(
        lambda x: A @ torch.sin(x), x, schedule=schedule, loss_precision=2.0, return_messages=True
    )
    J = A * x.cos()
    torch.testing.assert_close(messages.gauss_newton(), 2 * J.T @ J)
    torch.testing.assert_close(gradient, 2 * J.T @ A @ x.sin())


def test_curvature_does_not_change_the_gradient_of_a_scalar():
    fn, inputs = programs.mlp()
    plain = gabp.backprop(fn, *inputs)
    gradients, messages = gabp.backprop(fn, *inputs, loss_precision=3.0, return_messages=True)
    for a, b, i in zip(plain, gradients, range(len(inputs)), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(messages.gauss_newton(i), 3 * torch.outer(a.flatten(), a.flatten()))


def test_curvature_drops_cross_terms_where_paths_meet_again():
    x = torch.tensor(0.7, dtype=torch.float64)
    _, messages = gabp.backprop(lambda x: torch.sin(x) * x**2, x, loss_precision=1.0, return_messages=True)
    by_sine, by_square = x.cos() * x**2, 2 * x * x.sin()
    assert float(messages.gauss_newton()) == pytest.approx(float(by_sine**2 + by_square**2))
    assert float(messages.gauss_newton()) < float((by_sine + by_square) ** 2)


def test_arguments_are_checked():
    x = torch.ones(3)
    with pytest.raises(TypeError, match="input 1"):
        gabp.backprop(lambda x, i: x.sum(), x, torch.tensor([1]))
    with pytest.raises(TypeError, match="must return a tensor"):
        gabp.backprop(lambda x: float(x.sum()), x)
    with pytest.raises(gabp.InvalidSystemError, match="scalar"):
        gabp.backprop(lambda x: 2 * x, x)
    with pytest.raises(gabp.InvalidSystemError, match="real floating"):
        gabp.backprop(lambda x: x.argmax(), x)
    with pytest.raises(gabp.InvalidSystemError, match="schedule"):
        gabp.backprop(lambda x: x.sum(), x, schedule="random")
    with pytest.raises(gabp.InvalidSystemError, match="at least one"):
        gabp.backprop(lambda: x.sum())
    with pytest.raises(gabp.InvalidSystemError, match="positive"):
        gabp.backprop(lambda x: x.sum(), x, loss_precision=-1.0)
    with pytest.raises(gabp.InvalidSystemError, match="without an equilibrium"):
        fn, inputs, _ = equilibrium()
        gabp.backprop(fn, *inputs, loss_precision=1.0)


def test_an_in_place_change_under_no_grad_is_refused():
    def fn(x):
        y = x * 2
        with torch.no_grad():
            y.mul_(3)
        return y.sum()

    with pytest.raises(gabp.InvalidSystemError, match="gradients are disabled"):
        gabp.backprop(fn, torch.ones(2))


@pytest.mark.parametrize("loss_precision", [0.0, -1.0, float("nan"), float("inf")])
def test_loss_precision_is_positive(loss_precision):
    with pytest.raises(gabp.InvalidSystemError, match="loss_precision"):
        gabp.backprop(torch.sum, torch.ones(2), loss_precision=loss_precision)


@pytest.mark.parametrize("wrong", [{"schedule": 2}, {"loss_precision": "high"}, {"loss_precision": True}], ids=repr)
def test_settings_of_the_wrong_kind(wrong):
    with pytest.raises(TypeError, match=next(iter(wrong))):
        gabp.backprop(torch.sum, torch.ones(2), **wrong)
    with pytest.raises(TypeError, match="callable"):
        gabp.backprop(torch.ones(1), torch.ones(2))
