"""Calibration of a network whose logits are known: every measure over several parts, temperatures, edges, errors."""

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from reference import calibration as twin
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, tidy, to_table, with_leading_of
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.diagnostics.calibration.question import Calibration
from visionscope.diagnostics.calibration.results import by_bin
from visionscope.errors import ConfigError, DataError, NotApplicableError
from visionscope.models.load import load_model

SHARED = Path(os.environ.get("VISIONSCOPE_SHARED", Path(__file__).parents[2].parent / "shared"))
RESNET_20 = SHARED / "reference" / "resnet20_cifar10-12fca82f.th"
CLASSES = 6


class Logits(nn.Module):
    """Its images are its logits."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, images):
        return self.factor * images.flatten(1)


@dataclasses.dataclass
class Known:
    """Images that are logits."""

    logits: np.ndarray
    labels: np.ndarray | None
    digest: str = "known"

    def __len__(self):
        return len(self.logits)

    def batches(self, start, stop, batch_size):
        for first in range(start, min(stop, len(self)), batch_size):
            own = slice(first, min(first + batch_size, stop))
            labels = None if self.labels is None else torch.tensor(self.labels[own])
            yield Batch(torch.tensor(self.logits[own])[:, :, None, None], labels, torch.arange(own.start, own.stop))


def drawn(images, seed, factor=1.0):
    """Logits and labels drawn from softmax(logits / factor)."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((images, CLASSES)) * 2
    labels = np.array([rng.choice(CLASSES, p=twin.softmax(own)) for own in logits.tolist()])
    return Known(logits * factor, labels)


def subject(measured, beside):
    return Subject(
        label="known",
        model=Logits(),
        points=(),
        watch=lambda callback: None,
        samples={"eval": measured, "calibration": beside},
    )


def table_of(given, model="known", **fields):
    asked = Calibration(**fields)
    rows = [row for _, rows in asked.measure(given, asked.parts(given)) for row in rows]
    leading = {**dict.fromkeys(LEADING, "x"), "model": model}
    own = to_table(asked.row, rows)
    columns = with_leading_of(own, [leading] * len(rows))
    return columns


def summed(table):
    return {row["scaling"]: row for row in Calibration().summary(table).to_pylist()}


