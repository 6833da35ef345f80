"""Makes docs/replication/segmentation of run folders: `python docs/make_segmentation.py NAME=RUN ...`.

Of each run its tables, so that a study goes on from them; the verdicts; what every network reached; and the figure.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from make_replication import HERE, publish, shrink, verdict_table

from visionscope.experiments.figures.over_seeds import mean_and_ends

OUT, PAGE = HERE / "segmentation", HERE / "segmentation.md"

TOP = """# Attention in segmentation: results

What `studies/segmentation/embedded.yaml`, `scenes.yaml` and `large.yaml` came to ([the question](../segmentation.md)).
The claims were written down before any of these networks was trained; the third study was, after the second.

To go on from here, with more seeds for example, and the scenes [made before](../segmentation.md) for the others:

```console
$ mkdir -p RUN && cp -r docs/replication/segmentation/embedded/tables RUN/
$ visionscope run studies/segmentation/embedded.yaml --out RUN
```
"""
FIGURES = {"claim_helps_pixels_more": "What attention blocks save of the NLL", "training": "Every training"}
EXPLAINED = (
    "\nMeans over seeds on the test images, with Student's 95 % interval. Accuracy is that of images or of pixels.\n"
)


def main() -> None:
    """Publishes what run folders have."""
    publish(OUT, PAGE, TOP, _section)


def _section(name: str, run: Path) -> Iterator[str]:
    tables = OUT / name / "tables"
    tables.mkdir(parents=True)
    for path in sorted((run / "tables").glob("*.parquet")):
        shutil.copyfile(path, tables / path.name)
    yield f"\n## {name}\n\n"
    yield from verdict_table(run)
    yield "\n"
    yield from networks_table(run)
    yield EXPLAINED
    for figure, told in FIGURES.items():
        shrink(run / "figures" / f"{figure}.png", OUT / name / f"{figure}.png")
        yield f"\n![{told}]({OUT.name}/{name}/{figure}.png)\n"


def networks_table(run: Path) -> Iterator[str]:
    """Lines of Markdown: what every network of a run folder reached."""
    yield "| network | seeds | accuracy in % | mean IoU in % | NLL | NLL_train |\n|---|---|---|---|---|---|\n"
    for variant, own in pd.read_parquet(run / "tables" / "training.parquet").groupby("variant", sort=False):
        right = "top_1" if own["top_1"].notna().all() else "pixel_accuracy"
        cells = (
            _cell(own, *one) for one in ((right, 100, 1), ("mean_iou", 100, 1), ("nll", 1, 3), ("nll_train", 1, 3))
        )
        yield f"| {variant} | {len(own)} | {' | '.join(cells)} |\n"


def _cell(own: pd.DataFrame, column: str, factor: float, digits: int) -> str:
    if column not in own or own[column].isna().all():
        return "–"
    mean, low, high = (f"{factor * one:.{digits}f}" for one in mean_and_ends(list(own[column])))
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    main()
