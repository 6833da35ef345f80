"""The networks of studies that train many: sizes, what timm asks of them, and what differs between them."""

import csv
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from visionscope.building.measure import costs
from visionscope.errors import ConfigError
from visionscope.models.load import load_model

NAMES = ("resnet_pico", "preresnet_pico", "alternet_pico", "vit_pico", "convvit_pico", "swin_pico", "mixer_pico")
PILOT = Path(__file__).parents[2] / "docs" / "replication" / "pilot.csv"
TRANSFORMERS = ("vit_pico", "convvit_pico", "swin_pico", "mixer_pico")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _logits(spec: str, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = load_model(spec, random_weights=0).model.eval()(images)
    return logits


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_are_small_and_take_cifars_images(name: str, images: torch.Tensor) -> None:
    loaded = load_model(name, random_weights=0)
    assert 80_000 <= _parameters(loaded.model) <= 300_000
    assert (loaded.num_classes, loaded.input.size, loaded.input.mean) == (10, (32, 32), (0.5, 0.5, 0.5))
    assert _logits(name, images).shape == (2, 10)


@pytest.mark.parametrize("name", NAMES)
def test_timms_own_questions_are_answered(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, num_classes=4).eval()
    with torch.inference_mode():
        features = model.forward_features(images)
        assert torch.equal(model.forward_head(features), model(images))
        assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
        model.reset_classifier(6)
        assert model(images).shape == (2, 6)
        maps = timm.create_model(name, features_only=True).eval()(images)
    assert len(maps) >= 3
    config = model.default_cfg
    first, classifier = (model.get_submodule(config[key]) for key in ("first_conv", "classifier"))
    assert isinstance(first, nn.Conv2d)
    assert classifier is model.get_classifier()


@pytest.mark.parametrize(
    ("name", "channels", "edges"),
    [
        ("resnet_pico", (16, 16, 32, 64), (16, 16, 8, 4)),
        ("preresnet_pico", (16, 48, 96, 192), (16, 16, 8, 4)),
        ("alternet_pico", (16, 48, 96, 192), (16, 16, 8, 4)),
        ("swin_pico", (24, 48, 96), (16, 8, 4)),
    ],
)
def test_stages_halve_the_grid(
    name: str, channels: tuple[int, ...], edges: tuple[int, ...], images: torch.Tensor
) -> None:
    model = timm.create_model(name, features_only=True).eval()
    with torch.inference_mode():
        maps = model(images)
    assert model.feature_info.channels() == list(channels)
    assert model.feature_info.reduction() == [32 // edge for edge in edges]
    last = name.startswith("swin")
    found = [(item.shape[-1], item.shape[1]) if last else (item.shape[1], item.shape[2]) for item in maps]
    assert found == list(zip(channels, edges, strict=True))


def test_the_transformers_see_the_same_tokens_through_the_same_stem() -> None:
    stems = [load_model(name, random_weights=0).model for name in ("vit_pico", "convvit_pico", "mixer_pico")]
    described = [str(getattr(model, "patch_embed", None) or model.stem) for model in stems]
    assert len(set(described)) == 1
    assert stems[0].patch_embed.grid_size == (8, 8)


def test_convvit_differs_from_vit_in_the_mask_alone(images: torch.Tensor) -> None:
    vit, near, everywhere = (
        load_model(spec, random_weights=0).model
        for spec in ("vit_pico?classifier=gap", "convvit_pico?kernel_size=5", "convvit_pico?kernel_size=global")
    )
    for other in (near, everywhere):
        assert {key: value.shape for key, value in other.state_dict().items()} == {
            key: value.shape for key, value in vit.state_dict().items()
        }
        other.load_state_dict(vit.state_dict())
    with torch.inference_mode():
        features = [model.forward_features(images) for model in (vit, everywhere, near)]
    assert torch.equal(features[1], features[0])  # the head begins with zeros
    assert not torch.allclose(features[2], features[0], atol=1e-3)


def test_the_classifier_of_the_vit_is_the_class_token_unless_asked() -> None:
    assert load_model("vit_pico", random_weights=0).model.global_pool == "token"
    assert load_model("vit_pico?classifier=gap", random_weights=0).model.cls_token is None
    with pytest.raises(ConfigError, match=r"classifier must be one of gap, gmp, map; got 'cls'. It has no class"):
        load_model("mixer_pico?classifier=cls", random_weights=0)


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_heads_change_with_the_width_of_a_head_kept(heads: int) -> None:
    model = load_model(f"vit_pico?num_heads={heads}&embed_dim={16 * heads}", random_weights=0).model
    assert {(block.attn.num_heads, block.attn.head_dim) for block in model.blocks} == {(heads, 16)}


def test_alternet_ends_its_later_stages_with_attention() -> None:
    model = load_model("alternet_pico", random_weights=0).model
    kinds = [[type(block).__name__ for block in stage.blocks] for stage in model.stages]
    conv, msa = "PreActBottleneck", "MsaBlock"
    assert kinds == [[conv] * 2, [conv, conv, msa], [conv, conv, msa]]
    bare = load_model("alternet_pico?msa=(0,0,0)", random_weights=0)
    assert bare.model.state_dict().keys() == load_model("preresnet_pico", random_weights=0).model.state_dict().keys()


def test_alternet_has_controls_of_its_parameters_and_of_its_operations() -> None:
    alternet, parameters, macs = (
        costs(load_model(spec, random_weights=0).model, (32, 32))
        for spec in ("alternet_pico", "preresnet_pico?channels=(50,108,196)", "preresnet_pico?channels=(50,104,208)")
    )
    assert parameters.parameters == pytest.approx(alternet.parameters, rel=0.003)
    assert macs.gmacs == pytest.approx(alternet.gmacs, rel=0.003)
    assert macs.parameters > 1.05 * alternet.parameters


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_stem_of_other_channels(name: str) -> None:
    model = timm.create_model(name, in_chans=1).eval()
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_large_forms_have_about_four_times_the_parameters() -> None:
    for large, small in (
        ("vit_pico?num_heads=6&embed_dim=96", "vit_pico"),
        ("resnet_pico?channels=(32,64,128)&stem_width=16", "resnet_pico"),
    ):
        sizes = [_parameters(load_model(spec, random_weights=0).model) for spec in (large, small)]
        assert 3.5 <= sizes[0] / sizes[1] <= 4.5


def test_the_pilots_table_tells_the_networks_sizes() -> None:
    rows = [row for row in csv.DictReader(PILOT.read_text(encoding="utf-8").splitlines()) if row["model"] != "linear"]
    assert {"resnet", "vit", "alternet", "swin"} <= {row["variant"] for row in rows}
    for row in rows:
        found = costs(load_model(row["model"], random_weights=0).model, (32, 32))
        assert found.parameters == int(row["parameters"])
        assert found.gmacs * 1e3 == pytest.approx(float(row["mmacs"]), abs=1e-3)
