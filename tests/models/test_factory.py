"""Networks from the user's own Python file."""

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from visionscope.errors import ConfigError
from visionscope.models.load import load_model

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, num_classes=3):
        super().__init__()
        self.num_classes = num_classes
        self.conv = nn.Conv2d(3, width, 3)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

def plain(**arguments):
    return Net(**arguments)

def configured(**arguments):
    model = Net(**arguments)
    model.pretrained_cfg = {"input_size": (3, 24, 40), "mean": (0.1, 0.2, 0.3), "std": (1, 2, 3), "crop_pct": 0.9}
    return model

def by_function():
    return Net()

by_function.default_cfg = {"input_size": (3, 24, 24), "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "nearest"}

def with_weights():
    model = configured()
    torch.nn.init.constant_(model.conv.weight, 0.5)
    torch.nn.init.zeros_(model.conv.bias)
    torch.nn.init.ones_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    return model

def number():
    return 3

def failing():
    raise KeyError("no such thing")
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def test_the_factory_says_how_it_wants_its_images(net: Path) -> None:
    loaded = load_model(f"{net}:configured?width=6", random_weights=0)
    assert (loaded.input.size, loaded.input.mean, loaded.input.std) == ((24, 40), (0.1, 0.2, 0.3), (1, 2, 3))
    assert (loaded.input.crop, loaded.num_classes, loaded.label) == (0.9, 3, "net.py:configured?width=6")
    assert loaded.model.conv.out_channels == 6
    assert not loaded.model.training
    config = load_model(f"{net}:by_function", random_weights=0).input
    assert (config.size, config.interpolation) == ((24, 24), "nearest")


def test_what_the_factory_doesnt_say_is_asked_for(net: Path) -> None:
    with pytest.raises(ConfigError, match="give --size --mean --std, or set pretrained_cfg on the function"):
        load_model(f"{net}:plain", random_weights=0)
    with pytest.raises(ConfigError, match="give --mean --std, or"):
        load_model(f"{net}:plain", random_weights=0, size=32)
    loaded = load_model(f"{net}:plain", random_weights=0, size=32, mean=(0, 0, 0), std=(1, 1, 1))
    assert loaded.input.size == (32, 32)


def test_random_weights_must_be_asked_for_and_set_ones_need_not(net: Path) -> None:
    with pytest.raises(ConfigError, match=r"the function returns random weights\); name a file of weights, .*@FILE"):
        load_model(f"{net}:configured")
    first, again, other = (load_model(f"{net}:configured", random_weights=seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    for seed in (None, 0):
        assert load_model(f"{net}:with_weights", random_weights=seed).weights == "set by the factory"


def test_a_checkpoint_fits_its_factory_head_included(net: Path, tmp_path: Path) -> None:
    model = load_model(f"{net}:configured?num_classes=5", random_weights=2).model
    save_file(model.state_dict(), tmp_path / "five.safetensors")
    loaded = load_model(f"{net}:configured@{tmp_path / 'five.safetensors'}")
    assert (loaded.num_classes, loaded.weights) == (5, "checkpoint five.safetensors")
    assert torch.equal(loaded.model.head.weight, model.head.weight)


def test_identity_is_the_files_content_and_not_its_place(net: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "net.py"
    copy.write_text(NET)
    here, there = (load_model(f"{path}:with_weights") for path in (net, copy))
    assert here.digest == there.digest
    assert hashlib.sha256(NET.encode()).hexdigest() in here.architecture
    copy.write_text(NET + "\n# changed\n")
    assert load_model(f"{copy}:with_weights").digest != here.digest


def test_modules_beside_the_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside_the_net.py").write_text("WIDTH = 5\n")
    (tmp_path / "net.py").write_text("from beside_the_net import WIDTH\n" + NET.replace("width=4", "width=WIDTH"))
    before = list(sys.path)
    loaded = load_model(f"{tmp_path / 'net.py'}:configured", random_weights=0)
    assert loaded.model.conv.out_channels == 5
    assert sys.path == before


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("plane", "net.py has no function 'plane'. Did you mean 'plain'[?]"),
        ("number", "net.py:number must return a torch.nn.Module; it returned int"),
        ("failing", "net.py:failing failed with KeyError: 'no such thing'"),
        ("plain?depth=3", "net.py:plain failed with TypeError: .*'depth'"),
    ],
)
def test_functions_that_give_no_network_are_refused(net: Path, factory: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_model(f"{net}:{factory}", random_weights=0, size=32, mean=(0, 0, 0), std=(1, 1, 1))


def test_files_that_cant_be_imported_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*absent\.py"):
        load_model(f"{tmp_path}/absent.py:make")
    (tmp_path / "bad.py").write_text("import no_such_module_anywhere")
    with pytest.raises(ConfigError, match=r"importing it failed with ModuleNotFoundError: .*no_such_module_anywhere"):
        load_model(f"{tmp_path}/bad.py:make")
