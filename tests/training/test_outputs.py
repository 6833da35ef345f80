"""Networks that return more than their logits, or one logit, are trained and scored as the others are."""

from pathlib import Path

import pytest
import torch

from visionscope.errors import DataError
from visionscope.models.load import load_model
from visionscope.training.networks import check_head
from visionscope.training.train import train

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, returned):
        super().__init__()
        self.head = nn.Linear(3, classes)
        self.returned = returned

    def forward(self, x):
        features = x.mean((2, 3))
        return self.returned(self, features, self.head(features))

def _made(returned, classes=3):
    model = Net(classes, returned)
    model.pretrained_cfg = {"input_size": (3, 16, 16), "mean": (0, 0, 0), "std": (1, 1, 1)}
    return model

def plain():
    return _made(lambda self, features, logits: logits)

def beside():
    return _made(lambda self, features, logits: {"features": features, "logits": logits})

def only_in_training():
    return _made(lambda self, features, logits: (logits, features[:, :2]) if self.training else logits)

def twice():
    return _made(lambda self, features, logits: (logits, 2 * logits))

def softmax():
    return _made(lambda self, features, logits: logits.softmax(1))

def single():
    return _made(lambda self, features, logits: logits, classes=1)
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path}/net.py"


def test_what_comes_beside_the_logits_changes_no_bit_of_a_training(net: str, tmp_path: Path, data: str) -> None:
    plain, *others = (
        train(f"{net}:{name}", data, tmp_path / name, epochs=1, batch_size=32)
        for name in ("plain", "beside", "only_in_training")
    )
    weights = load_model(f"{net}:plain@{plain.checkpoint}").model.state_dict()
    for name, other in zip(("beside", "only_in_training"), others, strict=True):
        assert other.scores == plain.scores
        found = load_model(f"{net}:{name}@{other.checkpoint}").model.state_dict()
        assert all(torch.equal(value, found[key]) for key, value in weights.items())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("twice", r"net\.py:twice: 2 of its outputs could be the logits: 0 \(batch, 3\), 1 \(batch, 3\)"),
        ("softmax", r"net\.py:softmax: its outputs went through a softmax"),
    ],
)
def test_what_cannot_be_trained_so_is_refused_before_it_begins(
    net: str, tmp_path: Path, data: str, name: str, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        train(f"{net}:{name}", data, tmp_path, epochs=1)


def test_one_logit_learns_two_classes(net: str, tmp_path: Path, data: str) -> None:
    folder = tmp_path / "two"
    for split in ("train", "test"):
        for name in ("dark", "light"):
            (folder / split).mkdir(parents=True, exist_ok=True)
            (folder / split / name).symlink_to(Path(data) / split / name)
    trained = train(f"{net}:single", str(folder), tmp_path, epochs=20, batch_size=32, learning_rate=0.1)
    assert trained.scores.top_1 == 1.0
    again = load_model(f"{net}:single@{trained.checkpoint}")
    assert again.model.head.out_features == 1
    found = check_head(again, again.input, 1)
    assert (found.columns, found.classes) == (1, 2)
