import pytest
import timm
import torch
from torch import nn

from visionscope.building.measure import throughput
from visionscope.errors import ConfigError
from visionscope.models import segmentation
from visionscope.models.decoders import segmenter_spec
from visionscope.models.load import load_model
from visionscope.models.segmentation import Segmenter, last_map

# Grid of the last map for images of 32 pixels.
GRIDS = {
    "resnet_nano": 4,
    "resnet_pico": 4,
    "preresnet_pico": 4,
    "alternet_pico": 4,
    "vit_nano": 8,
    "vit_pico": 8,
    "vit_pico?classifier='gap'": 8,
    "mixer_pico": 8,
    "resnet_20_cifar": 8,
    "convnext_atto": 1,
    "test_vit": 2,
}


def _segmenter(name: str, **more: object) -> Segmenter:
    backbone, _, query = name.partition("?")
    arguments = {"classifier": "gap"} if query else {}
    torch.manual_seed(0)
    network = timm.create_model("segmenter", backbone=backbone, num_classes=5, **arguments, **more)
    assert isinstance(network, Segmenter)
    return network


@pytest.mark.parametrize("name", GRIDS)
def test_every_backbone_gives_a_class_to_every_pixel(name: str) -> None:
    size = {"img_size": 32} if name == "test_vit" else {}
    network = _segmenter(name, **size).train()
    images = torch.randn(2, 3, 32, 32)
    maps = last_map(network.backbone, images)
    assert maps.shape[2:] == (GRIDS[name], GRIDS[name])
    logits = network(images)
    assert logits.shape == (2, 5, 32, 32)
    logits.square().sum().backward()
    unused = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert not unused, unused


@pytest.mark.parametrize("name", ["resnet_nano", "alternet_pico", "vit_pico"])
def test_the_map_is_what_the_classifier_would_pool(name: str) -> None:
    """The features of the whole network, after its last normalisation, tokens in their grid row by row."""
    network, whole = _segmenter(name).eval(), timm.create_model(name, global_pool="").eval()
    whole.load_state_dict(network.backbone.state_dict(), strict=False)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        found, features = last_map(network.backbone, images), whole.forward_features(images)
        if features.ndim == 3:
            tokens = features[:, whole.num_prefix_tokens :]
            features = tokens.transpose(1, 2).unflatten(2, (8, 8))
        assert (found - features).abs().max() < 1e-6


def test_logits_are_enlarged_between_the_centres_of_the_cells() -> None:
    """The logits of a cell's centre are those of its own place; between two centres they are mixed linearly."""

    class Given(nn.Module):
        feature_info = ({"num_chs": 1},)

        def forward_features(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[[[0.0, 6.0]]]], dtype=torch.float64)

    network = Segmenter(Given(), 1).double()
    nn.init.ones_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    row = network(torch.zeros(1, 3, 6, 6))[0, 0, 3].tolist()
    centres = [(2 * column + 1) / 6 - 0.5 for column in range(6)]  # in cells
    assert row == pytest.approx([6 * min(max(place, 0.0), 1.0) for place in centres], abs=1e-12)


def test_a_spec_loads_it_with_the_backbones_own_input() -> None:
    spec = "segmenter?backbone='vit_nano'&decoder='linear'&num_classes=11"
    loaded = load_model(spec, random_weights=0)
    assert (loaded.num_classes, loaded.input.size, loaded.input.mean) == (11, (32, 32), (0.5, 0.5, 0.5))
    larger = load_model("segmenter?backbone=vit_nano&img_size=48", random_weights=0)
    assert larger.input.size == (48, 48)
    assert larger.model(torch.zeros(1, 3, 48, 48)).shape == (1, 11, 48, 48)


def test_a_step_of_it_is_timed() -> None:
    found = throughput({"one": _segmenter("resnet_pico")}, (32, 32), batch=2, repeats=1)["one"]
    assert found.training > 0


def test_a_new_head() -> None:
    network = _segmenter("resnet_pico")
    network.reset_classifier(3)
    assert (network.num_classes, network.get_classifier().out_channels) == (3, 3)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("backbone=resnet_nan", r"segmenter: there is no backbone 'resnet_nan'\. Did you mean 'resnet_nano'"),
        ("backbone=segmenter", r"segmenter: there is no backbone 'segmenter'"),
        ("decoder=liner", r"segmenter: decoder must be one of linear, unet, .*; got 'liner'\. Did you mean 'linear'"),
        ("num_classes=0", r"segmenter: num_classes must be at least 1; got 0"),
        ("backbone=vit_nano&wide=2", r"segmenter.* has no argument 'wide'|unexpected keyword argument 'wide'"),
        ("backbone=vit_nano&decoder=unet", r"decoder unet does not take the backbone vit_nano \(.*\); take linear"),
        ("backbone=resnet_nano&decoder=fpn", r"decoder fpn does not take the backbone resnet_nano \(.*\); take linear"),
        ("backbone=resnet18&decoder=unet&zero_init_last=0", r"takes no arguments for the backbone; got zero_init_last"),
    ],
)
def test_what_is_refused(arguments: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_model(f"segmenter?{arguments}", random_weights=0)


def test_a_decoder_of_the_library() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    loaded = load_model("segmenter?backbone=resnet10t&decoder=unet&num_classes=4", random_weights=0, size=64)
    assert loaded.num_classes == 4
    with torch.no_grad():
        assert loaded.model(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 64, 64)


def test_a_size_that_a_decoder_of_the_library_does_not_take() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    network = timm.create_model("segmenter", backbone="resnet10t", decoder="segformer", num_classes=4)
    reason = r"^decoder segformer takes images .* multiples of 32; got 176 x 140, the nearest are 192 x 128; or take"
    with pytest.raises(ConfigError, match=reason), torch.no_grad():
        network(torch.zeros(1, 3, 176, 140))
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 64, 32)).shape == (1, 4, 64, 32)


def test_a_spec_gets_the_decoder_that_is_asked_for() -> None:
    own = ("resnet18?decoder=unet", "segmenter?backbone=resnet18&decoder=unet")
    for text in ("resnet18", "segmenter?backbone=resnet18", *own):
        assert dict(segmenter_spec(text, "unet").arguments) == {"backbone": "resnet18", "decoder": "unet"}
    assert dict(segmenter_spec("segmenter?backbone=resnet18&decoder=fpn", "linear").arguments)["decoder"] == "fpn"
    assert "decoder" not in segmenter_spec("segmenter?backbone=resnet18", "linear").arguments


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("segmenter?backbone=resnet18&decoder=fpn", r"decoder: segmenter.* has its own; .*; got 'unet'"),
        ("segmenter?backbone=resnet18&decoder=linear", r"decoder: segmenter.* has its own; .*; got 'unet'"),
        ("segmenter@last.safetensors", r"decoder: segmenter.* has its own; .*; got 'unet'"),
        ("resnet18?decoder=fpn", r"decoder: resnet18.* names 'fpn' already; leave one of them out; got 'unet'"),
        ("nets.py:make", r"decoder: .*make is a network of your own, which .*; leave it out, .*; got 'unet'"),
    ],
)
def test_a_decoder_that_would_be_left_out_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        segmenter_spec(text, "unet")


def test_a_backbone_that_has_an_argument_of_that_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^backbone: resnet18 is the backbone already; .*; got 'resnet34'$"):
        segmenter_spec("resnet18?backbone=resnet34", "linear")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ConfigError, match=r"needs segmentation_models_pytorch: pip install 'visionscope\[dense\]'"):
        segmentation.segmenter(decoder="unet", backbone="resnet10t")
