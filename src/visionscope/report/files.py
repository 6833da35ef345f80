"""What stands beside the page: figures for papers, tables, the environment; every file whole or not at all."""

import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet

from visionscope.core import files
from visionscope.core.diagnostic import Answer
from visionscope.core.failures import Failures
from visionscope.core.figure import Figure
from visionscope.core.refusals import advice
from visionscope.core.table import tidy
from visionscope.core.versions import DRAWING, MEASURING, versions
from visionscope.errors import StoreError
from visionscope.report.arrange import set_apart
from visionscope.report.matplotlib import to_matplotlib
from visionscope.report.style import paper_style

_PNG_DPI = 300
_KINDS = ("summary", "comparisons", "outcomes", "between")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file of the page, whole or not at all.

    Args:
        path: the file; its folder is created.
        content: all of it.

    Raises:
        StoreError: when it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, content)
    except OSError as problem:
        raise StoreError(f"the report can't write {path}: {advice(problem)}") from problem


def environment(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Python, platform and package versions of this process, and those that the jobs recorded; no host names, no paths.

    Args:
        jobs: the runs' `job.json` dicts.
    """
    packages = versions((*MEASURING, *DRAWING))
    recorded = [job["versions"] for job in jobs if job.get("versions")]
    return {
        "python": packages.pop("python"),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "jobs": [versions for index, versions in enumerate(recorded) if versions not in recorded[:index]],
        "devices": sorted({str(job["device"]) for job in jobs if "device" in job}),
    }


def write_tables(folder: Path, answers: Sequence[Answer], failures: Failures, *, csv_outcomes: bool = False) -> None:
    """Writes each table as `NAME.parquet` and `NAME.csv`, one value per cell; a row per image as Parquet alone.

    Args:
        folder: where to.
        answers: what each diagnostic found.
        failures: takes the tables that no file can hold.
        csv_outcomes: whether tables of a row per image are written as CSV, too.

    Raises:
        StoreError: when a file can't be written.
    """
    for answer in answers:
        for kind in ("rows", *_KINDS):
            table = answer.tables.get(kind)
            name = answer.diagnostic if kind == "rows" else f"{answer.diagnostic}_{kind}"
            with failures.caught("table's files", answer.diagnostic, but=StoreError):
                if table is not None:
                    parquet = io.BytesIO()
                    pyarrow.parquet.write_table(tidy(table), parquet)
                    write_whole(folder / f"{name}.parquet", parquet.getvalue())
                if table is not None and (kind != "outcomes" or csv_outcomes):
                    text = io.BytesIO()
                    pyarrow.csv.write_csv(tidy(table), text)
                    write_whole(folder / f"{name}.csv", text.getvalue())
                # What an earlier page left behind are other numbers.
                stale = [] if table is not None else [".parquet", ".csv"]
                stale += [".csv"] if kind == "outcomes" and not csv_outcomes else []
                for ending in stale:
                    (folder / f"{name}{ending}").unlink(missing_ok=True)


def write_figures(folder: Path, answers: Sequence[Answer], failures: Failures) -> None:
    """Writes each figure as `NAME.pdf` and `NAME.png`; one with overlaid models also as `NAME_side_by_side`.

    Args:
        folder: where to.
        answers: what each diagnostic drew.
        failures: takes the figures that can't be drawn.

    Raises:
        StoreError: when a file can't be written.
    """
    for answer in answers:
        for figure in answer.figures:
            with failures.caught("figure's files", answer.diagnostic, but=StoreError):
                beside = set_apart(figure, only_crowded=False)
                drawings = {figure.name: figure}
                if beside != set_apart(figure, only_crowded=True):
                    drawings[f"{figure.name}_side_by_side"] = beside
                for name, one in drawings.items():
                    write_figure(folder, name, one)


def write_figure(folder: Path, name: str, figure: Figure) -> None:
    """Writes one figure as `NAME.pdf` and `NAME.png`.

    Args:
        folder: where to.
        name: of the files.
        figure: what is drawn.

    Raises:
        StoreError: when a file can't be written.
    """
    drawing = to_matplotlib(figure)
    for kind in ("pdf", "png"):
        buffer = io.BytesIO()
        # No creation date: the same tables make the same bytes.
        undated = {"CreationDate": None} if kind == "pdf" else None
        with paper_style():
            drawing.savefig(buffer, format=kind, dpi=_PNG_DPI, metadata=undated)
        write_whole(folder / f"{name}.{kind}", buffer.getvalue())
