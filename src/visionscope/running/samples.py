"""The samples that diagnostics read: of a data spec, or of images that were handed in."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from visionscope.core.sample import IGNORED, MASK_AXES, Batch, InputConfig, SampleLike
from visionscope.data.augmentation import paper_augmentation
from visionscope.data.draws import STRENGTHS, Augmentation, check_follows
from visionscope.data.sample import Sample
from visionscope.data.share import share_of
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError, NotApplicableError
from visionscope.running.study import Study

_AS_GIVEN = "as given"


class Images(Protocol):
    """Where a model's samples come from."""

    augmentation: str
    """What was done to training images: `strong`, `weak`, `none`, or `as given` where that is not known."""

    def shape(self, wanted: InputConfig) -> tuple[int, int, int]:
        """Channels, height and width of the images of a model that wants them so."""

    def input(self, wanted: InputConfig) -> InputConfig | None:
        """Size and normalisation of the same images; None where they are unknown."""

    def observed(self, wanted: InputConfig) -> SampleLike:
        """The sample whose feature maps are looked at."""

    def measured(self, diagnostic: Any, wanted: InputConfig, num_classes: int | None) -> Mapping[str, SampleLike]:
        """A measuring diagnostic's own sample, and those that it reads beside it, by name.

        A sample `calibration` is of the same images as the first one and has none of those in it.

        Args:
            diagnostic: a measuring one.
            wanted: size and normalisation that the model wants.
            num_classes: of the model's head, or None where unknown.

        Raises:
            VisionscopeError: when the data can't be opened, or are nothing that the diagnostic can be asked of.
        """


class SpecImages:
    """The `Images` of a data spec, opened when they are first asked for.

    Args:
        spec: of the data.
        study: tells how many images are looked at, the seed and the augmentation.
    """

    def __init__(self, spec: str, study: Study) -> None:
        self.open = functools.cache(functools.partial(open_source, spec))
        self.augmentation = study.augmentation
        self._spec, self._study = spec, study

    def shape(self, wanted: InputConfig) -> tuple[int, int, int]:
        return (len(wanted.mean), *wanted.size)

    def input(self, wanted: InputConfig) -> InputConfig:
        return wanted

    def observed(self, wanted: InputConfig) -> Sample:
        return Sample(self.open(), wanted, self._study.images, self._study.seed)

    def measured(self, diagnostic: Any, wanted: InputConfig, num_classes: int | None) -> dict[str, Sample]:
        training, seed = diagnostic.sample == "train", self._study.seed
        if hasattr(diagnostic, "source"):
            source = diagnostic.source(self._spec, num_classes)
        else:
            source = self.open(default_split="train" if training else "test", num_classes=num_classes)
            if training and self._study.fraction < 1:
                source = share_of(source, self._study.fraction, self._study.fraction_seed)
        drawn = paper_augmentation(self.augmentation, wanted) if training else None
        if drawn is not None and hasattr(source, "mask"):
            _check_masks_follow(drawn, self.augmentation, diagnostic.name)
        first = Sample(source, wanted, diagnostic.images(len(source)), seed, drawn)
        samples = {diagnostic.sample: first}
        for name in getattr(diagnostic, "beside", ()):
            if name == "calibration":
                count = diagnostic.images_beside(len(source))
                samples[name] = Sample(source, wanted, count, seed, skip=len(first))
            else:
                test = self.open(default_split="test", num_classes=num_classes)
                samples[name] = Sample(test, wanted, diagnostic.images_beside(len(test)), seed)
        return samples


def _check_masks_follow(drawn: Augmentation, strength: str, name: str) -> None:
    """Leaves out what asks of training images, and that alone, where masks can't follow their augmentation."""
    try:
        check_follows(drawn)
    except ConfigError as error:
        raise NotApplicableError(
            f"{name} is of training images, and their masks can't follow the augmentation {strength!r}; take "
            "--augmentation weak or none (augmentation= in Python)"
        ) from error


class HandedImages:
    """The `Images` that a notebook handed in.

    Args:
        images: normalised images (n, c, h, w), or a sample.
        labels: class indices or masks of a tensor of images, or None.
        input: how they were normalised, or None where that is unknown.
    """

    def __init__(self, images: Tensor | SampleLike, labels: Tensor | None, input: InputConfig | None) -> None:
        self._input = input
        self._sample: SampleLike = _Given(images, labels) if isinstance(images, Tensor) else images
        recipes = {name: paper_augmentation(name, images.input) for name in STRENGTHS if isinstance(images, Sample)}
        known = (name for name, recipe in recipes.items() if recipe == getattr(images, "augmentation", None))
        self.augmentation = next(known, _AS_GIVEN)

    def shape(self, wanted: InputConfig) -> tuple[int, int, int]:
        channels, height, width = next(iter(self._sample.batches(0, 1, 1))).images.shape[1:]
        return channels, height, width

    def input(self, wanted: InputConfig) -> InputConfig | None:
        return None if self._input is None else dataclasses.replace(self._input, size=self.shape(wanted)[1:])

    def observed(self, wanted: InputConfig) -> SampleLike:
        return self._sample

    def measured(self, diagnostic: Any, wanted: InputConfig, num_classes: int | None) -> dict[str, SampleLike]:
        available = len(self._sample)
        count = diagnostic.images(available)
        samples: dict[str, SampleLike] = {diagnostic.sample: _Slice(self._sample, 0, count)}
        for name in getattr(diagnostic, "beside", ()):
            if name != "calibration":
                raise ConfigError(f"images: {diagnostic.name} reads two splits; name a data spec such as 'embedded'")
            samples[name] = _Slice(self._sample, count, diagnostic.images_beside(available))
        return samples


def classes_of(sample: SampleLike) -> int | None:
    """How many classes a sample's labels are of, or None where nothing tells.

    Args:
        sample: of a data spec, or of images that were handed in, whose largest label tells.
    """
    named = getattr(getattr(sample, "source", None), "classes", None)
    found: int | None = getattr(sample, "classes", None) if named is None else len(named)
    return found


@dataclasses.dataclass(frozen=True)
class _Given:
    """A tensor of normalised images as a sample."""

    images: Tensor
    labels: Tensor | None

    def __post_init__(self) -> None:
        if self.images.is_inference():  # autograd refuses what was made in inference mode
            with torch.inference_mode(False):
                object.__setattr__(self, "images", self.images.clone())

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.images.detach().cpu().contiguous().numpy().tobytes()).hexdigest()

    @property
    def classes(self) -> int | None:
        if self.labels is None:
            return None
        # A mask may tell of no pixel at all.
        counted = self.labels[self.labels != IGNORED] if self.labels.ndim == MASK_AXES else self.labels
        return int(counted.max()) + 1 if len(counted) else None

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for first in range(start, min(stop, len(self)), batch_size):
            last = min(first + batch_size, stop, len(self))
            labels = None if self.labels is None else self.labels[first:last]
            yield Batch(self.images[first:last], labels, torch.arange(first, last))


@dataclasses.dataclass(frozen=True)
class _Slice:
    """Some neighbouring images of a sample."""

    sample: SampleLike
    first: int
    count: int

    @property
    def digest(self) -> str:
        return f"{self.sample.digest} {self.first} {self.count}"

    @property
    def classes(self) -> int | None:
        return classes_of(self.sample)

    def __len__(self) -> int:
        return self.count

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for batch in self.sample.batches(self.first + start, self.first + stop, batch_size):
            yield dataclasses.replace(batch, positions=batch.positions - self.first)
