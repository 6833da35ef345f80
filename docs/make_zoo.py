"""Makes docs/replication/zoo of run folders: `python docs/make_zoo.py NAME=RUN ...`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image

OUT = Path(__file__).parent / "replication" / "zoo"
WIDTH = 900


def main() -> None:
    """Copies what run folders have."""
    shutil.rmtree(OUT, ignore_errors=True)
    for text in sys.argv[1:]:
        name, _, run = text.partition("=")
        (OUT / name / "tables").mkdir(parents=True)
        for path in sorted((Path(run) / "tables").glob("*.*")):
            shutil.copyfile(path, OUT / name / "tables" / path.name)
        for path in sorted((Path(run) / "figures").glob("figure_*.png")):
            with Image.open(path) as image:
                size = (WIDTH, round(image.height * WIDTH / image.width))
                small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
            small.quantize(64).save(OUT / name / path.name, optimize=True)


if __name__ == "__main__":
    main()
