"""Files of weights: what is read, what is refused, and what an error lists."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from visionscope.errors import ConfigError
from visionscope.models.checkpoint import head_size, read_checkpoint, save_checkpoint
from visionscope.models.load import load_model

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A stand-in for a trained network: no tensor has its initial value."""
    model = load_model("resnet_nano", random_weights=3).model
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(1)
    return model


def _same(model: nn.Module, other: nn.Module) -> bool:
    states = model.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


def _prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {}}},
        lambda state: {"state_dict_ema": state},
        lambda state: {"model": {"state_dict": state}},
        _prefixed("module."),
        _prefixed("_orig_mod.module."),
        lambda state: {"state_dict": _prefixed("module._orig_mod.")(state), "best_prec1": 81.0},
    ],
)
@pytest.mark.parametrize("suffix", [".th", ".pth.tar"])
def test_torch_files_are_unwrapped(
    trained: nn.Module, tmp_path: Path, wrap: Callable[[State], Any], suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(wrap(trained.state_dict()), path)
    loaded = load_model(f"resnet_nano@{path}")
    assert _same(loaded.model, trained)
    assert loaded.weights == f"checkpoint weights{suffix}"
    assert not loaded.model.training


def test_raw_weights_are_taken_before_their_average(trained: nn.Module, tmp_path: Path) -> None:
    average = {name: value * 2 for name, value in trained.state_dict().items()}
    torch.save({"state_dict_ema": average, "state_dict": trained.state_dict()}, tmp_path / "both.pth")
    assert _same(load_model(f"resnet_nano@{tmp_path / 'both.pth'}").model, trained)


def test_safetensors_metadata_rebuild_the_network(tmp_path: Path) -> None:
    first = load_model("vit_nano?depth=2&img_size=48&num_classes=7", random_weights=1, mean=(0.1, 0.2, 0.3))
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, first.model, num_classes=7, arguments=first.spec.arguments, config=first.input)
    again = load_model(f"vit_nano@{path}")
    assert _same(again.model, first.model)
    assert (again.num_classes, again.input, again.digest) == (7, first.input, first.digest)
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]


def test_the_user_overrides_the_metadata(tmp_path: Path) -> None:
    first = load_model("resnet_nano", random_weights=1)
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, first.model, num_classes=10, arguments={}, config=first.input)
    again = load_model(f"resnet_nano@{path}", size=(48, 64), std=(0.2, 0.2, 0.2))
    assert (again.input.size, again.input.std, again.input.mean) == ((48, 64), (0.2, 0.2, 0.2), first.input.mean)


@pytest.mark.parametrize("spec", ["resnet_nano", "vit_nano", "resnet_20_cifar", "torchvision:squeezenet1_1"])
def test_the_heads_size_comes_from_its_shape(spec: str, tmp_path: Path) -> None:
    model = load_model(f"{spec}?num_classes=3", random_weights=0).model
    save_file(model.state_dict(), tmp_path / "three.safetensors")
    loaded = load_model(f"{spec}@{tmp_path / 'three.safetensors'}")
    assert loaded.num_classes == 3
    assert _same(loaded.model, model)


def test_a_head_size_in_the_spec_is_obeyed(tmp_path: Path) -> None:
    model = load_model("resnet_nano?num_classes=3", random_weights=0).model
    save_file(model.state_dict(), tmp_path / "three.safetensors")
    with pytest.raises(ConfigError, match=r"2 mis-shaped: fc.weight \(3, 128\) instead of \(4, 128\), fc.bias"):
        load_model(f"resnet_nano?num_classes=4@{tmp_path / 'three.safetensors'}")


def test_tensors_that_differ_elsewhere_say_nothing_about_the_head(trained: nn.Module, tmp_path: Path) -> None:
    save_file({**trained.state_dict(), "bn1.weight": torch.ones(31)}, tmp_path / "odd.safetensors")
    assert head_size(read_checkpoint(tmp_path / "odd.safetensors"), trained, 10) is None


