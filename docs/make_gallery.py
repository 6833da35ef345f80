"""Remakes the pictures of docs/gallery.md: `python docs/make_gallery.py [DIAGNOSTIC ...]`.

Runs the commands of the page in a temporary folder and takes the figure of each, scaled down and with fewer colours.
"""

import re
import shlex
import sys
import tempfile
from pathlib import Path

from PIL import Image

from visionscope.cli import main as visionscope

DOCS = Path(__file__).parent
PAGE = DOCS / "gallery.md"
PICTURES = DOCS / "images" / "gallery"
SCALE = 0.6
MOST_BYTES = 60_000
SHOWN = {
    "corruption": 0.78,
    "receptive_field": 0.355,
    "compression": 0.45,
}  # height over width, without the contact sheet below


def commands() -> dict[str, list[str]]:
    """The arguments of the page's commands, by diagnostic."""
    texts = re.findall(r"^\$ visionscope ((?:[^\n]|(?<=\\)\n)*)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    found = [shlex.split(text.replace("\\\n", " ")) for text in texts]
    return {arguments[arguments.index("--only") + 1]: arguments for arguments in found}


def save(figure: Path, picture: Path) -> None:
    """Writes a figure as a small picture.

    Args:
        figure: PNG of a run.
        picture: PNG of the page.

    Raises:
        ValueError: when it would be larger than `MOST_BYTES`.
    """
    whole = Image.open(figure).convert("RGB")
    shown = round(SHOWN[picture.stem] * whole.width) if picture.stem in SHOWN else whole.height
    whole = whole.crop((0, 0, whole.width, shown))
    for most, colours in ((1200, 256), (1200, 64), (900, 64)):
        width = min(most, round(SCALE * whole.width))
        small = whole.resize((width, round(whole.height * width / whole.width)), Image.Resampling.LANCZOS)
        # The median cut would spend its colours on shades of white, and draw two networks alike.
        small.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(picture, optimize=True)
        if picture.stat().st_size < MOST_BYTES:
            return
    raise ValueError(f"{picture}: {picture.stat().st_size} bytes; at most {MOST_BYTES} are allowed")


def main(wanted: list[str]) -> None:
    """Runs the commands of some diagnostics, by default of all, and writes their pictures."""
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in commands().items():
            if wanted and name not in wanted:
                continue
            run = Path(folder) / name
            code = visionscope([*arguments[:-1], str(run)])
            if code:
                raise SystemExit(code)
            save(run / "figures" / f"{name}.png", PICTURES / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
