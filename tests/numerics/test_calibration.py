"""Calibration measures against exact cases, a slow twin, the official code's values, torchmetrics and scikit-learn."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as peers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, jaccard_score, log_loss, top_k_accuracy_score

from reference import calibration as twin
from visionscope.errors import ConfigError, DataError
from visionscope.numerics import calibration as ours
from visionscope.numerics.paired import Flags, Values

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "official_measures.json").read_text())["metrics"]
LIMIT = 1e-12


def official_case() -> tuple[Values, ours.Classes]:
    """The recipe in the golden file."""
    rng = np.random.default_rng(7)
    logits = (rng.standard_normal((512, 10)) * 2).astype(np.float32)
    return logits, np.where(rng.random(512) < 0.5, logits.argmax(1), rng.integers(0, 10, 512))


def drawn(images: int, classes: int = 10, seed: int = 0, scale: float = 2.0) -> tuple[Values, ours.Classes]:
    """Logits, and labels drawn from their own probabilities: calibrated as well as anything can be."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((images, classes)) * scale
    totals = np.exp(ours.log_probabilities(logits)).cumsum(1)
    labels = (rng.random((images, 1)) > totals).sum(1)
    return logits, np.minimum(labels, classes - 1)


def tops(logits: Values, labels: ours.Classes) -> tuple[Values, Flags]:
    return np.exp(ours.log_probabilities(logits)).max(1), logits.argmax(1) == labels


@pytest.mark.parametrize(
    ("confidence", "right", "error", "signed"),
    [
        ([0.95, 1.0], [True, False], 0.475, 0.475),
        ([1.0, 1.0, 0.6], [True, True, True], 0.4 / 3, -0.4 / 3),
        ([1.0, 1.0], [True, True], 0.0, 0.0),
        ([0.0, 0.0], [False, False], 0.0, 0.0),
        # (0.2, 0.3] holds its upper end: both are of one bin, where one right makes up for the other.
        ([0.3, 0.3, 0.3, 0.2], [True, False, False, False], (abs(0.9 - 1) + 0.2) / 4, (0.9 - 1 + 0.2) / 4),
        ([0.7, 0.75], [False, True], (0.7 + 0.25) / 2, (0.7 - 0.25) / 2),
    ],
)
def test_hand_computed_errors_with_both_ends_of_the_range(
    confidence: list[float], right: list[bool], error: float, signed: float
) -> None:
    bins = ours.reliability(np.array(confidence), np.array(right))
    assert bins.ece == pytest.approx(error, abs=LIMIT)
    assert bins.signed_ece == pytest.approx(signed, abs=LIMIT)


def test_the_official_code_where_it_is_right() -> None:
    """Its sums carry terms of 1e-7, and its NLL is in float32."""
    logits, labels = official_case()
    log_p = ours.log_probabilities(logits)
    confidence, right = tops(logits, labels)
    sure, predicted = confidence > 0.9, logits.argmax(1)
    bins = ours.reliability(confidence, right)
    found = {
        "nll": ours.nll(log_p, labels).mean(),
        "brier": ours.brier(log_p, labels).mean(),
        "acc": right.mean(),
        "acc90": ours.acc_90(confidence, right).value,
        "unc90": ours.unc_90(confidence, right).value,
        "freq90": ours.freq_90(confidence).value,
        "iou": ours.iou(predicted, labels),
        "iou90": ours.iou(predicted[sure], labels[sure]),
        "top5": ours.among_top(logits, labels, 5).mean(),
        "ece": bins.ece,
        "signed_ece": bins.signed_ece,
    }
    assert found == pytest.approx({name: GOLDEN[name] for name in found}, abs=1e-6)
    assert bins.images.tolist() == GOLDEN["bin_count"]
    shown = np.flatnonzero(bins.images)
    assert bins.right[shown] / bins.images[shown] == pytest.approx(np.array(GOLDEN["bin_acc"])[shown], abs=1e-6)
    assert bins.confidence[shown] / bins.images[shown] == pytest.approx(np.array(GOLDEN["bin_conf"])[shown], abs=1e-6)


