"""Controls of equal size."""

import pytest
import torch
from torch import nn

from visionscope.building.matching import matched
from visionscope.errors import ConfigError


def network(width: int) -> nn.Module:
    """3 x width + width x 10 weights without biases; on 4 x 4 images 16 x 3 x width MACs, 16 x width for the mean."""
    return nn.Sequential(
        nn.Conv2d(3, width, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10, bias=False)
    )


def test_the_nearest_width_in_parameters() -> None:
    state = torch.random.get_rng_state()
    found = matched(network, "parameters", 13 * 20 - 2, range(8, 33, 4))
    assert (found.width, found.value) == (20, 260)
    assert found.error == pytest.approx(2 / 258)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_nearest_width_in_multiply_accumulates() -> None:
    # (48 + 16 + 10) x width
    found = matched(network, "macs", 74 * 12 + 10, range(8, 33, 4), size=(4, 4))
    assert (found.width, found.value) == (12, 888)
    assert found.error == pytest.approx(-10 / 898)


@pytest.mark.parametrize(
    ("of", "target", "widths", "message"),
    [
        ("flops", 10, range(8, 9), "of must be parameters or macs; got 'flops'. Choose from: macs, parameters"),
        ("macs", 0, range(8, 9), "target must be above 0 and finite; got 0"),
        ("macs", 10, range(8, 8), "widths must name at least one width; got none"),
    ],
)
def test_what_is_refused(of: str, target: float, widths: range, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        matched(network, of, target, widths)  # type: ignore[arg-type]
