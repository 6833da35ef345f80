"""Training with masks: from the command to the file that loads."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

from conftest import SMALL
from visionscope.cli import main
from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError
from visionscope.models.load import load_model
from visionscope.training.train import Trained, train

FAST = {"epochs": 6.0, "learning_rate": 6e-3, "batch_size": 16, "task": "segmentation"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A light or a dark box on middling ground; the border of the box doesn't count."""
    folder, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for split, count in (("train", 96), ("test", 24)):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            pixels, mask = random.integers(90, 150, (16, 16, 3)), np.zeros((16, 16), np.uint8)
            row, column, light = *random.integers(0, 8, 2), int(random.integers(2))
            mask[row : row + 8, column : column + 8] = 255
            mask[row + 1 : row + 7, column + 1 : column + 7] = 1 + light
            pixels[row : row + 8, column : column + 8] = (20, 230)[light]
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / split / f"{index}.png")
            Image.fromarray(mask).save(folder / "masks" / split / f"{index}.png")
    return str(folder)


@pytest.fixture(scope="module")
def trained(scenes: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(SMALL, scenes, tmp_path_factory.mktemp("run"), validation=0.25, **FAST)


def log_of(trained: Trained) -> list[dict[str, str]]:
    return list(csv.DictReader((trained.checkpoint.parent / "log.csv").read_text().splitlines()))


def test_it_learns_and_tells_its_scores(trained: Trained) -> None:
    scores = trained.segmentation
    assert scores is not None
    assert trained.scores is None
    assert scores.images == 24
    assert scores.mean_iou > 0.4  # of three classes; one everywhere has less than 0.3
    assert scores.pixel_accuracy > trained.chance
    rows = log_of(trained)
    assert [name for name in rows[0] if name in ("mean_iou", "pixel_accuracy", "nll", "nll_train", "top_1")] == [
        "mean_iou",
        "pixel_accuracy",
        "nll",
        "nll_train",
    ]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    asked = json.loads((trained.checkpoint.parent / "train.json").read_text())
    assert asked["task"] == "segmentation"
    assert asked["model"].startswith("timm:segmenter?backbone='resnet_nano'&decoder='linear'&channels=(8, 8, 8)")
    assert asked["recipe"]["label_smoothing"] == 0.1
    assert (trained.checkpoint.parent / "best.safetensors").exists()


def test_the_weights_load_and_answer_per_pixel(trained: Trained) -> None:
    loaded = load_model(f"segmenter@{trained.checkpoint}")
    assert dict(loaded.spec.arguments)["backbone"] == "resnet_nano"
    assert (loaded.num_classes, loaded.label) == (3, "segmenter@last")
    with torch.no_grad():
        assert loaded.model(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 32, 32)


def test_a_finished_training_is_not_repeated(trained: Trained, scenes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionscope.training.train._Job", None)
    again = train(SMALL, scenes, trained.checkpoint.parents[2], validation=0.25, **FAST)
    assert again == trained


def test_best_is_chosen_by_mean_iou(trained: Trained) -> None:
    rows = log_of(trained)
    best = max(rows, key=lambda row: float(row["mean_iou"]))
    with safe_open(trained.checkpoint.parent / "best.safetensors", "pt") as file:
        assert file.metadata()["visionscope.step"] == best["step"]


def test_recipes_leave_out_what_masks_cannot_follow(scenes: str, tmp_path: Path) -> None:
    notes: list[str] = []
    short = {**FAST, "epochs": 0.2}
    train(SMALL, scenes, tmp_path, recipe="paper-cifar", drop_path=0.0, fraction=0.5, note=notes.append, **short)
    assert any(note.startswith("48 of 96 training images; ") for note in notes), notes
    assert "masks follow crops and flips alone, so rand_augment, mixup, cutmix of the recipe are left out" in notes
    asked = json.loads(next(tmp_path.glob("train/*/train.json")).read_text())["recipe"]
    assert (asked["rand_augment"], asked["mixup"], asked["cutmix"], asked["flip"]) == ("", 0.0, 0.0, 0.5)
    with pytest.raises(ConfigError, match=r"cutmix: masks follow crops and flips alone; got 0\.5, take 0\.0"):
        train(SMALL, scenes, tmp_path, cutmix=0.5, **short)


class Pointwise(nn.Module):
    """A network of one's own."""

    def __init__(self, dense: bool = True) -> None:
        super().__init__()
        self.layer, self.dense = nn.Conv2d(3, 3, 1), dense

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images) if self.dense else self.layer(images).mean((2, 3))


class Both(Pointwise):
    """Answers per image, too."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.layer(images)
        return logits.mean((2, 3)), logits


def test_a_network_of_ones_own(scenes: str, tmp_path: Path) -> None:
    own = InputConfig(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    given = {**FAST, "epochs": 1.0, "input": own}
    found = train(Pointwise(), scenes, tmp_path, **given)
    assert found.segmentation is not None
    reason = (
        "Pointwise: it answers per image, and the data have a class for each pixel; name a backbone with --task "
        r"segmentation, or return logits \(batch, class, height, width\)"
    )
    with pytest.raises(ConfigError, match=reason):
        train(Pointwise(dense=False), scenes, tmp_path, **given)
    with pytest.raises(ConfigError, match=r"or return logits \(.*\), which its output 1 could be, alone$"):
        train(Both(), scenes, tmp_path, **given)
    with pytest.raises(ConfigError, match=r"decoder: Pointwise is a network of your own.*; got 'unet'"):
        train(Pointwise(), scenes, tmp_path, decoder="unet", **given)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            "resnet_nano --data embedded-masks",
            r"data 'embedded-masks' has a class for each pixel, not each image; add --task",
        ),
        (
            "resnet_nano --data embedded --task segmentation",
            r"--task segmentation needs a mask for each image, and data 'e",
        ),
        (
            "resnet_nano --data embedded --task segment",
            r"task: must be one of classification, segmentation; got 'segment'\. Did you mean 'segmentation'",
        ),
        (
            "resnet_nano --data embedded --decoder unet",
            r"decoder: is of --task segmentation, and the task is classification",
        ),
        (
            "resnet_nano --data embedded-masks --task segmentation --decoder une",
            r"decoder.*une.*Did you mean 'unet'|--decoder",
        ),
        (
            "torchvision:resnet18 --data embedded-masks --task segmentation",
            r"takes backbones of timm and ours, as resnet18",
        ),
        (
            "resnet_nano@x.safetensors --data embedded-masks --task segmentation",
            r"goes on from segmenter@FILE|no such file",
        ),
    ],
)
def test_commands_that_are_refused(
    arguments: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert main(["train", *arguments.split(), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert re.search(reason, told), told
    assert "Traceback" not in told


def test_the_command_says_what_came_out(scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["train", SMALL, "--data", scenes, "--task", "segmentation", "--epochs", "0.2", "--out", str(tmp_path)]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert "mean IoU" in told
    assert "pixel accuracy" in told
    assert "on 24 test images" in told


def test_a_crop_that_shows_ignored_pixels_alone_stops_no_training(tmp_path: Path) -> None:
    random, mask = np.random.default_rng(0), np.full((16, 16), 255, np.uint8)
    mask[6:10, 6:8], mask[6:10, 8:10] = 0, 1
    for split, count in (("train", 32), ("test", 4)):
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / split / f"{index}.png")
            Image.fromarray(mask).save(tmp_path / "masks" / split / f"{index}.png")
    asked = {**FAST, "epochs": 2.0, "crop": "resized"}
    (row,) = log_of(train(SMALL, str(tmp_path), tmp_path / "run", scored="end", **asked))[-1:]
    assert 0.3 < float(row["loss"]) < 3
