"""Hessian, density, landscape, sharpness and fit of a network that answers per pixel, against losses written out."""

import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F

import visionscope as vs
from reference.dense_networks import CLASSES, Masked, images_and_masks, mean_loss, segmenter
from reference.hessian import by_magnitude, dense_hessian
from reference.segmentation import slow_confusions, slow_mean_iou, slow_pixel_accuracy
from visionscope.core.logits import Readout, of_pixels
from visionscope.core.objective import Objective
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.diagnostics.density.results import TRACE
from visionscope.diagnostics.fit.question import Fit
from visionscope.diagnostics.landscape import evaluation
from visionscope.errors import DataError

DECAY = 0.01
FEW = 16


def small():
    images, masks = images_and_masks(FEW, ignored=0.6)
    return segmenter(width=2, depth=1), images, masks


def hessian_of(network, images, masks):
    return dense_hessian(network, images, masks, DECAY, cross_entropy=mean_loss)


def test_eigenvalues_are_those_of_the_whole_hessian():
    network, images, masks = small()
    table = vs.hessian(network, images, masks, k=3, mini_batches=1, weight_decay=DECAY).table.to_pylist()
    expected = by_magnitude(hessian_of(network, images, masks), 3)
    assert [row["eigenvalue"] for row in table] == pytest.approx(expected.tolist(), rel=1e-3)
    with torch.no_grad():
        assert table[0]["nll"] == pytest.approx(float(mean_loss(network(images), masks)), rel=1e-10)


def test_the_trace_is_that_of_the_whole_hessian():
    network, images, masks = small()
    asked = {"mini_batches": 1, "probes": 30, "steps": 5, "weight_decay": DECAY}
    rows = vs.density(network, images, masks, **asked).summary().to_dict("records")
    (found,) = [row for row in rows if row["quantity"] == TRACE]
    # Hutch++ estimates it: four standard errors, which are a tenth of it at most.
    assert found["standard_error"] < 0.1 * abs(found["value"])
    expected = float(hessian_of(network, images, masks).trace())
    assert found["value"] == pytest.approx(expected, abs=4 * found["standard_error"])


@pytest.mark.parametrize("images_at_once", [FEW, 3])
def test_the_centre_of_a_landscape_is_the_loss_as_written_out(images_at_once, monkeypatch):
    network, images, masks = small()
    resized = []
    numbers = CLASSES * masks[0].numel()
    monkeypatch.setattr(evaluation, "_AT_ONCE", images_at_once * numbers)
    monkeypatch.setattr(evaluation, "of_pixels", lambda *given: resized.append(of_pixels(*given)) or resized[-1])
    result = vs.landscape(network, images, masks, points=3, axes=1, draws=1, label_smoothing=0.1, weight_decay=DECAY)
    (row,) = [one for one in result.table.to_pylist() if one["x"] == 0 and not one["draw"]]
    with torch.no_grad():
        logits = network(images)
        uniform = -F.interpolate(logits, masks.shape[1:], mode="bilinear").log_softmax(1).mean(1)
    counts = masks != 255
    even = torch.stack([one[mask].mean() for one, mask in zip(uniform, counts, strict=True)]).mean()
    assert row["nll"] == pytest.approx(0.9 * float(mean_loss(logits, masks)) + 0.1 * float(even), rel=1e-10)
    predicted = F.interpolate(logits, masks.shape[1:], mode="bilinear").argmax(1)
    assert row["accuracy"] == pytest.approx(slow_pixel_accuracy(slow_confusions(predicted, masks, CLASSES)), rel=1e-12)
    # No more logits than these are enlarged at a time.
    assert max(len(logits) for logits in resized) == images_at_once


def test_sharpness_starts_from_the_same_loss():
    network, images, masks = small()
    table = vs.sharpness(network, images, masks, kinds=("average",), draws=2).table.to_pylist()
    with torch.no_grad():
        assert table[0]["nll"] == pytest.approx(float(mean_loss(network(images), masks)), rel=1e-10)


