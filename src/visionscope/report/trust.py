"""Sentences on how far a network can be trusted: its confidence, its fit, shapes against textures."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visionscope.core.finding import (
    MODELS_DIFFER,
    UNKNOWN,
    Finding,
    across_models,
    grouped,
    interval,
    number,
    weights_remark,
)
from visionscope.core.sample import MINI_BATCH
from visionscope.numerics.paired import Difference, holm, paired_means, paired_shares
from visionscope.numerics.ranks import rank_correlation
from visionscope.report.compare import (
    SIGNIFICANT,
    Compared,
    Measured,
    Number,
    about,
    between,
    capital,
    chance,
    compared,
    difference_text,
    images_of,
    measured_models,
    not_compared,
    share_text,
)

_CALIBRATION = (
    *("scaling", "temperature", "images", "fit_images", "bins", "accuracy", "confidence"),
    *("signed_ece", "signed_ece_low", "signed_ece_high", "ece", "ece_low", "ece_high"),
    *("nll", "nll_low", "nll_high", "brier"),
)
_NLL, _SURE = "NLL", "mean confidence less accuracy"
_CUES = "decisions for the shape less those for the texture"
_EVEN = 0.5
_TARGETS = ("data", "augmentation", "targets", "label_smoothing")
_FIT = (
    *("nll_train", "nll_train_se", "error", "error_low", "error_high", "nll_test", "fraction"),
    *("train_images", "test_images", "augmentation", "targets", "label_smoothing"),
)
_FEW_MODELS = 3
"""Of more models than these an ordering is spoken of."""


def calibration_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model whether it is over- or under-confident and what a temperature changes; models compared.

    The signed calibration error is the mean over images of confidence less correctness: two models differ in it by a
    mean of differences image by image, as in their NLL.

    Args:
        table: what was said of every image, with the leading columns.
        summary: what it comes to.
    """
    serial = itertools.count(1)
    values = {scaling: _per_image(table, scaling) for scaling in ("none", "temperature")}
    for name, rows in grouped(summary, summary.column_names).items():
        by_scaling = {row["scaling"]: row for row in rows}
        yield _confidence(serial, name, by_scaling, [known[name] for known in values.values() if name in known])
    models = list(values["none"].values())

    def say(one: Compared) -> str:
        if one.what == _NLL:
            low, high = (one.first, one.second) if one.difference.value < 0 else (one.second, one.first)
            return f"{low.label} has a lower NLL than {high.label}"
        high, low = (one.first, one.second) if one.difference.value > 0 else (one.second, one.first)
        return f"{high.label} is more confident for its accuracy than {low.label}"

    numbers = [
        Number(name=_SURE, value=lambda one: one.values[_SURE,]),
        Number(name=_NLL, value=lambda one: one.values[_NLL,], unit="nat"),
    ]
    yield from between("calibration", serial, compared(models, numbers), say)
    yield from not_compared("calibration", serial, models)


def _per_image(table: pa.Table, scaling: str) -> dict[str, Measured]:
    """Cross-entropy and confidence less correctness of every image, by model."""
    # Late, because it loads torch, which the page itself does without.
    from visionscope.diagnostics._outcomes import flags

    found = {}
    columns = ("start", "images", "sample", "scaling", "right", "confidence", "cross_entropy")
    for name, rows in grouped(table, columns).items():
        own = sorted((row for row in rows if row["scaling"] == scaling), key=lambda row: int(row["start"]))
        if own:
            right = np.concatenate([flags(row["right"], row["images"]) for row in own])
            confidence, nll = (
                np.concatenate([np.array(row[key]) for row in own]) for key in ("confidence", "cross_entropy")
            )
            found[name] = Measured(
                label=name + weights_remark(rows),
                sample=images_of(own),
                settings={},
                values={(_NLL,): nll, (_SURE,): confidence - right},
            )
    return found


def _confidence(
    serial: Iterator[int], name: str, rows: Mapping[str, Mapping[str, Any]], values: Sequence[Measured]
) -> Finding:
    row = rows["none"]
    low, high = row["signed_ece_low"], row["signed_ece_high"]
    error = f"confidence exceeds accuracy by {_points(row, 'signed_ece')}"
    if low > 0:
        said, verdict = f"the network is over-confident: {error}", "described"
    elif high < 0:
        less = f"confidence falls short of accuracy by {_points(row, 'signed_ece', -1)}"
        said, verdict = f"the network is under-confident: {less}", "described"
    else:
        said, verdict = f"whether the network is over- or under-confident can't be told: {error}", UNKNOWN
    ece = f"ECE {share_text(row, 'ece')} over {row['images']} images; NLL {number(row['nll'])} nat"
    detail = [f"{ece}, Brier score {number(row['brier'])}."]
    scaled = rows.get("temperature")
    if scaled is not None and len(values) == 2:
        changed = paired_means(values[1].values[_NLL,], values[0].values[_NLL,])
        fitted = f"a temperature of {number(scaled['temperature'])}, fitted on {scaled['fit_images']} other images"
        numbers = f"{difference_text(changed, 'nat')}, {chance(changed.p)}"
        if changed.p >= SIGNIFICANT:
            effect = f"changes NLL by no more than chance could ({numbers})"
        else:
            effect = f"{'lowers' if changed.value < 0 else 'raises'} NLL ({numbers})"
        detail.append(f"{fitted[0].upper()}{fitted[1:]}, {effect}; ECE is then {share_text(scaled, 'ece')}.")
    return about(
        "calibration", serial, name, list(rows.values()), said,
        detail=detail, columns=_CALIBRATION, verdict=verdict,
        strength=0.6 if verdict == "described" else 0.0,
    )  # fmt: skip


