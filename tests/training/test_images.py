"""Images in memory, and their shifts and mirror images."""

import pytest
import torch

from visionscope.core.types import InputConfig
from visionscope.data.embedded import draw, labels
from visionscope.data.sources import open_source
from visionscope.errors import DataError
from visionscope.training.images import crop_and_flip, decode, normalise

CONFIG = InputConfig(size=(32, 32), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))


def test_decoded_images_are_the_sources_own_with_their_labels() -> None:
    images = decode(open_source("embedded:val"), CONFIG, seed=3)
    drawn = torch.from_numpy(draw("val", range(1000))).permute(0, 3, 1, 2)
    truth = torch.from_numpy(labels("val", range(1000))[0])
    assert images.pixels.dtype == torch.uint8
    assert len(images) == 1000
    # Which image is where is the seed's business: compare as sets of (pixels, label).
    key = [
        (bytes(pixels.numpy().tobytes()), int(label))
        for pixels, label in zip(images.pixels, images.labels, strict=True)
    ]
    wanted = [(bytes(p.contiguous().numpy().tobytes()), int(label)) for p, label in zip(drawn, truth, strict=True)]
    assert sorted(key) == sorted(wanted)
    assert key != wanted


def test_images_without_labels_are_refused() -> None:
    source = open_source("embedded:val", num_classes=7)
    with pytest.raises(DataError, match="data 'embedded:val' has images without a label that the model knows"):
        decode(source, CONFIG)


def test_shifts_and_mirror_images_are_those_of_a_loop() -> None:
    pixels = torch.randint(256, (40, 3, 16, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    changed = crop_and_flip(pixels, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    down = torch.randint(-2, 3, (40, 1), generator=generator)
    right = torch.randint(-3, 4, (40, 1), generator=generator)
    mirrored = torch.randint(2, (40, 1), generator=generator)
    for index in range(40):
        padded = torch.nn.functional.pad(pixels[index].float(), (3, 3, 2, 2), mode="replicate").byte()
        top, left = 2 + int(down[index]), 3 + int(right[index])
        expected = padded[:, top : top + 16, left : left + 24]
        if mirrored[index]:
            expected = expected.flip(2)
        assert torch.equal(changed[index], expected)
    assert 10 < int(mirrored.sum()) < 30
    assert (int(down.min()), int(down.max()), int(right.min()), int(right.max())) == (-2, 2, -3, 3)


def test_normalised_pixels_follow_their_formula() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = torch.tensor([(0 - 0.1) / 0.5, (0.2 - 0.2) / 1.0, (1 - 0.3) / 2.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(normalise(pixels, CONFIG), expected)
