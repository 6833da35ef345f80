"""What our files of weights say beside the weights, in what order, and what of it is believed."""

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from reference.warm import elsewhere
from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError
from visionscope.models.checkpoint import read_checkpoint, save_checkpoint
from visionscope.models.load import load_model

INPUT = InputConfig(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize(
    "metadata",
    [
        {"num_classes": "-3"},
        {"num_classes": "9" * 5000},
        {"arguments": "[" * 100_000},
        {"arguments": '{"depth": 1' + "0" * 5000 + "}"},
        {"input": '{"sizes": [32, 32]}'},
        {"asked": '{"fraction": NaN}'},
        {"asked": '{"fraction": 7}'},
        {"asked": '{"fraction": []}'},
        {"layer_norm_eps": "nan"},
        {"layer_norm_eps": "-1"},
        {"blocks": "[" * 100_000},
    ],
)
def test_metadata_out_of_all_bounds(metadata: dict[str, str], tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "a.safetensors", {f"visionscope.{k}": v for k, v in metadata.items()})
    with pytest.raises(ConfigError, match="its metadata can't be read: ") as raised:
        read_checkpoint(tmp_path / "a.safetensors")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    "config",
    [
        {"size": [10**9, 10**9]},
        {"size": ["a", "b"]},
        {"size": 3},
        {"size": [32, 32], "mean": [math.nan] * 3},
        {"mean": "abc"},
        {"std": [0, 0, 0]},
        {"std": [[1], [1], [1]]},
        {"crop": 0},
        {"crop": "all"},
        {"interpolation": "/etc/passwd"},
    ],
)
def test_inputs_in_metadata_out_of_all_bounds(config: dict[str, Any], tmp_path: Path) -> None:
    state = load_model("resnet_nano", random_weights=0).model.state_dict()
    save_file(state, tmp_path / "a.safetensors", {"visionscope.input": json.dumps(config)})
    with pytest.raises(ConfigError, match=r"--size must|--mean must|--std must|crop must|interpolation must") as raised:
        load_model(f"resnet_nano@{tmp_path}/a.safetensors")
    assert str(raised.value).isprintable()


def save(path: Path, *names: str) -> bytes:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).half())
    more = dict.fromkeys(names, "x")
    save_checkpoint(path, model, num_classes=2, arguments={"b": 1, "a": 2}, config=INPUT, **more)
    return path.read_bytes()


def test_equal_weights_give_equal_bytes_in_every_process(tmp_path: Path) -> None:
    names = ("one", "two", "three", "four")
    first = save(tmp_path / "0.safetensors", *names)
    contents = {first, elsewhere(save, tmp_path / "1.safetensors", *reversed(names))}
    assert len(contents) == 1
    (content,) = contents
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:end], object_pairs_hook=lambda pairs: pairs)
    assert [name for name, _ in header] == sorted(name for name, _ in header)
    metadata = dict(header)["__metadata__"]
    assert [name for name, _ in metadata] == sorted(name for name, _ in metadata)
    assert end % 8 == 0
    assert read_checkpoint(tmp_path / "0.safetensors").state["2.weight"].dtype == torch.float16


def test_a_disk_that_refuses_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, nn.Linear(2, 2), num_classes=2, arguments={}, config=INPUT)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, nn.Linear(2, 2), num_classes=2, arguments={}, config=INPUT)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]
