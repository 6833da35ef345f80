"""Figures 2b and F.1: what noise of one band of frequencies costs, and how far confidence can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from visionscope.claims.one_seed import Tables
from visionscope.claims.published import figure as published
from visionscope.core.figure import Line, Panel
from visionscope.experiments.figures.over_seeds import by_seed, mean_line, rows_of, strip

_BAND = "frequency of the noise (π rad/pixel)"
_LOST = "change of accuracy (percentage points)"


def noise(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure 2b: the change of accuracy under noise of one band of frequencies, beside the paper's.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    lines = []
    for variant in variants:
        rows = rows_of(tables, "frequency_noise_summary", variant)
        rows = rows[rows["frequency"].notna() & rows["change"].notna()] if len(rows) else rows
        if len(rows):
            columns = [list(map(float, own["change"])) for _, own in rows.groupby("frequency")]
            lines.append(mean_line(variant, sorted(set(rows["frequency"])), columns))
    if lines:
        yield Panel(model="", title="ours", x_label=_BAND, y_label=_LOST, lines=tuple(lines), group="noise")
    read = published("fig2b_noise")
    told = [Line(name=name, x=tuple(read["f_over_pi"]), y=tuple(read[name])) for name in ("ResNet", "ViT")]
    title = "paper, ImageNet, noise of equal eps"
    label = f"{_LOST}, paper"
    yield Panel(model="", title=title, x_label=_BAND, y_label=label, lines=tuple(told), group="noise")


def confidence(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure F.1a: confidence less accuracy, above 0 over-confident, and the calibration error.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    for column, title in (("signed_ece", "confidence less accuracy"), ("ece", "calibration error")):
        values = by_seed(tables, "calibration_summary", column, variants, scaling="none")
        if values:
            scaled = {name: {seed: 100 * value for seed, value in own.items()} for name, own in values.items()}
            yield strip(title, f"{title} in percentage points", scaled)
