"""Figures that are no paper's: the trainings of an experiment, and the measure that a user's own claim compares."""

from __future__ import annotations

import math
from collections.abc import Sequence

from visionscope.claims.claim import Claim
from visionscope.claims.one_seed import Tables
from visionscope.core.figure import Figure, Panel
from visionscope.experiments.figures.over_seeds import BySeed, by_seed, mean_line, rows_of, strip, thin

_MOST_CURVES = 12  # variants whose curves a page has room for


def measured_figure(claim: Claim, tables: Tables) -> Figure | None:
    """The measure that a claim compares, of its variants side by side.

    A claim on two pairs compares ratios, which come before: those of one seed, since that is what the claim pairs.

    Args:
        claim: with a measure, and two variants or four.
        tables: of an experiment.

    Returns:
        None where nothing was measured.
    """
    diagnostic, _, measure = (part.strip() for part in claim.measure.partition(":"))
    where = {"diagnostic": diagnostic, "measure": measure}
    values = by_seed(tables, "measures", "value", claim.variants, claim.snapshot, **where)
    if not values:
        return None
    unit = str(rows_of(tables, "measures", next(iter(values)), claim.snapshot, **where)["unit"].iloc[0])
    panels = [strip(measure, f"{measure} ({unit})" if unit else measure, values)]
    ratios = _ratios(claim.variants[:2], values) | _ratios(claim.variants[2:], values) if claim.variants[2:] else {}
    if ratios:
        panels.insert(0, strip("ratio of each pair", f"ratio of {measure} in %", ratios))
    caption = f"{claim.meaning}, at {claim.snapshot}. Means over seeds with Student's 95 % interval."
    return Figure(name=f"claim_{claim.name}", title=claim.text, caption=caption, panels=tuple(panels))


def _ratios(pair: Sequence[str], values: BySeed) -> BySeed:
    """The first of two variants in percent of the second, of the seeds that both have; empty without any."""
    first, second = (values.get(name, {}) for name in pair)
    found = {seed: 100 * value / second[seed] for seed, value in first.items() if second.get(seed)}
    return {" / ".join(pair): found} if found else {}


def training_figure(tables: Tables) -> Figure | None:
    """Accuracy and training loss of every variant, and the loss over the epochs where variants are few.

    Args:
        tables: of an experiment.

    Returns:
        None where no training has ended.
    """
    if "training" not in tables or tables["training"].empty:
        return None
    variants = list(dict.fromkeys(tables["training"]["variant"]))
    loss = by_seed(tables, "training", "nll_train", variants)
    panels = []
    for column, score in (("top_1", "accuracy"), ("mean_iou", "mean IoU")):
        scored = _percent(tables, column, variants)
        if scored:
            panels.append(strip(score, f"test {score} in %", scored))
    if loss:
        panels.append(strip("training loss", "NLL on augmented training images (nat)", loss))
    if len(variants) <= _MOST_CURVES:
        panels += [panel for variant in variants for panel in _curve(tables, variant)]
    caption = "Networks are scored at the end. Means over seeds with Student's 95 % interval, single seeds thin."
    return Figure(name="training", title="Training", caption=caption, panels=tuple(panels))


def _percent(tables: Tables, column: str, variants: Sequence[str]) -> dict[str, dict[int, float]]:
    """A score of each variant by seed, of those whose task has it."""
    if column not in tables["training"]:
        return {}
    found = {
        name: {seed: 100 * value for seed, value in own.items() if math.isfinite(value)}
        for name, own in by_seed(tables, "training", column, variants).items()
    }
    return {name: own for name, own in found.items() if own}


def _curve(tables: Tables, variant: str) -> list[Panel]:
    rows = rows_of(tables, "curves", variant)
    rows = rows[rows["loss"].map(math.isfinite)] if len(rows) else rows
    if rows.empty:
        return []
    wide = rows.assign(at=rows["epoch"].round(2)).pivot_table(index="seed", columns="at", values="loss").dropna(axis=1)
    if wide.empty:
        return []
    x = [float(one) for one in wide.columns]
    seeds = [thin(x, list(map(float, wide.loc[seed]))) for seed in wide.index]
    mean = mean_line("mean over seeds", x, [list(map(float, wide[one])) for one in wide.columns])
    label = "loss of the training's batches"
    return [Panel(model=variant, title=variant, x_label="epoch", y_label=label, lines=(*seeds, mean))]
