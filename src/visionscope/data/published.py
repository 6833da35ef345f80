"""The two loss landscapes that Park & Kim published as numbers, on CIFAR-100."""

from __future__ import annotations

import csv
import dataclasses
from importlib.resources import files

from visionscope.errors import ConfigError, nearest

_FILES = {"ResNet-50": "resnet_50_landscape.csv", "ViT-Ti": "vit_ti_landscape.csv"}
LANDSCAPES = tuple(_FILES)
IMAGES = 4992
"""Images behind each number: all published accuracies are multiples of 1 / 4992, which is 52 batches of 96."""
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1


@dataclasses.dataclass(frozen=True)
class PublishedPlace:
    """One place of a published landscape.

    Attributes:
        x: step along the first direction.
        y: step along the second direction.
        nll: mean cross-entropy in nats, with Mixup; infinite at 31 places of ResNet-50.
        norms: sum over tensors of |w|, not squared.
        accuracy: share of images whose top class has the largest share of the target.
    """

    x: float
    y: float
    nll: float
    norms: float
    accuracy: float


def published_places(name: str) -> tuple[PublishedPlace, ...]:
    """The 21 x 21 places of a published landscape, row by row.

    From the authors' repository (github.com/xxxnell/how-do-vits-work, resources/results, Apache-2.0). They normalized
    across filters, moved buffers of two or more dimensions along, and drew augmentation and Mixup anew at every place.

    Args:
        name: from `LANDSCAPES`.

    Raises:
        ConfigError: for another name.
    """
    if name not in _FILES:
        raise ConfigError(f"published landscape: must be {' or '.join(_FILES)}; got {name!r}.{nearest(name, _FILES)}")
    text = (files("visionscope.data") / "published" / _FILES[name]).read_text(encoding="utf-8")
    return tuple(
        PublishedPlace(
            x=float(row["x"]),
            y=float(row["y"]),
            nll=float(row["NLL"]),
            norms=float(row["l2"]),
            accuracy=float(row["Acc"]),
        )
        for row in csv.DictReader(text.splitlines())
    )
