"""Makes docs/replication/mixers from a run folder: `python docs/make_mixers.py RUN`.

Whatever of the two studies is there: a table of results with intervals, the figure, what the facts of a mixer add, and
verdicts; the tables, so that the studies go on from them.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from make_replication import HERE, MOST_BYTES, shrink

from visionscope.claims.families import told_family
from visionscope.claims.own import claim_in
from visionscope.claims.verdict import judge
from visionscope.core.documents import read_document
from visionscope.experiments.done import stored_tables
from visionscope.experiments.folder import ExperimentFile, read_experiments
from visionscope.experiments.mixers.choosing import FINAL, SCREENING, best_mixers
from visionscope.experiments.mixers.factorial import effects_of
from visionscope.experiments.mixers.figure import mixers_figure
from visionscope.experiments.mixers.networks import Network, networks_of
from visionscope.experiments.mixers.results import results_of
from visionscope.experiments.mixers.speeds import SPEEDS, speeds_of
from visionscope.experiments.tables import with_scores
from visionscope.report.files import write_figure

OUT, PAGE = HERE / "mixers", HERE / "mixers.md"

TOP = """# Mixers in attention's place: results

What the two studies of [](../mixers_study.md) found. The networks, what is asked of them, the rule that chooses four
and the claims were written down there before any network with a mixer was looked at.

To go on from here, on any machine with the data set:

```console
$ mkdir -p mixers && cp -r docs/replication/mixers/tables mixers/
$ visionscope run studies/mixers-screening.yaml --data cifar10/ --out mixers
$ python -c "from visionscope.experiments.mixers.choosing import final_study; print(final_study('mixers'))" > final.yaml
$ visionscope run final.yaml --data cifar10/ --out mixers
```
"""
_NONE = re.compile(r"\bnan\b")
COLUMNS = (
    # heading, form of a row
    ("network", "{network}"),
    ("", "{sort}"),
    ("accuracy in %", "{accuracy:.1f} ({low:.1f} to {high:.1f})"),
    ("NLL", "{nll:.3f}"),
    ("corrupted", "{corrupted:.1f}"),
    ("ECE in %", "{ece:.1f}"),
    ("high frequencies", "{high_frequencies:+.2f}"),
    ("variance", "{variance:+.3f}"),
    ("removal", "{removal:+.1f}"),
    ("NEP in %", "{negative_eigenvalues:.0f}"),
    ("APE", "{positive_eigenvalues:.0f}"),
    ("parameters", "{parameters:,}"),
    ("M MACs", "{macs:.2f}"),
    ("images/s", "{forward:.0f}"),
    ("ms of an image", "{latency:.2f}"),
    ("MB of 64 images", "{megabytes:.1f}"),
)
EXPLAINED = """
Means over seeds, the most accurate first. Accuracy and NLL are of held-out training images in the screening, of test
images with the best four. Intervals of 95 % from one deviation between seeds for all networks.
Corrupted: accuracy in % over all corruptions of {corruption} images; a network's sampling error is several points.
ECE is of {calibration} images. High frequencies (log amplitude) and variance: their change in the slots, where
attention stands in AlterNet. Removal: by how many points accuracy on {lesion} images changes where a slot is removed.
NEP and APE: share of negative and mean of positive Hessian eigenvalues, after the warm-up.
"""
TIMED = """Images/s: forward passes of 64 images in one thread, the fastest of 25. Ms: of one image, the median of 21.
"""
SAMPLED = ("corruption", "calibration", "lesion")
AFTERWARDS = {
    "alternet_convolution": ("attention is right more often than a convolution in its place", "preresnet"),
    "alternet_equal_cost": ("attention is right more often than a convolutional network of its MACs", "cnn_macs"),
    "alternet_nothing": ("attention is right more often than nothing in its place", "identity"),
}
OWN = {"measure": "training: accuracy", "direction": "higher", "smallest": 0.5}
LOUD = ("lambda", "nonlocal")


def main() -> None:
    """Writes what a run folder has."""
    run = Path(sys.argv[1])
    studies = [(part, kept) for part in (SCREENING, FINAL) if (kept := _kept(run, part)) is not None]
    if not studies:
        sys.exit(f"{run}: it has neither study; visionscope run {SCREENING.name} --out {run}")
    stored = stored_tables(run)
    trainings = {task.training for _, kept in studies for task in kept.tasks}
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "tables").mkdir(parents=True)
    for name, table in stored.items():
        own = table[table["training"].isin(trainings)]
        if len(own):
            own.to_parquet(OUT / "tables" / f"{name}.parquet", index=False, compression="zstd")
    speeds = run / "tables" / f"{SPEEDS}.parquet"
    if speeds.is_file():
        shutil.copyfile(speeds, OUT / "tables" / speeds.name)
    size = sum(path.stat().st_size for path in (OUT / "tables").iterdir())
    if size > MOST_BYTES:
        sys.exit(f"{run}: its tables have {size} bytes, more than {MOST_BYTES}")
    sections = [line for part, kept in studies for line in _section(part, kept, stored, run)]
    PAGE.write_text("".join([TOP, *sections]))


def _kept(run: Path, part: Path) -> ExperimentFile | None:
    """The study in the run folder, with as many seeds as it was carried out with."""
    title = read_document("study", part)["title"]
    there = [one for one in read_experiments(run) if read_document("study", one.path).get("title") == title]
    return max(there, key=lambda one: len(one.tasks), default=None)


def _own(kept: ExperimentFile, stored: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows of a study's own trainings and questions, under its names: a run folder may hold other studies, too."""
    named = {task.training: (task.variant, task.seed) for task in kept.tasks}
    asked = {(task.training, moment, key) for task in kept.tasks for moment, _, key in task.questions}
    asked |= {(training, "last", name) for training in named for name in ("training", "curves")}
    found = {}
    for name, table in stored.items():
        places = zip(table["training"], table["snapshot"], table["question"], strict=True)
        rows = table[[place in asked for place in places]]
        if len(rows):
            names = [named[training] for training in rows["training"]]
            found[name] = rows.assign(variant=[one for one, _ in names], seed=[seed for _, seed in names])
    return with_scores(found)