@pytest.mark.parametrize(("images", "classes", "bins"), [(1, 2, 10), (7, 3, 10), (200, 10, 10), (151, 4, 7)])
def test_the_slow_twin(images: int, classes: int, bins: int) -> None:
    logits, labels = drawn(images, classes, seed=images)
    labels = np.where(np.arange(images) % 3 == 0, (labels + 1) % classes, labels)
    log_p = ours.log_probabilities(logits)
    p, (confidence, right) = np.exp(log_p), tops(logits, labels)
    found = ours.reliability(confidence, right, bins)
    flags, listed = right.tolist(), confidence.tolist()
    assert ours.nll(log_p, labels).mean() == pytest.approx(twin.nll(logits.tolist(), labels.tolist()), rel=LIMIT)
    assert ours.brier(log_p, labels).mean() == pytest.approx(twin.brier(logits.tolist(), labels.tolist()), rel=LIMIT)
    assert found.ece == pytest.approx(twin.ece(listed, flags, bins), abs=LIMIT)
    assert found.signed_ece == pytest.approx(twin.ece(listed, flags, bins, of=float), abs=LIMIT)
    assert ours.adaptive_ece(confidence, right, bins) == pytest.approx(
        twin.adaptive_ece(listed, flags, bins), abs=LIMIT
    )
    classwise = ours.classwise_ece(ours.class_sums(p, labels, bins), images)
    assert classwise == pytest.approx(twin.classwise_ece(p.tolist(), labels.tolist(), bins), abs=LIMIT)
    predicted = logits.argmax(1)
    assert ours.iou(predicted, labels) == pytest.approx(twin.iou(predicted.tolist(), labels.tolist()), abs=LIMIT)


def test_torchmetrics_away_from_its_edge() -> None:
    logits, labels = drawn(2000)
    confidence, right = tops(logits, labels)
    assert confidence.max() < 1
    p, target = torch.tensor(np.exp(ours.log_probabilities(logits))), torch.tensor(labels)
    theirs = float(peers.multiclass_calibration_error(p, target, num_classes=10, n_bins=10, norm="l1"))
    assert ours.reliability(confidence, right).ece == pytest.approx(theirs, abs=1e-7)
    for k in (1, 5):
        theirs = float(peers.multiclass_accuracy(p, target, num_classes=10, top_k=k, average="micro"))
        assert ours.among_top(logits, labels, k).mean() == pytest.approx(theirs, abs=1e-7)
    # At 1.0 it has a bin of its own, and is wrong.
    edge = peers.binary_calibration_error(torch.tensor([0.95, 1.0]), torch.tensor([1, 0]), n_bins=10, norm="l1")
    assert float(edge) == pytest.approx(0.525)


def test_scikit_learn() -> None:
    logits, labels = drawn(2000, seed=3)
    log_p = ours.log_probabilities(logits)
    p, (confidence, right) = np.exp(log_p), tops(logits, labels)
    every = list(range(10))
    assert ours.nll(log_p, labels).mean() == pytest.approx(log_loss(labels, p, labels=every), rel=1e-12)
    theirs = brier_score_loss(labels, p, labels=every, scale_by_half=False)
    assert ours.brier(log_p, labels).mean() == pytest.approx(theirs, rel=1e-12)
    assert ours.among_top(logits, labels, 5).mean() == top_k_accuracy_score(labels, p, k=5, labels=every)
    assert ours.iou(logits.argmax(1), labels) == pytest.approx(jaccard_score(labels, logits.argmax(1), average="macro"))
    bins = ours.reliability(confidence, right)
    shares, means = calibration_curve(right, confidence, n_bins=10)
    shown = np.flatnonzero(bins.images)
    assert bins.right[shown] / bins.images[shown] == pytest.approx(shares)
    assert bins.confidence[shown] / bins.images[shown] == pytest.approx(means)


