"""Every mixer: the three facts that it declares, measured; shapes, gradients, costs and files in its slot."""

import copy
import functools
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.mixers.by_hand import MACS
from visionscope.building.counting import count
from visionscope.errors import ConfigError
from visionscope.models.mixers.mixer import Mixer, mixer_kinds, mixer_of
from visionscope.models.mixers.slot import mixer_width
from visionscope.models.windows import MsaBlock

DIM = 16
SIZES = [(8, 8), (7, 5), (9, 13), (4, 4), (1, 1), (2, 3)]
SCALES = (0.3, 1.0, 3.0)
"""By which initial weights are multiplied, for weights that a training may reach."""


def built(mixer: Mixer, *, seed: int = 0, scale: float = 1.0, dim: int = DIM) -> nn.Module:
    """A module in float64, eval mode, with random weights of every kind: those that start as 0 or 1 are moved, too."""
    torch.manual_seed(seed)
    module = mixer.build(dim).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            spread = parameter.std() if parameter.numel() > 1 else torch.tensor(0.0)
            if not spread > 0:
                spread = torch.tensor(0.5, dtype=torch.float64)
                parameter += spread * torch.randn_like(parameter)
            parameter *= scale
    return module


def gains(module: nn.Module, *, size: int = 24, images: int = 192) -> Tensor:
    """Per channel the power of white noise that passes at high frequencies over that at low ones; 1: both alike.

    The mean of an image is the lowest frequency, and all that a mean over the whole map keeps. What it is on average
    over all images is not a response, but a bias, and taken out. With fewer images a flat response would not look flat.
    """
    noise, own = white_noise(size, images)
    module = module.float()
    with torch.no_grad():
        response = torch.cat([module(part) for part in noise.split(32)])
    return high_over_low(response) / own


@functools.cache
def white_noise(size: int, images: int) -> tuple[Tensor, Tensor]:
    """Images and their ratio: the same for every mixer."""
    noise = torch.randn(images, DIM, size, size, generator=torch.Generator().manual_seed(1))
    return noise, high_over_low(noise)


def high_over_low(maps: Tensor) -> Tensor:
    size = maps.shape[-1]
    rows = torch.fft.fftfreq(size).abs() * 2
    radius = torch.maximum(rows[:, None], rows[None, :])
    low, high = radius <= 1 / 3, radius > 2 / 3
    power = torch.fft.fft2(maps - maps.mean((0, 2, 3), keepdim=True)).abs().square().mean(0)
    return power[:, high].mean(1) / power[:, low].mean(1)


@pytest.fixture(params=sorted(mixer_kinds().keys() | MACS.keys()))
def text(request: pytest.FixtureRequest) -> str:
    """Every mixer with its own settings, and with those others that change its facts or its costs."""
    name: str = request.param
    return name


@pytest.fixture
def mixer(text: str) -> Mixer:
    return mixer_of(text)


def test_it_says_what_it_is(mixer: Mixer) -> None:
    assert mixer.does
    assert not mixer.does.endswith(".")
    assert mixer.source.startswith("a control") or any(year in mixer.source for year in map(str, range(1980, 2027)))
    assert mixer.low_pass in ("always", "can be", "never")
    assert mixer.name.islower()


def test_whether_it_is_a_low_pass_filter_is_what_white_noise_says(mixer: Mixer) -> None:
    weakened: list[bool] = []
    for seed, scale in itertools.product(range(3), SCALES):
        weakened += (gains(built(mixer, seed=seed, scale=scale)) < 0.95).tolist()
        if any(weakened) and not all(weakened):
            break  # which no further weights can change
    falls = sum(weakened) / len(weakened)
    expected = {"always": falls == 1, "never": falls == 0, "can be": 0 < falls < 1}
    assert expected[mixer.low_pass], f"{mixer.name} weakens high frequencies in {falls:.0%} of its channels"


def test_whether_it_is_data_specific_is_what_its_jacobian_says(mixer: Mixer) -> None:
    module = built(mixer)
    torch.manual_seed(2)
    here, there, along = torch.randn(3, 1, DIM, 8, 8, dtype=torch.float64).unbind(0)
    with sdpa_kernel(SDPBackend.MATH):  # of attention in one piece torch has no second derivative
        slopes = [torch.autograd.functional.jvp(module, place, along, strict=False)[1] for place in (here, there)]
    differs = not torch.allclose(*slopes, rtol=1e-6, atol=1e-9)
    assert differs == mixer.data_specific


