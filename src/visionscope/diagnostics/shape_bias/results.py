"""What decisions come to: shape bias per class, models compared, a row per image."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visionscope.core.table import column, long_table, schema_of, to_table, with_leading_of
from visionscope.diagnostics.outcomes.pooling import images_of
from visionscope.diagnostics.outcomes.rows import flags_of, positions_of
from visionscope.diagnostics.outcomes.statistics import Measured, Number, compared
from visionscope.diagnostics.shape_bias.question import ShapeBias
from visionscope.numerics.paired import Flags, wilson

ALL = "all"
MOST_APART = 10.0
"""Percentage points by which two networks may differ in how many images they decide for either cue, to be compared."""

CUES = "decisions for the shape less those for the texture"
"""What models are compared in, all images counted: their shares among decisions for either rest on other images."""


@dataclasses.dataclass(frozen=True)
class ShapeBiasSummaryRow:
    """Shape bias of one model, over all classes or over the images whose shape is of one."""

    shape_class: str = column("class of the shape; `all` for all images")
    shape_bias: float | None = column(
        "decisions for the shape / for shape or texture; None without any such decision",
        percent=True,
        ends=("low", "high"),
    )
    low: float | None = column("lower end of its 95 % interval (Wilson, over the decisions for either)")
    high: float | None = column("upper end of its 95 % interval")
    shape: int = column("images decided for the class of their shape")
    texture: int = column("images decided for the class of their texture")
    other: int = column("images decided for another class")
    images: int = column("images in all", role="count")
    chance: float = column(
        "share of images that guessing would decide for either cue: 2 / classes", percent=True, role="convention"
    )
    decision: str = column(
        "how: between the classes of the head, or by the mean probability of the ImageNet classes of each of 16",
        role="convention",
    )


@dataclasses.dataclass(frozen=True)
class ShapeBiasOutcomeRow:
    """What a network decides on one image."""

    image: int = column("position of the image in its sample")
    shape_class: str = column("class of the shape")
    shape: bool = column("whether it is decided for the class of its shape")
    texture: bool = column("whether it is decided for the class of its texture")


@dataclasses.dataclass(frozen=True)
class _Decisions:
    """All images of one model: a row of each of its spans, and by image what decided, and the class of the shape."""

    rows: Sequence[Mapping[str, Any]]
    shape: Flags
    texture: Flags
    classes: tuple[str, ...]


def summary(asked: ShapeBias, table: pa.Table) -> pa.Table:
    """Shape bias per model, over all images and per class of the shape."""
    counted = [(some.rows[0], row) for some in _decisions(table) for row in _counted(some)]
    return with_leading_of(to_table(ShapeBiasSummaryRow, [row for _, row in counted]), [first for first, _ in counted])


def outcomes(asked: ShapeBias, table: pa.Table) -> pa.Table:
    """A row per image."""
    pieces = (
        (
            some.rows[0],
            {
                "image": positions_of(some.rows),
                "shape_class": np.array(some.classes),
                "shape": some.shape,
                "texture": some.texture,
            },
        )
        for some in _decisions(table)
    )
    return long_table(schema_of(ShapeBiasOutcomeRow), pieces)


def comparisons(asked: ShapeBias, table: pa.Table) -> pa.Table:
    """Each two models over the same images: of every image 1 for the shape, -1 for the texture, 0 for neither.

    Only of networks that decide for either cue more often than guessing would, and about as often.
    """
    models = [
        Measured(
            first=some.rows[0],
            sample=images_of(some.rows),
            settings={"decision": some.rows[0]["decision"]},
            values={(CUES,): some.shape.astype(np.float64) - some.texture},
            classes=len(some.rows[0]["classes"]),
        )
        for some in _decisions(table)
    ]
    return compared(models, [Number(name=CUES, value=lambda one: one.values[CUES,])], _unlike)


def is_guessing(decided: int, images: int, chance: float) -> bool:
    """Whether images are decided for either cue no more often than guessing would: the interval (Wilson) reaches that.

    Args:
        decided: images decided for their shape or their texture.
        images: all images.
        chance: the share that guessing gives.
    """
    return wilson(decided, images)[0] <= chance


def _unlike(first: Measured, second: Measured) -> str:
    """Why the shape biases of two networks are not compared, or ""."""
    shares = []
    for one in (first, second):
        # No image is decided for both: its texture is of another class than its shape.
        decided = int(np.abs(one.values[CUES,]).sum())
        if is_guessing(decided, len(one.values[CUES,]), 2 / one.classes):
            return f"{one.first['model']} decides for shape or texture no more often than by chance"
        shares.append(100 * decided / len(one.values[CUES,]))
    if abs(shares[0] - shares[1]) > MOST_APART + 1e-9:
        return (
            f"the shares of images that they decide for shape or texture differ by more than {MOST_APART:g} "
            "percentage points"
        )
    return ""


def _decisions(table: pa.Table) -> list[_Decisions]:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["model"], row["job"]), []).append(row)
    found = []
    for rows in groups.values():
        rows.sort(key=lambda row: int(row["start"]))
        classes = tuple(row["classes"][number] for row in rows for number in bytes.fromhex(row["shapes"]))
        found.append(_Decisions(rows=rows, shape=flags_of(rows), texture=flags_of(rows, "texture"), classes=classes))
    return found


def _counted(some: _Decisions) -> list[ShapeBiasSummaryRow]:
    rows = []
    names = np.array(some.classes)
    for name in (ALL, *sorted(set(some.classes))):
        chosen = np.ones(len(names), dtype=bool) if name == ALL else names == name
        shape, texture = int(some.shape[chosen].sum()), int(some.texture[chosen].sum())
        decided = shape + texture
        low, high = wilson(shape, decided) if decided else (None, None)
        rows.append(
            ShapeBiasSummaryRow(
                shape_class=name,
                shape_bias=shape / decided if decided else None,
                low=low,
                high=high,
                shape=shape,
                texture=texture,
                other=int(chosen.sum()) - decided,
                images=int(chosen.sum()),
                chance=2 / len(some.rows[0]["classes"]),
                decision=str(some.rows[0]["decision"]),
            )
        )
    return rows
