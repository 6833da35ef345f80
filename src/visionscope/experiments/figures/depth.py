"""Figures 2a, 8, 9, 10b and D.1, D.2, D.4: what changes along the depth of a network, beside the paper's networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from visionscope.claims.one_seed import Tables
from visionscope.claims.published import figure as published
from visionscope.core.figure import Line, Panel
from visionscope.experiments.figures.over_seeds import mean_and_ends, mean_line, rows_of, thin

DEPTH = "depth"
_PAPER = {"resnet": "ResNet", "vit": "ViT", "pit": "PiT", "swin": "Swin"}


def profiles(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure 2a: relative log-amplitude over frequency, one curve per point, the mean over seeds.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    x, y, group = "frequency (π rad/pixel)", "log-amplitude relative to frequency 0", "amplitude over frequency"
    for variant in variants:
        rows = rows_of(tables, "fourier", variant)
        if rows.empty:
            continue
        means = rows.groupby(["depth", "point", "frequency"], as_index=False)["delta_log_amplitude"].mean()
        lines = [
            Line(
                name=str(point),
                x=tuple(own["frequency"]),
                y=tuple(own["delta_log_amplitude"]),
                shade=float(own["depth"].iloc[0]),
            )
            for (_, point), own in means.groupby(["depth", "point"])
        ]
        yield Panel(model=variant, title=variant, x_label=x, y_label=y, lines=tuple(lines), group=group)
    for variant in variants:
        if variant not in _PAPER:
            continue
        curves = published("figD2_fourier")[_PAPER[variant]]["curves"]
        lines = [
            Line(
                name=f"curve {place + 1}",
                x=tuple(np.linspace(0, 1, len(curve)).tolist()),
                y=tuple(curve),
                shade=place / (len(curves) - 1),
            )
            for place, curve in enumerate(curves)
        ]
        title = f"{_PAPER[variant]} (paper, ImageNet)"
        yield Panel(model=title, title=title, x_label=x, y_label=y, lines=tuple(lines), group=f"{group}, paper")


def high_frequencies(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure 8: relative log-amplitude at the highest frequency over depth.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    label = "relative log-amplitude at the highest frequency"
    told = {key: list(value["delta_log_amp_high"]) for key, value in _of_figure("figD2_fourier").items()}
    yield from _along_depth(
        tables, "fourier", "delta_log_amplitude", variants, label, told, "ImageNet", high_frequency=True
    )


def variances(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure 9: the variance of feature maps over depth.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    told = {key: list(value) for key, value in _of_figure("figD1_feature_variance").items()}
    yield from _along_depth(tables, "variance", "variance", variants, "feature-map variance", told, "CIFAR-100")


def lesions(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure 10b: the change of accuracy when a branch is removed, over depth.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    read = published("figD4_lesion")
    told = {
        "ResNet": list(read["ResNet_3x3conv_per_block_stages_3_4_6_3"]),
        "ViT": list(read["ViT_units_MSA_MLP_alternating"]),
        "PiT": [value for stage in read["PiT_units"].values() for value in stage],
        "Swin": [value for stage in read["Swin_units"].values() for value in stage],
    }
    label = "change of accuracy (percentage points)"
    where = {"mode": "branch", "other_unit": ""}
    yield from _along_depth(
        tables, "lesion_summary", "change", variants, label, told, "CIFAR-100", point="unit", **where
    )


def _along_depth(
    tables: Tables,
    table: str,
    column: str,
    variants: Sequence[str],
    label: str,
    told: dict[str, list[Any]],
    data: str,
    *,
    point: str = "point",
    **where: Any,
) -> Iterator[Panel]:
    """A panel per variant, thin lines for seeds and their mean; then one per network of the paper."""
    for variant in variants:
        rows = rows_of(tables, table, variant, **where)
        rows = rows[rows[column].notna()] if len(rows) else rows
        if rows.empty:
            continue
        yield Panel(model=variant, title=variant, x_label=DEPTH, y_label=label, lines=_curves(rows, column, point))
    for variant in variants:
        numbers = told.get(_PAPER.get(variant, ""))
        if numbers:
            title = f"{_PAPER[variant]} (paper, {data})"
            y = tuple(float("nan") if value is None else value for value in numbers)
            x = tuple(np.linspace(0, 1, len(y)).tolist())
            kinds = _kinds(variant, len(y))
            line = Line(name=title, x=x, y=y, kinds=kinds)
            yield Panel(model=title, title=title, x_label=DEPTH, y_label=label, lines=(line,), group=f"{label}, paper")


def _curves(rows: pd.DataFrame, column: str, point: str) -> tuple[Line, ...]:
    """One thin curve per seed, and the mean of those points that all seeds have."""
    places = rows.groupby(point, sort=False)["depth"].first().sort_values(kind="stable")
    order = list(places.index)
    wide = rows.pivot_table(index="seed", columns=point, values=column, aggfunc="mean")[order].dropna(axis=1)
    kinds = rows.groupby(point, sort=False)["kind"].first()
    x = [float(places[name]) for name in wide.columns]
    named = tuple(str(kinds[name]) for name in wide.columns)
    seeds = [thin(x, list(map(float, wide.loc[seed]))) for seed in wide.index] if len(wide) > 1 else []
    columns = [list(map(float, wide[name])) for name in wide.columns]
    if len(wide) == 1:
        means = tuple(mean_and_ends(own)[0] for own in columns)
        return (Line(name="one seed", x=tuple(x), y=means, kinds=named),)
    return (*seeds, mean_line("mean over seeds", x, columns, kinds=named))


def _kinds(variant: str, count: int) -> tuple[str, ...]:
    """Of the paper's points: of a ViT, after the embedding if it has one, attention and MLP in turn."""
    if variant != "vit":
        return ()
    steps = ("msa", "mlp") * (count // 2)
    return ("stem", *steps) if count % 2 else steps


def _of_figure(name: str) -> dict[str, Any]:
    return {key: value for key, value in published(name).items() if not key.startswith("_")}