def test_missing_unexpected_and_misshapen_names_are_listed(trained: nn.Module, tmp_path: Path) -> None:
    state = dict(trained.state_dict())
    removed = [name for name in state if name.startswith("layer1.0.bn1.")]
    for name in removed:
        del state[name]
    state |= {f"extra.{index}": torch.zeros(2) for index in range(5)}
    state["conv1.0.weight"] = torch.zeros(16, 4, 3, 3)
    save_file(state, tmp_path / "wrong.safetensors")
    with pytest.raises(ConfigError, match="does not fit the model") as raised:
        load_model(f"resnet_nano@{tmp_path / 'wrong.safetensors'}")
    text = str(raised.value)
    # torch itself starts the fifth, the batch counter, at zero where a file doesn't have it.
    assert f"{len(removed) - 1} missing: layer1.0.bn1.weight, layer1.0.bn1.bias, layer1.0.bn1.running_mean, ..." in text
    assert "5 unexpected: extra.0, extra.1, extra.2, ..." in text
    assert "1 mis-shaped: conv1.0.weight (16, 4, 3, 3) instead of (16, 3, 3, 3)" in text
    assert "\n" not in text


def test_batch_counters_may_be_missing_in_old_torch_files(trained: nn.Module, tmp_path: Path) -> None:
    state = {name: value for name, value in trained.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pth")
    assert torch.equal(load_model(f"resnet_nano@{tmp_path / 'old.pth'}").model.fc.weight, trained.fc.weight)


def test_a_familys_own_filter_reads_the_names_of_other_publications(tmp_path: Path) -> None:
    model = timm.create_model("vit_nano").eval()
    # OpenCLIP puts timm's network under visual.trunk.
    torch.save({f"visual.trunk.{name}": value for name, value in model.state_dict().items()}, tmp_path / "clip.pth")
    assert _same(load_model(f"vit_nano@{tmp_path / 'clip.pth'}").model, model)


def test_position_embeddings_are_resampled_to_the_networks_grid(tmp_path: Path) -> None:
    model = timm.create_model("vit_nano").eval()
    torch.save(model.state_dict(), tmp_path / "small.pth")
    larger = load_model(f"vit_nano?img_size=64@{tmp_path / 'small.pth'}").model
    assert larger.pos_embed.shape == (1, 257, 96)
    assert torch.equal(larger.blocks[0].mlp.fc1.weight, model.blocks[0].mlp.fc1.weight)


class _Custom:
    """Anything that unpickling would have to run code for."""


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_tied_weights_are_saved_and_load(tmp_path: Path) -> None:
    loaded = load_model("resnet_nano", random_weights=0)
    loaded.model.layer1[1].conv2.weight = loaded.model.layer1[0].conv2.weight
    save_checkpoint(tmp_path / "tied.safetensors", loaded.model, num_classes=10, arguments={}, config=loaded.input)
    assert _same(load_model(f"resnet_nano@{tmp_path / 'tied.safetensors'}").model, loaded.model)


def test_a_pickle_that_needs_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.zeros(1)}, "args": _Custom()}, tmp_path / "unsafe.pth")
    with pytest.raises(ConfigError, match="could only be read by running code from the file, which is refused"):
        read_checkpoint(tmp_path / "unsafe.pth")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: folder / "absent.pth", "absent.pth: there is no such file"),
        (lambda folder: folder, "there is no such file"),
        (lambda folder: _write(folder / "a.safetensors", b"no tensors"), "it is no readable safetensors file: "),
        (lambda folder: _write(folder / "a.pth", b"no tensors"), "it is no readable torch file: "),
        (lambda folder: _write(folder / "a.pth", b""), "it is no readable torch file: "),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, write: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        read_checkpoint(write(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_truncated_file_is_refused(trained: nn.Module, tmp_path: Path) -> None:
    torch.save(trained.state_dict(), tmp_path / "whole.pth")
    path = _write(tmp_path / "half.pth", (tmp_path / "whole.pth").read_bytes()[:100_000])
    with pytest.raises(ConfigError, match=r"half\.pth: it is no readable torch file: "):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(2)], torch.zeros(2), {"state_dict": {}}])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "empty.pth")
    with pytest.raises(ConfigError, match="it holds no tensors by parameter name"):
        read_checkpoint(tmp_path / "empty.pth")


@pytest.mark.parametrize(
    "metadata",
    [{"num_classes": "ten"}, {"arguments": "{"}, {"arguments": "[1]"}, {"input": "3"}, {"layer_norm_eps": "x"}],
)
def test_unreadable_metadata_are_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ConfigError, match="its metadata can't be read: "):
        read_checkpoint(tmp_path / "a.safetensors")
