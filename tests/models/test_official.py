"""Files of the official code: they fit our networks, and give the logits of the official ones."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, layer: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.net = nn.Sequential(layer(width, hidden), nn.GELU(), nn.Identity(), layer(hidden, width))


class _MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ff1 = _Mlp(tokens, width // 2, lambda given, made: nn.Conv1d(given, made, 1))
        self.ff2 = _Mlp(width, 4 * width, nn.Linear)


class _Mixer(nn.Module):
    """Tolstikhin et al. 2021 with the names and layouts of the official code."""

    def __init__(self, size: int = 32, patch: int = 2, width: int = 256, depth: int = 8) -> None:
        super().__init__()
        tokens, self.patch = (size // patch) ** 2, patch
        embedding = nn.Module()
        embedding.patch_embedding = nn.Sequential(nn.Identity(), nn.Linear(3 * patch**2, width))
        self.embedding = nn.Sequential(embedding)
        self.mlps = nn.Sequential(*(_MixerBlock(tokens, width) for _ in range(depth)))
        self.classifier = nn.Sequential(nn.LayerNorm(width), nn.Identity(), nn.Linear(width, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = images.shape
        cut = images.reshape(batch, 3, height // self.patch, self.patch, width // self.patch, self.patch)
        x = self.embedding[0].patch_embedding(cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2))
        for block in self.mlps:
            x = x + block.ff1.net(block.norm1(x))
            x = x + block.ff2.net(block.norm2(x))
        return self.classifier[2](self.classifier[0](x).mean(1))


def _official_mixer() -> nn.Module:
    model = _Mixer().eval()
    model.load_state_dict(regenerated([(name, list(value.shape)) for name, value in model.state_dict().items()]))
    return model


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_the_official_mixers_files_give_its_logits(prefix: str, tmp_path: Path) -> None:
    official = _official_mixer()
    state = {prefix + name: value for name, value in official.state_dict().items()}
    torch.save({"epoch": 300, "state_dict": state}, tmp_path / "mixer.pth.tar")
    loaded = load_model(f"mixer_ti_cifar@{tmp_path / 'mixer.pth.tar'}")
    with torch.inference_mode():
        expected, logits = (network(drawn_images(32)) for network in (official, loaded.model))
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-5)
    assert loaded.architecture.endswith("layer_norm_eps=1e-05")


def test_the_official_mixer_without_skip_connections_is_another_network(tmp_path: Path) -> None:
    torch.save({"mlps.0.weight": torch.ones(256), "mlps.1.net.0.weight": torch.ones(128, 256, 1)}, tmp_path / "old.pth")
    with pytest.raises(ConfigError, match="this is another architecture's file"):
        load_model(f"mixer_ti_cifar@{tmp_path / 'old.pth'}")


def test_googles_mixer_files_give_the_same_logits(tmp_path: Path) -> None:
    """The official weights once more, with the names and axes of JAX."""
    official, arrays = _official_mixer(), {}
    for name, value in official.state_dict().items():
        parts = name.rsplit(".", 1)
        kind = {"bias": "bias"}.get(parts[1], "scale" if value.ndim == 1 else "kernel")
        for pattern, place in (
            (r"embedding.*", "stem"),
            (r"mlps\.(\d+)\.norm1", r"MixerBlock_\1/LayerNorm_0"),
            (r"mlps\.(\d+)\.norm2", r"MixerBlock_\1/LayerNorm_1"),
            (r"mlps\.(\d+)\.ff1\.net\.0", r"MixerBlock_\1/token_mixing/Dense_0"),
            (r"mlps\.(\d+)\.ff1\.net\.3", r"MixerBlock_\1/token_mixing/Dense_1"),
            (r"mlps\.(\d+)\.ff2\.net\.0", r"MixerBlock_\1/channel_mixing/Dense_0"),
            (r"mlps\.(\d+)\.ff2\.net\.3", r"MixerBlock_\1/channel_mixing/Dense_1"),
            (r"classifier\.0", "pre_head_layer_norm"),
            (r"classifier\.2", "head"),
        ):
            if re.fullmatch(pattern, parts[0]):
                value = value.squeeze(-1) if value.ndim == 3 else value
                arrays[f"{re.sub(pattern, place, parts[0])}/{kind}"] = (
                    value.T.numpy() if value.ndim == 2 else value.numpy()
                )
    arrays["stem/kernel"] = arrays["stem/kernel"].reshape(2, 2, 3, -1)
    np.savez(tmp_path / "Mixer-Ti.npz", **arrays)
    loaded = load_model(f"mixer_ti_cifar@{tmp_path / 'Mixer-Ti.npz'}")
    for module in official.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    with torch.inference_mode():
        expected, logits = (network(drawn_images(32)) for network in (official, loaded.model))
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-5)
