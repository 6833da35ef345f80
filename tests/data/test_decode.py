import io
import resource
import struct
import warnings
import zlib
from contextlib import suppress

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


def _png_of(width: int, height: int, *chunks: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunk(b"zTXt", one) for one in chunks) + rest


def _claiming(kind: str, width: int, height: int) -> bytes:
    """A small file that declares a large image."""
    if kind == "png":
        return _png_of(width, height)
    if kind == "gif":
        return (
            b"GIF89a"
            + struct.pack("<HH", width, height)
            + b"\x80\0\0"
            + b"\0" * 6
            + b","
            + struct.pack("<HHHH", 0, 0, width, height)
            + b"\0\2\0;"
        )
    if kind == "bmp":
        return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 1, 1, 0, 0)
    if kind == "ppm":
        return f"P6 {width} {height} 255\n".encode()
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 8)]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + table + b"\0" * 4


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "ppm", "tiff"])
@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_000), (65_535, 1_400)])
def test_what_declares_more_pixels_than_memory_holds_is_refused_before(kind: str, size: tuple[int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(DataError, match=r"x\.img is too large: an image of at most 89,478,485 pixels"):
            decode(_claiming(kind, *size), "x.img")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_text_in_an_image_is_not_unpacked_without_bound() -> None:
    bomb = b"Comment\0\0" + zlib.compress(b"\0" * 200_000_000, 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"x\.png can't be decoded"):
        decode(_png_of(4, 4, bomb), "x.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_of_an_animation_of_a_million_frames_one_is_read() -> None:
    first = Image.new("RGB", (4, 4), "red")
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[Image.new("RGB", (4, 4), "blue")])
    content = file.getvalue()
    frame = content[content.rindex(b"\x21\xf9") : -1]
    assert np.asarray(decode(content[:-1] + frame * 100_000 + b";", "x.gif"))[0, 0, 0] > 200


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",  # Pillow starts Ghostscript
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0\0\0\x18ftypheic" + b"\0" * 100,
        b"8BPS\0\1" + b"\0" * 100,
        b"\0",
        b"x" * 1000,
    ],
)
def test_formats_that_are_none_of_photographs_are_unknown(content: bytes) -> None:
    with pytest.raises(DataError, match=r"x\.jpg can't be decoded: not an image of a known format"):
        decode(content, "x.jpg")


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_narrow_images_are_read(size: tuple[int, int]) -> None:
    assert decode(_file(Image.new("RGB", size), "PNG"), "x").size == size


def test_an_image_without_width_is_refused() -> None:
    for size in ((0, 4), (4, 0)):
        with pytest.raises(DataError, match="x can't be decoded"):
            decode(_png_of(*size), "x")


def test_broken_exif_harms_nothing() -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decode(file.getvalue(), "x").size == (4, 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_bytes_that_changed_give_an_image_or_one_line(kind: str) -> None:
    whole = _file(Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)), kind)
    draws = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(150):
            spoiled = bytearray(whole)
            for place in draws.integers(0, len(whole), 6):
                spoiled[place] = draws.integers(256)
            with suppress(DataError):
                decode(bytes(spoiled[: draws.integers(1, len(whole) + 1)]), "x")
