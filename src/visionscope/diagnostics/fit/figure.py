"""Test error against training loss, a point per network."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel
from visionscope.diagnostics.fit.question import Fit
from visionscope.diagnostics.fit.results import summary

Row = Mapping[str, Any]
_LABELS = {
    "nll_train": "NLL of augmented training images (nat)",
    "error": "test error (%)",
    "fraction": "share of the training images",
}


def figure(asked: Fit, table: pa.Table) -> Figure:
    """Test error against NLL_train, a point per model; both against the share of training images, where known."""
    found = summary(asked, table).to_pylist()
    if not found:
        caption = "Nothing to show: of no network both the training and the test images are done."
        return Figure(name="fit", title="Training loss and test error", caption=caption, panels=())
    panels = [_panel(found, "nll_train", "error", title="Error and training loss")]
    if len({row["fraction"] for row in found} - {None}) > 1:
        known = [row for row in found if row["fraction"] is not None]
        panels += [
            _panel(known, "fraction", "error", title="Error by training images"),
            _panel(known, "fraction", "nll_train", title="Training loss by training images"),
        ]
    train, test = (_counts(found, name) for name in ("train_images", "test_images"))
    changed = " or ".join(sorted({row["augmentation"] for row in found}))
    return Figure(
        name="fit",
        title="Training loss and test error",
        caption=(
            f"NLL of {train} training images (augmentation: {changed}) and error on {test} clean test images; "
            "whiskers: 95 % intervals of the error (Wilson). A network that over-fitted would lie to the left and "
            "high up: small training loss, large error."
        ),
        panels=tuple(panels),
    )


def _panel(found: Sequence[Row], x: str, y: str, *, title: str) -> Panel:
    lines = tuple(
        Line(
            name=row["model"],
            x=(row[x],),
            y=(row[y],),
            low=(row["error_low"],) if y == "error" else None,
            high=(row["error_high"],) if y == "error" else None,
            hover=(_hover(row),),
            role="points",
        )
        for row in found
    )
    return Panel(model="", title=title, x_label=_LABELS[x], y_label=_LABELS[y], lines=lines)


def _hover(row: Row) -> str:
    share = "" if row["fraction"] is None else f", trained on {row['fraction']:.4g} of the images"
    return f"{row['model']}: NLL {row['nll_train']:.3f}, error {row['error']:.2f} %{share}"


def _counts(found: Sequence[Row], name: str) -> str:
    return " or ".join(f"{count:,}" for count in sorted({row[name] for row in found}))
