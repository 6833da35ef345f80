"""The critical step: exact on quadratic losses, enclosed on others, few passes, weights put back to the bit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.found_as_it_was import snapshot
from reference.sharpness import first_rise
from visionscope.curvature.critical import critical_sharpness, critical_step
from visionscope.curvature.moving import movable


class Counted:
    """A loss along a line that remembers the steps asked for."""

    def __init__(self, loss):
        self.loss, self.steps = loss, []

    def __call__(self, step):
        self.steps.append(step)
        return self.loss(step)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 6),
    scale=st.floats(-4, 4),
    level=st.floats(-3, 3),
)
def test_on_a_quadratic_loss_it_is_exact_and_below_the_largest_eigenvalue(seed, size, scale, level):
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((size, size))
    hessian = 10**scale * (factor @ factor.T + 0.1 * np.eye(size))
    weights, lowest = rng.standard_normal(size), 10**level
    gradient = hessian @ weights

    def loss_at(step):
        moved = weights - step * gradient
        return lowest + moved @ hessian @ moved / 2

    found = critical_step(loss_at, loss_at(0.0), -float(gradient @ gradient))
    assert found.note == ""
    exact = 2 * (gradient @ gradient) / (gradient @ hessian @ gradient)
    # What the loss itself is rounded to is all that is lost.
    assert found.step == pytest.approx(exact, rel=1e-6)
    assert found.low <= found.step <= found.high
    assert 0 < found.sharpness <= np.linalg.eigvalsh(hessian)[-1] * (1 + 1e-6)
    assert found.passes <= 9


LOSSES = {
    "quartic": lambda step: 1.0 - step + 0.01 * step**4,
    "cosine": lambda step: 2.0 - math.sin(0.3 * step),
    "explodes": lambda step: 1.0 - step if step < 0.37 else math.inf,
    "is no number": lambda step: 1.0 - step if step < 0.37 else math.nan,
    "saturates": lambda step: 1.0 - 2 * math.tanh(50 * step) + math.log1p((60 * step) ** 2),
}
SLOPES = {"quartic": -1.0, "cosine": -0.3, "explodes": -1.0, "is no number": -1.0, "saturates": -100.0}


@pytest.mark.parametrize("name", LOSSES)
def test_on_other_losses_it_is_where_many_small_steps_find_it(name):
    loss = Counted(LOSSES[name])
    found = critical_step(loss, LOSSES[name](0.0), SLOPES[name])
    assert found.note == ""
    assert found.passes == len(loss.steps) <= 9
    slow = first_rise(LOSSES[name], LOSSES[name](0.0), found.step / 2000)
    assert found.low <= slow <= found.high * (1 + 1e-3)
    assert found.step == pytest.approx(slow, rel=1 / 32)
    assert LOSSES[name](found.low) <= LOSSES[name](0.0)
    assert not LOSSES[name](found.high) <= LOSSES[name](0.0)


@pytest.mark.parametrize("curve", [0.0, 0.7, 1.5, 3.0])
@pytest.mark.parametrize("first", [0.28, 0.6, 1.1, 2.5])
def test_where_the_loss_bends_as_networks_do_few_passes_find_it(first, curve):
    def loss_at(step):  # whose rise per step is (step - 1) / (1 + curve * step)
        return start + step * (step - 1) / (1 + curve * step)

    start = first / 2  # the first step tried is twice that
    found = critical_step(loss_at, start, -1.0)
    assert found.step == pytest.approx(1, rel=1 / 64)
    assert found.high - found.low <= found.high / 8
    assert found.passes <= 5


@pytest.mark.parametrize("power", [0.5, 1, 2, 3])
@pytest.mark.parametrize("root", [0.3, 2.5, 20, 300])
def test_a_line_that_hardly_rises_does_not_lead_too_far(root, power):
    found = critical_step(lambda step: 2 + step * ((step / root) ** power - 1), 2.0, -1.0, first=1.0)
    assert found.step == pytest.approx(root, rel=1 / 32)


def test_where_there_is_none_it_says_why():
    uphill = critical_step(lambda step: pytest.fail("nothing to look for"), 1.0, 0.5)
    assert (uphill.step, uphill.sharpness, uphill.passes) == (None, None, 0)
    assert uphill.note == "the loss does not fall along the direction: its slope is 0.5"
    falling = critical_step(lambda step: 1.0 - step, 1.0, -1.0)
    assert falling.step is None
    assert falling.note == f"the loss has not risen at a step of {falling.low:.3g}"
    assert falling.passes == 9
    jagged = critical_step(lambda step: 2.0 if step > 1e-9 else 0.0, 1.0, -1.0)
    assert jagged.step is None
    assert "after 9 passes" in jagged.note


class Bowl(torch.nn.Module):
    """A quadratic loss of its own two weights."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.b = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
        self.frozen = torch.nn.Parameter(torch.ones(3, dtype=torch.float64), requires_grad=False)

    def forward(self):
        return 3 * self.a.square().sum() + self.b.square().sum() / 2


@pytest.mark.parametrize("raises", [False, True])
def test_any_direction_is_followed_and_the_network_put_back_to_the_bit(raises):
    model = Bowl().train()
    model.a.grad = torch.ones(2, dtype=torch.float64)
    before = snapshot(model)
    update = {"a": torch.tensor([-0.2, 0.3], dtype=torch.float64)}  # as an optimizer makes it; b stays

    def loss():
        if raises:
            raise RuntimeError("in the middle")
        assert not model.training
        assert model.frozen.eq(1).all()
        assert float(model.b) == 0.5
        return float(model())

    try:
        with movable(model, ["a", "b"]) as weights:
            slope = float((6 * model.a * update["a"]).sum())
            found = critical_sharpness(weights, update, loss, float(model()), slope)
    except RuntimeError:
        assert raises
    else:
        curvature = 6 * float(update["a"].square().sum())
        assert found.step == pytest.approx(2 * -slope / curvature, rel=1e-12)
        assert found.sharpness == pytest.approx(curvature / -slope, rel=1e-12)
    assert snapshot(model) == before
    assert model.a.grad.eq(1).all()
