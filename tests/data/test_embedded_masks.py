import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from visionscope.data import embedded
from visionscope.data.digest import source_digest
from visionscope.data.embedded import draw, draw_with_masks, labels
from visionscope.data.embedded_masks import EmbeddedMaskSource
from visionscope.data.shapes import SHAPES
from visionscope.data.sources import has_masks, open_source
from visionscope.errors import DataError

# Of the masks of the first 40 images of each split at 32 pixels, and of 4 at another size.
SHA256 = {
    ("train", 40, 32): "d09b84a9f0546e15a34306fadde96408c51ff17d51eb2e550ce2abee3b9f4057",
    ("val", 40, 32): "6b6f9f030a21fbf3764a564b9ae4df799766e22df53bd63c3695f65a5dad9939",
    ("test", 40, 32): "3a3f7a17c34849d5101e3cb054d9c278d63483011c406eea6a97e99026dec780",
    ("conflict", 40, 32): "d99f2c694e99df292c163d2e07ce27e51289254a2c4027e90770edb8c019977c",
    ("test", 4, 224): "68d29a166b1b6cabaa75009c873fde8b5da7fac707937bad4642aefef5418099",
}


@pytest.mark.parametrize(("split", "count", "size"), SHA256)
def test_the_bytes_of_masks_are_the_same_everywhere(split: str, count: int, size: int) -> None:
    images, masks = draw_with_masks(split, range(count), size=size)
    assert (images == draw(split, range(count), size=size)).all()
    assert (masks.dtype, masks.shape) == (np.uint8, (count, size, size))
    assert hashlib.sha256(masks.tobytes()).hexdigest() == SHA256[split, count, size]


@pytest.mark.parametrize("split", ["train", "conflict"])
def test_a_mask_holds_the_shape_and_nothing_else(split: str) -> None:
    masks = draw_with_masks(split, range(60), size=32)[1]
    for mask, shape in zip(masks, labels(split, range(60))[0], strict=True):
        assert set(np.unique(mask)) == {0, 1 + shape}
        assert 0.02 < (mask > 0).mean() < 0.6


def test_a_pixel_is_of_what_covers_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four bars lie behind the shape and one in front: as they are painted, so they count."""
    painted: list[NDArray[np.float64]] = []
    blend = embedded._blend

    def recorded(canvas: NDArray[np.float64], cover: NDArray[np.float64], colour: NDArray[np.float64]) -> None:
        painted.append(cover)
        blend(canvas, cover, colour)

    monkeypatch.setattr(embedded, "_blend", recorded)
    masks = draw_with_masks("test", range(32), size=24)[1]
    *_, shape, front = painted
    hidden = 0
    for image in range(32):
        for row in range(24):
            for column in range(24):
                inside, before = shape[image, row, column] >= 0.5, front[image, row, column] >= 0.5
                hidden += inside and before
                assert (masks[image, row, column] > 0) == (inside and not before)
    assert len(painted) == 6
    assert hidden > 10  # the bars in front matter


def test_a_pixels_class_is_that_of_its_centre_at_any_size() -> None:
    """The centres of 20 x 20 pixels are those of every third of 60 x 60."""
    small, large = (draw_with_masks("val", range(20), size=size)[1] for size in (20, 60))
    assert (large[:, 1::3, 1::3] != small).mean() < 1e-4  # a centre on an edge, but for rounding
    assert (large[:, ::3, ::3] != small).mean() > 0.01


def test_the_source_gives_the_images_of_embedded_and_their_masks() -> None:
    source, plain = open_source("embedded-masks:conflict", size=20), open_source("embedded:conflict", size=20)
    assert isinstance(source, EmbeddedMaskSource)
    assert has_masks(source)
    assert not has_masks(plain)
    assert source.classes == ("background", *SHAPES)
    assert (len(source), source.split, source.label(137)) == (2000, "conflict", None)
    assert source.content(137) == plain.content(137)
    mask = source.mask(137)
    assert mask is not None
    assert (np.asarray(mask) == draw_with_masks("conflict", [137], size=20)[1][0]).all()
    assert (np.asarray(mask) == np.asarray(open_source("embedded-masks:conflict", size=20).mask(137))).all()


def test_masks_are_for_models_of_eleven_classes() -> None:
    assert open_source("embedded-masks", num_classes=11).mask(3) is not None
    assert open_source("embedded-masks", num_classes=10).mask(3) is None


def test_what_is_kept_of_masks_is_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionscope.data.embedded_masks._CACHE_BYTES", 3 * 10 * 10)
    source = EmbeddedMaskSource("embedded-masks", "test", size=10, seed=5)
    drawn = draw_with_masks("test", range(6), size=10, seed=5)
    for _ in range(2):
        assert (source.arrays(range(6)) == drawn[0]).all()
        for index in range(6):
            assert (np.asarray(source.mask(index)) == drawn[1][index]).all()
    assert len(source._masks) == 3


def test_a_mask_is_a_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmbeddedMaskSource, "__len__", lambda self: 12)
    first = source_digest(open_source("embedded-masks", size=8))
    assert first == source_digest(open_source("embedded-masks", size=8))
    assert first != source_digest(open_source("embedded-masks", size=8, num_classes=3))
    held = EmbeddedMaskSource.mask

    def other(self: EmbeddedMaskSource, index: int) -> object:
        mask = held(self, index)
        if index == 7 and mask is not None:
            mask.putpixel((0, 0), 4)
        return mask

    monkeypatch.setattr(EmbeddedMaskSource, "mask", other)
    assert first != source_digest(open_source("embedded-masks", size=8))


def test_a_wrong_split_of_masks() -> None:
    with pytest.raises(DataError, match=r"embedded data has no split 'tests', only: train, .* Did you mean 'test'\?"):
        open_source("embedded-masks:tests")
