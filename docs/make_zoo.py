"""Makes docs/replication/zoo of run folders: `python docs/make_zoo.py NAME=RUN ...`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from make_replication import HERE, shrink

OUT = HERE / "zoo"


def main() -> None:
    """Copies what run folders have."""
    shutil.rmtree(OUT, ignore_errors=True)
    for text in sys.argv[1:]:
        name, _, run = text.partition("=")
        (OUT / name / "tables").mkdir(parents=True)
        for path in sorted((Path(run) / "tables").glob("*.*")):
            shutil.copyfile(path, OUT / name / "tables" / path.name)
        for path in sorted((Path(run) / "figures").glob("figure_*.png")):
            shrink(path, OUT / name / path.name)


if __name__ == "__main__":
    main()
