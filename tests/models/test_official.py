"""Files of the official code: they fit our networks, and give the logits of the official ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reference.regenerable import drawn_images, regenerated
from visionscope.errors import ConfigError
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.load import load_model
from visionscope.models.official import translate

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "official_models.json").read_text())
RELEASED: dict[str, Any] = json.loads((FOLDER / "timm_0_5_4_keys.json").read_text())

# timm's PiT has biases on queries, keys and values of 10 blocks, and no position embedding for the class token.
MORE_IN_PIT = 3 * (2 * 64 + 6 * 128 + 4 * 256) - 64
SPECS = {
    "resnet_18@32": ("resnet_18_cifar", 0),
    "resnet_50@32": ("resnet_50_cifar", 0),
    "preresnet_18@32": ("preresnet_18_cifar", 0),
    "vit_ti@32": ("vit_ti_cifar", 0),
    "pit_ti@32": ("pit_ti_cifar", MORE_IN_PIT),
    "convit_ti_k3@32": ("convvit_ti_cifar?patch_size=2&zero_padded_borders=True", 0),
}


def _written(name: str, folder: Path) -> Path:
    path = folder / "checkpoint.pth.tar"
    torch.save({"epoch": 300, "state_dict": regenerated(GOLDEN["models"][name]["keys"])}, path)
    return path


@pytest.mark.parametrize("name", list(SPECS))
def test_official_files_give_the_official_logits(name: str, tmp_path: Path) -> None:
    spec, more = SPECS[name]
    golden = GOLDEN["models"][name]
    model = load_model(f"{spec}@{_written(name, tmp_path)}").model
    with torch.inference_mode():
        logits = model(drawn_images(golden["input_size"]))
    expected = torch.tensor(golden["logits"])
    torch.testing.assert_close(logits[:, : expected.shape[1]], expected, rtol=0, atol=1e-4)
    assert sum(parameter.numel() for parameter in model.parameters()) == golden["params"] + more


@pytest.mark.parametrize("name", list(RELEASED["models"]))
def test_released_files_give_the_logits_of_the_timm_that_made_them(name: str, tmp_path: Path) -> None:
    golden = RELEASED["models"][name]
    path = tmp_path / "released.pth.tar"
    torch.save({"epoch": 305, "state_dict": regenerated(golden["keys"])}, path)
    model = load_model(f"{name}_cifar@{path}").model
    with torch.inference_mode():
        logits = model(drawn_images(golden["input_size"]))
    expected = torch.tensor(golden["logits"])
    assert expected.std() > 0.1
    torch.testing.assert_close(logits[:, : expected.shape[1]], expected, rtol=0, atol=1e-4)
    assert sum(parameter.numel() for parameter in model.parameters()) == golden["params"]


def test_the_layer_normalisations_of_official_transformers_have_their_own_epsilon(tmp_path: Path) -> None:
    loaded = load_model(f"vit_ti_cifar@{_written('vit_ti@32', tmp_path)}")
    assert {module.eps for module in loaded.model.modules() if isinstance(module, nn.LayerNorm)} == {1e-5}
    assert loaded.architecture.endswith("layer_norm_eps=1e-05")
    torch.save(loaded.model.state_dict(), tmp_path / "ours.pth")
    ours = load_model(f"vit_ti_cifar@{tmp_path / 'ours.pth'}")
    assert {module.eps for module in ours.model.modules() if isinstance(module, nn.LayerNorm)} == {1e-6}
    # The same weights give other logits, so they must not share stored results.
    assert ours.digest != loaded.digest
    save_checkpoint(
        tmp_path / "kept.safetensors",
        loaded.model,
        num_classes=100,
        arguments=loaded.spec.arguments,
        config=loaded.input,
    )
    kept = load_model(f"vit_ti_cifar@{tmp_path / 'kept.safetensors'}")
    assert {module.eps for module in kept.model.modules() if isinstance(module, nn.LayerNorm)} == {1e-5}
    assert kept.digest == loaded.digest


@pytest.mark.parametrize("entry", ["vit_ti@32", "pit_ti@32", "convit_ti_k3@32"])
def test_half_an_official_file_is_refused_in_a_line(entry: str, tmp_path: Path) -> None:
    state = torch.load(_written(entry, tmp_path), weights_only=True)["state_dict"]
    half = {name: value for name, value in list(state.items())[5:]}
    torch.save(half, tmp_path / "half.pth")
    name = {"vit_ti@32": "vit_ti_cifar", "pit_ti@32": "pit_ti_cifar"}.get(entry, "convvit_ti_cifar?patch_size=2")
    with pytest.raises(ConfigError, match=r"checkpoint .*half\.pth does not fit the model: \d+ missing"):
        load_model(f"{name}@{tmp_path / 'half.pth'}")


def test_the_size_of_an_official_head_is_found(tmp_path: Path) -> None:
    state = regenerated(GOLDEN["models"]["preresnet_18@32"]["keys"])
    state["classifier.0.dense.weight"], state["classifier.0.dense.bias"] = torch.ones(7, 512), torch.zeros(7)
    torch.save(state, tmp_path / "seven.pth")
    assert load_model(f"preresnet_18_cifar@{tmp_path / 'seven.pth'}").num_classes == 7


def test_a_file_of_another_network_is_refused_with_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not fit the model: .*missing: conv1.weight.*unexpected: patch_embed"):
        load_model(f"resnet_18_cifar@{_written('vit_ti@32', tmp_path)}")


def test_names_of_others_are_left_alone() -> None:
    state = {"layer1.0.conv1.weight": torch.ones(1), "transformers.0.norm1.weight": torch.ones(1)}
    assert translate(state) is state
