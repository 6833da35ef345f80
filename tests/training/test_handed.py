"""A network of a notebook is trained itself, and what stands beside a training's numbers."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import visionscope as vs
from training.conftest import SMALL
from visionscope.cli import main
from visionscope.core import ticking
from visionscope.errors import ConfigError
from visionscope.training import train as module

INPUT = vs.InputConfig(size=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).mean((2, 3)))


def net(classes: int = 3) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(classes)


def test_a_network_is_trained_in_place_and_resumes(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = net().eval()
    network.stem.train()
    trained = vs.train(network, data, tmp_path, input=INPUT, epochs=2, batch_size=32, learning_rate=1e-2)
    assert trained.scores.top_1 > 0.6
    assert trained.chance == pytest.approx(1 / 3)
    assert (network.training, network.stem.training, network.head.training) == (False, True, False)
    written = load_file(trained.checkpoint)
    state = network.state_dict()
    assert {name: bool(torch.equal(value, state[name])) for name, value in written.items()} == dict.fromkeys(
        state, True
    )

    monkeypatch.setattr(module, "_Job", None)  # nothing is trained again
    again = net()
    assert (
        vs.train(again, Path(data), str(tmp_path), input=INPUT, epochs=2, batch_size=32, learning_rate=1e-2) == trained
    )
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())


def test_other_code_of_the_same_network_is_another_training(tmp_path: Path, data: str) -> None:
    asked = {"input": INPUT, "epochs": 0.1, "batch_size": 32}
    first = vs.train(net(), data, tmp_path, **asked)

    def forward(self: Net, x: Tensor) -> Tensor:
        return self.head(self.stem(x).amax((2, 3)))

    changed = type("Net", (nn.Module,), {**{k: v for k, v in vars(Net).items() if k != "__dict__"}, "forward": forward})
    other = copy.copy(net())
    other.__class__ = changed
    assert vs.train(other, data, tmp_path, **asked).checkpoint != first.checkpoint
    assert vs.train(net(), data, tmp_path, **asked).checkpoint == first.checkpoint


@pytest.mark.parametrize(
    ("network", "given", "message"),
    [
        (net(), {}, r"^input: Net does not say how it wants its images; give its size, mean, std, such as input=Inp"),
        (net(2), {"input": INPUT}, r"^Net: its head has 2 classes, too few for label 2"),
        (SMALL, {"input": INPUT}, r"^input: is for a network given as such; a model spec has its own, leave it out"),
        (3, {}, r"^model: must be a torch\.nn\.Module or a model spec; got 3"),
        (Net, {}, r"^model: must be .*; pass an instance, such as Net\(\.\.\.\)"),
    ],
)
def test_what_can_t_be_trained_as_it_is(
    network: object, given: dict[str, object], message: str, tmp_path: Path, data: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        vs.train(network, data, tmp_path, epochs=0.1, **given)


def test_a_result_within_chance_is_called_so(tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--data", data, "--out", str(tmp_path), "--batch-size", "32"]
    assert main(["train", SMALL, *asked, "--epochs", "0.1", "--learning-rate", "1e-9"]) == 0
    words = "This is no better than chance: the most common class alone is 33.3% of these images."
    said = capsys.readouterr().out
    assert words in said
    assert main(["train", SMALL, *asked, "--epochs", "8", "--learning-rate", "4e-3"]) == 0
    said = capsys.readouterr().out
    assert "% of 96 test images right (95 % interval" in said
    assert "better than chance" not in said


def test_a_training_of_a_notebook_writes_lines(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ticking, "FIRST_SECONDS", 0.02)
    vs.train(SMALL, data, tmp_path, epochs=4, batch_size=32)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("visionscope: training: reading images, ")
    assert any(" epoch " in line and line.endswith(" left") for line in said)
    vs.train(SMALL, data, tmp_path, epochs=4.5, batch_size=32, report=lambda progress: None)
    assert capsys.readouterr().err == ""
