"""The samples that a measuring diagnostic reads of a data spec."""

from collections.abc import Callable
from typing import Any

from visionscope.core.sample import InputConfig, SampleLike
from visionscope.data.augmentation import paper_augmentation
from visionscope.data.sample import Sample
from visionscope.data.sources import Source


def samples_of(
    diagnostic: Any,
    spec: str,
    opened: Callable[..., Source],
    input: InputConfig,
    *,
    num_classes: int | None,
    seed: int,
    augmentation: str,
) -> dict[str, Sample]:
    """The diagnostic's own sample, and those that it reads beside it, by name.

    A sample `calibration` is of the same source as the first one and has none of its images.

    Args:
        diagnostic: a measuring one.
        spec: of the data.
        opened: opens it; takes `default_split` and `num_classes` of `open_source`.
        input: size and normalisation that the model wants.
        num_classes: of the model's head, or None where unknown.
        seed: of the samples.
        augmentation: `strong`, `weak` or `none`, of training images.

    Raises:
        VisionscopeError: when the data can't be opened, or are nothing that the diagnostic can be asked of.
    """
    training = diagnostic.sample == "train"
    if hasattr(diagnostic, "source"):
        source = diagnostic.source(spec, num_classes)
    else:
        source = opened(default_split="train" if training else "test", num_classes=num_classes)
    drawn = paper_augmentation(augmentation, input) if training else None
    first = Sample(source, input, diagnostic.images(len(source)), seed, drawn)
    samples = {diagnostic.sample: first}
    for name in getattr(diagnostic, "beside", ()):
        if name == "calibration":
            count = diagnostic.images_beside(len(source))
            samples[name] = Sample(source, input, count, seed, skip=len(first))
        else:
            test = opened(default_split="test", num_classes=num_classes)
            samples[name] = Sample(test, input, diagnostic.images_beside(len(test)), seed)
    return samples


def classes_of(sample: SampleLike) -> int | None:
    """How many classes a sample's labels are of, or None where nothing tells.

    Args:
        sample: of a data spec, or of images that were handed in, whose largest label tells.
    """
    named = getattr(getattr(sample, "source", None), "classes", None)
    found: int | None = getattr(sample, "classes", None) if named is None else len(named)
    return found
