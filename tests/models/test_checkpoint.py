"""Files of weights: what is read, what is refused, and what an error lists."""

import argparse
import collections
import contextlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from visionscope.errors import ConfigError
from visionscope.models.checkpoint import own_metadata, read_checkpoint, save_checkpoint
from visionscope.models.fitting import head_size
from visionscope.models.load import load_model

State = dict[str, Tensor]


class _Custom:
    """Anything that unpickling would have to run code for."""

    def __init__(self) -> None:
        self.values = {"a": torch.zeros(2)}


class _Mapping(dict[str, Any]):
    """A dictionary of another program."""


class _Sequence(list[Any]):
    """A list of another program."""


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


@pytest.mark.parametrize("average", ["state_dict_ema", "model_ema", "ema_state_dict", "ema"])
def test_raw_weights_are_taken_before_their_average_and_it_is_said(
    average: str, trained: nn.Module, tmp_path: Path
) -> None:
    doubled = {name: value * 2 for name, value in trained.state_dict().items()}
    torch.save({average: doubled, "state_dict": trained.state_dict(), "optimizer": {"state": {}}}, tmp_path / "b.pth")
    loaded = load_model(f"resnet_nano@{tmp_path / 'b.pth'}")
    assert _same(loaded.model, trained)
    assert loaded.weights == f"checkpoint b.pth (state_dict, not {average})"
    chosen = load_model(f"resnet_nano@{tmp_path / 'b.pth'}#{average}")
    assert torch.equal(chosen.model.fc.weight, 2 * trained.fc.weight)
    assert chosen.weights == f"checkpoint b.pth ({average})"
    assert (chosen.label, loaded.label) == (f"resnet_nano@b#{average}", "resnet_nano@b")


@pytest.mark.parametrize(
    "inner", [lambda state: state, lambda state: {"module": state}, lambda state: {"shadow": state}]
)
def test_an_average_alone_is_taken_and_named(inner: Callable[[State], Any], trained: nn.Module, tmp_path: Path) -> None:
    torch.save({"ema": inner(trained.state_dict()), "decay": 0.999}, tmp_path / "a.pth")
    loaded = load_model(f"resnet_nano@{tmp_path / 'a.pth'}")
    assert _same(loaded.model, trained)
    assert loaded.weights.startswith("checkpoint a.pth (ema")


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
    model = timm.create_model("vit_nano", classifier="cls").eval()
    torch.save(model.state_dict(), tmp_path / "small.pth")
    larger = load_model(f"vit_nano?classifier=cls&img_size=64@{tmp_path / 'small.pth'}").model
    assert larger.pos_embed.shape == (1, 257, 96)
    assert torch.equal(larger.blocks[0].mlp.fc1.weight, model.blocks[0].mlp.fc1.weight)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_tied_weights_are_saved_and_load(tmp_path: Path) -> None:
    loaded = load_model("resnet_nano", random_weights=0)
    loaded.model.layer1[1].conv2.weight = loaded.model.layer1[0].conv2.weight
    save_checkpoint(tmp_path / "tied.safetensors", loaded.model, num_classes=10, arguments={}, config=loaded.input)
    assert _same(load_model(f"resnet_nano@{tmp_path / 'tied.safetensors'}").model, loaded.model)


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1, data=Path("images")),
        _Custom(),
        _Mapping(lr=0.1),
        _Sequence([1, 2]),
        collections.defaultdict(list, {"loss": [1.0]}),
        np.float64(0.81),
        np.ones(3),
        torch.nn.functional.relu,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("zipped", [True, False])
def test_objects_of_other_programs_beside_the_weights_are_left_unread(
    beside: Any, zipped: bool, tmp_path: Path
) -> None:
    content = {"args": beside, "state_dict": {"w": torch.ones(2)}, "more": [beside]}
    torch.save(content, tmp_path / "args.pth", _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(tmp_path / "args.pth").state["w"].tolist() == [1, 1]


class _Touches:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("touch", [_Touches, lambda path: _Evaluated(path)])
def test_no_code_of_a_file_is_run(touch: Callable[[Path], Any], tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.zeros(1)}, "args": touch(tmp_path / "made")}, tmp_path / "unsafe.pth")
    with contextlib.suppress(ConfigError):
        read_checkpoint(tmp_path / "unsafe.pth")
    assert not (tmp_path / "made").exists()


