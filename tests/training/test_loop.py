"""The training loop: it learns, it repeats itself, its weights load, and what it refuses."""

import copy
import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

from visionscope.core.objective import Objective
from visionscope.core.types import Batch
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError, VisionscopeError
from visionscope.models.load import load_model
from visionscope.training import loop
from visionscope.training.images import Images, decode
from visionscope.training.loop import Progress, Trained, evaluate, train

# A network that costs nothing: the loop is what is tested.
SMALL = "resnet_nano?channels=(8,8,8)&stem_width=4&layers=(1,1,1)"
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


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Class folders of noise that is dark, middling or light."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split, count in (("train", 128), ("test", 32)):
        for level, name in enumerate(("dark", "light", "middling")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 120, (16, 16, 3)) + (0, 120, 60)[level]
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{index}.png")
    return str(folder)


@pytest.fixture(scope="module")
def short(data: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(SMALL, data, tmp_path_factory.mktemp("run"), epochs=8, learning_rate=4e-3)


def _bits(path: Path) -> list[torch.Tensor]:
    return list(load_model(f"{SMALL}@{path}").model.state_dict().values())


def test_training_lowers_the_loss_below_chance(short: Trained) -> None:
    losses = [progress.loss for progress in short.log]
    assert losses[-1] < losses[0] - 0.3
    assert losses[-1] < math.log(3) - 0.3
    assert short.accuracy > 0.9
    assert short.images == 96


def test_the_same_seed_gives_the_same_bits_and_another_gives_others(tmp_path: Path, data: str) -> None:
    runs = [train(SMALL, data, tmp_path / name, epochs=1, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    first, again, other = (_bits(run.checkpoint) for run in runs)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    assert runs[0].checkpoint.parent.name == runs[1].checkpoint.parent.name != runs[2].checkpoint.parent.name
    assert runs[0].log[-1].loss == runs[1].log[-1].loss


def test_torchs_generator_is_left_alone(tmp_path: Path, data: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train(SMALL, data, tmp_path, epochs=0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_weights_load_and_are_as_accurate_as_was_said(short: Trained, data: str) -> None:
    loaded = load_model(f"resnet_nano@{short.checkpoint}")
    assert (loaded.num_classes, loaded.input.size) == (3, (32, 32))
    test = decode(open_source(data), loaded.input)
    assert evaluate(loaded.model, test, loaded.input) == pytest.approx(short.accuracy)


def test_the_weights_at_the_end_of_the_warm_up_load_too(short: Trained, data: str) -> None:
    assert short.warm_up == short.checkpoint.with_name("warmup.safetensors")
    loaded = load_model(f"resnet_nano@{short.warm_up}")
    assert (loaded.num_classes, loaded.input.size) == (3, (32, 32))
    test = decode(open_source(data), loaded.input)
    with safe_open(short.warm_up, "pt") as file:
        accuracy = float(file.metadata()["accuracy"])
    assert evaluate(loaded.model, test, loaded.input) == pytest.approx(accuracy)
    assert not all(map(torch.equal, _bits(short.warm_up), _bits(short.checkpoint)))


def test_the_warm_up_ends_at_the_first_step_past_its_share(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def noted(network: nn.Module) -> nn.Module:
        steps.append(len(rates))
        return copy.deepcopy(network)

    rates: list[float] = []
    learning_rate = loop._Schedule.learning_rate

    def counted(self: Any, done: float) -> float:
        rates.append(done)
        return learning_rate(self, done)

    monkeypatch.setattr(loop._Schedule, "learning_rate", counted)
    monkeypatch.setattr(loop, "copy", SimpleNamespace(deepcopy=noted))
    train(SMALL, data, tmp_path, epochs=30 / 12)  # 30 steps: the warm-up is 3 of them
    assert len(rates) == 30
    assert steps == [3]


def test_a_fraction_is_the_same_share_of_each_class_from_the_seed() -> None:
    labels = torch.arange(240) % 3
    labels[:60] = 1
    images = Images(pixels=torch.arange(240).view(-1, 1, 1, 1), labels=labels)
    counts = labels.bincount()
    part = loop._share(images, 0.25, seed=1)
    assert part.labels.bincount().tolist() == [round(0.25 * int(count)) for count in counts]
    assert torch.equal(part.labels, labels[part.pixels.flatten()])
    assert len(part.pixels.flatten().unique()) == len(part)
    assert torch.equal(loop._share(images, 0.25, seed=1).pixels, part.pixels)
    assert not torch.equal(loop._share(images, 0.25, seed=2).pixels, part.pixels)
    assert loop._share(images, 1e-6, seed=1).labels.bincount().tolist() == [1, 1, 1]
    assert loop._share(images, 1.0, seed=1) is images


def test_training_on_a_fraction_takes_as_many_epochs_in_fewer_steps(tmp_path: Path, data: str) -> None:
    trained = train(SMALL, data, tmp_path, epochs=2, fraction=0.25)
    assert round(trained.log[-1].epoch, 6) == 2
    # 96 of 384 images: 6 steps of 32, so a single report, at the end.
    assert len(trained.log) == 1
    assert trained.images == 96


def test_the_loss_is_that_of_the_objective_which_curvature_is_taken_of() -> None:
    objective = Objective(label_smoothing=loop.LABEL_SMOOTHING)
    labels = torch.tensor([0, 2, 1])
    logits = torch.tensor([[2.0, -1, 0], [0.5, 0.25, 3], [1, 1, 1]])
    ours = objective.nll(logits, objective.targets(Batch(torch.empty(3, 1), labels, labels), 3)).mean()
    torch.testing.assert_close(
        ours, nn.functional.cross_entropy(logits, labels, label_smoothing=loop.LABEL_SMOOTHING), rtol=1e-6, atol=0
    )
    assert objective.weight_decay == loop.WEIGHT_DECAY


def test_the_log_beside_the_weights_is_what_was_reported(short: Trained) -> None:
    with (short.checkpoint.parent / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [progress.loss for progress in short.log]
    assert (short.log[-1].done, round(short.log[-1].epoch, 1)) == (1.0, 8.0)


def test_a_finished_training_is_not_repeated(short: Trained, data: str) -> None:
    reports: list[Progress] = []
    out = short.checkpoint.parents[2]
    assert train(SMALL, data, out, epochs=8, learning_rate=4e-3, report=reports.append) == short
    assert reports == []


def test_the_clock_ends_a_training_with_the_learning_rate_down(tmp_path: Path, data: str) -> None:
    trained = train(SMALL, data, tmp_path, epochs=1000, minutes=0.05)
    last = trained.log[-1]
    assert (last.done, last.epoch < 1000) == (1.0, True)
    assert 3 <= last.seconds < 30
    assert last.learning_rate < 0.1 * loop.LEARNING_RATE


def test_the_learning_rate_climbs_and_falls_along_a_cosine() -> None:
    schedule = loop._Schedule(0.5, 1, None, 320)
    assert schedule.steps == 10
    rates = [schedule.learning_rate(done) / 0.5 for done in (0, 0.05, 0.1, 0.55, 1)]
    assert rates == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-12)


def test_training_can_go_on_from_a_checkpoint(short: Trained, tmp_path: Path, data: str) -> None:
    again = train(f"resnet_nano@{short.checkpoint}", data, tmp_path, epochs=1)
    assert again.log[0].loss < short.log[0].loss - 0.3


def test_each_pass_sees_every_image_once_and_augments_only_if_asked_to() -> None:
    pixels = torch.arange(96, dtype=torch.uint8).view(-1, 1, 1, 1) + torch.arange(16, dtype=torch.uint8).view(
        1, 1, 1, 16
    )
    images = Images(pixels=pixels, labels=torch.arange(96))
    plain, augmented = (loop._batches(images, augment, torch.Generator().manual_seed(0)) for augment in (False, True))
    passes = [[next(plain) for _ in range(96 // loop.BATCH)] for _ in range(2)]
    labels = [torch.cat([batch.labels for batch in batches]) for batches in passes]
    assert not torch.equal(labels[0], labels[1])
    assert all(torch.equal(seen.sort().values, torch.arange(96)) for seen in labels)
    assert all(torch.equal(batch.pixels, pixels[batch.labels]) for batches in passes for batch in batches)
    batch = next(augmented)
    assert not torch.equal(batch.pixels, pixels[batch.labels])


def test_a_users_network_is_given_the_datas_head_or_refused(tmp_path: Path, data: str) -> None:
    train(f"{SMALL}&num_classes=7", data, tmp_path, epochs=0.5)
    (tmp_path / "net.py").write_text(NET.format(classes=3, scale=1))
    trained = train(f"{tmp_path}/net.py:make", data, tmp_path, epochs=0.5)
    assert load_model(f"{tmp_path}/net.py:make@{trained.checkpoint}").model.head.out_features == 3
    (tmp_path / "few.py").write_text(NET.format(classes=2, scale=1))
    with pytest.raises(ConfigError, match=r"few\.py:make: its head has 2 classes, too few for label 2"):
        train(f"{tmp_path}/few.py:make", data, tmp_path, epochs=0.5)


def test_a_loss_that_stops_being_finite_stops_the_training(tmp_path: Path, data: str) -> None:
    (tmp_path / "net.py").write_text(NET.format(classes=3, scale="float('inf')"))
    with pytest.raises(VisionscopeError, match=r"net\.py:make: the training's loss is nan by step 6"):
        train(f"{tmp_path}/net.py:make", data, tmp_path, epochs=0.5)
    assert not list(tmp_path.rglob("last.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "--epochs must be a positive number; got 0"),
        ({"epochs": math.inf}, "--epochs must be a positive number; got inf"),
        ({"learning_rate": math.nan}, "--learning-rate must be a positive number; got nan"),
        ({"fraction": 0}, "--fraction must be above 0 and at most 1; got 0"),
        ({"fraction": 1.5}, r"--fraction must be above 0 and at most 1; got 1\.5"),
        ({"fraction": math.nan}, "--fraction must be above 0 and at most 1; got nan"),
        ({"minutes": -1}, "--minutes must be a positive number; got -1"),
        (
            {"data": "embedded:train"},
            "must have a train and a test split and name neither of them; got 'embedded:train'",
        ),
    ],
)
def test_what_cant_be_trained_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str, data: str) -> None:
    values = {"spec": SMALL, "data": "embedded", "out": tmp_path, **arguments}
    with pytest.raises(ConfigError, match=message):
        train(**values)


def test_accuracy_is_counted_over_all_images() -> None:
    class Reader(nn.Module):
        """Answers with the first pixel's value."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot((x[:, 0, 0, 0] * 255).round().long(), 4).float()

    pixels = (torch.arange(600) % 4).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    truth = torch.arange(600) % 4
    truth[:6] = (truth[:6] + 1) % 4
    config = loop.InputConfig(size=(2, 2), mean=(0, 0, 0), std=(1, 1, 1))
    assert evaluate(Reader(), Images(pixels=pixels, labels=truth), config) == pytest.approx(594 / 600)


@pytest.mark.parametrize(
    ("capabilities", "expected"), [({}, False), ({"avx512_bf16": False}, False), ({"amx_bf16": True}, True)]
)
def test_bfloat16_is_used_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert loop.computes_bf16() is expected
