"""Draws docs/images/embedded.png, the contact sheet of the embedded data: `python docs/make_contact_sheet.py`."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from visionscope.data.embedded import CLASSES, draw, labels
from visionscope.data.shapes import SHAPES, TEXTURES

TILE = 96
GAP = 6
SPACE = 28
LEFT = 150
TOP = 74
COLUMNS = {"test": 7, "conflict": 4}
HEADINGS = {"test": "train, val, test: each shape with its own texture", "conflict": "conflict: another's texture"}
INK = (40, 44, 52)
PALE = (120, 126, 138)


def main() -> None:
    """Writes the picture next to this script."""
    step = TILE + GAP
    width = LEFT + sum(COLUMNS.values()) * step + SPACE + GAP
    sheet = Image.new("RGB", (width, TOP + CLASSES * (step + 8) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(size=19), ImageFont.load_default(size=14)
    for row in range(CLASSES):
        y = TOP + row * (step + 8)
        pen.text((16, y + 26), SHAPES[row], INK, font=large)
        pen.text((16, y + 52), TEXTURES[row], PALE, font=small)
    x = LEFT
    for split, columns in COLUMNS.items():
        pen.text((x, 22), HEADINGS[split], INK, font=large)
        for column in range(columns):
            for row in range(CLASSES):
                index = CLASSES * column * (7 if split == "conflict" else 1) + row
                place = (x + column * step, TOP + row * (step + 8))
                sheet.paste(_tile(split, index), place)
        x += columns * step + SPACE
    folder = Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    sheet.save(folder / "embedded.png", optimize=True)


def _tile(split: str, index: int) -> Image.Image:
    """One image, three times as large, with every pixel to be seen."""
    shape = labels(split, [index])[0][0]
    if shape != index % CLASSES:
        raise ValueError(f"image {index} of {split} shows shape {shape}, not that of its row")
    pixels = draw(split, [index], size=32)[0]
    return Image.fromarray(np.kron(pixels, np.ones((TILE // 32, TILE // 32, 1), dtype=np.uint8)))


if __name__ == "__main__":
    main()