class _Evaluated(_Touches):
    """The same by a builtin function."""

    def __reduce__(self) -> Any:
        return eval, (f"__import__('pathlib').Path({str(self.path)!r}).mkdir()",)


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: {"model": model, "epoch": 3}])
def test_a_pickled_network_is_refused(wrap: Callable[[nn.Module], Any], tmp_path: Path) -> None:
    torch.save(wrap(nn.Linear(2, 2)), tmp_path / "whole.pth")
    with pytest.raises(ConfigError, match=r"a whole pickled network, .* is refused; save the state_dict\(\) alone"):
        read_checkpoint(tmp_path / "whole.pth")


def test_a_scripted_model_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that scripting will go
        torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "scripted.pt")
    with pytest.raises(ConfigError, match=r"scripted\.pt: it is a scripted model; save its state_dict\(\) alone"):
        read_checkpoint(tmp_path / "scripted.pt")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: folder / "absent.pth", "absent.pth: there is no such file"),
        (lambda folder: folder, "it is a folder, not a file"),
        (lambda folder: _write(folder / "a.safetensors", b"no tensors"), "it is not a readable safetensors file: "),
        (lambda folder: _write(folder / "a.pth", b"no tensors"), "it is not a readable torch file: "),
        (lambda folder: _write(folder / "a.pth", b""), "it is not a readable torch file: "),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, write: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        read_checkpoint(write(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_truncated_file_is_refused(trained: nn.Module, tmp_path: Path) -> None:
    torch.save(trained.state_dict(), tmp_path / "whole.pth")
    path = _write(tmp_path / "half.pth", (tmp_path / "whole.pth").read_bytes()[:100_000])
    with pytest.raises(ConfigError, match=r"half\.pth: it is not a readable torch file: "):
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
def test_unreadable_metadata_are_refused_where_they_are_ours(tmp_path: Path, metadata: dict[str, str]) -> None:
    ours = {f"visionscope.{key}": value for key, value in metadata.items()}
    save_file({"w": torch.zeros(1)}, tmp_path / "a.safetensors", ours)
    with pytest.raises(ConfigError, match="its metadata can't be read: "):
        read_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        {"num_classes": "ten"},
        {"num_classes": "1000", "format": "pt"},
        {"arguments": "--lr 0.1"},
        {"arguments": '{"lr": 0.1}', "num_classes": "7"},
        {"input": "RGB 224x224"},
        {"asked": "who?", "blocks": "12", "layer_norm_eps": "small"},
        {"num_classes": "7", "arguments": "{}", "input": '{"size": 224}'},
    ],
)
def test_metadata_of_another_program_are_not_ours_to_read(tmp_path: Path, metadata: dict[str, str]) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "a.safetensors", metadata)
    found = read_checkpoint(tmp_path / "a.safetensors")
    assert (found.num_classes, dict(found.arguments), dict(found.input), found.blocks) == (None, {}, {}, ())
    assert found.layer_norm_eps is None


def test_our_files_from_before_the_namespace_are_read(tmp_path: Path) -> None:
    first = load_model("vit_nano?depth=2&num_classes=7", random_weights=1)
    save_checkpoint(
        tmp_path / "new.safetensors", first.model, num_classes=7, arguments={"depth": 2}, config=first.input, step="12"
    )
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        metadata = file.metadata()
    assert all(key.startswith("visionscope.") for key in metadata)
    old = {key.removeprefix("visionscope."): value for key, value in metadata.items()}
    save_file(first.model.state_dict(), tmp_path / "old.safetensors", old)
    new, again = (load_model(f"vit_nano@{tmp_path / name}.safetensors") for name in ("new", "old"))
    assert again.digest == new.digest
    assert (again.num_classes, again.spec.arguments, again.input) == (7, {"depth": 2}, first.input)
    assert own_metadata(old) == own_metadata(metadata)
