"""The reliability diagram."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel
from visionscope.diagnostics.calibration.question import Calibration
from visionscope.diagnostics.calibration.results import Pooled, pooled
from visionscope.numerics.paired import Values, wilson

_TITLES = {"none": "As the probabilities come", "temperature": "At the fitted temperature"}


def figure(asked: Calibration, table: pa.Table) -> Figure:
    """The reliability diagram and the share of images per bin, before and after the temperature."""
    found = list(pooled(table))
    panels = [
        draw(title, [some for some in found if some.first["scaling"] == scaling])
        for draw in (_diagram, _shares)
        for scaling, title in _TITLES.items()
    ]
    counts = sorted({len(some.right) for some in found})
    fitted = sorted({some.first["fit_images"] for some in found})
    bins = sorted({some.first["bins"] for some in found})
    masks = any(some.pixel_bins is not None for some in found)
    whiskers = "of masks over pixels, all images alike." if masks else "whiskers: 95 % intervals (Wilson)."
    images, others, number = (" or ".join(f"{value:,}" for value in values) for values in (counts, fitted, bins))
    return Figure(
        name="calibration",
        title="Confidence and accuracy",
        caption=(
            f"Accuracy against mean confidence in {number} bins of equal width, over {images} clean test images; "
            f"{whiskers} Points below the diagonal are over-confident, points above it "
            f"under-confident. The temperature was fitted on {others} other images of the same split."
        ),
        panels=tuple(panels),
    )


def _diagram(title: str, models: Sequence[Pooled]) -> Panel:
    even = Line(name="as confident as right", x=(0.0, 1.0), y=(0.0, 1.0), role="reference")
    return Panel(
        model="",
        title=title,
        x_label="mean confidence",
        y_label="accuracy",
        lines=(even, *(_curve(some) for some in models)),
        group="reliability",
    )


def _curve(some: Pooled) -> Line:
    bins = some.bins
    places = np.flatnonzero(bins.images)
    if some.pixel_bins is not None:
        return Line(
            name=some.first["model"],
            x=_floats(bins.confidence[places] / bins.images[places]),
            y=_floats(bins.right[places] / bins.images[places]),
            hover=tuple(f"{100 * bins.images[at] / bins.images.sum():.3g} % of the pixels" for at in places),
        )
    ends = [wilson(int(bins.right[at]), int(bins.images[at])) for at in places]
    return Line(
        name=some.first["model"],
        x=_floats(bins.confidence[places] / bins.images[places]),
        y=_floats(bins.right[places] / bins.images[places]),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
        hover=tuple(f"{bins.right[at]:,} right of {bins.images[at]:,} images" for at in places),
    )


def _shares(title: str, models: Sequence[Pooled]) -> Panel:
    lines = []
    for some in models:
        bins, count = some.bins, int(some.first["bins"])
        lines.append(
            Line(
                name=some.first["model"],
                x=_floats((np.arange(count) + 0.5) / count),
                y=_floats(bins.images / bins.images.sum()),
            )
        )
    return Panel(
        model="",
        title=title,
        x_label="confidence (middle of the bin)",
        y_label="share of images",
        lines=tuple(lines),
        group="images by confidence",
    )


def _floats(values: Values) -> tuple[float, ...]:
    return tuple(map(float, values))
