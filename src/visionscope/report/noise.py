"""Sentences on noise: which frequencies break a network, and which of two networks they break more."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import UNKNOWN, Finding, grouped, number
from visionscope.numerics.paired import Values, paired_means
from visionscope.report.compare import (
    SIGNIFICANT,
    Compared,
    Measured,
    Number,
    about,
    between,
    chance,
    change_text,
    compared,
    difference_text,
    is_clear,
    measured_models,
    no_difference,
    not_compared,
)

_CHANGES = ("images", "accuracy", "change", "change_low", "change_high", "p", "p_holm")
_RING = ("frequency", "low", "high", "noise", "eps", "eps_in_pixels", "energy", "space", "rms")
_VECTOR = ("row_frequency", "column_frequency", "height", "width", "norm")

_LOW_VECTORS, _HIGH_VECTORS = "low frequency (up to pi / 3)", "high frequency (above 2 pi / 3)"

Keys = list[tuple[Any, ...]]


def noise_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model where noise costs most, high against low frequencies; for pairs of models which loses more where.

    High and low are the outer thirds of the rings that were asked. All comparisons are paired over images.

    Args:
        table: outcomes with the leading columns.
        summary: what they come to.
    """
    serial = itertools.count(1)
    outcomes = measured_models(table, ("frequency",), ("noise", "eps_in_pixels", "energy", "space", "coverage"))
    for name, rows in grouped(summary, summary.column_names).items():
        yield _worst_rings(serial, name, [row for row in rows if row["frequency"] is not None], outcomes[name])
    models = list(outcomes.values())
    common = [key for key in models[0].values if key != (None,) and all(key in one.values for one in models)]
    low, high = _thirds(sorted(common))
    if low:
        ends = {f"high ({_range(high)})": high, f"low ({_range(low)})": low}
        yield from _between("frequency_noise", serial, models, (None,), ends, "noise of {} frequencies")


