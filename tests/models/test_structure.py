"""What a network from a file is beside its code and its weights; equal in two processes."""

import functools
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import visionscope.models.nano  # noqa: F401  # registers a network
from reference.warm import elsewhere
from visionscope.models.load import load_model
from visionscope.models.structure import structure_digest


class Net(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.value = value


class Odd(nn.Module):
    def extra_repr(self):
        raise ValueError("no")

    __repr__ = extra_repr


def scaled(by):
    return lambda x: x * by


PAIRS = {
    "number": (1, 2),
    "kinds of number": (1, 1.0),
    "text": ("a", "b"),
    "container": ({"a": [1, (2,)]}, {"a": [1, (3,)]}),
    "set": ({"a", "b"}, {"a", "c"}),
    "function": (F.relu, F.gelu),
    "lambda": (lambda x: x + 1, lambda x: x + 2),
    "closure": (scaled(2), scaled(3)),
    "partial": (functools.partial(F.leaky_relu, negative_slope=0.1), functools.partial(F.leaky_relu)),
    "tensor": (torch.zeros(2), torch.ones(2)),
    "namespace": (SimpleNamespace(depth=2), SimpleNamespace(depth=3)),
    "modules in a list": ([nn.ReLU()], [nn.GELU()]),
    "class": (nn.ReLU, nn.GELU),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_attributes_count(kind):
    one, other = PAIRS[kind]
    assert structure_digest(Net(one)) == structure_digest(Net(one))
    assert structure_digest(Net(one)) != structure_digest(Net(other))


def test_buffers_that_are_not_stored_and_weights_in_lists_count():
    def build(value):
        model = Net([nn.Conv2d(1, 1, 1)])
        nn.init.constant_(model.value[0].weight, value)
        nn.init.zeros_(model.value[0].bias)
        return model

    assert structure_digest(build(1)) == structure_digest(build(1)) != structure_digest(build(2))
    plain, other = Net(0), Net(0)
    plain.register_buffer("table", torch.zeros(2), persistent=False)
    other.register_buffer("table", torch.ones(2), persistent=False)
    assert structure_digest(plain) != structure_digest(other)


def test_a_mode_hooks_and_a_failing_repr_do_not_matter():
    model = Net(0)
    before = structure_digest(model)
    model.eval()
    model.register_forward_hook(lambda *a: None)
    assert structure_digest(model) == before
    assert structure_digest(Odd()) == structure_digest(Odd())


def test_values_that_hold_themselves_end():
    value = []
    value.append(value)
    model = Net(value)
    model.value.append(SimpleNamespace(model=model))
    assert structure_digest(model) == structure_digest(model)


def test_modules_that_all_know_their_network_take_no_time():
    model = nn.Sequential(*(Net(0) for _ in range(300)))
    for module in model:
        module.value = [model, SimpleNamespace(network=model)]
    assert structure_digest(model) == structure_digest(model)


def digests(names):
    found = []
    for name in names:
        torch.manual_seed(0)
        found.append(structure_digest(timm.create_model(name)))
    return found


def test_two_processes_agree():
    names = ["swin_tiny_patch4_window7_224", "resnet18", "vit_nano", "mobilevit_xxs"]
    told = digests(names)
    assert told == elsewhere(digests, names)
    assert len(set(told)) == len(names)


def test_what_a_file_takes_from_the_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(
        "import os\nfrom torch import nn\ndef make():\n"
        "    act = {'r': nn.ReLU(), 'h': nn.Hardswish()}[os.environ['ACT']]\n"
        "    return nn.Sequential(nn.Conv2d(3, 2, 1), act, nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    digests = []
    for name in "rhr":
        monkeypatch.setenv("ACT", name)
        loaded = load_model(f"{tmp_path}/net.py:make", random_weights=0, size=8, mean=(0,) * 3, std=(1,) * 3)
        digests.append(loaded.digest)
    assert digests[0] == digests[2] != digests[1]
