"""Calibration over pixels against a loop over them, torchmetrics and scipy."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torchmetrics.classification import MulticlassCalibrationError

import visionscope as vs
from reference.dense_networks import CLASSES, fitted, images_and_masks, segmenter
from reference.segmentation import slow_confusions, slow_mean_iou, slow_pixel_accuracy
from visionscope.core.sample import IGNORED
from visionscope.diagnostics.calibration.question import Calibration

SIZE, COUNT, OTHERS = (8, 8), 20, 4


@functools.cache
def measured(ignored):
    images, masks = images_and_masks(COUNT, size=SIZE, ignored=ignored)
    network = fitted(segmenter(), images, masks, 15)
    asked = Calibration()
    table = vs.calibration(network, images, masks).table
    with torch.no_grad():
        logits = F.interpolate(network(images), SIZE, mode="bilinear", align_corners=False)
    return asked, table, logits, masks


def plain(asked, table):
    return next(row for row in asked.summary(table).to_pylist() if row["scaling"] == "none")


def slow(logits, masks, bins=10):
    """ECE, signed ECE, mean NLL, Brier score and Freq-90: pixel by pixel, each image's divided by how many count."""
    gaps, nll, brier, sure = np.zeros(bins), [], [], []
    for image, mask in zip(logits.softmax(1).movedim(1, -1), masks, strict=True):
        pixels = [(p.tolist(), int(label)) for p, label in zip(image.flatten(0, 1), mask.flatten(), strict=True)]
        counted = [(p, label) for p, label in pixels if label != IGNORED]
        for p, label in counted:
            place = min(int(np.ceil(max(p) * bins)) - 1, bins - 1)
            gaps[place] += (max(p) - (p.index(max(p)) == label)) / len(counted)
        nll.append(np.mean([-np.log(p[label]) for p, label in counted]))
        brier.append(np.mean([sum((q - (k == label)) ** 2 for k, q in enumerate(p)) for p, label in counted]))
        sure.append(np.mean([max(p) > 0.9 for p, _ in counted]))
    images = len(masks)
    return np.abs(gaps).sum() / images, gaps.sum() / images, np.mean(nll), np.mean(brier), np.mean(sure)


@pytest.mark.parametrize("ignored", [0.0, 0.6])
def test_every_measure_is_a_mean_over_images_of_means_over_pixels(ignored):
    asked, table, logits, masks = measured(ignored)
    row = plain(asked, table)
    logits, masks = logits[: COUNT - OTHERS], masks[: COUNT - OTHERS]
    found = [row[name] for name in ("ece", "signed_ece", "nll", "brier", "freq_90")]
    assert found == pytest.approx(slow(logits, masks), rel=1e-9)
    matrices = slow_confusions(logits.argmax(1), masks, CLASSES)
    assert row["accuracy"] == pytest.approx(slow_pixel_accuracy(matrices), rel=1e-12)
    assert row["iou"] == pytest.approx(slow_mean_iou(matrices), rel=1e-12)
    assert row["signed_ece"] == pytest.approx(row["confidence"] - row["accuracy"], abs=1e-12)
    assert row["ece_low"] <= row["ece"] <= row["ece_high"]
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert [row[name] for name in ("top_5", "adaptive_ece", "iou_90")] == [None] * 3


def test_without_ignored_pixels_it_is_the_error_over_all_pixels():
    asked, table, logits, masks = measured(0.0)
    metric = MulticlassCalibrationError(CLASSES, n_bins=10, norm="l1", validate_args=False)
    some, labels = logits[: COUNT - OTHERS], masks[: COUNT - OTHERS]
    expected = metric(some.softmax(1).movedim(1, -1).reshape(-1, CLASSES), labels.flatten())
    assert plain(asked, table)["ece"] == pytest.approx(float(expected), rel=1e-4)  # in float32 there


def test_the_temperature_is_the_best_over_the_pixels_of_the_other_images():
    asked, table, logits, masks = measured(0.0)
    row = next(row for row in asked.summary(table).to_pylist() if row["scaling"] == "temperature")
    some, labels = logits[COUNT - OTHERS :], masks[COUNT - OTHERS :]
    best = minimize_scalar(lambda t: float(F.cross_entropy(some / np.exp(t), labels)), bounds=(-3, 3), method="bounded")
    assert row["temperature"] == pytest.approx(np.exp(best.x), rel=1e-4)
    assert row["fit_images"] == OTHERS


def test_tables_figure_and_words():
    asked, table, *_ = measured(0.6)
    each = asked.outcomes(table).to_pylist()
    assert len(each) == 2 * (COUNT - OTHERS)
    assert {(row["right"], row["label"]) for row in each} == {(None, None)}
    assert "over pixels" in asked.figure(table).caption
    tables = {"rows": table, "summary": asked.summary(table), "comparisons": asked.comparisons(table)}
    names = [one.name for one in asked.measures(tables)]
    assert names[:2] == ["pixel accuracy", "mean IoU"]
    assert asked.findings(tables)[0].headline


def test_of_larger_masks_the_temperature_is_fitted_on_64_pixels_of_each_image():
    size = (16, 12)
    images, masks = images_and_masks(COUNT, size=size, ignored=0.0)
    network = fitted(segmenter(), images, masks, 15)
    asked, table = Calibration(), vs.calibration(network, images, masks).table
    (row,) = [row for row in asked.summary(table).to_pylist() if row["scaling"] == "temperature"]
    with torch.no_grad():
        logits = F.interpolate(network(images), size, mode="bilinear", align_corners=False)
    some, labels = [], []
    for place in range(OTHERS):
        drawn = np.random.default_rng(place).permutation(size[0] * size[1])[:64]
        some.append(logits[COUNT - OTHERS + place].flatten(1)[:, drawn].T)
        labels.append(masks[COUNT - OTHERS + place].flatten()[drawn])
    few, own = torch.cat(some), torch.cat(labels)
    best = minimize_scalar(lambda t: float(F.cross_entropy(few / np.exp(t), own)), bounds=(-3, 3), method="bounded")
    assert row["temperature"] == pytest.approx(np.exp(best.x), rel=1e-4)
