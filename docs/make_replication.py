"""Makes docs/replication/laptop from a run folder: `python docs/make_replication.py RUN`.

Tables, as they are, so that the study goes on from them; the verdicts; and the figures, smaller and in fewer colours.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd
from PIL import Image

from visionscope.claims.claim import EXPLORATORY

HERE = Path(__file__).parent / "replication"
OUT = HERE / "laptop"
MOST_BYTES = 5_000_000
WIDTH = 1080

TOP = """# The laptop study

What `visionscope replicate all --scale laptop` has come to so far: small networks on a quarter of CIFAR-10, 12 epochs
each ([how they were chosen](pilot.md)). [The claims and their rule](../claims.md) were written down before the first of
these trainings. {trainings} trainings went to their end, {warm} more to the end of their warm-up, where curvature is
measured.

To go on from here, on any machine with the data set:

```console
$ mkdir -p RUN && cp -r docs/replication/laptop/tables RUN/
$ visionscope replicate all --data cifar10/ --out RUN
```

## Verdicts

"""


def main() -> None:
    """Copies what a run folder has."""
    run = Path(sys.argv[1])
    tables = sorted((run / "tables").glob("*.parquet"))
    size = sum(path.stat().st_size for path in tables)
    if size > MOST_BYTES:
        sys.exit(f"{run}: its tables have {size} bytes, more than {MOST_BYTES}")
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "tables").mkdir(parents=True)
    for path in tables:
        shutil.copyfile(path, OUT / "tables" / path.name)
    results = pd.read_parquet(run / "tables" / "results.parquet")
    ended = set(results.loc[results["result"] == "training", "training"])
    warm = set(results.loc[results["snapshot"] == "warmup", "training"]) - ended
    lines = [TOP.format(trainings=len(ended), warm=len(warm)), *verdict_table(run), *_figures(run)]
    (HERE / "laptop.md").write_text("".join(lines))


def verdict_table(run: Path) -> Iterator[str]:
    """Lines of Markdown: the verdicts of a run folder."""
    rows = pd.read_parquet(run / "tables" / "verdicts.parquet").to_dict("records")
    beside = any(not pd.isna(row["published"]) for row in rows)  # claims of one's own have nothing published
    heads = ["claim", "verdict", "effect (95 % interval)", "unit", "seeds", "p", *(["published"] if beside else [])]
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for row in rows:
        effect = "–" if pd.isna(row["effect"]) else f"{row['effect']:.3g}"
        if not pd.isna(row["low"]):
            effect += f" ({row['low']:.3g} to {row['high']:.3g})"
        if row.get("beside"):  # tables of runs before there was any
            effect += f"; {row['beside']}"
        p = row["p"] if pd.isna(row["p_holm"]) else row["p_holm"]
        name = row["text"] if row["family"] == EXPLORATORY else f"{row['text']} ({row['family'].replace('_', ' ')})"
        told = "–" if pd.isna(p) else f"{p:.3g}"
        cells = [name, f"**{row['verdict']}**", effect, row["unit"], str(row["n"]), told]
        if beside:
            cells.append("–" if pd.isna(row["published"]) else f"{row['published']:.3g} ({row['published_data']})")
        yield f"| {' | '.join(cells)} |\n"
    yield "\nWhere a family stands in brackets, p is raised by Holm's rule over it.\n"


def _figures(run: Path) -> Iterator[str]:
    yield "Published values are the paper's, of larger networks on other data.\n"
    yield "\n## Figures\n\nIn the form of the paper's, with its values beside ours.\n"
    for path in sorted((run / "figures").glob("figure_*.png")):
        shrink(path, OUT / path.name)
        number = path.stem.removeprefix("figure_").replace("_", ".")
        yield f"\n### Figure {number}\n\n![Figure {number}](laptop/{path.name})\n"


def publish(out: Path, page: Path, top: str, section: Callable[[str, Path], Iterable[str]]) -> None:
    """Writes a page anew, with a section for each NAME=RUN of the command line."""
    shutil.rmtree(out, ignore_errors=True)
    lines = [top]
    for text in sys.argv[1:]:
        name, _, run = text.partition("=")
        lines += section(name, Path(run))
    page.write_text("".join(lines))


def shrink(source: Path, target: Path) -> None:
    """Writes a picture smaller and in fewer colours."""
    with Image.open(source) as image:
        size = (WIDTH, round(image.height * WIDTH / image.width))
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    # The median cut would give the many shades of a landscape to it, and one blue to two curves.
    small.quantize(256, method=Image.Quantize.MAXCOVERAGE).save(target, optimize=True)


if __name__ == "__main__":
    main()
