"""Figures that are no paper's: the trainings of an experiment, and the measure that a user's own claim compares."""

from __future__ import annotations

import math

from visionscope.claims.claim import Claim
from visionscope.claims.one_seed import Tables
from visionscope.core.figure import Figure, Panel
from visionscope.experiments.figures.over_seeds import by_seed, mean_line, rows_of, strip, thin

_MOST_CURVES = 12  # variants whose curves a page has room for


def measured_figure(claim: Claim, tables: Tables) -> Figure | None:
    """The measure that a claim compares, of its variants side by side.

    Args:
        claim: with a measure.
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
    panel = strip(measure, f"{measure} ({unit})" if unit else measure, values)
    caption = f"{claim.meaning}, at {claim.snapshot}. Means over seeds with Student's 95 % interval."
    return Figure(name=f"claim_{claim.name}", title=claim.text, caption=caption, panels=(panel,))


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
    right = by_seed(tables, "training", "top_1", variants)
    percent = {name: {seed: 100 * value for seed, value in own.items()} for name, own in right.items()}
    loss = by_seed(tables, "training", "nll_train", variants)
    panels = []
    if percent:
        panels.append(strip("accuracy", "test accuracy in %", percent))
    if loss:
        panels.append(strip("training loss", "NLL on augmented training images (nat)", loss))
    if len(variants) <= _MOST_CURVES:
        panels += [panel for variant in variants for panel in _curve(tables, variant)]
    caption = "Networks are scored at the end. Means over seeds with Student's 95 % interval, single seeds thin."
    return Figure(name="training", title="Training", caption=caption, panels=tuple(panels))


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
