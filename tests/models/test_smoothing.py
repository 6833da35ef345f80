"""Spatial smoothing: the filter, the borders, and a drop-in for timm's CNNs."""

import math

import pytest
import timm
import torch
from torch import nn

from visionscope.errors import ConfigError
from visionscope.models import nano, paper  # noqa: F401  # registers them with timm
from visionscope.models.smoothing import SpatialSmoothing, add_smoothing

NETWORKS = ("resnet18", "regnety_016", "convnext_atto", "efficientnet_b0", "preresnet_18_cifar", "resnet_nano")


def _wave(w1: float, w2: float, offset: float = 0.0) -> torch.Tensor:
    rows, columns = torch.meshgrid(*[torch.arange(16, dtype=torch.float64) + offset] * 2, indexing="ij")
    return torch.cos(w1 * rows + w2 * columns)[None, None]


@pytest.mark.parametrize("padding", ["same", "official"])
@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (2, 3), (8, 0), (5, 8), (7, 7)])
def test_the_blur_multiplies_a_frequency_by_two_cosines(first: int, second: int, padding: str) -> None:
    w1, w2 = 2 * math.pi * first / 16, 2 * math.pi * second / 16
    # Small waves upon a constant: positive, so that the ReLU keeps them, and far below t.
    smoothing = SpatialSmoothing(temperature=1e4, padding=padding)
    rows = slice(0, 15) if padding == "same" else slice(1, 16)
    inside = smoothing(2 + _wave(w1, w2))[..., rows, rows] - 2
    # Means of 2x2 pixels lie half a pixel further on.
    expected = math.cos(w1 / 2) * math.cos(w2 / 2) * _wave(w1, w2, offset=0.5)[..., :15, :15]
    torch.testing.assert_close(inside, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.5, 7.0, 100.0, -3.0])
def test_a_constant_stays_one_up_to_the_borders(value: float) -> None:
    x = torch.full((2, 3, 5, 7), value, dtype=torch.float64)
    expected = max(0.0, 10 * math.tanh(value / 10))
    found = SpatialSmoothing()(x)
    assert found.shape == x.shape
    torch.testing.assert_close(found, torch.full_like(x, expected))


def test_the_official_padding_grows_the_map_and_darkens_its_border() -> None:
    found = SpatialSmoothing(padding="official")(torch.full((1, 1, 32, 32), 5.0))
    assert found.shape == (1, 1, 33, 33)
    middle = 10 * math.tanh(0.5)
    assert found[0, 0, 5, 5].item() == pytest.approx(middle)
    assert found[0, 0, 0, 5].item() == pytest.approx(middle / 2)
    assert found[0, 0, 0, 0].item() == pytest.approx(middle / 4)


def test_the_last_row_and_column_are_repeated() -> None:
    x = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, cut = SpatialSmoothing()(x), 10 * torch.tanh(x / 10)
    torch.testing.assert_close(found[..., -1, -1], cut[..., -1, -1])
    torch.testing.assert_close(found[..., -1, 0], (cut[..., -1, 0] + cut[..., -1, 1]) / 2)
    torch.testing.assert_close(found[..., 1, 2], cut[..., 1:3, 2:4].mean((-1, -2)))


@pytest.mark.parametrize("padding", ["same", "official"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_drops_into_stages_and_leaves_the_weights_names(name: str, padding: str) -> None:
    plain = timm.create_model(name, num_classes=3)
    smoothed = add_smoothing(timm.create_model(name, num_classes=3), padding=padding)
    smoothed.load_state_dict(plain.state_dict())
    assert [key for key, _ in smoothed.named_parameters()] == [key for key, _ in plain.named_parameters()]
    expected = {"efficientnet_b0": 5, "resnet_nano": 3}.get(name, 4)
    assert sum(isinstance(module, SpatialSmoothing) for module in smoothed.modules()) == expected
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert not torch.allclose(smoothed.eval()(x), plain.eval()(x))


def test_it_stands_at_the_end_of_the_chosen_stage() -> None:
    model = add_smoothing(timm.create_model("resnet18"), stages=(2, 4))
    kinds = {name: type(list(model.get_submodule(name).children())[-1]) for name in ("layer1", "layer2", "layer4")}
    assert kinds["layer2"] is kinds["layer4"] is SpatialSmoothing
    assert kinds["layer1"] is not SpatialSmoothing
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    model.eval()
    blocks = nn.Sequential(*list(model.layer2.children())[:-1])
    first = model.layer1(model.maxpool(model.act1(model.bn1(model.conv1(x)))))
    torch.testing.assert_close(model.layer2(first), SpatialSmoothing()(blocks(first)))


@pytest.mark.parametrize("padding", ["same", "official"])
def test_a_step_lowers_the_loss(padding: str) -> None:
    torch.manual_seed(0)
    model = add_smoothing(timm.create_model("preresnet_18_cifar", num_classes=4), padding=padding)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 4
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_cannot_be_smoothed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"smoothing needs a network with stages .* got VisionTransformer"):
        add_smoothing(timm.create_model("vit_nano"))
    with pytest.raises(ConfigError, match=r"got PooledSwin"):
        add_smoothing(timm.create_model("swin_ti_cifar", depths=(1, 1, 1, 1)))
    with pytest.raises(ConfigError, match="stages must be numbers from 1 to 3; got 4"):
        add_smoothing(timm.create_model("resnet_nano"), stages=(1, 4))
    with pytest.raises(ConfigError, match="temperature must be positive; got 0"):
        SpatialSmoothing(temperature=0)
    with pytest.raises(ConfigError, match="padding must be same or official; got 'zeros'"):
        SpatialSmoothing(padding="zeros")
