"""Hessian eigenvalues drawn: densities, negative and positive apart as in the paper, and on one axis."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.finding import counted
from visionscope.core.grouping import rows_by_model
from visionscope.curvature.eigenvalues import density_curve
from visionscope.diagnostics.hessian.question import UNIT, Hessian
from visionscope.diagnostics.second_order.parameters import parameters_text

_POINTS = 241
_MARGIN = 0.06
_COUNTED_APART = 3  # models whose counts a title can hold
_BEYOND = 0.02  # share of a model's values that may lie beyond either end of an axis
_OF = {"stage": "by stage", "block": "by block", "kind": "by kind"}


def figure(asked: Hessian, table: pa.Table) -> Figure:
    """Densities of the whole models' eigenvalues, then one panel per model and level of scopes."""
    models = rows_by_model(table)
    panels: list[Panel] = []
    whole = {model: _values(rows, "model", "model") for model, rows in models.items()}
    whole = {model: values for model, values in whole.items() if len(values)}
    if whole:
        panels += _apart(whole)
        panels.append(_together(whole))
    for level, words in _OF.items():
        panels += [_scopes(model, rows, level, words) for model, rows in models.items() if _names(rows, level)]
    return Figure(name="hessian", title="Hessian max-eigenvalue spectra", caption=_caption(table), panels=tuple(panels))


def _values(rows: Sequence[dict[str, Any]], level: str, scope: str) -> NDArray[np.float64]:
    return np.array([row["eigenvalue"] for row in rows if _belongs(row, level, scope) and row["converged"]])


def _belongs(row: dict[str, Any], level: str, scope: str) -> bool:
    return bool(row["level"] == level and row["scope"] == scope)


def _names(rows: Sequence[dict[str, Any]], level: str) -> list[str]:
    return list(dict.fromkeys(row["scope"] for row in rows if row["level"] == level and row["converged"]))


def _apart(whole: dict[str, NDArray[np.float64]]) -> Iterator[Panel]:
    """The paper's way: either sign has its own range, and each curve the area 1."""
    for sign, side in ((-1, "negative"), (1, "positive")):
        own = {model: values[np.sign(values) == sign] for model, values in whole.items()}
        own = {model: values for model, values in own.items() if len(values)}
        if not own:
            continue
        at = _axis(own.values())
        lines = [_filled(model, at, density_curve(values, at)) for model, values in own.items()]
        yield Panel(
            model="",
            title=f"{side} eigenvalues ({_counted(own, whole)})",
            x_label=f"eigenvalue ({UNIT})",
            y_label=f"density among the {side}",
            lines=tuple(lines),
            group="negative and positive apart",
        )


def _counted(own: dict[str, NDArray[np.float64]], whole: dict[str, NDArray[np.float64]]) -> str:
    """How many values each curve stands for, as one of a single value has the area 1 as well; of many models in all."""
    counts = {model: len(own.get(model, ())) for model in whole}
    if len(whole) > _COUNTED_APART:
        return f"{sum(counts.values())} of {sum(map(len, whole.values()))}"
    return ", ".join(f"{model}: {count}" for model, count in counts.items())


def _together(whole: dict[str, NDArray[np.float64]]) -> Panel:
    at = _axis(whole.values())
    lines = [_filled(model, at, _signed_density(values, at)) for model, values in whole.items()]
    return Panel(
        model="",
        title="both on one axis, areas in proportion to counts",
        x_label=f"eigenvalue ({UNIT})",
        y_label="density among all",
        lines=tuple(lines),
        group="one axis",
    )


def _scopes(model: str, rows: Sequence[dict[str, Any]], level: str, words: str) -> Panel:
    names = _names(rows, level)
    values = {name: _values(rows, level, name) for name in names}
    at = _axis(values.values())
    last = max(len(names) - 1, 1)
    lines = [
        dataclasses.replace(_filled(name, at, _signed_density(values[name], at)), shade=place / last)
        for place, name in enumerate(names)
    ]
    return Panel(
        model=model,
        title=f"{model}, {words}",
        x_label=f"eigenvalue ({UNIT})",
        y_label="density among all",
        lines=tuple(lines),
        group=words,
    )


def _signed_density(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.zeros_like(at)
    for sign in (-1, 1):
        own = values[np.sign(values) == sign]
        if len(own):
            total += len(own) / len(values) * density_curve(own, at)
    # Both sides are known at zero itself: the curve goes through the middle of its jump.
    inside = (at == 0) & (at > at[0]) & (at < at[-1])
    return np.where(inside, total / 2, total)


def _filled(name: str, at: NDArray[np.float64], curve: NDArray[np.float64]) -> Line:
    return Line(name=name, x=tuple(at.tolist()), y=tuple(curve.tolist()), filled=True)


def _axis(groups: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Holds the middle of each group, lest one far eigenvalue flatten all; zero is always among the places."""
    ends = np.array([np.quantile(values, [_BEYOND, 1 - _BEYOND]) for values in groups])
    low, high = min(ends[:, 0].min(), 0.0), max(ends[:, 1].max(), 0.0)
    margin = _MARGIN * (high - low) or 1.0
    low, high = low - margin * (low < 0), high + margin * (high > 0)
    below = np.linspace(low, 0, max(2, round(_POINTS * -low / (high - low)))) if low < 0 else np.zeros(1)
    above = np.linspace(0, high, max(2, round(_POINTS * high / (high - low)))) if high > 0 else np.zeros(1)
    return np.concatenate([below, above[1:]])


def _caption(table: pa.Table) -> str:
    rows = table.to_pylist()
    counts = {len({row["mini_batch"] for row in group}) for _, group in _by_job(rows)}
    ranks = max(row["rank"] for row in rows)
    batches = " or ".join(map(str, sorted(counts)))
    said = [
        f"The {counted(ranks, 'eigenvalue')} of largest magnitude of the Hessian of NLL + (weight decay / 2) |w|², "
        f"with sign, of {batches} mini-batch{'' if counts == {1} else 'es'} of {max(row['images'] for row in rows)} "
        "images (augmentation: "
        f"{', '.join(sorted({row['augmentation'] for row in rows}))}; BatchNorm: "
        f"{', '.join(sorted({row['batch_norm'] for row in rows}))}; weight decay "
        f"{', '.join(f'{value:g}' for value in sorted({row['weight_decay'] for row in rows}))}).",
        "Curves: Gaussian kernel densities, folded at zero; on either side apart each has the area 1. Axes hold the "
        f"middle {100 * (1 - 2 * _BEYOND):g} % of each curve's values{_furthest(rows)}.",
    ]
    said.append(parameters_text([row for row in rows if row["level"] == "model"]))
    missing = sum(not row["converged"] for row in rows)
    if missing:
        said.append(f"Left out: {missing} of {len(rows)} eigenvalues that did not converge.")
    return " ".join(filter(None, said))


def _furthest(rows: Sequence[dict[str, Any]]) -> str:
    values = [row["eigenvalue"] for row in rows if row["converged"]]
    return f"; the furthest are {min(values):.4g} and {max(values):.4g}" if values else ""


def _by_job(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    ordered = sorted(rows, key=lambda row: row.get("job", row["model"]))
    for job, group in itertools.groupby(ordered, key=lambda row: row.get("job", row["model"])):
        yield job, list(group)
