"""Corruptions drawn: accuracy per type and severity, against severity, and what they look like."""

import base64
from collections.abc import Sequence

import pyarrow as pa

from visionscope.core.figure import Figure, Heat, Line, Panel, Picture
from visionscope.core.finding import counted
from visionscope.data.corruption_types import JPEG
from visionscope.diagnostics.corruption.question import Corruption
from visionscope.diagnostics.corruption.results import Cells, cells_of, mean_of, words
from visionscope.diagnostics.outcomes.statistics import accuracy_of


def figure(asked: Corruption, table: pa.Table) -> Figure:
    """Accuracy of types and severities per model, against severity, and the contact sheet."""
    jobs = cells_of(table)
    panels = [_map(cells) for cells in jobs if not cells.by_quality]
    lines = tuple(_line(cells) for cells in jobs)
    names = ("clean", *map(str, asked.levels))
    panels.append(
        Panel(model="", title="Accuracy after JPEG", x_label="quality", y_label="accuracy", lines=lines, x_names=names)
        if asked.by_quality
        else Panel(model="", title="Mean over types", x_label="severity (0: clean)", y_label="accuracy", lines=lines)
    )
    sheet = _contact_sheet(table)
    panels += [sheet] if sheet else []
    return Figure(
        name="corruption",
        title="Accuracy under JPEG compression" if asked.by_quality else "Accuracy under common corruptions",
        caption=_caption(jobs, shown=sheet is not None),
        panels=tuple(panels),
    )


def _map(cells: Cells) -> Panel:
    types, severities = cells.types[::-1], cells.severities
    values = tuple(
        tuple(
            float(cells.damaged[kind, severity].right.mean()) if (kind, severity) in cells.damaged else float("nan")
            for severity in severities
        )
        for kind in types
    )
    return Panel(
        model=cells.clean.first["model"],
        title="Accuracy",
        x_label="severity",
        y_label="",
        heat=Heat(
            values=values,
            names_x=tuple(f"severity {severity}" for severity in severities),
            names_y=tuple(map(words, types)),
            ticks=tuple((place, str(severity)) for place, severity in enumerate(severities)),
            ticks_y=tuple((place, words(kind)) for place, kind in enumerate(types)),
        ),
        group="cells",
    )


def _line(cells: Cells) -> Line:
    clean = accuracy_of(cells.clean)
    means = [mean_of(cells, [key for key in cells.damaged if key[1] == severity]) for severity in cells.severities]
    points = [clean, *means]
    return Line(
        name=cells.clean.first["model"],
        x=tuple(map(float, range(len(points)))) if cells.by_quality else (0.0, *map(float, cells.severities)),
        y=tuple(float(point["accuracy"]) for point in points),
        low=tuple(float(point["accuracy_low"]) for point in points),
        high=tuple(float(point["accuracy_high"]) for point in points),
    )


def _contact_sheet(table: pa.Table) -> Panel | None:
    """Of the first model that has pictures; another's differ in size at most."""
    shown = [row for row in table.to_pylist() if row["picture"]]
    if not shown:
        return None
    mine = [row for row in shown if (row["model"], row["job"]) == (shown[0]["model"], shown[0]["job"])]
    types = list(dict.fromkeys(row["corruption"] for row in mine if row["corruption"]))
    sheet = []
    for kind in types:
        rows = [row for row in mine if row["corruption"] == kind]
        rows.sort(key=lambda row: int(row["severity"]), reverse=kind == JPEG)
        sheet.append(
            tuple(
                Picture(png=base64.b64decode(row["picture"]), title=f"{words(kind)} {row['severity']}") for row in rows
            )
        )
    return Panel(model="", title="Contact sheet", x_label="", y_label="", pictures=tuple(sheet))


def _caption(jobs: Sequence[Cells], *, shown: bool) -> str:
    if not jobs:
        return "Nothing to show: the clean images are not done."
    if jobs[0].by_quality:
        return _quality_caption(jobs, shown=shown)
    images = sorted({len(cells.clean.right) for cells in jobs})
    origins = sorted({cells.origin for cells in jobs})
    made = (
        ""
        if origins == ["published"]
        else " (ImageNet-C's parameters, some changed, at every size: not comparable with numbers on published sets)"
    )
    text = (
        f"Share of {' or '.join(counted(count, 'image') for count in images)} whose top class is right. "
        f"Images: {', '.join(origins)}{made}. Lines: mean over types with 95 % intervals (bootstrap over images, "
        "Wilson's for the clean ones). Robustness is the mean over all types and severities."
    )
    return text + (" Contact sheet: one image at the size that the network sees, shrunk where large." if shown else "")


def _quality_caption(jobs: Sequence[Cells], *, shown: bool) -> str:
    images = sorted({len(cells.clean.right) for cells in jobs})
    text = (
        f"Share of {' or '.join(counted(count, 'image') for count in images)} whose top class is right, as they are "
        f"and encoded at each quality ({', '.join(sorted({cells.origin for cells in jobs}))}). 95 % intervals: "
        "bootstrap over images, Wilson's for the clean ones. "
        "The same images at every quality: the table's paired changes are more exact."
    )
    return text + (" Contact sheet: one image at the size that the network sees." if shown else "")
