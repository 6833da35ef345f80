"""Lesions of modules that a pass calls several times: each call by itself, or all at once."""

import pytest
import torch
from torch import nn

from reference.removals import CLASSES, rows_of, subject_of, table_of
from visionscope.diagnostics.lesion.question import Lesion
from visionscope.diagnostics.outcomes.rows import bits
from visionscope.models.cifar import CifarResNet


class Again(nn.Module):
    """A block of two branches that a pass goes through three times, with a convolution that it calls twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = nn.ModuleList([Two()])
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(3):
            x = self.blocks[0](x)
        return self.head(x.mean((2, 3)))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.mlp = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        x = x + self.conv(self.conv(x).tanh())
        return x + self.mlp(x).tanh()


KINDS = ("branch", "mlp")


def again_logits(model, images, without):
    """By hand: `without` holds (branch or convolution, call of the block) pairs."""
    block = model.blocks[0]
    x = model.stem(images)
    for call in range(3):
        y = x if ("conv", 2 * call) in without else block.conv(x)
        y = y.tanh() if ("conv", 2 * call + 1) in without else block.conv(y.tanh())
        x = x if ("branch", call) in without else x + y
        x = x if ("mlp", call) in without else x + block.mlp(x).tanh()
    return model.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("mode", "calls", "expected"),
    [
        ("branch", "each", {f"{kind} {call + 1} of 3": [(kind, call)] for call in range(3) for kind in KINDS}),
        ("branch", "all", {f"{kind} all 3": [(kind, call) for call in range(3)] for kind in KINDS}),
        ("block", "each", {f"{call + 1} of 3": [("branch", call), ("mlp", call)] for call in range(3)}),
        ("block", "all", {"all 3": [(kind, call) for call in range(3) for kind in KINDS]}),
        ("conv", "each", {f"{call + 1} of 6": [("conv", call)] for call in range(6)}),
        ("conv", "all", {"all 6": [("conv", call) for call in range(6)]}),
    ],
)
def test_calls_of_one_module_are_told_apart(mode, calls, expected):
    model = Again().double().eval().requires_grad_(False)
    subject = subject_of(model, precision="fp64")
    rows = rows_of(subject, mode=mode, calls=calls)[1:]
    assert len({row.unit for row in rows}) == len(rows) == len(expected)
    assert [row.calls for row in rows] == [text.removeprefix("branch ").removeprefix("mlp ") for text in expected]
    sample = subject.samples["eval"]
    for row, without in zip(rows, expected.values(), strict=True):
        logits = again_logits(model, sample.images.double(), without)
        assert row.nll == pytest.approx(float(nn.functional.cross_entropy(logits, sample.labels)), abs=1e-10)
        assert row.right == bits(logits.argmax(1) == sample.labels)
    # Two calls of one block are left, whichever is taken out.
    assert len({row.nll for row in rows}) == (1 if (mode, calls) == ("block", "each") else len(rows))
    summary = Lesion().summary(table_of(rows_of(subject, mode=mode, calls=calls))).to_pylist()
    assert [one["calls"] for one in summary] == [row.calls for row in rows]
    caption = Lesion().figure(table_of(rows_of(subject, mode=mode, calls=calls))).caption
    assert ("#2 the second" if calls == "each" else "all its calls at once") in caption


def test_pairs_of_calls():
    model = Again().double().eval().requires_grad_(False)
    subject = subject_of(model, precision="fp64")
    sample = subject.samples["eval"]
    rows = rows_of(subject, mode="pairs")
    assert len(rows) == 1 + 6 + 15
    units = [row.unit for row in rows if not row.other_unit][1:]
    branches = [(kind, call) for call in range(3) for kind in ("branch", "mlp")]
    for row in rows:
        without = [branches[units.index(name)] for name in (row.unit, row.other_unit) if name]
        logits = again_logits(model, sample.images.double(), without)
        assert row.nll == pytest.approx(float(nn.functional.cross_entropy(logits, sample.labels)), abs=1e-10)
    assert rows[2].calls == "1 of 3; 1 of 3"


class Recurrent(nn.Module):
    """One convolution called four times, without residual sums."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.step = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(6, CLASSES)
        self.unused = nn.Conv2d(6, 6, 3)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(4):
            x = self.step(x)
        return self.head(x.mean((2, 3)))


def test_convolutions_of_a_recurrent_network_and_one_that_is_never_called():
    torch.manual_seed(0)
    model = Recurrent().double().eval().requires_grad_(False)
    subject = subject_of(model, precision="fp64")
    sample = subject.samples["eval"]
    each, at_once = (rows_of(subject, mode="conv", calls=calls) for calls in ("each", "all"))
    assert [(row.unit, row.calls) for row in at_once[1:]] == [("stem.0", ""), ("step.0", "all 4")]
    names = ["step.0", *(f"step.0#{call}" for call in (2, 3, 4))]
    assert [(row.unit, row.calls) for row in each[2:]] == [(name, f"{n} of 4") for n, name in enumerate(names, 1)]
    for row, without in [*zip(each[2:], [{0}, {1}, {2}, {3}], strict=True), (at_once[2], {0, 1, 2, 3})]:
        x = model.stem(sample.images.double())
        for call in range(4):
            x = x.relu() if call in without else model.step(x)
        logits = model.head(x.mean((2, 3)))
        assert row.nll == pytest.approx(float(nn.functional.cross_entropy(logits, sample.labels)), abs=1e-10)


def test_what_is_called_once_says_nothing_of_calls():
    torch.manual_seed(0)
    subject = subject_of(CifarResNet(num_classes=CLASSES).eval())
    for mode in ("branch", "block", "conv"):
        each, at_once = (rows_of(subject, mode=mode, calls=calls) for calls in ("each", "all"))
        assert {row.calls for row in (*each, *at_once)} == {""}
        assert [row.nll for row in each] == [row.nll for row in at_once]
