"""What a network gets right, image by image: packing, scores, pooling over spans, comparisons."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from visionscope.core.logits import Readout
from visionscope.core.sample import Batch, InputConfig
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, column, to_table
from visionscope.data.embedded import EmbeddedSource
from visionscope.data.sample import Sample
from visionscope.diagnostics.outcomes.passes import batches, check_labels, passes, predict, score
from visionscope.diagnostics.outcomes.pooling import pooled
from visionscope.diagnostics.outcomes.rows import DamageRow, bits, flags
from visionscope.diagnostics.outcomes.statistics import changes
from visionscope.errors import DataError, NotApplicableError


@dataclasses.dataclass(frozen=True)
class Row(DamageRow):
    damage: str = column("how")


@dataclasses.dataclass
class Images:
    labels: torch.Tensor | None
    digest: str = "0123456789abcdef"

    def __len__(self):
        return 4

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = slice(first, min(first + batch_size, stop))
            labels = None if self.labels is None else self.labels[own]
            yield Batch(torch.zeros(own.stop - first, 3, 2, 2), labels, torch.arange(first, own.stop))


def subject(labels=None, precision="fp32"):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    return Subject(label="m", model=model, points=(), watch=None, samples={"eval": Images(labels)}, precision=precision)


@given(st.lists(st.booleans(), min_size=1, max_size=600))
def test_flags_survive_packing(values):
    packed = bits(np.array(values))
    assert len(packed) == -(-len(values) // 4)
    assert flags(packed, len(values)).tolist() == values
    assert bits(torch.tensor(values)) == packed


def test_the_first_image_is_foremost():
    assert bits(np.array([True, False, False, False, False, True])) == "84"


def test_score_by_hand_and_at_extreme_logits():
    logits = torch.tensor([[0.0, 0.0, 0.0], [1.0, 3.0, 2.0], [1e4, 0.0, -1e4], [2.0, 2.0, 0.0]])
    labels = torch.tensor([0, 2, 2, 1])
    right, nll = score(logits, labels, subject=subject(), positions=torch.arange(4))
    # The lowest of several top classes wins.
    assert right.tolist() == [True, False, False, False]
    assert nll[0] == pytest.approx(math.log(3))
    assert nll[1] == pytest.approx(math.log(math.exp(-1) + math.exp(1) + 1))
    assert nll[2] == pytest.approx(2e4)


def test_a_logit_that_is_not_finite_is_named():
    logits = torch.tensor([[0.0, 1.0], [float("nan"), 1.0]])
    with pytest.raises(DataError, match=r"m: a logit of image 12 is not finite"):
        score(logits, torch.tensor([0, 1]), subject=subject(), positions=torch.tensor([11, 12]))


def test_a_label_that_the_head_does_not_have_is_named():
    with pytest.raises(DataError, match=r"labels: must be 0 to 1 for m; got 5"):
        score(torch.zeros(2, 2), torch.tensor([0, 5]), subject=subject(), positions=torch.arange(2))


def test_images_without_labels_are_refused_at_once():
    check_labels(subject(torch.tensor([0, 1, 2, 0])), "eval")
    with pytest.raises(NotApplicableError, match=r"m: needs labels; the images have none .* head has 3"):
        check_labels(subject(), "eval")
    with pytest.raises(DataError, match=r"labels: image 2 or one after it"):
        list(batches(subject(), "eval", 2, 4))


class LateGap(EmbeddedSource):
    """The last image has no label that the model knows."""

    def label(self, index):
        return None if index == 1_999 else super().label(index)


@pytest.mark.parametrize(
    "source", [EmbeddedSource("embedded", "test", num_classes=1000), LateGap("embedded", "test")], ids=["all", "one"]
)
def test_labels_that_the_head_does_not_have_are_told_with_both_numbers_of_classes(source):
    config = InputConfig(size=(2, 2), mean=(0.5,) * 3, std=(0.5,) * 3)
    some = dataclasses.replace(subject(), samples={"eval": Sample(source, config, None)})
    with pytest.raises(NotApplicableError, match=r"the images' are of 10 classes, the model's head has 3"):
        check_labels(some, "eval")


@pytest.mark.parametrize(
    ("columns", "told"),
    [(5, r"m: labels must be 0 to 4; got 9"), (1, r"m: labels must be 0 to 1 \(its single logit is read .*\); got 9")],
)
def test_labels_beyond_the_head_are_told_before_anything_is_computed(columns, told):
    config = InputConfig(size=(2, 2), mean=(0.5,) * 3, std=(0.5,) * 3)
    sample = Sample(EmbeddedSource("embedded", "test"), config, None)
    some = dataclasses.replace(subject(), samples={"eval": sample}, readout=Readout(place=(), columns=columns))
    with pytest.raises(NotApplicableError, match=told):
        check_labels(some, "eval")
    check_labels(dataclasses.replace(some, readout=Readout(place=(), columns=10)), "eval")


def test_bf16_is_autocast_and_takes_no_gradient():
    some = subject(torch.tensor([0, 1, 2, 0]), precision="bf16")
    with passes(some):
        logits = predict(some, torch.zeros(1, 3, 2, 2))
    assert logits.dtype == torch.bfloat16
    assert not logits.requires_grad


def table(rows):
    leading = pa.table({name: ["m"] * len(rows) for name in LEADING})
    found = to_table(Row, rows)
    return pa.table([*leading.columns, *found.columns], names=[*leading.column_names, *found.column_names])


def row(start, right, damage, nll):
    own = np.array(right, dtype=bool)
    return Row(part="p", sample="s", start=start, images=len(own), right=bits(own), nll=nll, classes=10, damage=damage)


def test_spans_are_pooled_in_the_order_of_positions():
    rows = [row(3, [0, 1], "clean", 4.0), row(0, [1, 1, 0], "clean", 1.0), row(0, [0, 0, 0, 1, 1], "dark", 2.0)]
    found = pooled(table(rows), ["damage"])
    assert list(found) == [("m", "m", "clean"), ("m", "m", "dark")]
    clean = found["m", "m", "clean"]
    assert clean.right.tolist() == [True, True, False, False, True]
    assert clean.nll == pytest.approx((3 * 1.0 + 2 * 4.0) / 5)
    (change,) = changes([found["m", "m", "dark"]], clean)
    assert change["change"] == pytest.approx(-20.0)
    assert change["accuracy"] == pytest.approx(0.4)
    assert change["p"] == change["p_holm"] == pytest.approx(1.0)
    assert change["change_low"] < -20.0 < change["change_high"]
