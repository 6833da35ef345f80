"""Bare files of weights as models: named by training and moment, in order of the step; others are refused in a line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError
from visionscope.models.checkpoint import read_checkpoint, save_checkpoint
from visionscope.models.snapshots import name_snapshots, training_label
from visionscope.models.spec import parse_spec

CONFIG = InputConfig(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)


def write(path: Path, *, step: int | str | None, weights: float, training: str = "ab" * 32, **more: str) -> str:
    """A file as `visionscope train` writes it."""
    network = nn.Linear(2, 2)
    nn.init.constant_(network.weight, weights)
    nn.init.zeros_(network.bias)
    asked = {"model": more.pop("model", "vit_nano")}
    told = {"trained": "timm:vit_nano", "training": training, "data": "embedded", "asked": json.dumps(asked)}
    told |= {"steps_per_epoch": "4.0", **more}
    if step is not None:
        told["step"] = str(step)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, network, num_classes=2, arguments={}, config=CONFIG, **told)
    return str(path)


def test_they_stand_in_order_of_the_step_under_the_training_and_the_moment(tmp_path: Path) -> None:
    files = {
        name: write(tmp_path / f"{name}.safetensors", step=step, weights=step + 0.5 * (name == "ema"))
        for name, step in (("ema", 12), ("epoch-0002", 8), ("init", 0), ("last", 12), ("warmup", 3))
    }
    named = name_snapshots(["resnet18", *files.values(), "resnet34"])
    labels = ["vit_nano init", "vit_nano warmup", "vit_nano epoch 2", "vit_nano last", "vit_nano ema"]
    assert [parse_spec(text).label for text in named.models] == ["resnet18", *labels, "resnet34"]
    assert named.models[3] == f"vit_nano epoch 2=timm:vit_nano@{files['epoch-0002']}"
    assert (named.data, named.notes) == ("", ())  # of the others nobody knows what they were trained on
    assert name_snapshots(list(files.values())).data == "embedded"
    told = read_checkpoint(Path(files["epoch-0002"])).moment
    assert told is not None
    assert (told.name, told.step, told.epoch, told.is_on_the_way) == ("epoch 2", 8, 2.0, True)
    average = read_checkpoint(Path(files["ema"])).moment
    assert average is not None
    assert not average.is_on_the_way


def test_of_files_with_the_same_weights_one_is_taken(tmp_path: Path) -> None:
    twins = [write(tmp_path / f"{name}.safetensors", step=4, weights=1) for name in ("best", "epoch-0001", "last")]
    named = name_snapshots(twins)
    assert [parse_spec(text).label for text in named.models] == ["vit_nano last"]
    assert named.notes == tuple(f"{one} has the weights of {twins[2]}; left out" for one in (twins[1], twins[0]))


def test_trainings_of_one_name_are_told_apart_and_a_label_is_kept(tmp_path: Path) -> None:
    one = write(tmp_path / "a" / "last.safetensors", step=4, weights=1)
    other = write(tmp_path / "b" / "last.safetensors", step=4, weights=1, training="cd" * 32, data="torch/cifar10")
    named = name_snapshots([one, other])
    assert [parse_spec(text).label for text in named.models] == ["vit_nano ababab last", "vit_nano cdcdcd last"]
    assert named.data == ""
    assert [training_label(asked) for asked in ("mine=vit_nano?depth=3", "vit_nano?depth=3@a.pth", ":Net")] == [
        "mine",
        "vit_nano",
        "Net",
    ]
    assert training_label("torchvision:resnet18") == "torchvision resnet18"  # no label can hold the colon


@pytest.mark.parametrize("step", ["soon", "-", "1.5"])
def test_metadata_that_say_nothing_sensible_are_refused(tmp_path: Path, step: str) -> None:
    file = write(tmp_path / "last.safetensors", step=None, weights=1)
    assert name_snapshots([file]).models == (f"vit_nano last=timm:vit_nano@{file}",)  # of an older version
    torn = write(tmp_path / "torn.safetensors", step=step, weights=1)
    with pytest.raises(ConfigError, match=rf"torn.safetensors: its metadata can't be read; write NAME@{torn}$"):
        name_snapshots([torn])


def test_files_that_name_no_network_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "model.safetensors"
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, foreign, {"format": "pt"})
    pickled = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(2)}, pickled)
    torn = tmp_path / "torn.safetensors"
    shutil.copyfile(foreign, torn)
    torn.write_bytes(torn.read_bytes()[:20])
    for path in (foreign, pickled, torn):
        with pytest.raises(ConfigError, match=rf"does not say which network it is of; write NAME@{path}$"):
            name_snapshots([str(path)])
    handed = write(tmp_path / "handed.safetensors", step=0, weights=1, trained=":Net")
    with pytest.raises(ConfigError, match=rf"it holds 'Net', which no spec names; write FILE.py:FUNCTION@{handed}$"):
        name_snapshots([handed])
    with pytest.raises(ConfigError, match=r"gone.safetensors: there is no such file"):
        name_snapshots([str(tmp_path / "gone.safetensors")])


def test_specs_are_left_as_they_are() -> None:
    specs = ["resnet18", "net=models.py:net@a.safetensors", "vit_nano@a.pth,b.pth", "hf:owner/name"]
    assert name_snapshots(specs).models == tuple(specs)
