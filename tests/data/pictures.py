"""Small images that the tests of this folder write to disk."""

import io

import numpy as np
from PIL import Image


def png(seed: int = 0, width: int = 20, height: int = 16) -> bytes:
    """A small image of random colours as a PNG file's bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def structs(count: int, first: int = 0) -> list[dict[str, bytes | str | None]]:
    """Image cells in the Hugging Face layout."""
    return [{"bytes": png(seed), "path": f"{seed}.png"} for seed in range(first, first + count)]