def test_every_measure_is_one_over_all_images_of_all_parts():
    measured, beside = drawn(300, seed=0, factor=2.0), drawn(100, seed=1, factor=2.0)
    given = subject(measured, beside)
    assert Calibration().parts(given) == ("0000-0256", "0256-0300")
    found = summed(table_of(given))
    for row in found.values():
        logits = (measured.logits / row["temperature"]).tolist()
        labels, predicted = measured.labels.tolist(), measured.logits.argmax(1).tolist()
        p = [twin.softmax(own) for own in logits]
        confidence = [max(own) for own in p]
        right = [one == other for one, other in zip(labels, predicted, strict=True)]
        sure = [place for place, value in enumerate(confidence) if value > 0.9]
        wanted = {
            "images": 300,
            "accuracy": sum(right) / 300,
            "top_5": sum(own[label] > min(own) for own, label in zip(logits, labels, strict=True)) / 300,
            "confidence": math.fsum(confidence) / 300,
            "nll": twin.nll(logits, labels),
            "brier": twin.brier(logits, labels),
            "ece": twin.ece(confidence, right),
            "signed_ece": twin.ece(confidence, right, of=float),
            "adaptive_ece": twin.adaptive_ece(confidence, right),
            "classwise_ece": twin.classwise_ece(p, labels),
            "acc_90": sum(right[place] for place in sure) / len(sure),
            "unc_90": sum(not own and value <= 0.9 for own, value in zip(right, confidence, strict=True))
            / (300 - sum(right)),
            "freq_90": len(sure) / 300,
            "iou": twin.iou(predicted, labels),
            "iou_90": twin.iou([predicted[place] for place in sure], [labels[place] for place in sure]),
        }
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)
        for name in ("accuracy", "top_5", "nll", "brier", "ece", "signed_ece", "acc_90", "unc_90", "freq_90"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_each_bin_with_images_has_a_row_and_an_empty_one_none():
    measured, beside = drawn(300, seed=0, factor=2.0), drawn(100, seed=1, factor=2.0)
    rows = by_bin(table_of(subject(measured, beside))).to_pylist()
    for scaling, summary in summed(table_of(subject(measured, beside))).items():
        wanted = {}
        for logits, label in zip(measured.logits / summary["temperature"], measured.labels, strict=True):
            p = twin.softmax(logits.tolist())
            own = wanted.setdefault(math.ceil(10 * max(p)) - 1, [])
            own.append((max(p), p.index(max(p)) == label))
        assert 0 not in wanted  # six classes: no confidence is below a sixth
        found = {round(10 * row["low"]): row for row in rows if row["scaling"] == scaling}
        assert sorted(found) == sorted(wanted)
        for place, own in wanted.items():
            assert found[place]["images"] == len(own)
            assert found[place]["confidence"] == pytest.approx(sum(one for one, _ in own) / len(own))
            assert found[place]["accuracy"] == pytest.approx(sum(right for _, right in own) / len(own))
        gaps = [row["images"] * abs(row["confidence"] - row["accuracy"]) for row in found.values()]
        assert sum(gaps) / 300 == pytest.approx(summary["ece"])


def test_the_temperature_is_that_of_the_images_beside_and_calibrates():
    measured, beside = drawn(2000, seed=0, factor=2.0), drawn(800, seed=1, factor=2.0)
    found = summed(table_of(subject(measured, beside)))
    before, after = found["none"], found["temperature"]
    assert before["temperature"] == 1
    assert after["temperature"] == pytest.approx(2, rel=0.15)
    assert after["fit_images"] == 800
    best = after["temperature"]
    nlls = [twin.nll((beside.logits / t).tolist(), beside.labels.tolist()) for t in (0.999 * best, best, 1.001 * best)]
    assert nlls[1] < min(nlls[0], nlls[2])
    assert before["signed_ece_low"] > 0.02  # twice too large logits are over-confident
    assert after["signed_ece_low"] < 0.02
    assert after["ece"] < before["ece"] / 2
    assert after["nll"] < before["nll"]
    assert after["accuracy"] == before["accuracy"]
    assert after["iou"] == before["iou"]
    too_small = summed(table_of(subject(drawn(2000, seed=0, factor=0.5), beside)))
    assert too_small["none"]["signed_ece_high"] < -0.02


def test_a_certain_and_right_network_has_no_error_and_no_unc_90():
    labels = np.arange(40) % CLASSES
    known = Known(np.eye(CLASSES)[labels] * 1000.0, labels)
    row = summed(table_of(subject(known, known)))["none"]
    assert (row["ece"], row["signed_ece"], row["nll"], row["brier"]) == (0, 0, 0, 0)
    assert (row["ece_low"], row["ece_high"]) == (0, 0)
    assert (row["acc_90"], row["freq_90"], row["iou_90"]) == (1, 1, 1)
    assert (row["unc_90"], row["unc_90_low"], row["unc_90_high"]) == (None, None, None)


def test_a_network_that_is_never_sure_has_no_acc_90():
    known = Known(np.zeros((40, CLASSES)) + 0.1 * np.eye(CLASSES)[np.zeros(40, dtype=int)], np.arange(40) % CLASSES)
    row = summed(table_of(subject(known, known)))["none"]
    assert (row["acc_90"], row["acc_90_low"], row["acc_90_high"], row["iou_90"]) == (None, None, None, None)
    assert (row["unc_90"], row["freq_90"]) == (1, 0)


def test_logits_that_are_not_finite_and_labels_beyond_the_head_are_refused():
    good, bad, wrong = drawn(40, seed=0), drawn(300, seed=0), drawn(40, seed=0)
    bad.logits[270, 2] = math.nan
    with pytest.raises(DataError, match="known: a logit of image 270 is not finite"):
        table_of(subject(bad, good))
    with pytest.raises(DataError, match="known: a logit of image 270 is not finite"):
        table_of(subject(good, bad))
    wrong.labels[3] = CLASSES
    with pytest.raises(DataError, match=f"labels: must be 0 to {CLASSES - 1} for known"):
        table_of(subject(wrong, good))


def test_images_without_labels_have_no_calibration():
    given = subject(Known(np.zeros((10, CLASSES)), None), drawn(10, seed=0))
    with pytest.raises(NotApplicableError, match="needs labels"):
        Calibration().parts(given)


@pytest.mark.parametrize(
    ("available", "measured", "beside"), [(5, 4, 1), (300, 240, 60), (10_000, 9_000, 1_000), (50_000, 10_000, 1_000)]
)
def test_a_fifth_of_the_images_at_most_is_kept_for_the_temperature(available, measured, beside):
    assert (Calibration().images(available), Calibration().images_beside(available)) == (measured, beside)


def test_too_few_images_and_bad_fields():
    with pytest.raises(DataError, match="calibration: needs at least 5 images, one of them for the temperature"):
        Calibration().images(4)
    for field in ("sample_size", "fit_size", "bins"):
        with pytest.raises(ConfigError, match=rf"calibration.{field}: must be an integer from 1 to 10+; got 0"):
            Calibration(**{field: 0})


def test_the_diagram_has_the_diagonal_intervals_and_no_empty_bin():
    known = drawn(300, seed=0)
    tables = [table_of(subject(known, known), model=name) for name in ("one", "other")]
    figure = Calibration().figure(pa.concat_tables(tables))
    assert [panel.group for panel in figure.panels] == ["reliability"] * 2 + ["images by confidence"] * 2
    even, one, other = figure.panels[0].lines
    assert (even.role, even.x, even.y) == ("reference", (0, 1), (0, 1))
    assert (one.name, other.name) == ("one", "other")
    assert all(low <= y <= high for low, y, high in zip(one.low, one.y, one.high, strict=True))
    assert 2 < len(one.x) < 10  # with 6 classes nothing is below 1/6
    shares = figure.panels[2].lines[0]
    assert shares.x[:2] == pytest.approx((0.05, 0.15))
    assert math.fsum(shares.y) == pytest.approx(1)
    assert shares.y[0] == 0
    assert "300 clean test images" in figure.caption


def test_outcomes_have_a_row_per_image_and_one_value_per_cell():
    measured, beside = drawn(300, seed=0, factor=2.0), drawn(100, seed=1, factor=2.0)
    table = table_of(subject(measured, beside))
    asked = Calibration()
    long = asked.outcomes(table)
    assert long.num_rows == 600
    found = summed(table)
    for scaling, row in found.items():
        own = [one for one in long.to_pylist() if one["scaling"] == scaling]
        assert [one["image"] for one in own] == list(range(300))
        assert [one["label"] for one in own] == measured.labels.tolist()
        assert [one["predicted"] for one in own] == measured.logits.argmax(1).tolist()
        assert {one["temperature"] for one in own} == {row["temperature"]}
        for place in (0, 255, 256, 299):
            p = twin.softmax((measured.logits[place] / row["temperature"]).tolist())
            label = int(measured.labels[place])
            assert own[place]["confidence"] == pytest.approx(max(p), rel=1e-12)
            assert own[place]["cross_entropy"] == pytest.approx(-math.log(p[label]), rel=1e-9)
            squares = [(one - (number == label)) ** 2 for number, one in enumerate(p)]
            assert own[place]["brier"] == pytest.approx(math.fsum(squares), rel=1e-9)
        for column, name in (("cross_entropy", "nll"), ("brier", "brier"), ("right", "accuracy"), ("top_5", "top_5")):
            assert math.fsum(one[column] for one in own) / 300 == pytest.approx(row[name], rel=1e-12)
    for made in (long, tidy(table), asked.summary(table), asked.comparisons(table)):
        assert not any(pa.types.is_nested(field.type) for field in made.schema)
        assert all(field.metadata[b"meaning"] for field in made.schema)


def test_outcomes_do_not_depend_on_the_order_of_parts():
    table = table_of(subject(drawn(300, seed=0), drawn(100, seed=1)))
    turned = table.take([2, 3, 0, 1])  # the second part first
    assert Calibration().outcomes(turned).equals(Calibration().outcomes(table))
    assert Calibration().comparisons(turned).equals(Calibration().comparisons(table))


@pytest.mark.skipif(not RESNET_20.exists(), reason=f"needs {RESNET_20} (VISIONSCOPE_SHARED)")
def test_the_public_resnet_20_is_over_confident_until_it_is_scaled():
    loaded = load_model(f"resnet_20_cifar@{RESNET_20}")
    source = open_source(f"{SHARED / 'data' / 'cifar10'}:test")
    given = Subject(
        label="ResNet-20",
        model=loaded.model,
        points=(),
        watch=lambda callback: None,
        samples={
            "eval": Sample(source, loaded.input, 600),
            "calibration": Sample(source, loaded.input, 300, skip=600),
        },
    )
    found = summed(table_of(given))
    assert 0.78 < found["none"]["accuracy"] < 0.86  # these images were compressed as JPEG, which it wasn't trained on
    assert found["none"]["signed_ece_low"] > 0.01
    assert found["temperature"]["temperature"] > 1.2
    assert found["temperature"]["nll"] < found["none"]["nll"]
    assert found["temperature"]["ece"] < found["none"]["ece"]
