"""What a build-up has come to, as files: the table of candidates, two pictures, and the winner's weights."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from visionscope.building.measure import throughput
from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.files import write_whole
from visionscope.core.refusals import refusals
from visionscope.experiments.buildup.path import name_of
from visionscope.experiments.buildup.running import Buildup, Trial
from visionscope.experiments.experiment import THREADS
from visionscope.numerics.over_seeds import Interval, t_interval
from visionscope.report.files import write_figure
from visionscope.training.launching import threads_of
from visionscope.training.networks import network_for

TABLE, WINNER = "buildup.csv", "harmonized.safetensors"
COLUMNS = (
    *("places", "parent", "verdict", "seeds", "accuracy", "accuracy_low", "accuracy_high", "nll"),
    *("gain", "gain_low", "gain_high", "parameters", "gmacs", "images_per_second"),
)
_BATCH = 16  # images of a pass that is timed


def table_of(buildup: Buildup, speeds: Mapping[str, float]) -> pd.DataFrame:
    """A row per network that was trained, the one that the build-up began with first.

    Accuracies are shares of the held-out images, with Student's 95 % interval over seeds; gains are paired by seed.

    Args:
        buildup: any.
        speeds: images per second of a forward pass, by name.
    """
    start = name_of(buildup.search.start)
    trials: dict[str, Trial] = {name_of(trial.step.places): trial for trial in buildup.trials}
    rows = []
    for name in (start, *trials):
        held, trial = buildup.held.get(name), trials.get(name)
        top_1 = list(held.top_1.values()) if held else []
        gains = [*trial.gains] if trial else []
        values = (
            name,
            name_of(trial.step.parent) if trial else "",
            "start" if trial is None else "kept" if trial.kept else "failed" if trial.reason else "dropped",
            len(top_1),
            *_mean_and_interval(top_1),
            _mean(list(held.nll.values()) if held else []),
            *_mean_and_interval(gains),
            held.parameters if held else None,
            held.gmacs if held else None,
            speeds.get(name, math.nan),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def speeds_of(buildup: Buildup) -> dict[str, float]:
    """Images per second of a forward pass of every network that was tried, on one core; they take turns.

    Args:
        buildup: any.
    """
    search = buildup.search
    places = [search.start, *(trial.step.places for trial in buildup.trials)]
    networks = {
        name_of(one): network_for(search.variant(one, (0,)).model, 0, seed=0, note=lambda line: None).model
        for one in places
    }
    config = search.base.input
    with threads_of(THREADS):
        found = throughput(networks, config.size, len(config.mean), batch=_BATCH)
    return {name: one.forward for name, one in found.items()}


def confirmed_gain(buildup: Buildup) -> tuple[float, Interval]:
    """The winner's test accuracy less that of the network before, over fresh seeds, with Student's 95 % interval.

    Args:
        buildup: with a confirmed winner.
    """
    assert buildup.confirmed is not None
    pairs = zip(buildup.confirmed.after, buildup.confirmed.before, strict=True)
    gains = [after.top_1 - before.top_1 for after, before in pairs]
    return sum(gains) / len(gains), t_interval(gains)


def write_results(buildup: Buildup, table: pd.DataFrame, run: Path) -> tuple[Path, ...]:
    """Writes the table, the pictures and, where something helped, the winner's weights of the first fresh seed.

    Args:
        buildup: any.
        table: of `table_of`.
        run: the run folder.

    Returns:
        The files.

    Raises:
        StoreError: when the disk refuses.
    """
    files = [run / TABLE]
    with refusals(run):
        write_whole(run / TABLE, table.to_csv(index=False).encode())
        for figure in figures_of(table):
            (run / "figures").mkdir(exist_ok=True)
            write_figure(run / "figures", figure.name, figure)
            files.append(run / "figures" / f"{figure.name}.png")
        if buildup.confirmed is not None:
            with open(buildup.confirmed.weights, "rb") as source:
                write_whole(run / WINNER, lambda file: shutil.copyfileobj(source, file))
            files.append(run / WINNER)
    return tuple(files)


def figures_of(table: pd.DataFrame) -> tuple[Figure, ...]:
    """The path in the form of the paper's Fig. 12a, and accuracy against cost.

    Args:
        table: of `table_of`.
    """
    rows = table[table["seeds"] > 0].reset_index(drop=True)
    caption = "Held-out training images. Means over seeds with Student's 95 % interval; a dropped network has no line."
    path = Panel(
        model="",
        title="changed blocks of each stage",
        x_label="network, in the order in which they were tried",
        y_label="accuracy in %",
        lines=_lines(rows, [float(place) for place in rows.index]),
        x_names=tuple(rows["places"]),
    )
    figures = [Figure(name="buildup_path", title="The path of the build-up", caption=caption, panels=(path,))]
    costed = rows[rows["gmacs"].notna()]
    if len(costed):
        panels = [
            Panel(
                model="",
                title=title,
                x_label=label,
                y_label="accuracy in %",
                lines=_lines(costed, [float(value) for value in costed[column]]),
            )
            for column, title, label in (
                ("gmacs", "against arithmetic", "GMACs of an image"),
                ("images_per_second", "against speed", "images/s, one core"),
            )
        ]
        figures.append(
            Figure(name="buildup_cost", title="Accuracy against cost", caption=caption, panels=tuple(panels))
        )
    return tuple(figures)


def _lines(rows: pd.DataFrame, x: Sequence[float]) -> tuple[Line, ...]:
    rows = rows.assign(x=list(x))
    kept = rows[rows["verdict"].isin(("start", "kept"))]
    lines = [_line("kept", kept, "curve"), _line("dropped", rows[~rows.index.isin(kept.index)], "points")]
    return tuple(line for line in lines if line.x)


def _line(name: str, rows: pd.DataFrame, role: str) -> Line:
    def percent(column: str) -> tuple[float, ...]:
        return tuple(100 * float(value) for value in rows[column])

    return Line(
        name=name,
        x=tuple(float(value) for value in rows["x"]),
        y=percent("accuracy"),
        low=percent("accuracy_low"),
        high=percent("accuracy_high"),
        hover=tuple(rows["places"]),
        role=role,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _mean_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    low, high = t_interval(values) if len(values) > 1 else (math.nan, math.nan)
    return _mean(values), low, high