def test_fit_tells_pixel_error_and_mean_iou_of_test_images():
    network, images, masks = small()
    others = images_and_masks(FEW, seed=1)
    given = Subject(
        label="m",
        model=network,
        points=(),
        watch=lambda callback: None,
        samples={"train": Masked(images, masks), "eval": Masked(*others)},
        objective=Objective(label_smoothing=0.1),
        readout=Readout(place=(), columns=CLASSES, dense=True),
    )
    rows = [row for _, some in Fit().measure(given, Fit().parts(given)) for row in some]
    table = with_leading_of(to_table(Fit.row, rows), [{**dict.fromkeys(LEADING, "x"), "model": "m"}] * len(rows))
    (row,) = Fit().summary(table).to_pylist()
    with torch.no_grad():
        logits = network(others[0])
        assert row["nll_train"] == pytest.approx(float(mean_loss(network(images), masks)), rel=1e-10)
        assert row["nll_test"] == pytest.approx(float(mean_loss(logits, others[1])), rel=1e-10)
    predicted = F.interpolate(logits, others[1].shape[1:], mode="bilinear").argmax(1)
    matrices = slow_confusions(predicted, others[1], CLASSES)
    assert row["error"] == pytest.approx(100 * (1 - slow_pixel_accuracy(matrices)), rel=1e-12)
    assert row["mean_iou"] == pytest.approx(slow_mean_iou(matrices), rel=1e-12)
    assert row["error_low"] < row["error"] < row["error_high"]
    assert {one["right"] for one in Fit().outcomes(table).to_pylist()} == {None}
    # Of two networks accuracies are compared over images, as means.
    second = with_leading_of(to_table(Fit.row, rows), [{**dict.fromkeys(LEADING, "x"), "model": "n"}] * len(rows))
    gain = next(one for one in Fit().comparisons(pa.concat_tables([table, second])).to_pylist() if one["p"] is not None)
    assert (gain["difference"], gain["p"]) == (0, 1)


@pytest.mark.parametrize(
    ("name", "few", "many", "columns"),
    [
        ("density", {"mini_batches": 1}, {"mini_batches": 2}, ("value",)),
        ("sharpness", {"batches": 1, "batch_size": 16}, {"batches": 1, "batch_size": 32}, ("images", "nll", "value")),
        ("landscape", {}, {}, ("images", "nll", "accuracy")),
    ],
)
def test_images_of_ignored_pixels_alone_change_nothing(name, few, many, columns):
    network, images, masks = small()
    more = {"density": {"probes": 2, "steps": 3}, "sharpness": {"kinds": ("average",), "draws": 2}}
    same = more.get(name, {"points": 3, "axes": 1, "draws": 1})
    places = [*range(5), *range(FEW, 2 * FEW - 5)]  # in one mini-batch more of them than in the other
    shown, others = images.repeat(2, 1, 1, 1), torch.full_like(masks.repeat(2, 1, 1), 255)
    shown[places], others[places] = images, masks
    expected = vs.measure(name, network, images, masks, fields={**same, **few}).table.to_pylist()
    found = vs.measure(name, network, shown, others, fields={**same, **many}).table.to_pylist()
    assert len(found) == len(expected)
    for column in columns:
        assert [row[column] for row in found] == pytest.approx([row[column] for row in expected], rel=1e-6), column


def test_eigenvalues_are_of_the_images_that_count():
    network, images, masks = small()
    masks[3] = 255
    table = vs.hessian(network, images, masks, k=1, mini_batches=1, weight_decay=DECAY).table.to_pylist()
    rest = torch.arange(FEW) != 3
    expected = by_magnitude(hessian_of(network, images[rest], masks[rest]), 1)
    assert table[0]["eigenvalue"] == pytest.approx(float(expected[0]), rel=1e-3)
    with pytest.raises(DataError, match="all of image 3 are 255, ignored"):
        vs.lesion(network, images, masks)
