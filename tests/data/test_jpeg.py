"""JPEG of a stated quality: what Pillow writes and reads, worse with every step down."""

import io

import numpy as np
from PIL import Image

from visionscope.data.jpeg import encoder, recompressed


def photographs(count=3):
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((32, 24), Image.Resampling.BICUBIC)) for one in smooth])


def test_each_image_is_written_and_read_alone():
    pixels = photographs()
    kept = pixels.copy()
    found = recompressed(pixels, 30)
    np.testing.assert_array_equal(pixels, kept)
    for image, own in zip(pixels, found, strict=True):
        stored = io.BytesIO()
        Image.fromarray(image).save(stored, format="JPEG", quality=30)
        stored.seek(0)
        np.testing.assert_array_equal(np.array(Image.open(stored)), own)
    np.testing.assert_array_equal(recompressed(pixels[1:2], 30)[0], found[1])


def test_every_step_down_is_further_from_the_image():
    pixels = photographs()
    errors = [
        np.abs(recompressed(pixels, quality).astype(int) - pixels).mean() for quality in (100, 95, 75, 50, 30, 10)
    ]
    assert errors == sorted(errors)
    assert errors[-1] > 1.5 * errors[0] > 0
    grey = np.full((1, 16, 16, 3), 128, np.uint8)
    np.testing.assert_array_equal(recompressed(grey, 50), grey)
    assert encoder().startswith("Pillow ")
