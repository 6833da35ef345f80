"""Networks that answer per pixel: accuracies, changes and losses against slow twins; what is refused, in one line."""

import dataclasses
import functools
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import visionscope as vs
from reference.dense_networks import CLASSES, INPUT, SIZE, fitted, images_and_masks, segmenter
from reference.segmentation import slow_confusions, slow_mean_iou, slow_pixel_accuracy
from visionscope.config import study_from
from visionscope.core.sample import IGNORED
from visionscope.diagnostics.corruption.question import Corruption
from visionscope.diagnostics.fourier_heatmap.question import FourierHeatmap
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise
from visionscope.diagnostics.lesion.question import Lesion
from visionscope.diagnostics.outcomes.fairness import relative_loss
from visionscope.diagnostics.outcomes.pooling import Pooled
from visionscope.diagnostics.outcomes.rows import flags, pixel_counts, pixel_text
from visionscope.diagnostics.outcomes.statistics import measured_models
from visionscope.errors import ConfigError, DataError, NotApplicableError
from visionscope.running.plan import plan

COUNT = 20


@functools.cache
def trained():
    images, masks = images_and_masks(COUNT)
    return fitted(segmenter(), images, masks), images, masks


def logits_of(network, images, without=()):
    """Resized logits of the network, in float64, without some of its blocks."""
    with torch.no_grad():
        x = network.stem(images)
        for place, block in enumerate(network.encoder):
            x = x if place in without else block(x)
        return F.interpolate(network.segmentation_head(x), SIZE, mode="bilinear", align_corners=False)


def twin(logits, masks):
    matrices = slow_confusions(logits.argmax(1), masks, CLASSES)
    each = F.cross_entropy(logits, masks, ignore_index=IGNORED, reduction="none")
    nll = np.mean([float(one[mask != IGNORED].mean()) for one, mask in zip(each, masks, strict=True)])
    return slow_pixel_accuracy(matrices), slow_mean_iou(matrices), nll


def test_counts_survive_packing_and_flags_are_no_counts():
    counts = np.arange(2 * 3 * 5, dtype=np.int64).reshape(2, 3, 5) * 70_000
    assert (pixel_counts(pixel_text(counts)) == counts).all()
    assert pixel_counts("84") is None
    assert flags("84", 6).tolist() == [True, False, False, False, False, True]


def test_lesions_are_those_of_the_twin():
    network, images, masks = trained()
    result = vs.lesion(network, images, masks)
    rows = {row["unit"]: row for row in result.table.to_pylist()}
    assert list(rows) == ["", *(f"encoder.{place}.conv" for place in range(3))]
    found = {row["unit"]: row for row in Lesion().summary(result.table).to_pylist()}
    clean = twin(logits_of(network, images), masks)
    shares = [[int((mask == one).sum()) / int((mask != IGNORED).sum()) for mask in masks] for one in range(CLASSES)]
    chance = max(map(np.mean, shares))
    assert clean[0] > chance + 0.1
    for place in range(3):
        accuracy, iou, nll = twin(logits_of(network, images, (place,)), masks)
        row = found[f"encoder.{place}.conv"]
        assert row["accuracy"] == pytest.approx(accuracy, rel=1e-12)
        assert row["mean_iou"] == pytest.approx(iou, rel=1e-12)
        assert row["nll"] == pytest.approx(nll, rel=1e-10)
        assert row["change"] == pytest.approx(100 * (accuracy - clean[0]), rel=1e-9)
        assert row["chance"] == pytest.approx(chance, rel=1e-12)
        assert row["mean_iou_low"] <= row["mean_iou"] <= row["mean_iou_high"]
        assert row["mean_iou_change"] == pytest.approx(100 * (iou - clean[1]), rel=1e-9)
        assert row["mean_iou_change_low"] <= row["mean_iou_change"] <= row["mean_iou_change_high"]
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    each = Lesion().outcomes(result.table).to_pylist()
    assert len(each) == 4 * COUNT
    assert {row["right"] for row in each} == {None}
    mean = np.mean([row["pixel_accuracy"] for row in each if not row["unit"]])
    assert mean == pytest.approx(clean[0], rel=1e-12)
    measures = {one.name: one for one in Lesion().measures({"rows": result.table})}
    assert measures["pixel accuracy"].value == pytest.approx(100 * clean[0], rel=1e-12)
    assert measures["mean IoU"].value == pytest.approx(100 * clean[1], rel=1e-12)