def _points(row: Mapping[str, Any], name: str, sign: int = 1) -> str:
    """A difference of shares with its interval, upside down where its sign is said in words."""
    value, *ends = (100 * sign * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    low, high = sorted(ends)
    return f"{number(value)} percentage points (95 % interval {number(low)} to {number(high)})"


def fit_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model its training loss beside its test error; whether networks that fit better also err less.

    Test errors are compared image by image, p raised by Holm's rule over all pairs; training losses are compared by
    intervals that are apart, which is stricter than an interval of their difference. Pairs and orderings are of
    networks whose training images and targets were made alike.

    Args:
        table: losses and outcomes with the leading columns.
        summary: what they come to.
    """
    serial = itertools.count(1)
    named = [(name, rows[0]) for name, rows in grouped(summary, summary.column_names).items()]
    for name, row in named:
        yield _fit(serial, name, row)
    right = measured_models(table.filter(pc.equal(table["split"], "eval")), ("split",))
    known = sorted((pair for pair in named if pair[0] in right), key=lambda pair: float(pair[1]["nll_train"]))
    pairs = [
        (low, high)
        for low, high in itertools.combinations(known, 2)
        if _alike(low[1]) == _alike(high[1]) and right[low[0]].sample == right[high[0]].sample
    ]
    hits = {name: one.mean([("eval",)]) > _EVEN for name, one in right.items()}
    errors = [paired_shares(hits[high], hits[low]) for (low, _), (high, _) in pairs]
    raised = holm([one.p for one in errors])
    for (low, high), one, p in zip(pairs, errors, raised, strict=True):
        labels = (right[low[0]].label, right[high[0]].label)
        yield _two_fits(serial, labels, (low[1], high[1]), dataclasses.replace(one, p=p))
    for key in dict.fromkeys(_alike(row) for _, row in named):
        rows = [row for _, row in named if _alike(row) == key]
        if len(rows) > _FEW_MODELS:
            yield _ordering(serial, rows)


def _alike(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two networks must have in common for their training losses to be compared."""
    return tuple(row[key] for key in _TARGETS)


def _fit(serial: Iterator[int], name: str, row: Mapping[str, Any]) -> Finding:
    said = f"NLL_train is {number(row['nll_train'])}{_plus_minus(row)} nat and the test error {_error(row)}"
    images = f"{row['train_images']} training images ({row['augmentation']} augmentation, targets: {row['targets']})"
    detail = [f"Over {images} and {row['test_images']} test images, where NLL is {number(row['nll_test'])} nat."]
    return about("fit", serial, name, [row], said, detail=detail, columns=_FIT, strength=0.0)


def _two_fits(
    serial: Iterator[int],
    labels: tuple[str, str],
    rows: tuple[Mapping[str, Any], Mapping[str, Any]],
    errors: Difference,
) -> Finding:
    """Whether the network of smaller training loss, the first, has the smaller test error."""
    row, other = rows
    ends = [_fit_interval(one) for one in (row, other)]
    fits = ends[0] is not None and ends[1] is not None and ends[0][1] < ends[1][0]
    errs = errors.p < SIGNIFICANT
    fits_text = f"{labels[0]} fits its training images better than {labels[1]}"
    if not fits:
        said, verdict = f"whether {fits_text} can't be told", UNKNOWN
    elif not errs:
        said, verdict = f"{fits_text}, but which errs less on test images can't be told", UNKNOWN
    elif errors.value < 0:
        said, verdict = f"{fits_text}, and errs less on test images", MODELS_DIFFER
    else:
        said, verdict = f"{fits_text}, and yet errs more on test images", MODELS_DIFFER
    losses = f"NLL_train {number(row['nll_train'])}{_plus_minus(row)} against {number(other['nll_train'])}"
    gain = f"difference in accuracy {difference_text(_turned(errors))}, {chance(errors.p)}"
    detail = f"{losses}{_plus_minus(other)} nat; {gain}."
    headline = f"{capital(said, labels)}."
    columns = ("model", *_FIT)
    return across_models(
        f"rows-fit-{next(serial)}",
        "fit",
        headline,
        verdict=verdict,
        detail=detail,
        columns=columns,
        rows=[tuple(one[key] for key in columns) for one in rows],
        strength=1.0 + abs(errors.value) if verdict == MODELS_DIFFER else 0.0,
    )


def _ordering(serial: Iterator[int], rows: Sequence[Mapping[str, Any]]) -> Finding:
    """Whether networks in the order of their training loss are in the order of their error, too."""
    rho, p = rank_correlation([row["nll_train"] for row in rows], [row["error"] for row in rows])
    numbers = f"rank correlation {number(rho, 2)}, {chance(p)}, over {len(rows)} networks"
    said = f"the {'smaller' if rho > 0 else 'larger'} NLL_train, the smaller the test error ({numbers})"
    if not p < SIGNIFICANT:
        said = f"whether a smaller NLL_train goes with a smaller test error can't be told ({numbers})"
    ordered = sorted(rows, key=lambda row: float(row["nll_train"]))
    headline = f"{capital(said)}."
    columns = ("model", *_FIT)
    return across_models(
        f"rows-fit-{next(serial)}",
        "fit",
        headline,
        verdict="described" if p < SIGNIFICANT else UNKNOWN,
        detail=f"By NLL_train: {', '.join(str(row['model']) for row in ordered)}.",
        columns=columns,
        rows=[tuple(one[key] for key in columns) for one in ordered],
        strength=abs(rho) if p < SIGNIFICANT else 0.0,
    )


def _turned(one: Difference) -> Difference:
    return Difference(value=-one.value, low=-one.high, high=-one.low, p=one.p)


def _fit_interval(row: Mapping[str, Any]) -> tuple[float, float] | None:
    return interval(row["nll_train"], row["nll_train_se"], -(-row["train_images"] // MINI_BATCH) - 1)


def _plus_minus(row: Mapping[str, Any]) -> str:
    return "" if row["nll_train_se"] is None else f" ± {number(row['nll_train_se'], 2)}"


def _error(row: Mapping[str, Any]) -> str:
    return f"{number(row['error'])} % (95 % interval {number(row['error_low'])} to {number(row['error_high'])} %)"


def shape_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model whether it goes by shape or by texture; for pairs of models which goes by shape more.

    Two models are compared in decisions for the shape less decisions for the texture over the same images, all images
    counted: their shares among decisions for either cue rest on different images.

    Args:
        table: decisions with the leading columns.
        summary: what they come to.
    """
    serial = itertools.count(1)
    for name, rows in grouped(summary, summary.column_names).items():
        whole = next(row for row in rows if row["shape_class"] == "all")
        yield _shape(serial, name, whole, rows)
    models = list(_decisions(table).values())

    def say(one: Compared) -> str:
        more, less = (one.first, one.second) if one.difference.value > 0 else (one.second, one.first)
        return f"{more.label} goes by shape more than {less.label}"

    numbers = [Number(name=_CUES, value=lambda one: one.values[_CUES,])]
    yield from between("shape_bias", serial, compared(models, numbers), say)
    yield from not_compared("shape_bias", serial, models)


def _shape(serial: Iterator[int], name: str, row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Finding:
    decided = row["shape"] + row["texture"]
    verdict, strength = UNKNOWN, 0.0
    if not decided:
        said = f"none of {row['images']} images is decided for its shape or its texture"
    else:
        share = {"shape_bias": row["shape_bias"], "shape_bias_low": row["low"], "shape_bias_high": row["high"]}
        numbers = f"{share_text(share, 'shape_bias')} of {decided} decisions for either are for the shape"
        if row["low"] > _EVEN or row["high"] < _EVEN:
            more, less = ("shape", "texture") if row["low"] > _EVEN else ("texture", "shape")
            said, verdict, strength = f"{more} decides more often than {less}: {numbers}", "described", 0.5
        else:
            said = f"whether shape or texture decides more often can't be told: {numbers}"
    detail = [f"{row['other']} of {row['images']} images are decided for neither; {row['decision']}."]
    return about(
        "shape_bias", serial, name, rows, said, detail=detail, strength=strength, verdict=verdict,
        columns=("shape_class", "shape_bias", "low", "high", "shape", "texture", "other", "images"),
    )  # fmt: skip


def _decisions(table: pa.Table) -> dict[str, Measured]:
    """Of every image 1 for the shape, -1 for the texture, 0 for neither, by model."""
    from visionscope.diagnostics._outcomes import flags

    found = {}
    for name, rows in grouped(table, ("start", "images", "sample", "right", "texture", "decision")).items():
        own = sorted(rows, key=lambda row: int(row["start"]))
        shape, texture = (
            np.concatenate([flags(row[key], row["images"]) for row in own]).astype(np.float64)
            for key in ("right", "texture")
        )
        found[name] = Measured(
            label=name + weights_remark(rows),
            sample=images_of(own),
            settings={"decision": own[0]["decision"]},
            values={(_CUES,): shape - texture},
        )
    return found
