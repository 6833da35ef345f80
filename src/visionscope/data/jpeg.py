"""JPEG at a stated quality: the same images encoded and decoded again."""

import importlib.metadata
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def recompressed(pixels: Pixels, quality: int) -> Pixels:
    """Images as they come back from a JPEG file.

    Pillow's encoder (libjpeg's tables, colours at half resolution) and decoder, each image alone.

    Args:
        pixels: (batch, row, column, channel) in RGB.
        quality: 1 to 100.

    Returns:
        As `pixels`.
    """
    found = np.empty_like(pixels)
    for place, image in enumerate(pixels):
        stored = io.BytesIO()
        Image.fromarray(image).save(stored, "JPEG", quality=quality)
        found[place] = np.asarray(Image.open(stored).convert("RGB"))
    return found


def encoder() -> str:
    """What encodes, for tables."""
    return f"Pillow {importlib.metadata.version('pillow')}"
