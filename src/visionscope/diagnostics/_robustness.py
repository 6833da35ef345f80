"""What the accuracies under corruptions come to: cells, types, the mean over all, and how they are drawn."""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visionscope.core.figure import Figure, Heat, Line, Panel, Picture
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.data.published_corruptions import ALEXNET_ERRORS
from visionscope.diagnostics import _outcomes
from visionscope.diagnostics._outcomes import Pooled
from visionscope.numerics.paired import Values, holm, paired_means

ALL = "all"
_CLEAN = ("", 0)
_UNPAIRED = dict.fromkeys(("change", "change_low", "change_high", "p", "p_holm"))


@dataclasses.dataclass(frozen=True)
class RobustnessRow:
    """Accuracy of one model under one corruption, one type in all severities, or all of them."""

    corruption: str = column("type; empty for the clean images, `all` for the mean over all: the robustness")
    severity: int | None = column("1 to 5, 0 for the clean images; None for the mean over severities")
    images: int = column("images in the means")
    accuracy: float = column("share of images whose top class is right; where several cells, their mean")
    accuracy_low: float = column("lower end of its 95 % interval (Wilson; bootstrap over images for means over cells)")
    accuracy_high: float = column("upper end of its 95 % interval")
    nll: float = column("mean cross-entropy", "nat")
    change: float | None = column("accuracy less that of the clean images", "percentage points")
    change_low: float | None = column("lower end of its 95 % interval, paired over images", "percentage points")
    change_high: float | None = column("upper end of its 95 % interval, paired over images", "percentage points")
    p: float | None = column(
        "chance of such a change where there is none (McNemar, exact; for means over cells images' values exchanged)"
    )
    p_holm: float | None = column("p raised by Holm's rule for all cells of the model, for all types, or alone")
    error: float = column("1 - accuracy")
    mce: float | None = column(
        "errors' sum over severities by AlexNet's, the mean over types; None where not asked for"
    )
    origin: str = column("published, or the library that made the images; only the former compare with the literature")
    paired: bool = column("whether changes are over the same images; else they are not told")


@dataclasses.dataclass(frozen=True)
class _Cells:
    """All conditions of one job."""

    clean: Pooled
    damaged: Mapping[tuple[str, int], Pooled]
    origin: str
    paired: bool

    @property
    def types(self) -> list[str]:
        """In the order of the table."""
        return list(dict.fromkeys(kind for kind, _ in self.damaged))

    @property
    def severities(self) -> list[int]:
        """In rising order."""
        return sorted({severity for _, severity in self.damaged})

    def mean(self, keys: Sequence[tuple[str, int]]) -> Values:
        """(n,) for each image, the share of these conditions under which it is right."""
        found: Values = np.mean([self.damaged[key].right for key in keys], axis=0, dtype=np.float64)
        return found


def summary(table: pa.Table, *, reference: str) -> pa.Table:
    """A row for the clean images, for each cell, each type and all of them, per model.

    The interval of a mean over cells is the bootstrap's over images, whose outcomes in all cells are drawn together:
    that of the 75 cells' mean is wider than 75 times as many images would make it.

    Args:
        table: rows of one or more models, with the leading columns.
        reference: `alexnet` for the mean corruption error, or `none`.
    """
    rows: list[RobustnessRow] = []
    firsts: list[Mapping[str, Any]] = []
    for cells in _jobs(table):
        found = _rows(cells, reference)
        rows += found
        firsts += [cells.clean.first] * len(found)
    return with_leading_of(to_table(RobustnessRow, rows), firsts)


def figure(table: pa.Table) -> Figure:
    """Accuracy of types and severities per model, against severity, and the contact sheet.

    Args:
        table: rows of one or more models, with the column `model`.
    """
    jobs = _jobs(table)
    panels = [_map(cells) for cells in jobs]
    lines = tuple(_line(cells) for cells in jobs)
    panels.append(
        Panel(
            model="",
            title="Mean over types",
            x_label="severity (0: clean)",
            y_label="accuracy",
            lines=lines,
        )
    )
    sheet = _contact_sheet(table)
    panels += [sheet] if sheet else []
    return Figure(
        name="corruption",
        title="Accuracy under common corruptions",
        caption=_caption(jobs, shown=sheet is not None),
        panels=tuple(panels),
    )


def _jobs(table: pa.Table) -> list[_Cells]:
    found: dict[tuple[str, str], dict[tuple[str, int], Pooled]] = {}
    for (model, job, *condition), pooled in _outcomes.pooled(
        table, ("corruption", "severity", "origin", "paired")
    ).items():
        kind, severity, *_ = condition
        found.setdefault((model, job), {})[(kind, severity)] = pooled
    jobs = []
    for conditions in found.values():
        # A table of unfinished work may lack the clean images.
        if _CLEAN in conditions and len(conditions) > 1:
            clean = conditions.pop(_CLEAN)
            jobs.append(
                _Cells(clean, conditions, origin=str(clean.first["origin"]), paired=bool(clean.first["paired"]))
            )
    return jobs


