"""The same images and targets for every place of a landscape, and the loss of a network over them."""

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from visionscope.core.copying import copy_of
from visionscope.core.inputs import image_like, place_of
from visionscope.core.logits import of_pixels
from visionscope.core.objective import Objective, counting
from visionscope.core.sample import IGNORED, MASK_AXES, MINI_BATCH, Batch
from visionscope.core.subject import Subject

# Few images at a time stay in a CPU's cache; an accelerator wants many.
_LOADED_ON_CPU = 2 * MINI_BATCH
_LOADED_ELSEWHERE = 16 * MINI_BATCH
# Statistics of batches depend on the batches, so these are the same on every device.
_MEASURED = 4 * MINI_BATCH
_AT_ONCE = 2**24  # logits, resized to their masks


@dataclasses.dataclass(frozen=True)
class Loss:
    """What a network does on some images.

    Attributes:
        nll: mean cross-entropy in nats, as it comes: infinite or NaN, too.
        accuracy: share of images whose top class has the largest share of the target; of masks the mean over images of
            the share of their pixels.
    """

    nll: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class _Loaded:
    images: Tensor
    targets: Tensor
    wanted: Tensor
    counting: int


class Evaluation:
    """Images, as augmented, and their targets, as mixed, kept on the model's device.

    Attributes:
        images: how many; of masks, those with a pixel that counts.
    """

    def __init__(self, subject: Subject, sample: str, images: int, objective: Objective) -> None:
        """Loads them.

        Args:
            subject: its model tells device, type and number of classes.
            sample: which of its samples.
            images: how many of its first images.
            objective: makes the targets.

        Raises:
            DataError: for an image or a label that can't be used.
        """
        self._objective, self._readout = objective, subject.readout
        self._device = place_of(subject.model)
        size = _LOADED_ON_CPU if self._device.type == "cpu" else _LOADED_ELSEWHERE
        self._loaded: list[_Loaded] = []
        classes, like = 0, None
        for batch in subject.samples[sample].batches(0, images, size):
            like = image_like(subject.model, batch.images.shape[1:]) if like is None else like
            shown = batch.images.to(like).contiguous(memory_format=torch.channels_last)
            classes = classes or _classes(subject, shown)
            targets = objective.targets(batch, classes)
            targets = targets.to(like if targets.is_floating_point() else like.device)  # masks are indices
            self._loaded.append(_Loaded(shown, targets, _top_classes(batch).to(like.device), counting(batch)))
        self.images = sum(batch.counting for batch in self._loaded)

    def loss(self, network: nn.Module, *, bf16: bool, most: int | None = None) -> Loss:
        """Passes the images through a network; sums in float64, divided once.

        Args:
            network: in evaluation mode.
            bf16: whether autocast is on.
            most: how many of the first images, in whole loading batches; None for all.
        """
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        right = torch.zeros((), dtype=torch.float64, device=self._device)
        seen = 0
        with torch.inference_mode():
            for batch in self._loaded:
                if most is not None and seen >= most:
                    break
                with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16):
                    logits = self._readout.logits(network(batch.images))
                for some, targets, wanted in _pieces(logits, batch):
                    total += self._objective.nll(some, targets).double().sum()
                    right += _right(some, wanted).sum()
                seen += batch.counting
        return Loss(total.item() / seen, right.item() / seen)

    def bf16_error(self, network: nn.Module, most: int) -> float | None:
        """How far autocast is from the weights' own type, |bf16 - fp32| / fp32 of the mean NLL.

        Args:
            network: in evaluation mode.
            most: over how many of the first images.

        Returns:
            None where either is not finite.
        """
        low, full = (self.loss(network, bf16=bf16, most=most).nll for bf16 in (True, False))
        error = abs(low - full) / full if full else math.inf
        return error if math.isfinite(error) else None

    def batches(self) -> list[Tensor]:
        """The images, in the batches in which they are passed."""
        return [batch.images for batch in self._loaded]

    def equal_batches(self) -> tuple[Tensor, ...]:
        """The images in batches of 64 to 127, equal but for one image: those that statistics are measured over."""
        images = torch.cat(self.batches())
        return torch.tensor_split(images, max(1, len(images) // _MEASURED))


def _classes(subject: Subject, images: Tensor) -> int:
    with torch.inference_mode():
        return subject.readout.logits(copy_of(subject.model).eval()(images[:2])).shape[1]


def _pieces(logits: Tensor, batch: _Loaded) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Logits, targets and classes of a batch; of masks, to whose size logits are resized, of a few images each."""
    size = len(logits)
    if batch.wanted.ndim == MASK_AXES:
        size = max(1, _AT_ONCE // (logits.shape[1] * batch.wanted.shape[1:].numel()))
    pieces = torch.split(logits, size), torch.split(batch.targets, size), torch.split(batch.wanted, size)
    return zip(*pieces, strict=True)


def _right(logits: Tensor, wanted: Tensor) -> Tensor:
    """(batch,) 1 for a right image, else 0; of masks the share of its pixels. What has a NaN has no top class."""
    if wanted.ndim != MASK_AXES:
        return ((logits.argmax(1) == wanted) & ~logits.isnan().any(1)).double()
    resized, counts = of_pixels(logits, wanted), wanted != IGNORED
    right = (resized.argmax(1) == wanted) & ~resized.isnan().any(1) & counts
    return right.sum((1, 2)).double() / counts.sum((1, 2)).clamp_min(1)


def _top_classes(batch: Batch) -> Tensor:
    """The class of the larger share of each target: the image's own, or its partner's where that has more."""
    assert batch.labels is not None  # the targets were made from them
    if batch.shares is None or batch.partners is None:
        return batch.labels
    return torch.where(batch.shares >= 0.5, batch.labels, batch.partners)
