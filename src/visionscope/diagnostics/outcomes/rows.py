"""Rows of outcomes: what a part stores, what a condition comes to, what two models differ in."""

import base64
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from visionscope.core.table import column
from visionscope.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from visionscope.numerics.paired import Flags
    from visionscope.numerics.segmentation import Counts

POINTS = "percentage points"
ABOVE_CHANCE = "% of the accuracy above chance"
CHANGES = ("images", "accuracy", "change", "change_low", "change_high", "p", "p_holm")
"""The columns of a `ChangeRow` that stand beside sentences on it."""


@dataclasses.dataclass(frozen=True)
class OutcomeRow:
    """What became of a span of images under one condition; a diagnostic's row adds columns that name the condition."""

    part: str = column("span of images, or the set of them, that it was measured with", role="hidden")
    sample: str = column(
        "first 12 hexadecimal digits of the images' digest; paired comparisons need it in common", role="hidden"
    )
    start: int = column("position of the span's first image", role="hidden")
    images: int = column("images in the span", role="count")
    right: str = column(
        "which of them are right, as hexadecimal digits of 4 images each, the first image foremost; of masks `pixels "
        "of N classes:` and the base64 of 4-byte numbers: by image, and in it right, predicted and true, by class",
        packed=True,
    )
    nll: float = column("mean cross-entropy of their labels", "nat", title="NLL")


@dataclasses.dataclass(frozen=True)
class DamageRow(OutcomeRow):
    """What became of a span of images with or without damage, and how many classes the network chooses among."""

    classes: int = column("classes that the network chooses among; guessing gets 1 in as many right", role="hidden")


@dataclasses.dataclass(frozen=True)
class ChangeRow:
    """Accuracy under one condition and what it lost against the clean images; a summary's row adds the condition."""

    images: int = column("images in the means", role="count")
    accuracy: float = column(
        "share of images whose top class is right; of masks the mean over images of the share of their pixels",
        percent=True,
        role="outcome",
        ends=("accuracy_low", "accuracy_high"),
    )
    accuracy_low: float = column("lower end of its 95 % interval (Wilson; of masks bootstrap over images)")
    accuracy_high: float = column("upper end of its 95 % interval (Wilson; of masks bootstrap over images)")
    change: float = column(
        "accuracy less that of the clean images", POINTS, role="outcome", ends=("change_low", "change_high")
    )
    change_low: float = column("lower end of its 95 % interval, paired over images", POINTS)
    change_high: float = column("upper end of its 95 % interval, paired over images", POINTS)
    nll: float = column("mean cross-entropy", "nat", title="NLL", role="outcome")
    chance: float = column(
        "accuracy of guessing: 1 / classes that the network chooses among; of masks that of always the commonest class",
        percent=True,
        role="convention",
    )
    p: float = column(
        "chance of such a change where there is none (McNemar, exact; of masks by exchanging images)", role="hidden"
    )
    p_holm: float = column(
        "p raised by Holm's rule for all conditions of the model; below 0.05 the change counts",
        title="p (Holm)",
        role="chance",
    )
    mean_iou: float | None = column(
        "of masks: mean over classes of intersection over union, whose pixels are added up over images",
        title="mean IoU",
        percent=True,
        role="outcome",
        ends=("mean_iou_low", "mean_iou_high"),
        optional=True,
    )
    mean_iou_low: float | None = column("lower end of its 95 % interval (bootstrap over images)", optional=True)
    mean_iou_high: float | None = column("upper end of its 95 % interval (bootstrap over images)", optional=True)
    mean_iou_change: float | None = column(
        "mean IoU less that of the clean images",
        POINTS,
        role="outcome",
        ends=("mean_iou_change_low", "mean_iou_change_high"),
        optional=True,
    )
    mean_iou_change_low: float | None = column(
        "lower end of its 95 % interval (bootstrap over images, each drawn with both)", POINTS, optional=True
    )
    mean_iou_change_high: float | None = column(
        "upper end of its 95 % interval (bootstrap over images, each drawn with both)", POINTS, optional=True
    )
    intact_low: float | None = column(
        "of masks: chance plus the lower end of the 95 % interval of what each clean image's accuracy is above the "
        "commonest class's share of it",
        role="hidden",
        optional=True,
    )