def test_logits_may_be_extreme_but_not_infinite() -> None:
    log_p = ours.log_probabilities([[1000.0, 0.0, -1000.0], [0.0, 20.0, 0.0], [3e38, -3e38, 0.0]])
    assert ours.nll(log_p, np.array([2, 0, 1])) == pytest.approx([2000, 20 + math.log(1 + 2 * math.exp(-20)), 6e38])
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(DataError, match=r"logits: must be finite; those of image 1 are not"):
            ours.log_probabilities([[0.0, 1.0], [bad, 0.0]])
    with pytest.raises(DataError, match=r"logits: must be \(images, classes\); got shape \(3,\)"):
        ours.log_probabilities([1.0, 2.0, 3.0])
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="temperature: must be above 0 and finite"):
            ours.log_probabilities([[0.0, 1.0]], temperature)


def test_shares_of_nothing_have_no_value() -> None:
    low, wrong = np.array([0.5, 0.9]), np.array([False, False])
    assert ours.acc_90(low, wrong) == ours.Share(0, 0)
    assert ours.acc_90(low, wrong).value is None
    assert ours.unc_90(low, ~wrong).value is None
    assert ours.unc_90(low, wrong).value == 1.0
    assert ours.freq_90(low).value == 0.0
    assert ours.freq_90(np.array([0.9, 0.91])).value == 0.5
    assert ours.iou(np.array([], dtype=int), np.array([], dtype=int)) is None


def test_iou_is_over_the_classes_among_the_labels() -> None:
    """Class 0: 1 of 3 (two of it, one more predicted); class 1: 1 of 2; class 2 is no label and left out."""
    predicted, labels = np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1])
    assert ours.iou(predicted, labels) == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_equal_logits_count_for_the_lower_class() -> None:
    logits = np.array([[1.0, 1.0, 0.0]])
    assert ours.among_top(logits, np.array([0]), 1).tolist() == [True]
    assert ours.among_top(logits, np.array([1]), 1).tolist() == [False]
    assert ours.among_top(logits, np.array([1]), 2).tolist() == [True]
    assert ours.among_top(logits, np.array([2]), 5).tolist() == [True]


cases = st.lists(
    st.tuples(st.one_of(st.floats(0, 1), st.integers(0, 10).map(lambda value: value / 10)), st.booleans()),
    min_size=1,
    max_size=40,
)


@settings(max_examples=50)
@given(cases=cases, seed=st.integers(0, 100), cut=st.integers(0, 40))
def test_no_error_depends_on_the_order_or_on_the_batches(cases: list[tuple[float, bool]], seed: int, cut: int) -> None:
    confidence, right = np.array([case[0] for case in cases]), np.array([case[1] for case in cases])
    order = np.random.default_rng(seed).permutation(len(cases))
    one, other = (ours.reliability(confidence[places], right[places]) for places in (np.arange(len(cases)), order))
    pieces = [
        ours.reliability(confidence[places], right[places]) for places in (order[:cut], order[cut:]) if len(places)
    ]
    added = ours.Bins(
        images=sum(piece.images for piece in pieces),
        confidence=sum(piece.confidence for piece in pieces),
        right=sum(piece.right for piece in pieces),
    )
    exact = twin.ece(confidence.tolist(), right.tolist())
    for bins in (one, other, added):
        assert bins.ece == pytest.approx(exact, abs=LIMIT)
        assert abs(bins.signed_ece) <= bins.ece + LIMIT
    adaptive = [ours.adaptive_ece(confidence[places], right[places]) for places in (np.arange(len(cases)), order)]
    assert adaptive[0] == pytest.approx(adaptive[1], abs=LIMIT)


def test_a_cut_through_images_of_one_confidence_takes_their_common_share() -> None:
    """Of 20 images of confidence 0.5, half of them right, no bin of 2 has an error, in whatever order they come."""
    confidence, right = np.full(20, 0.5), np.arange(20) < 10
    assert ours.adaptive_ece(confidence, right) == ours.adaptive_ece(confidence, right[::-1]) == 0
    assert ours.adaptive_ece(confidence, np.arange(20) < 15) == pytest.approx(0.25, abs=LIMIT)


