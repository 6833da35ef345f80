"""The training loop: it learns, equals a plain loop to the bit, repeats itself, its weights load."""

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

from training.conftest import SMALL
from visionscope.core.objective import Objective
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError, VisionscopeError
from visionscope.models.load import load_model
from visionscope.training import precision
from visionscope.training.clock import Progress
from visionscope.training.evaluation import clean_batches, evaluate
from visionscope.training.feed import Feed, load_images
from visionscope.training.networks import network_for
from visionscope.training.recipe import RECIPES, choose_recipe
from visionscope.training.train import Trained, convert_sync_batchnorm, train

NET = """
import torch
from torch import nn

class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, {classes})
    def forward(self, x):
        return self.head(x.mean((2, 3)) * {scale})

def make():
    model = Flat()
    model.pretrained_cfg = {{"input_size": (3, 16, 16), "mean": (0, 0, 0), "std": (1, 1, 1)}}
    return model
"""


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def bits(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def same_bits(one: Path, other: Path) -> bool:
    left, right = bits(one), bits(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_training_lowers_the_loss_below_chance(short: Trained) -> None:
    losses = [row["loss"] for row in rows_of(short.checkpoint.parent)]
    assert losses[-1] < losses[0] - 0.3
    assert losses[-1] < math.log(3) - 0.3
    assert short.scores.top_1 > 0.9
    assert (short.scores.images, short.scores.top_5) == (96, 1.0)


@pytest.mark.parametrize("narrow", ["fp32", "bf16"])
def test_five_steps_equal_a_plain_loop_bit_for_bit(tmp_path: Path, data: str, narrow: str) -> None:
    recipe = choose_recipe("paper-cifar", {"epochs": 5 * 16 / 384, "batch_size": 16, "precision": narrow})
    spec = "vit_nano?depth=2&embed_dim=48"
    trained = train(spec, data, tmp_path, recipe="paper-cifar", epochs=recipe.epochs, batch_size=16, precision=narrow)

    loaded = network_for(spec, 3, seed=0, drop_path=0.1, note=print)
    model, source = loaded.model.train(), open_source(data, default_split="train")
    images = load_images(source, loaded.input, recipe.augmentation)
    feed = Feed(images, loaded.input, recipe.augmentation, batch_size=16, seed=0)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05, fused=True)
    for step in range(5):
        batch = feed.batch(step)
        optimizer.param_groups[0]["lr"] = recipe.learning_rate_at((step + 0.5) / 5)
        from visionscope.training.optimizers import seed_step  # the one thing that a plain loop has not

        seed_step(0, step, 0)
        targets = recipe.objective.targets(batch, 3).float()
        inputs = batch.images.contiguous(memory_format=torch.channels_last)
        with precision.attention(precision.choose_precision(narrow), torch.device("cpu")):
            with torch.autocast("cpu", torch.bfloat16, enabled=narrow == "bf16"):
                logits = model(inputs)
            loss = -(targets * logits.float().log_softmax(1)).sum(1).mean()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()

    found = bits(trained.checkpoint)
    assert any(module.drop_prob for module in model.modules() if type(module).__name__ == "DropPath")
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_bits_and_another_gives_others(tmp_path: Path, data: str) -> None:
    runs = [train(SMALL, data, tmp_path / name, epochs=1, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    first, again, other = (run.checkpoint for run in runs)
    assert same_bits(first, again)
    assert not same_bits(first, other)
    assert first.parent.name == again.parent.name != other.parent.name


def test_the_generators_are_left_alone(tmp_path: Path, data: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train(SMALL, data, tmp_path, epochs=0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_weights_load_and_are_as_good_as_was_said(short: Trained, data: str) -> None:
    loaded = load_model(f"resnet_nano@{short.checkpoint}")
    assert (loaded.num_classes, loaded.input.size) == (3, (32, 32))
    test = load_images(open_source(data), loaded.input)
    assert evaluate(loaded.model, clean_batches(test, loaded.input, 7), Objective()).top_1 == short.scores.top_1


def test_every_moment_that_was_asked_for_is_kept_and_loads(short: Trained) -> None:
    folder = short.checkpoint.parent
    names = {"init", "warmup", "epoch-0002", "epoch-0005", "best", "ema", "last"}
    assert {path.stem for path in folder.glob("*.safetensors")} == names
    for name in names:
        assert load_model(f"resnet_nano@{folder / name}.safetensors").num_classes == 3
    with torch.random.fork_rng():
        fresh = network_for(SMALL, 3, seed=0, note=print).model.state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in bits(folder / "init.safetensors").items())
    # 288 of 384 images are trained on, 9 steps an epoch: 72 steps, the warm-up is 7.2 of them.
    steps = {
        name: safe_open(folder / f"{name}.safetensors", "pt").metadata()["visionscope.step"]
        for name in ("warmup", "epoch-0002")
    }
    assert steps == {"warmup": "8", "epoch-0002": "18"}
    assert not list(folder.glob("resume*"))


def test_the_log_has_a_row_for_each_epoch_with_both_losses(short: Trained) -> None:
    rows = rows_of(short.checkpoint.parent)
    assert [round(row["epoch"], 9) for row in rows] == list(range(1, 9))
    assert [row["step"] for row in rows] == [9 * epoch for epoch in range(1, 9)]
    assert {"loss", "nll_train", "top_1", "top_5", "nll", "ema_nll", "images_per_second"} <= rows[0].keys()
    assert rows[-1]["learning_rate"] < rows[1]["learning_rate"] < 4e-3


def test_the_log_s_loss_is_the_mean_of_the_steps_and_nll_train_is_in_eval_mode(tmp_path: Path, data: str) -> None:
    trained = train(SMALL, data, tmp_path, epochs=1, learning_rate=1e-9, batch_size=32)
    (row,) = rows_of(trained.checkpoint.parent)
    # Nothing moved, so the network is still the one it began as, but for its running statistics.
    loaded = load_model(f"resnet_nano@{trained.checkpoint}")
    recipe = choose_recipe("laptop", {})
    images = load_images(open_source(data, default_split="train"), loaded.input, recipe.augmentation)
    feed = Feed(images, loaded.input, recipe.augmentation, batch_size=256, seed=1)
    batches = [feed.batch(step) for step in range(2)]
    with torch.inference_mode():
        nll = torch.cat([F.cross_entropy(loaded.model(one.images), one.labels, reduction="none") for one in batches])
        loaded.model.train()
        training = Feed(images, loaded.input, recipe.augmentation, batch_size=32, seed=0)
        losses = [
            F.cross_entropy(loaded.model(one.images), one.labels, label_smoothing=0.1)
            for one in (training.batch(step) for step in range(12))
        ]
    assert row["nll_train"] == pytest.approx(float(nll.mean()), rel=1e-4)
    assert row["loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=5e-3)  # bfloat16 there, float32 here


def test_best_is_the_epoch_with_the_highest_validation_accuracy(short: Trained) -> None:
    rows = rows_of(short.checkpoint.parent)
    step = int(safe_open(short.checkpoint.with_name("best.safetensors"), "pt").metadata()["visionscope.step"])
    best = max(row["top_1"] for row in rows)
    assert step == next(row["step"] for row in rows if row["top_1"] == best)


def test_everything_that_was_asked_for_lies_beside_the_weights(short: Trained) -> None:
    asked = json.loads((short.checkpoint.parent / "train.json").read_text())
    assert (asked["model"], asked["recipe name"], asked["validation"]) == (SMALL, "laptop", 0.25)
    assert asked["recipe"]["learning_rate"] == 4e-3
    assert asked["recipe"]["weight_decay"] == RECIPES["laptop"].weight_decay
    with safe_open(short.checkpoint, "pt") as file:
        assert json.loads(file.metadata()["visionscope.asked"]) == asked


def test_a_fraction_leaves_epochs_or_steps_the_same(tmp_path: Path, data: str) -> None:
    lines: list[str] = []
    epochs = train(SMALL, data, tmp_path, epochs=2, fraction=0.25, batch_size=32, note=lines.append)
    steps = train(SMALL, data, tmp_path, epochs=2, fraction=0.25, same="steps", batch_size=32)
    assert [row["step"] for row in rows_of(epochs.checkpoint.parent)] == [3, 6]
    last = rows_of(steps.checkpoint.parent)[-1]
    assert (last["step"], last["epoch"]) == (24, 2)
    said = "96 of 384 training images, the same share of each class; 6 steps, as many epochs as on all of them"
    assert lines == [said]


def test_a_finished_training_is_not_repeated(short: Trained, data: str) -> None:
    reports: list[Progress] = []
    again = train(
        SMALL,
        data,
        short.checkpoint.parents[2],
        epochs=8,
        learning_rate=4e-3,
        batch_size=32,
        snapshots=(2, 5),
        ema=0.9,
        validation=0.25,
        report=reports.append,
    )
    assert again == short
    assert reports == []


def test_the_clock_ends_a_training_with_the_learning_rate_down(tmp_path: Path, data: str) -> None:
    reports: list[Progress] = []
    trained = train(SMALL, data, tmp_path, epochs=1000, minutes=0.05, report=reports.append)
    last = reports[-1]
    assert (last.done, last.epoch < 1000) == (1.0, True)
    assert 3 <= last.seconds < 30
    assert last.learning_rate < 0.1 * RECIPES["laptop"].learning_rate
    assert trained.warm_up is not None


def test_training_can_go_on_from_a_checkpoint_also_with_another_head(short: Trained, tmp_path: Path, data: str) -> None:
    lines: list[str] = []
    again = train(f"resnet_nano@{short.checkpoint}", data, tmp_path, epochs=1, note=lines.append)
    first = rows_of(short.checkpoint.parent)[0]["loss"]
    assert rows_of(again.checkpoint.parent)[0]["loss"] < first - 0.3
    assert lines == []
    other = network_for(f"resnet_nano@{short.checkpoint}", 7, seed=0, note=lines.append)
    assert (other.num_classes, other.model.fc.out_features) == (7, 7)
    assert lines == [f"{other.label}: its head of 3 classes is replaced by a fresh one of 7"]


def test_a_users_network_is_given_the_datas_head_or_refused(tmp_path: Path, data: str) -> None:
    train(f"{SMALL}&num_classes=7", data, tmp_path, epochs=0.5)
    (tmp_path / "net.py").write_text(NET.format(classes=3, scale=1))
    trained = train(f"{tmp_path}/net.py:make", data, tmp_path, epochs=0.5)
    assert load_model(f"{tmp_path}/net.py:make@{trained.checkpoint}").model.head.out_features == 3
    (tmp_path / "few.py").write_text(NET.format(classes=2, scale=1))
    with pytest.raises(ConfigError, match=r"few\.py:make: its head has 2 classes, too few for label 2"):
        train(f"{tmp_path}/few.py:make", data, tmp_path, epochs=0.5)


def test_drop_path_is_really_on_and_its_absence_is_said(tmp_path: Path) -> None:
    lines: list[str] = []
    loaded = network_for("resnet_nano", 10, seed=0, drop_path=0.3, note=lines.append)
    rates = [module.drop_prob for module in loaded.model.modules() if type(module).__name__ == "DropPath"]
    assert rates[-1] == pytest.approx(0.3)
    assert rates == sorted(rates)
    assert "drop_path_rate" not in loaded.spec.arguments
    assert lines == []
    network_for("vgg11?num_classes=10", 10, seed=0, drop_path=0.3, note=lines.append)
    assert lines == ["vgg11?num_classes=10: it has no drop path, so drop_path 0.3 is left out"]


def test_splits_of_other_classes_are_refused(tmp_path: Path, data: str) -> None:
    shutil.copytree(data, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "test" / "dark")
    with pytest.raises(ConfigError, match=r"must have the same classes in both splits; .* has not: dark"):
        train(SMALL, str(tmp_path / "data"), tmp_path, epochs=0.5)


def test_the_conversion_for_several_gpus_keeps_activations() -> None:
    network = load_model("alternet_nano", random_weights=0).model
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = network(images)
        after = convert_sync_batchnorm(network)(images)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_a_loss_that_stops_being_finite_stops_the_training(tmp_path: Path, data: str) -> None:
    (tmp_path / "net.py").write_text(NET.format(classes=3, scale="float('inf')"))
    with pytest.raises(
        VisionscopeError, match=r"loss is nan at step 1, on the training images \d+(, \d+){31}; no state"
    ):
        train(f"{tmp_path}/net.py:make", data, tmp_path, epochs=0.5, batch_size=32)
    assert not list(tmp_path.rglob("last.safetensors"))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("sam", [0.0, 0.05])
def test_every_optimizer_learns(tmp_path: Path, data: str, optimizer: str, sam: float) -> None:
    rate = {"adamw": 4e-3, "sgd": 0.05}[optimizer]
    trained = train(SMALL, data, tmp_path, epochs=3, batch_size=32, optimizer=optimizer, sam=sam, learning_rate=rate)
    rows = rows_of(trained.checkpoint.parent)
    assert rows[-1]["nll"] < 0.9 < rows[0]["loss"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, r"epochs: must be a number above 0 and at most 1000000; got 0"),
        ({"fraction": 0}, r"fraction: must be a number above 0 and at most 1; got 0"),
        ({"fraction": math.nan}, r"fraction: must be a number above 0 and at most 1; got nan"),
        ({"validation": 1.0}, r"validation: must be a number of at least 0 and below 1; got 1\.0"),
        ({"same": "step"}, r"same: must be one of epochs, steps; got 'step'\. Did you mean 'steps'\?"),
        ({"devices": 0}, r"devices: must be an integer from 1 to 1024; got 0"),
        ({"seed": -1}, r"seed: must be an integer from 0 to 4294967295; got -1"),
        ({"epochs": 3, "snapshots": (5,)}, r"snapshots: must be epochs from 1 to 3; got \[5\]"),
        ({"track": ("tensorbord",)}, "got 'tensorbord'. Did you mean 'tensorboard'"),
        (
            {"data": "embedded:train"},
            "must have a train and a test split and name neither of them; got 'embedded:train'",
        ),
    ],
)
def test_what_cant_be_trained_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str, data: str) -> None:
    values = {"model": SMALL, "data": data, "out": tmp_path, **arguments}
    with pytest.raises(ConfigError, match=message):
        train(**values)


@pytest.mark.parametrize(
    ("capabilities", "expected"), [({}, False), ({"avx512_bf16": False}, False), ({"amx_bf16": True}, True)]
)
def test_bfloat16_is_used_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert precision.computes_bf16() is expected
    assert precision.choose_precision("auto") == ("bf16-mixed" if expected else "32-true")


def test_the_head_stays_where_the_data_dont_say_their_classes() -> None:
    assert isinstance(network_for(SMALL, 0, seed=0, note=print).model.fc, nn.Linear)
