"""The page of a build-up: what it found and the table first, then its path, the published one, and the costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from markupsafe import Markup, escape

from visionscope.claims.published import figure
from visionscope.core.failures import Failures
from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.finding import grouped
from visionscope.experiments.buildup.path import name_of
from visionscope.experiments.buildup.results import (
    AGAIN,
    CONTROL,
    FAILED,
    SHOWN,
    START,
    networks_of,
    number,
    percent,
    sentences_of,
    shown_rows,
)
from visionscope.experiments.buildup.running import Buildup
from visionscope.experiments.page import drawn, write_rendered

_MORE = ("ms of an image", "test accuracy in %", "lead in points")
_CAPTION = (
    "Held-out training images; means over seeds with Student's 95 % interval. Networks that were dropped have no line; "
    "those whose training failed are left out. "
    "Published: Park & Kim (2022), one training each."
)


def write_page(buildup: Buildup, table: pd.DataFrame, run: Path) -> Path:
    """Writes RUN/experiment.html and its figures.

    Args:
        buildup: any.
        table: of `table_of`.
        run: the run folder.

    Raises:
        StoreError: when a file can't be written.
    """
    failures, asked, search = Failures(), buildup.search.question, buildup.search
    sections, panels = drawn(run, [(one, []) for one in figures_of(table)], failures)
    images = next(iter(search.tasks.values())).images
    columns, rows = _shown(table)
    reasons = [f"{one.network.name}: {one.verdict}, {one.reason}" for one in buildup.trials if one.reason]
    lost = buildup.control.failed if buildup.control else {}
    chose = [name for name, (_, trial, verdict) in networks_of(buildup).items() if trial or verdict in (START, AGAIN)]
    trained = sum(len(buildup.held[name].top_1) for name in chose if name in buildup.held)
    return write_rendered(
        run,
        "buildup.html.jinja",
        panels,
        title=f"Build-up of {search.base.label} with {asked.mixer or 'attention'}",
        scale=f"{Path(asked.data).name}, {grouped(images)} training images, recipe {asked.recipe}",
        facts=[f"{len(buildup.trials)} candidates", f"{trained} trainings to choose", f"up to {search.seeds} seeds"],
        left=0,
        undrawn=[failure.text for failure in failures.all],
        sentences=sentences_of(buildup),
        columns=columns,
        rows=rows,
        warm=asked.warm_start,
        reasons=[*reasons, *(f"{name}: failed, {why}" for name, why in lost.items())],
        sections=sections,
        commands=[Markup(escape(search.command))] if search.command else [],
    )


def figures_of(table: pd.DataFrame) -> tuple[Figure, ...]:
    """The path in the form of the paper's Fig. 12a with the published one beside it, and accuracy against cost.

    Args:
        table: of `table_of`.
    """
    # A mean over some of the seeds compares with nothing.
    trained = table[(table["seeds"] > 0) & ~table["verdict"].isin((AGAIN, FAILED))]
    rows = trained[trained["verdict"] != CONTROL].reset_index(drop=True)
    if rows.empty:
        return ()
    found = [
        Figure(
            name="buildup_path",
            title="The path of the build-up",
            caption=_CAPTION,
            panels=(_path("measured", rows), _path("published: ResNet-50 on CIFAR-100", _published())),
        )
    ]
    costed = trained[trained["gmacs"].notna()]
    if len(costed):
        panels = [
            Panel(
                model="",
                title=title,
                x_label=label,
                y_label="accuracy in %",
                lines=_lines(costed, list(values)),
            )
            for values, title, label in (
                (1e3 * costed["gmacs"], "against arithmetic", "million MACs per image"),
                (costed["images_per_second"], "against speed", "images/s, one core"),
            )
        ]
        costs = Figure(name="buildup_cost", title="Accuracy against cost", caption=_CAPTION, panels=tuple(panels))
        found.append(costs)
    return tuple(found)


def _path(title: str, rows: pd.DataFrame) -> Panel:
    return Panel(
        model="",
        title=title,
        x_label="changed blocks of each stage, as they were tried",
        y_label="accuracy in %",
        lines=_lines(rows, range(len(rows))),
        x_names=tuple(rows["network"]),
        group=title,  # axes of its own
    )


def _published() -> pd.DataFrame:
    """Fig. 12a as rows: kept is what lies above all before it, as the rule without repetitions has it."""
    rows, best = list[dict[str, object]](), float("-inf")
    for one in figure("fig12a_buildup_cifar100"):
        accuracy = one["acc"] / 100
        verdict = START if not rows else "kept" if accuracy > best else "dropped"
        best = max(best, accuracy)
        interval = {"accuracy_low": float("nan"), "accuracy_high": float("nan")}
        rows.append({"network": name_of(one["msa_per_stage"]), "verdict": verdict, "accuracy": accuracy, **interval})
    return pd.DataFrame(rows)


def _lines(rows: pd.DataFrame, x: Sequence[float]) -> tuple[Line, ...]:
    rows = rows.assign(x=list(x))
    kept, control = rows["verdict"].isin((START, "kept")), rows["verdict"] == CONTROL
    measured = bool(rows["accuracy_low"].notna().any())
    lines = [
        _line("kept", rows[kept], "curve"),
        *([] if measured else [_line("kept", rows[kept], "points")]),  # a curve without intervals has no marks
        _line("dropped", rows[~kept & ~control], "points"),
        _line("random placement", rows[control], "points"),
    ]
    return tuple(line for line in lines if line.x)


def _line(name: str, rows: pd.DataFrame, role: str) -> Line:
    def values(column: str) -> tuple[float, ...]:
        return tuple(100 * float(value) for value in rows[column])

    has_interval = bool(rows["accuracy_low"].notna().any())
    return Line(
        name=name,
        x=tuple(float(value) for value in rows["x"]),
        y=values("accuracy"),
        low=values("accuracy_low") if has_interval else None,
        high=values("accuracy_high") if has_interval else None,
        hover=tuple(rows["network"]),
        role=role,
    )


def _shown(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and cells, without columns in which there is nothing."""
    names = (*SHOWN, *_MORE)
    further = [
        (number(row["milliseconds"]), percent(row, "test_accuracy"), percent(row, "lead"))
        for row in table.to_dict("records")
    ]
    rows = [(*row, *more) for row, more in zip(shown_rows(table), further, strict=True)]
    there = [place for place in range(len(names)) if any(row[place] for row in rows)]
    return [names[place] for place in there], [[row[place] for place in there] for row in rows]