def test_a_calibrated_generator_has_no_error_in_the_limit() -> None:
    """|confidence - accuracy| of a bin is that of a mean of m: at most E|.| = sqrt(2/pi) sqrt(c (1 - c) / m) summed.

    So the expected ECE is below `sqrt(2 / pi) sum_b n_b / n / (2 sqrt(n_b)) <= sqrt(2 / pi) sqrt(bins / n) / 2`.
    """
    errors = []
    for images in (1_000, 100_000):
        logits, labels = drawn(images, seed=5)
        errors.append(ours.reliability(*tops(logits, labels)).ece)
        assert errors[-1] < 3 * math.sqrt(2 / math.pi) * math.sqrt(10 / images) / 2
    assert errors[1] < errors[0] / 3
    wrong = (labels + 1) % 10
    assert ours.reliability(*tops(logits, wrong)).ece > 0.3


def test_the_temperature_of_calibrated_logits_is_one() -> None:
    """Its standard error in 1/T is 1 / sqrt(n mean Var_p(logit)): the slope's variance over its own slope squared."""
    logits, labels = drawn(100_000, seed=8)
    p = np.exp(ours.log_probabilities(logits))
    variance = ((p * logits**2).sum(1) - (p * logits).sum(1) ** 2).mean()
    error = 1 / math.sqrt(len(logits) * variance)
    assert 1 / ours.fit_temperature(logits, labels) == pytest.approx(1, abs=3.5 * error)
    assert error < 0.01


@settings(max_examples=30)
@given(scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_logits_times_c_have_c_times_the_temperature_which_is_the_best(scale: float, seed: int) -> None:
    logits, labels = drawn(60, classes=4, seed=seed)
    found = ours.fit_temperature(logits, labels)
    assume(0.1 < found < 10)
    assert ours.fit_temperature(logits * scale, labels) == pytest.approx(found * scale, rel=1e-8)
    nlls = [ours.nll(ours.log_probabilities(logits, found * factor), labels).mean() for factor in (0.99, 1, 1.01)]
    assert nlls[1] < min(nlls[0], nlls[2])


def test_temperatures_without_a_best_one() -> None:
    sure, labels = np.array([[3.0, 0.0], [0.0, 3.0]]), np.array([0, 1])
    assert ours.fit_temperature(sure, labels) == ours.COOLEST
    assert ours.fit_temperature(-sure, labels) == ours.HOTTEST
    assert ours.fit_temperature(np.ones((2, 2)), labels) == 1.0


def test_intervals_cover_what_they_should() -> None:
    """Signed ECE and NLL of 200 sets of 300 calibrated images: about 95 % of the intervals hold the truth."""
    logits, labels = drawn(60_000, seed=2)
    truth = float(-(np.exp(log_p := ours.log_probabilities(logits)) * log_p).sum(1).mean())
    held_signed, held_nll, reaching_zero = 0, 0, 0
    for start in range(0, 60_000, 300):
        chosen = slice(start, start + 300)
        confidence, right = tops(logits[chosen], labels[chosen])
        losses = ours.nll(ours.log_probabilities(logits[chosen]), labels[chosen])
        ece, signed, (nll,) = ours.resampled(confidence, right, losses[None])
        held_signed += signed.low <= 0 <= signed.high
        held_nll += nll.low <= truth <= nll.high
        reaching_zero += ece.low == 0
        assert ece.low <= ece.value <= ece.high
        assert nll.value == pytest.approx(losses.mean())
    for held in (held_signed, held_nll):
        assert 180 <= held <= 199  # 190 +- 3 standard deviations of 200 draws
    # No error at all lies at the very end of what an ECE can be, where its interval is too short; one of percentiles
    # would never reach there.
    assert reaching_zero >= 50


def test_intervals_depend_on_the_seed_alone() -> None:
    logits, labels = drawn(100)
    confidence, right = tops(logits, labels)
    losses = ours.nll(ours.log_probabilities(logits), labels)[None]
    first = ours.resampled(confidence, right, losses)
    np.random.random(3)  # the global state counts for nothing
    assert ours.resampled(confidence, right, losses) == first
    assert ours.resampled(confidence, right, losses, seed=1) != first