def _section(part: Path, kept: ExperimentFile, stored: Mapping[str, pd.DataFrame], run: Path) -> Iterator[str]:
    tables, name = _own(kept, stored), part.stem.removeprefix("mixers-")
    trained = tables.get("training")
    done = 0 if trained is None else len(trained)
    yield f"\n## {'The best four' if part == FINAL else 'The screening'}\n\n"
    yield f"{done} of {len(kept.tasks)} trainings went to their end.\n"
    speeds, named = speeds_of(run), {task.variant for task in kept.tasks}
    whole = named <= set(speeds)  # a front over a few of the networks would be no front of the study
    timed = pd.read_parquet(run / "tables" / f"{SPEEDS}.parquet") if whole else None
    results = results_of(tables, timed)
    if results.empty:
        yield "Fewer than three networks with a mixer are trained.\n"
        return
    results.to_csv(OUT / f"{name}.csv", index=False)
    study = read_document("study", kept.path)
    if part == FINAL:
        yield from _verdicts(study, tables)
    yield "\n"
    yield from _table(results)
    yield EXPLAINED.format(**{one: f"{study['diagnose']['last'][one]['sample_size']:,}" for one in SAMPLED})
    yield TIMED if whole else ""
    figure = mixers_figure(tables, speeds if whole else None)
    assert figure is not None
    with tempfile.TemporaryDirectory() as folder:
        write_figure(Path(folder), name, figure)
        shrink(Path(folder) / f"{name}.png", OUT / f"{name}.png")
    yield f"\n![Accuracy against costs and smoothing](mixers/{name}.png)\n\n*{figure.caption}*\n"
    if part == SCREENING and done == len(kept.tasks):
        yield f"\nThe rule sends on: {', '.join(best_mixers(tables))}.\n"
    networks = networks_of(tables)
    yield from _effects(networks)
    if LOUD[0] in named:
        yield f"\nThe same without {' and '.join(LOUD)}, whose branches begin loudest; looked at afterwards:\n"
        yield from _effects([one for one in networks if one.mixer not in LOUD])


def _effects(networks: Sequence[Network]) -> Iterator[str]:
    effects = effects_of(networks)
    if effects:
        yield "\n| fact | effect in points (95 % interval) | p | mixers |\n|---|---|---|---|\n"
        for one in effects:
            told = f"{one.effect:+.2f} ({one.low:+.2f} to {one.high:+.2f})"
            yield f"| {one.term} | {told} | {one.p:.2g} | {one.with_it} of {one.mixers} |\n"


def _verdicts(values: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    variants = list(values["train"]["variants"])
    asked = values["claims"] | {
        name: OWN | {"text": text, "compare": ["alternet", other]} for name, (text, other) in AFTERWARDS.items()
    }
    claims = [claim_in(name, own, variants) for name, own in asked.items()]
    verdicts = judge(claims, tables)
    yield "\n| claim | verdict | effect in points (95 % interval) | seeds | p |\n|---|---|---|---|---|\n"
    for one in verdicts:
        effect = "–" if one.effect is None else f"{one.effect:+.2f}"
        if one.low is not None and one.high is not None:
            effect += f" ({one.low:+.2f} to {one.high:+.2f})"
        p = one.p if one.p_holm is None else one.p_holm
        family = "" if one.family == "exploratory" else f" ({told_family(one.family)})"
        yield f"| {one.text}{family} | **{one.verdict}** | {effect} | {one.n} | {'–' if p is None else f'{p:.3g}'} |\n"
    yield "\np of a family is raised by Holm's rule; the other claims are exploratory.\n"
    yield "The last three, of attention itself, were added after the results.\n"


def _table(results: pd.DataFrame) -> Iterator[str]:
    """Markdown; a column that nothing was measured of is left out, and what one network lacks is a dash."""
    rows = results.assign(megabytes=results["peak"] / 1e6).to_dict("records")
    shown = [[_cell(form, row) for _, form in COLUMNS] for row in rows]
    there = [place for place in range(len(COLUMNS)) if any(row[place] != "–" for row in shown)]
    yield _line([COLUMNS[place][0] for place in there])
    yield _line(["---"] * len(there))
    for row in shown:
        yield _line([row[place] for place in there])


def _cell(form: str, row: Mapping[Any, Any]) -> str:
    """A cell; where its number is NaN a dash, and where the ends of its interval are, the number alone."""
    first, _, rest = form.partition(" (")
    text, more = first.format(**row), f" ({rest}".format(**row) if rest else ""
    return "–" if _NONE.search(text) else text + ("" if _NONE.search(more) else more)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
