"""Images that are changed before the network is asked again: the way to pixels and back, outcomes span by span."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.inputs import image_like
from visionscope.core.sample import SPAN, Batch, InputConfig
from visionscope.core.spans import span_of
from visionscope.core.subject import Subject
from visionscope.diagnostics.outcomes.damage import Damage
from visionscope.diagnostics.outcomes.passes import BATCH, Outcomes, batches, passes, predict, sample_text
from visionscope.errors import NotApplicableError

_COPIES = 64  # bytes per number of an image: 8 copies of 8 bytes


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The way between a model's images and pixels of [0, 1]: image = (pixel - mean) / std.

    Attributes:
        mean: (channel, 1, 1).
        std: (channel, 1, 1).
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, subject: Subject) -> "Pixels":
        """The normalisation of a subject, on its device and of its type.

        Args:
            subject: with its input.

        Raises:
            NotApplicableError: when it is unknown.
        """
        config = input_of(subject)
        like = image_like(subject.model, (len(config.mean), *config.size))
        mean, std = (torch.tensor(values, dtype=torch.float64).to(like) for values in (config.mean, config.std))
        return cls(mean[:, None, None], std[:, None, None])

    def of_images(self, images: Tensor) -> Tensor:
        """Pixels of [0, 1]; what rounding put beside it is taken back.

        Args:
            images: (batch, channel, height, width), normalised.
        """
        return (images * self.std + self.mean).clamp(0, 1)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Images as the model takes them.

        Args:
            pixels: (batch, channel, height, width) in [0, 1].
        """
        return (pixels - self.mean) / self.std


def input_of(subject: Subject) -> InputConfig:
    """Size and normalisation of a subject's images.

    Args:
        subject: any.

    Raises:
        NotApplicableError: when they are unknown.
    """
    if subject.input is None:
        raise NotApplicableError(f"{subject.label}: needs the size and normalisation of its images, which are unknown")
    return subject.input


def outcomes_of(
    subject: Subject,
    name: str,
    part: str,
    changed: Callable[[Batch], Iterable[Tensor]],
    *,
    span: tuple[int, int] | None = None,
    batch_size: int | None = None,
    channels_last: bool = True,
) -> list[dict[str, Any]]:
    """The columns of a `DamageRow` for each condition of a part; an image is read once for all of them.

    Args:
        subject: with its sample.
        name: of the sample.
        part: its name.
        changed: from a batch, its images under each condition, in the same order for every batch.
        span: the images of the part; by default those that its name says.
        batch_size: images at a time, where it matters to what is changed; the usual one by default.
        channels_last: the layout in memory, in which convolutions are faster, and round otherwise.
    """
    start, stop = span or span_of(part)
    found: list[Outcomes] = []
    # One context around all passes: autocast keeps its weights in bfloat16 instead of rounding them for each.
    with passes(subject):
        for batch in batches(subject, name, start, stop, batch_size):
            for place, images in enumerate(changed(batch)):
                # The first convolution hands the layout on to all others.
                layout = torch.channels_last if channels_last else torch.contiguous_format
                logits = predict(subject, images.contiguous(memory_format=layout))
                if place == len(found):
                    found.append(Outcomes(subject))
                found[place].add(logits, batch)
    return [
        {
            "part": part,
            "sample": sample_text(subject.samples[name]),
            "start": start,
            "images": stop - start,
            "right": one.right,
            "nll": float(one.nll.mean()),
            "classes": one.classes,
        }
        for one in found
    ]


def usual_cost(asked: Damage, subject: Subject, passes_per_image: float, advice: str) -> Cost:
    """Forward passes of the images of a span, and the memory of a batch with its changed copies.

    Args:
        asked: what is asked.
        subject: with its sample.
        passes_per_image: over all changes.
        advice: what makes it need less, besides fewer images.
    """
    sample = subject.samples[asked.sample]
    shown = next(sample.batches(0, 1, 1)).images
    return Cost(
        passes=passes_per_image * len(sample) / math.ceil(len(sample) / SPAN),
        memory=BATCH * _COPIES * shown.numel(),
        advice=f"take fewer images (--{asked.name}.sample_size, now {asked.sample_size}), {advice}",
    )
