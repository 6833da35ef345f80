"""Masks go where their images go: images whose colour is their mask's class show it, pixel by pixel."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from visionscope.core.sample import IGNORED, InputConfig
from visionscope.data.draws import Augmentation
from visionscope.data.sample import Sample
from visionscope.data.share import share_of
from visionscope.errors import ConfigError, DataError
from visionscope.training.feed import Feed, load_images
from visionscope.training.images import Images, labels_of

# Nearest for images, too, so that no new colours come up; what is black in an image came from outside of it.
INPUT = InputConfig(size=(12, 12), mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="nearest", crop=0.75)
CROPS = {
    "none": None,
    "pad": Augmentation(crop="pad", padding=3),
    "centre": Augmentation(crop="centre"),
    "resized": Augmentation(crop="resized", area=(0.2, 1.0)),
}


class Coloured:
    """Images of random blocks, whose red is their class, and their masks; classes 1 to 250."""

    spec, split, classes = "coloured", "all", tuple(f"class {number}" for number in range(251))

    def __init__(self, count: int = 20, size: tuple[int, int] = (20, 16)) -> None:
        random = np.random.default_rng(0)
        self._values = random.integers(1, 251, (count, size[1] // 2, size[0] // 2)).repeat(2, 1).repeat(2, 2)

    def __len__(self) -> int:
        return len(self._values)

    def image(self, index: int) -> Image.Image:
        values = self._values[index].astype(np.uint8)
        return Image.fromarray(np.stack([values, values // 2, 255 - values], 2))

    def mask(self, index: int) -> Image.Image | None:
        return Image.fromarray(self._values[index].astype(np.uint8))

    def label(self, index: int) -> int | None:
        return None

    def name(self, index: int) -> str:
        return f"picture {index}"

    def content(self, index: int) -> bytes:
        return self.image(index).tobytes()


def shown(images: Tensor) -> Tensor:
    """The classes that images show; `IGNORED` where they are black."""
    red = (images[:, 0] * 255).round().long()
    return torch.where(images.abs().sum(1) == 0, IGNORED, red)


@pytest.mark.parametrize("crop", CROPS)
def test_the_masks_of_a_sample_follow_its_images(crop: str) -> None:
    sample = Sample(Coloured(), INPUT, images=None, augmentation=CROPS[crop])
    outside = 0
    for batch in sample.batches(batch_size=7):
        assert batch.labels is not None
        assert (batch.labels.dtype, batch.labels.shape[1:], batch.partners) == (torch.int64, (12, 12), None)
        assert torch.equal(batch.labels, shown(batch.images))
        outside += int((batch.labels == IGNORED).sum())
    assert (outside > 0) == (crop == "pad")


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("memory", [True, False])
def test_the_masks_of_a_training_follow_its_images(crop: str, memory: bool) -> None:
    source = Coloured()
    images = load_images(source, INPUT, CROPS[crop]) if memory else source
    assert isinstance(images, Images) == (memory and crop != "resized")
    assert labels_of(images).tolist() == [0] * 20
    feed = Feed(images, INPUT, CROPS[crop], batch_size=8, seed=3)
    seen = [feed.batch(step) for step in (0, 1, 7)]
    for batch in seen:
        assert batch.labels is not None
        assert batch.labels.dtype == torch.int64
        assert torch.equal(batch.labels, shown(batch.images))
    if crop != "none":
        assert not torch.equal(seen[0].images[0], seen[2].images[0])


def test_a_colour_is_followed_by_bicubic_images_on_the_whole() -> None:
    """The interpolation of the model's input is the images' alone; a mask shows what its bicubic image does.

    They differ along a class's border alone, where the image has colours between; less than by a shift of one pixel.
    """

    class Halves(Coloured):
        def __init__(self) -> None:
            super().__init__(size=(18, 18))
            rows, columns = np.mgrid[:18, :18]
            self._values = np.stack([np.where(columns * 2 + rows < 14 + index, 60, 180) for index in range(20)])

    smooth = InputConfig(size=(9, 9), mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="bicubic")
    batch = next(iter(Sample(Halves(), smooth, images=20).batches(batch_size=20)))
    masks = batch.labels
    assert masks is not None
    assert set(masks.unique().tolist()) == {60, 180}
    nearer = torch.where(shown(batch.images) < 120, 60, 180)
    assert (masks == nearer).float().mean() > 0.95
    for wrong in (nearer.flip(2), nearer.flip(1), *(nearer.roll(by, axis) for by in (-1, 1) for axis in (1, 2))):
        assert (masks == wrong).float().mean() < 0.95


def test_what_masks_cannot_follow_is_refused() -> None:
    for name, value in (("rand_augment", "rand-m9-n2"), ("erase", 0.2), ("mixup", 1.0), ("cutmix", 0.8)):
        drawn = Augmentation(**{name: value})
        reason = rf"{name}: masks follow crops and flips alone; got .*, take .* \(of the named augmentations: weak or"
        with pytest.raises(ConfigError, match=reason):
            Sample(Coloured(), INPUT, augmentation=drawn)
        with pytest.raises(ConfigError, match=reason):
            Feed(Coloured(), INPUT, drawn, batch_size=2, seed=0)


def test_a_mask_of_another_size_names_its_image() -> None:
    class Odd(Coloured):
        def mask(self, index: int) -> Image.Image | None:
            return Image.new("L", (20, 15))

    with pytest.raises(DataError, match=r"mask of picture \d+ has 20 x 15 pixels, its image 20 x 16; save both"):
        next(iter(Sample(Odd(), INPUT).batches()))
    with pytest.raises(DataError, match="mask of picture 0 has 20 x 15 pixels"):
        load_images(Odd(), INPUT)


def test_masks_of_other_classes_are_no_labels() -> None:
    class Other(Coloured):
        def mask(self, index: int) -> Image.Image | None:
            return None

    assert next(iter(Sample(Other(), INPUT).batches())).labels is None


def test_the_digest_holds_the_masks() -> None:
    class Changed(Coloured):
        def mask(self, index: int) -> Image.Image | None:
            mask = super().mask(index)
            assert mask is not None
            if index == 3:
                mask.putpixel((0, 0), 0)
            return mask

    first, other = Sample(Coloured(), INPUT), Sample(Changed(), INPUT)
    assert first.image_digest == other.image_digest
    assert first.digest != other.digest
    assert first.digest == Sample(Coloured(), INPUT).digest


def test_a_share_keeps_its_masks() -> None:
    share = share_of(Coloured(), 0.25, seed=1)
    batch = next(iter(Sample(share, INPUT).batches()))
    assert len(share) == 5
    assert batch.labels is not None
    assert torch.equal(batch.labels, shown(batch.images))