def test_it_reaches_as_far_as_it_says(mixer: Mixer) -> None:
    size, module = 33, built(mixer)
    torch.manual_seed(3)
    farthest = 0
    for row, column in ((16, 16), (15, 17), (12, 19)):  # windows have edges: one of them lies at such a place
        x = torch.randn(1, DIM, size, size, dtype=torch.float64, requires_grad=True)
        (module(x)[0, :, row, column].sum()).backward()
        heard = x.grad[0].abs().amax(0) > 1e-14
        rows, columns = heard.nonzero().unbind(1)
        farthest = max(farthest, int(((rows - row).abs().maximum((columns - column).abs())).max()))
    declared = mixer.reach()
    if declared is None:
        assert farthest >= 16
    else:
        assert declared / 2 < farthest <= declared or farthest == declared


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_any_size_keeps_its_shape_and_has_finite_gradients(mixer: Mixer, size: tuple[int, int]) -> None:
    module = built(mixer).train()
    x = torch.randn(2, DIM, *size, dtype=torch.float64, requires_grad=True)
    y = module(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    for name, gradient in {"input": x.grad, **found}.items():
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
    if size == (8, 8):
        assert x.grad.abs().max() > 0
        assert all(gradient.abs().max() > 0 for gradient in found.values()), "a weight without effect"


def test_float32_and_channels_last_give_the_same_numbers(mixer: Mixer) -> None:
    module = built(mixer)
    x = torch.randn(2, DIM, 8, 6, dtype=torch.float64)
    with torch.no_grad():
        exact, single = module(x), copy.deepcopy(module).float()(x.float())
        last = module(x.to(memory_format=torch.channels_last))
    assert torch.allclose(single.double(), exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))
    assert torch.allclose(last, exact, rtol=1e-9, atol=1e-12)


def test_one_image_does_not_change_with_the_others_beside_it(mixer: Mixer) -> None:
    module = built(mixer)
    x = torch.randn(3, DIM, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(module(x)[:1], module(x[:1]), rtol=1e-9, atol=1e-12)


def test_its_slot_has_as_many_parameters_as_attention(text: str) -> None:
    attention = {"num_heads": 6, "head_dim": 12, "window_size": 4}
    msa = MsaBlock(96, 96, **attention)
    block = MsaBlock(96, 96, **attention, mixer=text)
    wanted, found = (sum(one.numel() for one in network.parameters()) for network in (msa, block))
    norm = 2 * 96
    assert found - norm == pytest.approx(wanted - norm, rel=0.1)


def test_its_multiply_accumulates_are_those_counted_by_hand(text: str) -> None:
    """The table of costs against a formula for each, and on the meta device, where `costs` counts, at a large size."""
    for dim, height, width, device in ((DIM, 8, 8, "cpu"), (2 * DIM, 4, 8, "cpu"), (4 * DIM, 32, 32, "meta")):
        x = torch.zeros(1, dim, height, width, device=device)
        found = count(mixer_of(text).build(dim).to(device).eval(), x).macs
        assert found == pytest.approx(MACS[text](dim, height, width), rel=1e-9), (dim, height, width)


def test_it_is_exported_as_attention_is(text: str) -> None:
    block = MsaBlock(32, 32, num_heads=2, head_dim=8, window_size=4, mixer=text).eval()
    x = torch.randn(2, 32, 8, 8)
    exported = torch.export.export(block, (x,))
    with torch.no_grad():
        assert torch.allclose(exported.module()(x), block(x), rtol=1e-4, atol=1e-5)


def test_a_width_is_the_nearest_of_all() -> None:
    """Every width tried, against the search."""
    attention = {"mid_chs": 24, "num_heads": 6, "head_dim": 12, "window_size": 4, "tables": 1}
    target = 24 * (96 + 2 + 3 * 72) + 73 * 96 + 49
    for name, kind in mixer_kinds().items():
        own = mixer_of(name)
        sizes = {
            width: abs(width * 194 + 96 + sum(p.numel() for p in own.build(width).parameters()) - target)
            for width in range(kind.step, 145, kind.step)
        }
        assert mixer_width(name, 96, 96, **attention) == min(sizes, key=sizes.__getitem__)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("identty", r"^mixer: there is no mixer 'identty'\. Did you mean 'identity'\?$"),
        (
            "learned_blur(kernel=7)",
            r"^mixer learned_blur: there is no setting 'kernel'\. Did you mean 'kernel_size'\?$",
        ),
        ("learned_blur(kernel_size=4)", r"^mixer learned_blur\.kernel_size: must be an odd number from 3 to 63; got 4"),
        ("learned_blur(7)", r"settings must be written as learned_blur\(key=value, \.\.\.\); got 'learned_blur\(7\)'$"),
        ("learned_blur(kernel_size=7", r"settings must be written as learned_blur\(key=value, \.\.\.\)"),
        ("identity(a=1)", r"^mixer identity: there is no setting 'a'\. It has none$"),
        ("", r"^mixer: there is no mixer ''"),
    ],
)
def test_what_breaks_a_rule_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixer_of(text)


def test_settings_are_part_of_the_name() -> None:
    assert mixer_of("learned_blur( kernel_size = 7 )").kernel_size == 7
    assert math.isclose(mixer_of("learned_blur").kernel_size, 5)
