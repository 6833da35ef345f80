"""Figures 2b and F.1a: what noise of one band of frequencies costs, and how far confidence can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from visionscope.claims.one_seed import Tables
from visionscope.claims.published import figure as published
from visionscope.core.figure import Line, Panel
from visionscope.experiments.figures.over_seeds import by_seed, mean_line, rows_of, strip
from visionscope.experiments.tables import BINS

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


def reliability(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure F.1a: accuracy against mean confidence of the images in each bin of confidence, beside the paper's.

    Means over those seeds that have images in the bin; a bin without any is left out.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    lines = []
    for variant in variants:
        rows = rows_of(tables, BINS, variant, scaling="none")
        if len(rows):
            bins = [own for _, own in rows.groupby("low")]
            x = [float(own["confidence"].mean()) for own in bins]
            seeds = rows["seed"].nunique()
            hover = tuple(f"{own['images'].sum():,} images, {len(own)} of {seeds} seeds" for own in bins)
            lines.append(mean_line(variant, x, [list(map(float, own["accuracy"])) for own in bins], hover=hover))
    if not lines:
        return
    yield _diagram("ours", lines)
    read = published("figF1a_reliability")
    x = read["confidence_bin_middle_percent"]
    told = [Line(name=name, x=_shares(x), y=_shares(y)) for name, y in read["accuracy_percent"].items()]
    yield _diagram("paper, CIFAR-100", told)


def _diagram(title: str, lines: Sequence[Line]) -> Panel:
    even = Line(name="as confident as right", x=(0.0, 1.0), y=(0.0, 1.0), role="reference")
    return Panel(
        model="",
        title=title,
        x_label="mean confidence",
        y_label="accuracy",
        lines=(even, *lines),
        group="reliability",
    )


def _shares(percent: Sequence[float]) -> tuple[float, ...]:
    return tuple(value / 100 for value in percent)


def confidence(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Confidence less accuracy over all images, above 0 over-confident: the number that the claim compares.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    values = by_seed(tables, "calibration_summary", "signed_ece", variants, scaling="none")
    if values:
        scaled = {name: {seed: 100 * value for seed, value in own.items()} for name, own in values.items()}
        title = "confidence less accuracy"
        yield strip(title, f"{title} in percentage points", scaled)