def _rows(cells: _Cells, reference: str) -> list[RobustnessRow]:
    def made(
        corruption: str, severity: int | None, values: Mapping[str, Any], mce: float | None = None
    ) -> RobustnessRow:
        error = 1 - values["accuracy"]
        return RobustnessRow(
            corruption=corruption,
            severity=severity,
            error=error,
            mce=mce,
            origin=cells.origin,
            paired=cells.paired,
            **{**_UNPAIRED, **values},
        )

    rows = [made(*_CLEAN, _outcomes.accuracy_of(cells.clean))]
    keys = list(cells.damaged)
    if cells.paired:
        each = _outcomes.changes(list(cells.damaged.values()), cells.clean)
    else:
        each = [_outcomes.accuracy_of(some) for some in cells.damaged.values()]
    rows += [made(kind, severity, values) for (kind, severity), values in zip(keys, each, strict=True)]
    groups = {kind: [key for key in keys if key[0] == kind] for kind in cells.types}
    errors = {
        kind: _corruption_error(cells, group) if reference == "alexnet" else None for kind, group in groups.items()
    }
    means = [_mean(cells, group) for group in groups.values()]
    raised = holm([values["p"] for values in means]) if cells.paired else [None] * len(means)
    for kind, values, p in zip(groups, means, raised, strict=True):
        rows.append(made(kind, None, {**values, "p_holm": p}, errors[kind]))
    overall = _mean(cells, keys)
    known = [error for error in errors.values() if error is not None]
    mce = sum(known) / len(known) if known else None
    return [*rows, made(ALL, None, {**overall, "p_holm": overall.get("p")}, mce)]


def _mean(cells: _Cells, keys: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """The columns of a mean over cells."""
    values = cells.mean(keys)
    share = paired_means(values, np.zeros_like(values))
    found: dict[str, Any] = {
        "images": len(values),
        "accuracy": share.value,
        "accuracy_low": share.low,
        "accuracy_high": share.high,
        "nll": sum(cells.damaged[key].nll for key in keys) / len(keys),
    }
    if cells.paired:
        change = paired_means(values, cells.clean.right.astype(np.float64))
        found |= {
            "change": 100 * change.value,
            "change_low": 100 * change.low,
            "change_high": 100 * change.high,
            "p": change.p,
        }
    return found


def _corruption_error(cells: _Cells, keys: Sequence[tuple[str, int]]) -> float:
    """CE of one type: the errors' sum over severities by AlexNet's sum over the same."""
    own = sum(1 - float(cells.damaged[key].right.mean()) for key in keys)
    return own / sum(ALEXNET_ERRORS[kind][severity - 1] for kind, severity in keys)


def _map(cells: _Cells) -> Panel:
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
            names_y=tuple(map(_words, types)),
            ticks=tuple((place, str(severity)) for place, severity in enumerate(severities)),
            ticks_y=tuple((place, _words(kind)) for place, kind in enumerate(types)),
        ),
        group="cells",
    )


def _line(cells: _Cells) -> Line:
    clean = _outcomes.accuracy_of(cells.clean)
    means = [_mean(cells, [key for key in cells.damaged if key[1] == severity]) for severity in cells.severities]
    points = [clean, *means]
    return Line(
        name=cells.clean.first["model"],
        x=(0.0, *map(float, cells.severities)),
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
        rows = sorted((row for row in mine if row["corruption"] == kind), key=lambda row: int(row["severity"]))
        sheet.append(
            tuple(
                Picture(png=base64.b64decode(row["picture"]), title=f"{_words(kind)} {row['severity']}") for row in rows
            )
        )
    return Panel(model="", title="Contact sheet", x_label="", y_label="", pictures=tuple(sheet))


def _caption(jobs: Sequence[_Cells], *, shown: bool) -> str:
    if not jobs:
        return "Nothing to show: the clean images are not done."
    images = sorted({len(cells.clean.right) for cells in jobs})
    origins = sorted({cells.origin for cells in jobs})
    made = (
        ""
        if origins == ["published"]
        else " (ImageNet-C's parameters, some changed, at every size: not comparable with numbers on published sets)"
    )
    text = (
        f"Share of {' or '.join(map(str, images))} images whose top class is right. "
        f"Images: {', '.join(origins)}{made}. Lines: mean over types with 95 % intervals (bootstrap over images, "
        "Wilson's for the clean ones). Robustness is the mean over all types and severities."
    )
    return text + (" Contact sheet: one image at the size that the network sees, shrunk where large." if shown else "")


def _words(kind: str) -> str:
    return kind.replace("_", " ").replace("jpeg", "JPEG")