def test_neither_the_order_of_images_nor_the_size_of_batches_matters():
    network, images, masks = trained()
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    some, other = (
        Lesion().summary(vs.lesion(network, *given).table) for given in ((images, masks), (images[order], masks[order]))
    )
    for name in ("accuracy", "mean_iou", "nll", "change"):
        assert some[name].to_pylist() == pytest.approx(other[name].to_pylist(), rel=1e-12)


@pytest.mark.parametrize(
    ("asked", "conditions"),
    [
        (FrequencyNoise(frequencies=(0.2, 0.8), width=0.3), 2),
        (FourierHeatmap(half_size=1, step=1), 5),
        (Corruption(types=("jpeg",), qualities=(90, 5)), 2),
    ],
)
def test_other_damage_counts_pixels_too(asked, conditions):
    network, images, masks = trained()
    fields = dataclasses.asdict(asked)
    result = vs.measure(asked.name, network, images, masks, fields=fields, input=INPUT)
    assert len(result.table) == conditions + 1
    summed = asked.summary(result.table).to_pylist()
    clean = next(iter(result.table.to_pylist()))
    counts = pixel_counts(clean["right"])
    assert counts.shape == (COUNT, 3, CLASSES)
    assert counts[:, 2].sum() == int((masks != IGNORED).sum())
    assert clean["nll"] == pytest.approx(twin(logits_of(network, images), masks)[2], rel=1e-9)
    assert all(0 <= row["accuracy"] <= 1 for row in summed)
    assert any(row["mean_iou"] for row in summed)
    if asked.name == "corruption":
        worst = min(summed, key=lambda row: row["accuracy"])
        assert worst["severity"] == 5
        assert worst["change"] < 0


def test_elastic_transform_is_left_out_or_refused():
    network, images, masks = trained()
    with pytest.raises(
        NotApplicableError, match="elastic_transform moves what an image shows away from its mask; take"
    ):
        vs.corruption(network, images, masks, types=("elastic_transform",), input=INPUT)
    with pytest.raises(NotApplicableError, match="answers per pixel, and published corruptions have no masks; leave"):
        vs.corruption(network, images, masks, folder="somewhere", input=INPUT)


def test_a_network_that_always_gives_the_commonest_class_has_nothing_to_lose():
    _, images, masks = trained()
    network = segmenter()
    counted = masks[masks != IGNORED]
    nn.init.zeros_(network.segmentation_head.weight)
    network.segmentation_head.bias.data = F.one_hot(counted.mode().values, CLASSES).double() * 9
    tables = {"rows": vs.frequency_noise(network, images, masks, input=INPUT).table}
    asked = FrequencyNoise()
    tables |= {"summary": asked.summary(tables["rows"]), "comparisons": asked.comparisons(tables["rows"])}
    (said,) = (one.headline for one in asked.findings(tables))
    assert "not significantly above that of always the commonest class" in said


def test_accuracy_is_held_against_chance_image_by_image():
    """Of images of unlike backgrounds; each is 5 points better than its background, so that the interval is a point."""
    common = np.linspace(300, 900, 30).round().astype(np.int64)
    counts = np.zeros((30, 3, 2), dtype=np.int64)
    counts[:, 2] = np.stack([common, 1000 - common], 1)
    counts[:, 0, 0] = common
    counts[:, 0, 1] = 50
    right = counts[:, 0].sum(1) / 1000
    some = Pooled(rows=(), first={}, sample="", positions=np.arange(30), right=right, nll=1.0, pixels=counts)
    assert some.ends[0] < some.chance
    assert some.intact_low == pytest.approx(some.chance + 0.05, abs=1e-12)
    worse = dataclasses.replace(some, right=right - 0.06)
    assert worse.intact_low < worse.chance


