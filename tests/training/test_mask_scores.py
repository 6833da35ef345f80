"""Scores of masks against their slow twin."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reference.segmentation import slow_confusions, slow_mean_iou, slow_pixel_accuracy
from visionscope.core.logits import Readout
from visionscope.core.sample import IGNORED, Batch, InputConfig
from visionscope.errors import ConfigError, VisionscopeError
from visionscope.training.mask_scores import constant_accuracy, evaluate_masks

CLASSES = 5
READOUT = Readout(place=(), columns=CLASSES, dense=True)


class Given(nn.Module):
    """Images are their logits."""

    def forward(self, images: Tensor) -> Tensor:
        return images


def random(count: int = 9, side: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, CLASSES, side, side, generator=generator, dtype=torch.float64) * 3
    masks = torch.randint(CLASSES, (count, side, side), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.3] = IGNORED
    return logits, masks


def batches(logits: Tensor, masks: Tensor, size: int) -> Iterator[Batch]:
    for places in torch.arange(len(masks)).split(size):
        yield Batch(logits[places].float(), masks[places], places)


@pytest.mark.parametrize("size", [1, 4, 9])
def test_scores_are_those_of_the_slow_twin_whatever_the_batches(size: int) -> None:
    logits, masks = random()
    network = Given().train()
    found = evaluate_masks(network, batches(logits, masks, size), readout=READOUT)
    matrices = slow_confusions(logits.argmax(1), masks, CLASSES)
    losses = []
    for image, mask in zip(logits.numpy(), masks.numpy(), strict=True):
        of_pixels = [
            math.log(sum(math.exp(one) for one in image[:, row, column])) - image[mask[row, column], row, column]
            for row in range(6)
            for column in range(6)
            if mask[row, column] != IGNORED
        ]
        losses.append(sum(of_pixels) / len(of_pixels))
    assert found.images == 9
    assert found.mean_iou == pytest.approx(slow_mean_iou(matrices), abs=1e-12)
    assert found.pixel_accuracy == pytest.approx(slow_pixel_accuracy(matrices), abs=1e-12)
    assert found.nll == pytest.approx(sum(losses) / 9, rel=1e-6)
    assert network.training


def test_logits_of_a_quarter_of_the_size_are_enlarged() -> None:
    logits, masks = random(side=8)
    small = logits[:, :, ::4, ::4]
    large = torch.nn.functional.interpolate(small, (8, 8), mode="bilinear")

    class Quarter(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :, ::4, ::4]

    found = evaluate_masks(Quarter(), batches(logits, masks, 4), readout=READOUT)
    assert found.pixel_accuracy == pytest.approx(
        slow_pixel_accuracy(slow_confusions(large.argmax(1), masks, CLASSES)), abs=1e-12
    )


def test_two_processes_add_up_to_one() -> None:
    logits, masks = random()
    whole = evaluate_masks(Given(), batches(logits, masks, 4), readout=READOUT)
    sums: list[Tensor] = []

    def keep(one: Tensor) -> Tensor:
        sums.append(one)
        return one

    for half in (slice(0, 4), slice(4, 9)):
        evaluate_masks(Given(), batches(logits[half], masks[half], 3), readout=READOUT, reduce=keep)
    both = evaluate_masks(Given(), (), readout=READOUT, reduce=lambda none: sums[0] + sums[1])
    assert both == whole


def test_what_cannot_be_scored() -> None:
    logits, masks = random()
    logits[5, 0, 0, 0] = torch.nan
    masks[5, 0, 0] = 1
    with pytest.raises(VisionscopeError, match=r"the model: the NLL of image 5 is nan"):
        evaluate_masks(Given(), batches(logits, masks, 4), readout=READOUT)
    with pytest.raises(ConfigError, match="the model: there are no images to score it on"):
        evaluate_masks(Given(), (), readout=READOUT)


class Masked:
    spec, split, classes = "masked", "all", tuple("abcde")

    def __init__(self, masks: np.ndarray) -> None:
        self._masks = masks.astype(np.uint8)

    def __len__(self) -> int:
        return len(self._masks)

    def mask(self, index: int) -> Image.Image:
        return Image.fromarray(self._masks[index])


def input_of(side: int) -> InputConfig:
    return InputConfig(size=(side, side), mean=(0.5,) * 3, std=(0.5,) * 3, crop=1.0)


def test_one_class_everywhere() -> None:
    masks = random()[1].numpy()
    expected = max(np.mean([(mask == one).sum() / (mask != IGNORED).sum() for mask in masks]) for one in range(CLASSES))
    assert constant_accuracy(Masked(masks), input_of(6)) == pytest.approx(expected, abs=1e-12)


def test_one_class_everywhere_is_counted_on_masks_as_they_are_scored() -> None:
    """Of 64 x 32 pixels the middle 32 are scored, where the object has three quarters, and elsewhere nothing."""
    masks = np.zeros((3, 32, 64))
    masks[:, :, 20:44] = 1
    assert constant_accuracy(Masked(masks), input_of(32)) == 0.75


def test_one_image_is_enlarged_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logits of a batch of 512 x 512 pixels in 21 classes would take gigabytes."""
    sizes, enlarge = [], torch.nn.functional.interpolate

    def watched(logits: Tensor, *rest: object, **more: object) -> Tensor:
        sizes.append(len(logits))
        return enlarge(logits, *rest, **more)

    monkeypatch.setattr(torch.nn.functional, "interpolate", watched)
    logits, masks = random()

    class Half(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :, ::2, ::2]

    evaluate_masks(Half(), batches(logits, masks, 9), readout=READOUT)
    assert set(sizes) == {1}