def heatmap_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model which Fourier vector costs most, high against low ones; for pairs of models which loses more.

    Low are vectors whose larger component is at most a third of the Nyquist frequency, high those above two thirds.

    Args:
        table: outcomes with the leading columns.
        summary: what they come to.
    """
    serial = itertools.count(1)
    clean = (None, None)
    outcomes = measured_models(table, _VECTOR[:2], _VECTOR[2:])
    for name, rows in grouped(summary, summary.column_names).items():
        low, high = _outer([(row["row_frequency"], row["column_frequency"]) for row in rows], rows[0])
        ordered = sorted(rows, key=lambda row: float(row["change"]))
        worst = ordered[0]
        clear = is_clear(worst)
        at = f"({worst['row_frequency']}, {worst['column_frequency']}) periods per height and width"
        said = f"the Fourier vector of {at} costs most: accuracy changes by {change_text(worst)}"
        if not clear:
            said = (
                f"no single Fourier vector changes accuracy by more than chance could; the most is {change_text(worst)}"
            )
        quiet = sum(not is_clear(row) for row in rows)
        detail = [_vectors(outcomes[name], low, high)] if low and high else []
        detail.append(no_difference(quiet, len(rows), "vectors"))
        yield about(
            "fourier_heatmap", serial, name, ordered, said, detail=detail, columns=(*_VECTOR, *_CHANGES),
            strength=0.3 if clear else 0.0, verdict="described" if clear else UNKNOWN,
        )  # fmt: skip
    models = list(outcomes.values())
    common = [key for key in models[0].values if key != clean and all(key in one.values for one in models)]
    low, high = _outer(common, models[0].settings)
    if low and high:
        ends = {_HIGH_VECTORS: high, _LOW_VECTORS: low}
        yield from _between("fourier_heatmap", serial, models, clean, ends, "Fourier vectors of {}")


def _between(
    diagnostic: str,
    serial: Iterator[int],
    models: Sequence[Measured],
    clean: tuple[Any, ...],
    ends: Mapping[str, Keys],
    words: str,
) -> Iterator[Finding]:
    """Which of two networks loses more under high, and under low frequencies."""
    numbers = [Number(name=f"loss under {words.format(end)}", value=_loss(clean, keys)) for end, keys in ends.items()]

    def say(one: Compared) -> str:
        under = one.what.removeprefix("loss ")
        more, less = (one.first, one.second) if one.difference.value > 0 else (one.second, one.first)
        return f"{under} {more.label} loses more accuracy than {less.label}"

    yield from between(diagnostic, serial, compared(models, numbers), say)
    yield from not_compared(diagnostic, serial, models)


def _loss(clean: tuple[Any, ...], keys: Keys) -> Callable[[Measured], Values]:
    return lambda one: one.values[clean] - one.mean(keys)


def _worst_rings(serial: Iterator[int], name: str, rows: Sequence[Mapping[str, Any]], outcomes: Measured) -> Finding:
    ordered = sorted(rows, key=lambda row: float(row["change"]))
    worst = ordered[0]
    quiet = [row for row in rows if not is_clear(row)]
    where = f"around {number(worst['frequency'], 2)} pi rad/pixel"
    if is_clear(worst):
        statement = f"noise {where} costs most: accuracy changes by {change_text(worst)}"
    else:
        statement = (
            f"noise of no frequency changes accuracy by more than chance could; the most is {change_text(worst)}"
        )
    detail = []
    low, high = _thirds(sorted((row["frequency"],) for row in rows))
    strength = 0.3 if is_clear(worst) else 0.0
    if low:
        told, is_told = _high_and_low(
            outcomes, low, high, f"low frequencies ({_range(low)})", f"high frequencies ({_range(high)})"
        )
        detail.append(told)
        strength = max(strength, 0.7 * is_told)
    if quiet and is_clear(worst):
        detail.append(no_difference(len(quiet), len(rows), "rings"))
    return about(
        "frequency_noise", serial, name, sorted(rows, key=lambda row: float(row["frequency"])), statement,
        detail=detail, columns=(*_RING, *_CHANGES), strength=strength,
        verdict="described" if is_clear(worst) else UNKNOWN,
    )  # fmt: skip


def _high_and_low(one: Measured, low: Keys, high: Keys, low_words: str, high_words: str) -> tuple[str, bool]:
    """Whether a network suffers more from high or from low frequencies, and whether that can be told."""
    difference = paired_means(one.mean(high), one.mean(low))
    numbers = f"accuracy under high minus under low: {difference_text(difference)}, {chance(difference.p)}"
    if difference.p >= SIGNIFICANT:
        return f"Whether {high_words} or {low_words} hurt more can't be told: {numbers}.", False
    worse, better = (high_words, low_words) if difference.value < 0 else (low_words, high_words)
    return f"{worse[0].upper()}{worse[1:]} hurt more than {better}: {numbers}.", True


def _vectors(one: Measured, low: Keys, high: Keys) -> str:
    return _high_and_low(one, low, high, f"vectors of {_LOW_VECTORS}", f"vectors of {_HIGH_VECTORS}")[0]


def _outer(keys: Sequence[tuple[int, int]], sizes: Mapping[str, Any]) -> tuple[Keys, Keys]:
    """The vectors of low and of high frequency."""
    radii = {key: max(2 * abs(key[0]) / sizes["height"], 2 * abs(key[1]) / sizes["width"]) for key in keys}
    return [key for key in keys if radii[key] <= 1 / 3], [key for key in keys if radii[key] > 2 / 3]


def _thirds(keys: Sequence[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    size = len(keys) // 3
    return (list(keys[:size]), list(keys[-size:])) if size else ([], [])


def _range(keys: Sequence[tuple[Any, ...]]) -> str:
    values = [f"{key[0]:g}" for key in keys]
    return f"{values[0]} pi" if len(values) == 1 else f"{values[0]} to {values[-1]} pi"
