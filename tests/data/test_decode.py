import io

import numpy as np
import pytest
from PIL import Image

from visionscope.data.decode import decode, to_rgb
from visionscope.errors import DataError


def _ramp(mode: str) -> Image.Image:
    channels = {"L": 1, "RGBA": 4, "LA": 2, "CMYK": 4, "RGB": 3}[mode]
    pixels = (np.arange(6 * 5 * channels) * 7 % 256).astype(np.uint8)
    return Image.frombytes(mode, (6, 5), pixels.tobytes())


def _file(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_grey_is_repeated_in_three_channels() -> None:
    grey = _ramp("L")
    converted = np.asarray(decode(_file(grey, "PNG"), "grey.png"))
    assert converted.shape == (5, 6, 3)
    assert (converted == np.asarray(grey)[:, :, None]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_not_blended(mode: str) -> None:
    image = _ramp(mode)
    converted = np.asarray(decode(_file(image, "PNG"), "alpha.png"))
    assert (converted == np.asarray(image)[:, :, :-1]).all()


def test_cmyk_becomes_rgb_by_subtracting_inks() -> None:
    image = _ramp("CMYK")
    cyan, magenta, yellow, black = np.moveaxis(np.asarray(image).astype(float), 2, 0)
    expected = np.stack([(255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow)], axis=2)
    converted = np.asarray(decode(_file(image, "TIFF"), "inks.tif")).astype(float)
    assert np.abs(converted - expected).max() <= 1


def test_palette_and_transparent_palette_give_their_colours() -> None:
    colours = _ramp("RGB").quantize(8)
    expected = np.asarray(colours.convert("RGB"))
    assert (np.asarray(decode(_file(colours, "PNG"), "palette.png")) == expected).all()
    colours.info["transparency"] = bytes([0, 128, 255])
    file = io.BytesIO()
    colours.save(file, "PNG", transparency=bytes([0, 128, 255]))
    assert (np.asarray(decode(file.getvalue(), "palette.png")) == expected).all()


@pytest.mark.parametrize("kind", ["PNG", "PPM"])
def test_sixteen_bit_grey_is_scaled_instead_of_clipped(kind: str) -> None:
    values = np.array([[0, 257, 32768], [65535, 128, 129]], dtype=np.uint16)
    converted = np.asarray(decode(_file(Image.fromarray(values), kind), "deep"))
    expected = np.floor(values.astype(np.float64) * 255 / 65535 + 0.5)
    assert (converted == expected[:, :, None]).all()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("F", (4, 4), 0.5), "image x.tif has floating-point pixels"),
        (Image.new("I", (4, 4), 70000), "image x.tif has mode 'I' with values from 70000 to 70000; .* 0 to 65535"),
        (Image.new("I", (4, 4), -1), "values from -1 to -1"),
    ],
)
def test_pixels_without_a_defined_range_are_refused(image: Image.Image, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        to_rgb(image, "x.tif")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_named(kind: str) -> None:
    content = _file(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    with pytest.raises(DataError, match=r"image cat/3\.jpg can't be decoded: \S"):
        decode(content[: len(content) // 2], "cat/3.jpg")


def test_something_else_than_an_image_is_named() -> None:
    with pytest.raises(DataError, match=r"image notes\.jpg can't be decoded: not an image of a known format"):
        decode(b"shopping list", "notes.jpg")


def test_an_empty_file_is_named() -> None:
    with pytest.raises(DataError, match=r"image zero.jpg is empty \(0 bytes\)"):
        decode(b"", "zero.jpg")


def test_a_damaged_header_is_named_whatever_pillow_raises() -> None:
    content = bytearray(_file(_ramp("RGB"), "PNG"))
    refused = 0
    for place in range(8, len(content), 3):
        broken = content.copy()
        broken[place] ^= 0xFF
        message = _message(bytes(broken))
        refused += message != ""
        assert message == "" or ("image broken.png" in message and "\n" not in message)
    assert refused > 5


def _message(content: bytes) -> str:
    try:
        decode(content, "broken.png")
    except DataError as error:
        return str(error)
    return ""
