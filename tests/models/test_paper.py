"""The paper's networks in their CIFAR form: sizes, grids, and what timm asks of a model."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import nn

from visionscope.errors import ConfigError
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.load import load_model

# Parameters with 100 classes: PAPER.md 1.0.2; PiT-Ti's are 5,696 more than the official code's 4,576,740, since timm's
# class has biases on queries, keys and values (5,760) and no position embedding for the class token (64).
PARAMETERS = {
    "resnet_18_cifar": 11_220_132,
    "resnet_50_cifar": 23_705_252,
    "resnext_50_cifar": 23_177_124,
    "preresnet_18_cifar": 11_218_340,
    "preresnet_50_cifar": 23_697_572,
    "preresnet_50_cifar?layers=(3,4,6,4)": 28_160_164,
    "vit_ti_cifar": 5_403_172,
    "pit_ti_cifar": 4_582_436,
    "swin_ti_cifar": 27_562_126,
    "mixer_ti_cifar": 4_769_636,
    "convvit_ti_cifar": 5_372_836,
}
NAMES = [name for name in PARAMETERS if "?" not in name]
RESIDUAL = [(64, 1), (256, 1), (512, 2), (1024, 4), (2048, 8)]
BASIC = [(64, 1), (64, 1), (128, 2), (256, 4), (512, 8)]
MAPS = {
    "resnet_18_cifar": BASIC,
    "resnet_50_cifar": RESIDUAL,
    "resnext_50_cifar": RESIDUAL,
    "preresnet_18_cifar": BASIC,
    "preresnet_50_cifar": RESIDUAL,
    "vit_ti_cifar": [(192, 2)] * 3,
    "pit_ti_cifar": [(64, 1), (128, 2), (256, 4)],
    "swin_ti_cifar": [(96, 1), (192, 2), (384, 4), (768, 8)],
    "mixer_ti_cifar": [(256, 2)] * 3,
    "convvit_ti_cifar": [(192, 4)] * 3,
}
SHALLOW: dict[str, dict[str, Any]] = {
    "vit_ti_cifar": {"depth": 3},
    "convvit_ti_cifar": {"depth": 3},
    "vit_nano": {"depth": 3},
    "pit_ti_cifar": {"depth": (1, 1, 1)},
    "swin_ti_cifar": {"depths": (1, 1, 2, 1)},
    "mixer_ti_cifar": {"num_blocks": 3},
}
TRANSFORMERS = list(SHALLOW)
SHALLOW |= {name: {"layers": (1, 1, 1, 1)} for name in NAMES if name not in SHALLOW}


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("spec", list(PARAMETERS))
def test_the_networks_have_the_papers_sizes(spec: str) -> None:
    loaded = load_model(spec, random_weights=0)
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == PARAMETERS[spec]
    assert (loaded.num_classes, loaded.input.size) == (100, (32, 32))
    assert loaded.input.mean == (0.5071, 0.4867, 0.4408)


@pytest.mark.parametrize("name", NAMES)
def test_feature_maps_have_the_channels_and_the_reduction_that_they_claim(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, features_only=True, **SHALLOW[name]).eval()
    assert list(zip(model.feature_info.channels(), model.feature_info.reduction(), strict=True)) == MAPS[name]
    with torch.inference_mode():
        maps = model(images)
    last_is_channels = name.startswith("swin")
    found = [(item.shape[-1], item.shape[1]) if last_is_channels else (item.shape[1], item.shape[2]) for item in maps]
    # Overlapping patches of 2 px at stride 1 leave 31 of PiT's 32 positions.
    edges = [31, 16, 8] if name.startswith("pit") else [32 // reduction for _, reduction in MAPS[name]]
    assert found == [(channels, edge) for (channels, _), edge in zip(MAPS[name], edges, strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_timms_own_questions_are_answered(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, num_classes=4, **SHALLOW[name]).eval()
    with torch.inference_mode():
        features = model.forward_features(images)
        assert torch.equal(model.forward_head(features), model(images))
        assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
        last, intermediates = model.forward_intermediates(images, indices=2)
        assert torch.equal(model.forward_head(last), model(images))
        assert [item.shape[:2] for item in intermediates] == [(2, item.shape[1]) for item in intermediates]
        model.reset_classifier(0)
        assert model(images).shape == (2, model.num_features)
        model.reset_classifier(6)
        assert model(images).shape == (2, 6)
    config = model.default_cfg
    first, classifier = (model.get_submodule(config[key]) for key in ("first_conv", "classifier"))
    assert isinstance(first, nn.Conv2d)
    assert classifier is model.get_classifier()
    assert timm.create_model(name, num_classes=0, **SHALLOW[name]).num_classes == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_its_group(name: str) -> None:
    model = timm.create_model(name, **SHALLOW[name])
    if not hasattr(model, "group_matcher"):
        assert name == "pit_ti_cifar"  # as timm has it
        return
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert sorted(itertools.chain(*groups.values())) == sorted(key for key, _ in model.named_parameters())
    assert len(groups) > 4


# timm's PiT refuses it.
@pytest.mark.parametrize(
    "name", ["resnet_18_cifar", "preresnet_18_cifar", *(name for name in TRANSFORMERS if name != "pit_ti_cifar")]
)
def test_checkpointing_changes_no_gradient(name: str, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3, **SHALLOW[name]).eval()
    parameters = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    plain = torch.autograd.grad(model(images).square().sum(), parameters)
    model.set_grad_checkpointing()
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for one, other in zip(plain, torch.autograd.grad(model(images).square().sum(), parameters), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("classifier", ["cls", "gap", "gmp", "map"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_every_transformer_has_its_classifiers(name: str, classifier: str, images: torch.Tensor) -> None:
    if classifier == "cls" and name in ("swin_ti_cifar", "mixer_ti_cifar"):
        with pytest.raises(ConfigError, match=r"classifier must be one of gap, gmp, map; got 'cls'. It has no class"):
            load_model(f"{name}?classifier=cls", random_weights=0)
        return
    model = timm.create_model(name, classifier=classifier, **SHALLOW[name]).eval()
    with torch.inference_mode():
        features = model.forward_features(images)
        pooled = model.forward_head(features, pre_logits=True)
        assert pooled.shape == (2, model.num_features)
        last, _ = model.forward_intermediates(images, indices=1)
        torch.testing.assert_close(model.forward_head(last, pre_logits=True), pooled)
        prefix = 1 if name == "pit_ti_cifar" or classifier == "cls" else 0
        tokens = features[:, prefix:]
        turned, noise = tokens.flip(1), torch.randn(tokens.shape, generator=torch.Generator().manual_seed(1))
        same, other = (
            model.forward_head(torch.cat([features[:, :prefix], changed], dim=1), pre_logits=True)
            for changed in (turned, tokens + noise)
        )
    # No classifier knows where a token is, and the class token's looks at no other.
    torch.testing.assert_close(same, pooled)
    assert torch.equal(other, pooled) == (classifier == "cls")


def test_classifiers_are_what_their_names_say(images: torch.Tensor) -> None:
    for name in ("pit_ti_cifar", "swin_ti_cifar", "mixer_ti_cifar"):
        for classifier, pool in (("gap", torch.mean), ("gmp", torch.amax)):
            model = timm.create_model(name, classifier=classifier, **SHALLOW[name]).eval()
            with torch.inference_mode():
                features = model.forward_features(images)
                tokens = features[:, 1:] if name.startswith("pit") else features.flatten(1, -2)
                expected = model.get_classifier()(pool(tokens, dim=1))
                torch.testing.assert_close(model(images), expected)


def test_a_classifier_stands_alone_and_has_a_known_name() -> None:
    with pytest.raises(
        ConfigError, match=r"classifier must be one of cls, gap, gmp, map; got 'gab'. Did you mean.*gap"
    ):
        load_model("vit_ti_cifar?classifier=gab", random_weights=0)
    with pytest.raises(ConfigError, match="classifier=gap means global_pool=avg; got 'max' beside it"):
        load_model("vit_ti_cifar?classifier=gap&global_pool=max", random_weights=0)
    for name in ("vit_ti_cifar", "swin_ti_cifar", "pit_ti_cifar", "mixer_ti_cifar"):
        both = [timm.create_model(name, **SHALLOW[name], **{key: "map"}) for key in ("global_pool", "classifier")]
        assert both[0].state_dict().keys() == both[1].state_dict().keys()


@pytest.mark.parametrize("name", ["resnet_18_cifar", "preresnet_18_cifar"])
def test_the_stem_keeps_every_pixel(name: str) -> None:
    model = timm.create_model(name)
    stem = model.conv1 if name == "resnet_18_cifar" else model.stem.conv
    assert (stem.kernel_size, stem.stride, stem.in_channels) == ((3, 3), (1, 1), 3)
    assert timm.create_model(name, in_chans=1)(torch.zeros(2, 1, 16, 16)).shape == (2, 100)


def test_blocks_of_the_residual_networks_begin_with_all_their_weight() -> None:
    model = timm.create_model("resnet_18_cifar")
    assert all((module.weight == 1).all() for module in model.modules() if isinstance(module, nn.BatchNorm2d))


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("resnet_18_cifar", {}),
    ("preresnet_18_cifar", {}),
    ("vit_ti_cifar", {"classifier": "map"}),
    ("pit_ti_cifar", {"classifier": "gap"}),
    ("swin_ti_cifar", {"classifier": "map"}),
    ("mixer_ti_cifar", {"classifier": "map"}),
    ("convvit_ti_cifar", {"zero_padded_borders": True}),
]


@pytest.mark.parametrize(("name", "more"), VARIANTS)
def test_files_of_ours_and_of_the_hub_bring_the_network_back(
    name: str, more: dict[str, Any], images: torch.Tensor, tmp_path: Path
) -> None:
    arguments = {**SHALLOW[name], **more}
    loaded = load_model(name + "?" + "&".join(f"{key}={value!r}" for key, value in arguments.items()), random_weights=0)
    save_checkpoint(
        tmp_path / "ours.safetensors", loaded.model, num_classes=100, arguments=arguments, config=loaded.input
    )
    again = load_model(f"{name}@{tmp_path / 'ours.safetensors'}").model
    save_for_hf(loaded.model, tmp_path / "hub", model_args=arguments)
    from_hub = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    with torch.inference_mode():
        logits = loaded.model(images)
        assert torch.equal(again(images), logits)
        assert torch.equal(from_hub(images), logits)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "more"), VARIANTS)
def test_compiled_and_exported_they_give_the_same_logits(
    name: str, more: dict[str, Any], images: torch.Tensor, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = timm.create_model(name, **SHALLOW[name], **more).eval()
    torch.onnx.export(model, (images,), str(tmp_path / "model.onnx"), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    exported = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    with torch.inference_mode():
        logits = model(images)
        torch.testing.assert_close(torch.compile(model)(images), logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(exported, logits.numpy(), atol=1e-4)
