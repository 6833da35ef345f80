"""A network that is no function of its input ends in an error, not in a number."""

import copy

import pytest
import torch

from running.conftest import run, small_study


def counts(model, x, real, calls=[0]):  # noqa: B006  # the count is meant to stay
    calls[0] += 1
    return real(x * calls[0])


def drifts(model, x, real):
    with torch.no_grad():
        next(model.parameters()).add_(0.01)
    return real(x)


def fills_a_buffer(model, x, real):
    model.seen.add_(1)
    return real(x)


@pytest.mark.parametrize(
    ("forward", "message"),
    [(counts, "two passes over the same image disagree"), (drifts, "passes change"), (fills_a_buffer, "change 'seen'")],
)
def test_no_function_of_its_input(forward, message, tmp_path, monkeypatch):
    (subject,) = small_study()
    model = subject.subject.model
    state = copy.deepcopy(model.state_dict())
    model.register_buffer("seen", torch.zeros(1))
    real = model.forward
    monkeypatch.setattr(model, "forward", lambda x: forward(model, x, real))
    try:
        failures = run((subject,), tmp_path)
    finally:  # other tests use the same network
        del model.seen
        model.load_state_dict(state)
    assert failures
    assert all(message in failure.message for failure in failures)
    assert not list(tmp_path.glob("*/*/*.parquet"))