IOU_CHANGE = ("mean_iou_change", "mean_iou_change_low", "mean_iou_change_high")
MASKS_ALONE = ("mean_iou", "mean_iou_low", "mean_iou_high", *IOU_CHANGE, "intact_low")
"""The columns of a `ChangeRow` that a table without masks leaves out."""


@dataclasses.dataclass(frozen=True)
class ComparisonRow:
    """How much larger a number is of one model, or under one condition, than of another over the same images."""

    other: str = column("the model whose number is taken away; empty where the number is of one model, or of several")
    number: str = column("what they are compared in")
    difference: float | None = column("the first's less the other's", ends=("low", "high"))
    low: float | None = column("lower end of its 95 % interval, paired over images")
    high: float | None = column("upper end of its 95 % interval, paired over images")
    unit: str = column("of difference, low and high")
    p: float | None = column("chance of such a difference where there is none", role="hidden")
    p_holm: float | None = column(
        "p raised by Holm's rule for all comparisons of the table; of one model for its own",
        title="p (Holm)",
        role="chance",
    )
    images: int = column("images, or units of a rank correlation, that it rests on", role="count")
    note: str = column("why they are not compared, or empty")


def first_images(name: str, asked: int, available: int, kind: str = "image") -> int:
    """As many images as asked, or as there are.

    Args:
        name: of the diagnostic, for the error.
        asked: at least 1.
        available: in the sample.
        kind: what they are, for the error.

    Raises:
        DataError: when there are none.
    """
    if not available:
        raise DataError(f"{name}: needs at least one {kind}; the data have none")
    return min(asked, available)


def bits(right: "Tensor | Flags") -> str:
    """Flags as hexadecimal digits, the first flag foremost; the last digit is filled up with zeros.

    Args:
        right: (n,) of bool.
    """
    on_host: Any = right.cpu() if hasattr(right, "cpu") else right
    found = np.asarray(on_host, dtype=bool)
    return np.packbits(found).tobytes().hex()[: -(-len(found) // 4)]


def flags(text: str, images: int) -> "Flags":
    """The flags that `bits` wrote.

    Args:
        text: hexadecimal digits.
        images: how many flags.
    """
    packed = np.frombuffer(bytes.fromhex(text + "0" * (len(text) % 2)), dtype=np.uint8)
    return np.unpackbits(packed, count=images).astype(bool)


AFTER_PIXELS = "; by confidence:"
"""What may follow the counts in a column `right`, with what a diagnostic keeps beside them."""
_PIXELS, _CLASSES = "pixels of ", " classes:"
_SETS = 3  # of pixels: right, predicted as a class, of it


def pixel_text(counts: "Counts") -> str:
    """Counts of pixels as the column `right` holds them.

    Args:
        counts: (images, 3, classes).
    """
    content = base64.b64encode(counts.astype("<i4").tobytes()).decode("ascii")
    return f"{_PIXELS}{counts.shape[2]}{_CLASSES}{content}"


def pixel_counts(text: str) -> "Counts | None":
    """(images, 3, classes) the counts that `pixel_text` wrote; None for flags.

    Args:
        text: of the column `right`.
    """
    if not text.startswith(_PIXELS):
        return None
    classes, _, content = text.removeprefix(_PIXELS).partition(_CLASSES)
    read = np.frombuffer(base64.b64decode(content.partition(AFTER_PIXELS)[0]), dtype="<i4")
    return read.reshape(-1, _SETS, int(classes)).astype(np.int64)


def pixel_counts_of(rows: "Sequence[Mapping[str, Any]]") -> "Counts | None":
    """(n, 3, classes) the counts of several spans; None where they hold flags.

    Args:
        rows: of `OutcomeRow`'s kind, in the order of positions.
    """
    found = [counts for row in rows if (counts := pixel_counts(row["right"])) is not None]
    return np.concatenate(found) if found else None


def flags_of(rows: "Sequence[Mapping[str, Any]]", name: str = "right") -> "Flags":
    """(n,) the flags of several spans.

    Args:
        rows: of `OutcomeRow`'s kind, in the order of positions.
        name: the column that packs them.
    """
    return np.concatenate([flags(row[name], row["images"]) for row in rows])


def positions_of(rows: "Sequence[Mapping[str, Any]]") -> "NDArray[np.int64]":
    """(n,) the positions of the images of several spans.

    Args:
        rows: of `OutcomeRow`'s kind, in the order of positions.
    """
    return np.concatenate([np.arange(row["start"], row["start"] + row["images"]) for row in rows])
