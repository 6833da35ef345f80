"""Weights that are no numbers are named; what may be infinite by design is let through."""

import math
import time

import pytest
import torch
from torch import nn

import visionscope
from visionscope.core.finite import check_finite
from visionscope.errors import ConfigError
from visionscope.models.load import load_model


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)
        self.register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))
        self.register_buffer("unset", torch.full((2,), math.nan))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


def spoilt(name: str, value: float, count: int = 1) -> nn.Module:
    model = Net().eval()
    model.state_dict()[name].view(-1)[:count] = value
    return model


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("conv.weight", math.nan, r"Net: the parameter 'conv.weight' holds NaN \(2 of its 108 numbers\), of which"),
        ("head.bias", math.inf, r"the parameter 'head.bias' holds infinity \(2 of its 5 numbers\)"),
        ("head.bias", -math.inf, r"the parameter 'head.bias' holds infinity"),
        ("norm.running_var", math.nan, r"the buffer 'norm.running_var' holds NaN \(2 of its 4 numbers\)"),
        ("norm.running_mean", math.inf, r"the buffer 'norm.running_mean' holds infinity"),
    ],
)
def test_what_is_no_number_is_named(name: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_finite(spoilt(name, value, 2), "Net")


def test_how_many_more_there_are_is_told() -> None:
    model = spoilt("conv.weight", math.nan)
    model.state_dict()["norm.running_var"][0] = math.inf
    model.state_dict()["head.weight"][0] = math.inf
    with pytest.raises(ConfigError, match=r"'conv.weight' holds NaN \(1 of its 108 numbers, and 2 more like it\)"):
        check_finite(model, "Net")


def test_masks_and_buffers_that_are_not_used_may_be_anything() -> None:
    check_finite(Net(), "Net")
    swin = load_model("swin_tiny_patch4_window7_224?depths=(1,1,1,1)", random_weights=0).model
    for name, buffer in swin.named_buffers():
        if name.endswith("attn_mask"):
            buffer[buffer != 0] = -math.inf
    check_finite(swin, "swin")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.float8_e4m3fn])
def test_every_type_of_number_is_looked_at(kind: torch.dtype) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(4).to(kind))
    model.none = nn.Parameter(torch.ones(0).to(kind))
    check_finite(model, "a")
    model.weight = nn.Parameter(torch.tensor([1, 1, math.nan, 1]).to(kind))
    with pytest.raises(ConfigError, match="'weight' holds NaN"):
        check_finite(model, "a")


def test_the_largest_numbers_of_a_type_are_numbers() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.full((1000,), torch.finfo(torch.float32).max))
    check_finite(model, "a")


def test_it_takes_no_time_to_speak_of() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(10_000_000))
    began = time.process_time()
    check_finite(model, "a")
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", ["fourier", "variance", "similarity", "calibration", "lesion", "hessian", "landscape"])
def test_every_diagnostic_of_a_network_in_memory_refuses_it(name: str) -> None:
    images, labels = torch.zeros(8, 3, 16, 16), torch.arange(8) % 5
    given = () if name in ("fourier", "variance", "similarity") else (labels,)
    with pytest.raises(ConfigError, match=r"Net: the buffer 'norm.running_var' holds NaN"):
        visionscope.measure(name, spoilt("norm.running_var", math.nan), images, *given)
