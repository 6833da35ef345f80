"""Makes docs/replication/buildup of run folders: `python docs/make_buildup.py NAME=RUN ...`.

Of each search what it found, its table, its path beside the published one, and the costs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from make_replication import HERE, publish, shrink

from visionscope.experiments.buildup.kept import FILE
from visionscope.experiments.buildup.results import SHOWN, TABLE, percent, shown_rows

OUT, PAGE = HERE / "buildup", HERE / "buildup.md"

TOP = """# Build-ups on CIFAR-10: results

What [the build-up rule](../buildup.md) came to on two networks, each with random placements as its control.

Numbers of a network's name: changed blocks of each stage. Accuracy and gain are of held-out training images, test
accuracy of fresh seeds. A gain is over the seeds of the look that decided, accuracy over all seeds of the row; lead is
that of what the rule has chosen over this network. Intervals are Student's, and don't account for the looks.
Images/s: one core, the fastest repeat.
"""
FIGURES = {"buildup_path": "The path of the build-up", "buildup_cost": "Accuracy against cost"}
TESTED = {"test_accuracy": "test accuracy in %, 95 % interval", "lead": "lead in points, 95 % interval"}


def main() -> None:
    """Publishes what run folders have."""
    publish(OUT, PAGE, TOP, _section)


def _section(name: str, run: Path) -> Iterator[str]:
    (OUT / name).mkdir(parents=True)
    for file in (FILE, TABLE):
        shutil.copyfile(run / file, OUT / name / file)
    kept = json.loads((run / FILE).read_text())
    yield f"\n## {name}\n\n```console\n$ {kept['command']}\n```\n\n"
    yield from (f"- {sentence}\n" for sentence in kept["result"]["sentences"])
    yield "\n"
    yield from networks_table(run)
    for figure, told in FIGURES.items():
        shrink(run / "figures" / f"{figure}.png", OUT / name / f"{figure}.png")
        yield f"\n![{told}]({OUT.name}/{name}/{figure}.png)\n"


def networks_table(run: Path) -> Iterator[str]:
    """The networks of a search in Markdown, of its table."""
    table = pd.read_csv(run / TABLE)
    rows = [(*row, *more) for row, more in zip(shown_rows(table), _tested(table), strict=True)]
    heads = (*SHOWN, *TESTED.values())
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    yield from (f"| {' | '.join(row)} |\n" for row in rows)


def _tested(table: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    for row in table.to_dict("records"):
        yield tuple(percent(row, column) for column in TESTED)


if __name__ == "__main__":
    main()
