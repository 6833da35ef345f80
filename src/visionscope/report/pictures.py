"""The small images of a contact sheet as texts that pages can hold."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

from visionscope.core.figure import Picture

_LOSSLESS_BYTES = 300_000
"""Sheets up to this size are shown as they are."""
_QUALITY = 75


def picture_source(picture: Picture) -> str:
    """A small image as a text that pages can hold, without loss.

    Args:
        picture: one of a contact sheet.
    """
    return _source(picture.png, "png")


def sheet_sources(pictures: Sequence[Sequence[Picture]]) -> tuple[list[list[str]], bool]:
    """The images of a contact sheet, and whether they had to be compressed with loss to stay small together.

    Args:
        pictures: rows of images.
    """
    if sum(len(one.png) for row in pictures for one in row) <= _LOSSLESS_BYTES:
        return [[picture_source(one) for one in row] for row in pictures], False
    return [[_source(_lossy(one.png), "webp") for one in row] for row in pictures], True


def _source(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _lossy(png: bytes) -> bytes:
    stored = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(stored, "WEBP", quality=_QUALITY, method=6)
    return stored.getvalue()
