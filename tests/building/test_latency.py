"""Latency against a clock that goes as the network says: the median counts, the first pass does not."""

import time

import pytest
import torch
from torch import Tensor, nn

from visionscope.building import measure
from visionscope.building.measure import latency


class Lasting(nn.Module):
    """Takes as long as it is told, pass by pass, and notes what it is given.

    The lists are shared with every copy: `copy_of` copies a network, not what a function closes over.
    """

    def __init__(self, clock: list[float], seconds: list[float]) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.seen: list[tuple[tuple[int, ...], torch.dtype, bool, bool]] = []
        left, seen = iter(seconds), self.seen

        def take(images: Tensor, training: bool) -> None:
            seen.append((tuple(images.shape), images.dtype, training, torch.is_inference_mode_enabled()))
            clock[0] += next(left)

        self.take = take

    def forward(self, images: Tensor) -> Tensor:
        self.take(images, self.training)
        return self.dropout(images)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still but where a network moves it on."""
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    return now


def test_the_median_counts_without_the_first_pass(clock: list[float]) -> None:
    # The mean of the last three is 0.107, the least 0.004; with the first one the median is 0.1535.
    network = Lasting(clock, [5.0, 0.3, 0.004, 0.017])
    assert latency({"": network}, (8, 6), repeats=3) == {"": pytest.approx(17.0)}


def test_each_network_has_its_own_time_and_they_take_turns(clock: list[float]) -> None:
    order: list[str] = []
    slow, fast = Lasting(clock, [0.25] * 4), Lasting(clock, [0.0625] * 4)
    for name, network in (("slow", slow), ("fast", fast)):
        taken = network.take
        network.take = lambda images, training, name=name, taken=taken: (order.append(name), taken(images, training))
    found = latency({"slow": slow, "fast": fast}, (8, 6), repeats=3)
    assert found == {"slow": 250.0, "fast": 62.5}
    assert order == ["slow", "fast"] * 4


def test_one_image_passes_in_eval_mode_and_the_network_is_left_as_it_was(clock: list[float]) -> None:
    network = Lasting(clock, [1.0] * 6).train()
    state = torch.random.get_rng_state()
    latency({"": network}, (8, 6), channels=2, repeats=5)
    assert network.seen == [((1, 2, 8, 6), torch.float32, False, True)] * 6
    assert network.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_network_that_sleeps_takes_no_less_by_the_real_clock() -> None:
    class Sleeping(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            time.sleep(0.02)  # never returns earlier
            return images

    assert latency({"": Sleeping()}, (4, 4), repeats=3)[""] >= 20
