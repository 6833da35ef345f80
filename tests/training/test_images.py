"""Images in memory, and their shifts and mirror images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from visionscope.core.sample import InputConfig
from visionscope.data.embedded import draw, labels
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.errors import DataError
from visionscope.training.images import Images, crop_and_flip, decode, labels_of, normalise, reader

CONFIG = InputConfig(size=(32, 32), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))


def test_decoded_images_are_the_sources_own_with_their_labels_in_their_order() -> None:
    images = decode(open_source("embedded:val"), CONFIG)
    assert images.pixels.dtype == torch.uint8
    assert torch.equal(images.pixels, torch.from_numpy(draw("val", range(1000))).permute(0, 3, 1, 2))
    assert torch.equal(images.labels, torch.from_numpy(labels("val", range(1000))[0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_decoded_images_are_those_of_evaluation(tmp_path: Path, channels: int) -> None:
    random = np.random.default_rng(0)
    for index, shape in enumerate([(40, 30, 3), (20, 50, 3), (24, 24, 3)]):
        folder = tmp_path / f"class{index}"
        folder.mkdir()
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / "one.png")
    source = open_source(str(tmp_path))
    config = InputConfig(size=(24, 20), mean=(0.0,) * channels, std=(1.0,) * channels, crop=0.8)
    images = decode(source, config)
    (batch,) = Sample(source, config, images=None).batches()
    for place, index in enumerate(Sample(source, config).indices.tolist()):
        assert torch.equal(images.pixels[index].float() / 255, batch.images[place])
        shown = reader(images)(index, functional.pil_to_tensor)
        assert torch.equal(shown, images.pixels[index])


def test_images_without_labels_are_refused() -> None:
    source = open_source("embedded:val", num_classes=7)
    with pytest.raises(DataError, match="data 'embedded:val' has images without a label that the model knows"):
        decode(source, CONFIG)


def test_an_image_that_can_t_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "class" / "good.png")
    (tmp_path / "class" / "torn.png").write_bytes((tmp_path / "class" / "good.png").read_bytes()[:40])
    source = open_source(str(tmp_path))
    assert labels_of(source).tolist() == [0, 0]
    with pytest.raises(DataError, match=r"torn\.png can't be decoded"):
        decode(source, CONFIG)


def test_what_fails_in_a_transform_names_its_image() -> None:
    def fail(image: Image.Image) -> torch.Tensor:
        raise ZeroDivisionError("no area")

    with pytest.raises(DataError, match=r"image embedded val image 3 \(32 x 32\) can't be brought to .*: no area"):
        reader(open_source("embedded:val"))(3, fail)


@pytest.mark.parametrize(("height", "width", "padding", "channels"), [(16, 24, 3, 3), (9, 7, 0, 1), (8, 8, 12, 3)])
def test_shifts_and_mirror_images_are_torchvision_s_with_a_black_border(
    height: int, width: int, padding: int, channels: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (40, channels, height, width), dtype=torch.uint8, generator=generator)
    tops, lefts = torch.randint(2 * padding + 1, (2, 40), generator=generator)
    mirrored = torch.rand(40, generator=generator) < 0.5
    changed = crop_and_flip(pixels, tops, lefts, mirrored, padding)
    assert changed.dtype == torch.uint8
    for index in range(40):
        # The steps of RandomCrop(size, padding) and RandomHorizontalFlip, on Pillow's images as on CIFAR.
        image = functional.pad(functional.to_pil_image(pixels[index]), [padding])
        image = functional.crop(image, int(tops[index]), int(lefts[index]), height, width)
        image = functional.hflip(image) if mirrored[index] else image
        assert torch.equal(changed[index], functional.pil_to_tensor(image))
    assert 10 < int(mirrored.sum()) < 30


def test_normalised_pixels_follow_their_formula_and_leave_the_bytes() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = torch.tensor([(0 - 0.1) / 0.5, (0.2 - 0.2) / 1.0, (1 - 0.3) / 2.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(normalise(pixels, CONFIG), expected)
    assert pixels.flatten().tolist() == [0, 51, 255]


def test_images_count_themselves() -> None:
    assert len(Images(pixels=torch.zeros(3, 1, 2, 2, dtype=torch.uint8), labels=torch.zeros(3, dtype=torch.long))) == 3
