"""Pixel accuracy and mean IoU against slow twins, torchmetrics and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from reference.segmentation import slow_confusions, slow_mean_iou, slow_pixel_accuracy
from visionscope.core.sample import IGNORED
from visionscope.errors import ConfigError, DataError
from visionscope.numerics.segmentation import (
    class_ious,
    confusions,
    counts_of,
    mean_iou,
    mean_iou_change,
    mean_iou_interval,
    most_common,
    pixel_accuracies,
)

CLASSES = 4


def drawn(images=6, size=(7, 5), *, ignored=0.3, seed=0, right=0.5, used=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(used, (images, *size), generator=generator)
    other = torch.randint(used, (images, *size), generator=generator)
    predicted = torch.where(torch.rand(masks.shape, generator=generator) < right, masks, other)
    # Images differ in how many of their pixels count.
    share = ignored * torch.arange(images)[:, None, None] / images
    return predicted, masks.masked_fill(torch.rand(masks.shape, generator=generator) < share, IGNORED)


@pytest.mark.parametrize("seed", range(3))
def test_twins_with_loops_and_fractions_agree(seed):
    predicted, masks = drawn(seed=seed)
    slow = slow_confusions(predicted, masks, CLASSES)
    assert confusions(predicted, masks, CLASSES).tolist() == slow
    counts = counts_of(predicted, masks, CLASSES)
    assert pixel_accuracies(counts).mean() == pytest.approx(slow_pixel_accuracy(slow), rel=1e-14)
    assert mean_iou(counts) == pytest.approx(slow_mean_iou(slow), rel=1e-14)


def test_by_hand():
    # Two images: 3 of 4 pixels right; 1 of 2, two ignored. Class 2 occurs nowhere.
    masks = torch.tensor([[[0, 0], [1, 1]], [[1, IGNORED], [0, IGNORED]]])
    predicted = torch.tensor([[[0, 0], [1, 0]], [[0, 1], [0, 0]]])
    counts = counts_of(predicted, masks, 3)
    assert counts.tolist() == [[[2, 1, 0], [3, 1, 0], [2, 2, 0]], [[1, 0, 0], [2, 0, 0], [1, 1, 0]]]
    assert pixel_accuracies(counts).tolist() == [0.75, 0.5]
    assert class_ious(counts).tolist() == [
        pytest.approx(3 / 5),
        pytest.approx(1 / 3),
        pytest.approx(np.nan, nan_ok=True),
    ]
    assert mean_iou(counts) == pytest.approx((3 / 5 + 1 / 3) / 2)
    assert most_common(counts) == 0.5


def test_oracles():
    predicted, masks = drawn(used=3)
    counts = counts_of(predicted, masks, CLASSES)
    samplewise = MulticlassAccuracy(
        CLASSES, average="micro", multidim_average="samplewise", ignore_index=IGNORED, validate_args=False
    )
    assert pixel_accuracies(counts) == pytest.approx(samplewise(predicted, masks).numpy(), rel=1e-6)
    # A class that occurs nowhere is left out by both.
    jaccard = MulticlassJaccardIndex(CLASSES, average="macro", ignore_index=IGNORED, validate_args=False)
    assert mean_iou(counts) == pytest.approx(float(jaccard(predicted, masks)), rel=1e-6)
    kept = masks != IGNORED
    matrix = confusion_matrix(masks[kept], predicted[kept], labels=range(CLASSES))
    assert confusions(predicted, masks, CLASSES).sum(0).tolist() == matrix.tolist()


def test_neither_the_order_of_images_nor_ignored_pixels_matter():
    predicted, masks = drawn()
    counts = counts_of(predicted, masks, CLASSES)
    order = torch.randperm(len(masks), generator=torch.Generator().manual_seed(1))
    assert (counts_of(predicted[order], masks[order], CLASSES) == counts[order.numpy()]).all()
    assert mean_iou(counts[order.numpy()]) == mean_iou(counts)
    changed = torch.where(masks == IGNORED, (predicted + 1) % CLASSES, predicted)
    assert (counts_of(changed, masks, CLASSES) == counts).all()
    assert (counts_of(torch.where(masks == IGNORED, 99, predicted), masks, CLASSES) == counts).all()


def test_all_right_and_all_wrong():
    _, masks = drawn(ignored=0)
    right = counts_of(masks, masks, CLASSES)
    assert (mean_iou(right), pixel_accuracies(right).tolist()) == (1.0, [1.0] * 6)
    assert mean_iou_interval(right) == (1.0, 1.0)
    wrong = counts_of((masks + 1) % CLASSES, masks, CLASSES)
    assert (mean_iou(wrong), pixel_accuracies(wrong).tolist()) == (0.0, [0.0] * 6)


def test_the_interval_is_that_of_drawing_images():
    predicted, masks = drawn(images=40, seed=5)
    counts = counts_of(predicted, masks, CLASSES)
    random = np.random.default_rng(9)
    slow = [mean_iou(counts[random.integers(0, 40, 40)]) for _ in range(4_000)]
    assert mean_iou_interval(counts) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.003)
    # Pixels as if they were independent would make it far too short.
    low, high = mean_iou_interval(counts)
    assert low < mean_iou(counts) < high


def test_the_interval_of_a_change_is_that_of_drawing_images_with_both_counts():
    predicted, masks = drawn(images=40, seed=5)
    clean = counts_of(predicted, masks, CLASSES)
    # A tenth of the pixels becomes wrong: hard images stay hard.
    flipped = torch.rand(masks.shape, generator=torch.Generator().manual_seed(7)) < 0.1
    changed = counts_of(torch.where(flipped, (predicted + 1) % CLASSES, predicted), masks, CLASSES)
    random, slow = np.random.default_rng(9), []
    for _ in range(4_000):
        images = random.integers(0, 40, 40)
        slow.append(mean_iou(changed[images]) - mean_iou(clean[images]))
    value, low, high = mean_iou_change(changed, clean)
    assert value == mean_iou(changed) - mean_iou(clean)
    assert (low, high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.003)
    # Two intervals that are not paired would be far longer.
    reach = [np.diff(mean_iou_interval(one))[0] for one in (changed, clean)]
    assert high - low < 0.7 * np.hypot(*reach)
    assert mean_iou_change(clean, clean) == (0.0, 0.0, 0.0)


def test_a_change_over_other_images_is_refused():
    counts = counts_of(*drawn(), CLASSES)
    with pytest.raises(ConfigError, match=r"clean: must be of the same images and classes; got \(5, 3, 4\) and \(6, "):
        mean_iou_change(counts, counts[:5])


def test_a_class_beyond_the_classes_is_refused():
    predicted, masks = drawn()
    with pytest.raises(DataError, match=r"masks: must be 0 to 1; got 3"):
        counts_of(predicted.clamp(max=1), masks, 2)
    with pytest.raises(DataError, match=r"predicted: must be 0 to 3; got 9"):
        counts_of(torch.full_like(masks, 9), masks, CLASSES)