def test_what_damage_costs_is_held_against_chance_image_by_image():
    network, images, masks = trained()
    asked = FrequencyNoise(frequencies=(0.8,), width=0.3)
    table = vs.measure(asked.name, network, images, masks, fields=dataclasses.asdict(asked), input=INPUT).table
    (one,) = measured_models(table, ("frequency",), clean=(None,))
    damaged = next(values for key, values in one.values.items() if key != (None,))
    counted = (masks != IGNORED).sum((1, 2))
    shares = torch.stack([(masks == each).sum((1, 2)) / counted for each in range(CLASSES)]).double()
    chances = shares[shares.mean(1).argmax()].numpy()
    lost = (one.intact - damaged).mean() / (one.intact - chances).mean()
    expected = lost + (one.intact - damaged - lost * (one.intact - chances)) / (one.intact - chances).mean()
    assert relative_loss(one, damaged) == pytest.approx(expected, rel=1e-6)
    assert np.ptp(chances) > 0.1


@pytest.mark.parametrize("key", ["", "out"])
def test_what_is_refused(key):
    network, (images, masks) = segmenter(key=key), images_and_masks(4)
    with pytest.raises(NotApplicableError, match=r"answers per pixel, which needs masks, .*; the data have none"):
        vs.lesion(network, images, [0, 1, 2, 3])
    with pytest.raises(
        NotApplicableError, match="answers per pixel, and shape_bias is asked of networks that answer per"
    ):
        vs.shape_bias(network, "embedded:conflict", input=INPUT)
    with pytest.raises(NotApplicableError, match="answers per pixel, and adversarial is asked of networks that answer"):
        vs.adversarial(network, images, masks, input=INPUT)
    with pytest.raises(ConfigError, match=r"masks must be integers of the size of the images, 16 x 12; got int64 of"):
        vs.lesion(network, images, masks[:, :8])
    with pytest.raises(
        ConfigError, match=r"masks must be 0 or more, 255 for pixels that don't count; got -1 in image 2"
    ):
        vs.lesion(network, images, masks.index_fill(0, torch.tensor([2]), -1))
    with pytest.raises(DataError, match=r"must be 0 to 3, the classes of the model, or 255 .*; got 9 in image 1"):
        vs.lesion(network, images, masks.index_fill(0, torch.tensor([1]), 9))
    classifier = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    ).double()
    with pytest.raises(NotApplicableError, match="answers per image, which needs class labels; the data have masks"):
        vs.frequency_noise(classifier, images, masks, input=INPUT)


def asked_of(classes, only, **changes):
    given = {"models": [f"segmenter?backbone=resnet_nano&num_classes={classes}"], "data": "embedded-masks", "images": 4}
    return plan(study_from({**given, "random_weights": 0, "only": only, "device": "cpu", **changes}))


def test_what_masks_cannot_follow_leaves_out_training_images_alone():
    reason = r"fit is of training images, .* 'strong'; take --augmentation weak or"
    (planned,) = asked_of(11, ["fourier", "fit"])
    assert [job.diagnostic.name for job in planned.jobs] == ["fourier"]
    ((name, told),) = planned.skipped
    assert name == "fit"
    assert re.search(reason, told)
    with pytest.raises(NotApplicableError, match=reason):
        asked_of(11, ["fit"])
    (planned,) = asked_of(11, ["fourier", "fit"], augmentation="weak")
    assert [job.diagnostic.name for job in planned.jobs] == ["fourier", "fit"]


def test_a_network_of_other_classes_than_the_masks_is_refused_when_planned():
    with pytest.raises(
        NotApplicableError, match=r"masks are of 11 classes, the model's head has 21: MODEL\?num_classes=11 makes"
    ):
        asked_of(21, ["lesion"])
