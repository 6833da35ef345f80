"""From an image file's bytes to 8-bit RGB pixels, and the one place where a broken image gets its name."""

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from visionscope.core.files import read_regular
from visionscope.core.sample import IGNORED
from visionscope.errors import DataError

MOST_BYTES = 2**29  # of an image file
MOST_PIXELS = 89_478_485  # of an image: Pillow's own measure, a quarter of a GiB in RGB
_SIXTEEN_BIT = 65535
_GREY = 0  # PNG's colour type
_STRETCHED = {2: 85, 4: 17}  # grey of so many bits: the factor by which Pillow brings it to 0 to 255
# Not all that Pillow knows: for some formats it starts other programs.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def read_image(path: Path, name: str, what: str = "image") -> bytes:
    """The bytes of an image file.

    Args:
        path: of the file.
        name: file or row, for the error.
        what: that the error calls it: `image` or `mask`.

    Raises:
        DataError: when it can't be read, is a pipe or a device, or has more than `MOST_BYTES` bytes.
    """
    try:
        return read_regular(path, MOST_BYTES)
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        raise DataError(f"{what} {name} can't be read: {getattr(error, 'strerror', None) or error}") from error


def decode(content: bytes, name: str) -> Image.Image:
    """Decodes an image file and converts it with `to_rgb`.

    Args:
        content: the file's bytes: JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 or AVIF; of an animation the first
            frame counts.
        name: file or row, for the error.

    Raises:
        DataError: when the image is empty, corrupt, truncated, declares more than `MOST_PIXELS` pixels, or has no
            defined range of values.
    """
    return to_rgb(_opened(content, f"image {name}"), name)


def decode_mask(content: bytes, name: str) -> Image.Image:
    """Decodes a mask: an image whose values are class numbers, 0 to 254, or 255 for pixels that don't count.

    Of a palette the numbers count, not the colours.

    Args:
        content: a PNG file's bytes.
        name: file or row, for the error.

    Returns:
        8-bit grey, the class number of every pixel.

    Raises:
        DataError: when it is empty, corrupt, no PNG, too large, in colour, or has a value above 255.
    """
    image = _opened(content, f"mask {name}", formats=("PNG",))
    if image.mode in ("L", "P", "1"):
        values = np.asarray(image).astype(np.uint8)
        depth, colour = content[24:26]  # of the header
        return Image.fromarray(values // _STRETCHED.get(depth, 1) if colour == _GREY else values)
    if not image.mode.startswith("I"):
        raise DataError(
            f"mask {name} has colours (mode {image.mode!r}); it must hold class numbers, as a grey or palette PNG does"
        )
    values = np.asarray(image)
    if values.max() > IGNORED:
        raise DataError(f"mask {name} has the value {values.max()}; it must be 0 to 254, or 255 for what doesn't count")
    return Image.fromarray(values.astype(np.uint8))


def _opened(content: bytes, named: str, formats: tuple[str, ...] | None = None) -> Image.Image:
    """The image as Pillow reads it, in its own mode; `named` says what it is and which."""
    if not content:
        raise DataError(f"{named} is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(content), formats=formats or _formats())
        # Before a byte of it is decoded: a few declare what no memory holds.
        too_large = image.width * image.height > MOST_PIXELS
        if not too_large:
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        too_large = True
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more on broken files.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"not a {formats[0]}" if formats else "not an image of a known format"
        raise DataError(f"{named} can't be decoded: {reason}") from error
    if too_large:
        raise DataError(f"{named} is too large: an image of at most {MOST_PIXELS:,} pixels is decoded; shrink it")
    if not image.width or not image.height:
        raise DataError(f"{named} can't be decoded: it is {image.width} pixels wide and {image.height} high")
    return image


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Converts an image of any Pillow mode to 8-bit RGB, as timm's and torchvision's loaders do where they can.

    - grey (`L`, `1`): the value in all three channels;
    - palette: its colours; `RGBA`, `LA`, `PA` and transparent palettes: the alpha channel is dropped;
    - `CMYK`, `YCbCr`, `LAB`, `HSV`: Pillow's conversion, without colour profiles;
    - 16-bit grey (`I;16` and, as Pillow opens 16-bit PGM, `I`): scaled by 255/65535 and rounded. Here we deviate from
      timm, whose conversion clips every value above 255 to white; 16-bit colour is cut to 8 bits by Pillow itself;
    - the EXIF orientation is not applied.

    Args:
        image: a decoded image.
        name: file or row, for the error.

    Raises:
        DataError: for floating-point pixels and for integers outside 0 to 65535, whose range nothing defines.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > _SIXTEEN_BIT:
            raise DataError(
                f"image {name} has mode {image.mode!r} with values from {values.min()} to {values.max()}; "
                f"integer pixels must lie in 0 to {_SIXTEEN_BIT}"
            )
        return Image.fromarray(((values * 255 + _SIXTEEN_BIT // 2) // _SIXTEEN_BIT).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError(
            f"image {name} has floating-point pixels (mode 'F'), whose range nothing defines; save it as 8-bit"
        )
    if image.mode == "P" and "transparency" in image.info:
        # Straight to RGB, Pillow warns about transparency given as bytes.
        image = image.convert("RGBA")
    return image.convert("RGB")


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)
