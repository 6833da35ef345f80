"""What stands beside the page: figures for papers, tables, the environment; every file whole or not at all."""

import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from visionscope.core import files
from visionscope.core.failures import Failures
from visionscope.core.figure import Figure
from visionscope.core.refusals import advice
from visionscope.core.versions import DRAWING, MEASURING, versions
from visionscope.errors import StoreError
from visionscope.report.arrange import set_apart
from visionscope.report.matplotlib import to_matplotlib
from visionscope.report.style import paper_style
from visionscope.report.summary import diagnostic_of

_PNG_DPI = 300


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


def write_tables(folder: Path, tables: Mapping[str, pa.Table], failures: Failures) -> None:
    """Writes each table as `NAME.csv` (lists joined by spaces) and `NAME.parquet`.

    Args:
        folder: where to.
        tables: result rows by diagnostic.
        failures: takes the tables that no file can hold.

    Raises:
        StoreError: when a file can't be written.
    """
    for name, table in tables.items():
        with failures.caught("table's files", name, but=StoreError):
            parquet, text = io.BytesIO(), io.BytesIO()
            pyarrow.parquet.write_table(table, parquet)
            pyarrow.csv.write_csv(_flat(table), text)
            write_whole(folder / f"{name}.parquet", parquet.getvalue())
            write_whole(folder / f"{name}.csv", text.getvalue())


def write_figures(folder: Path, figures: Sequence[Figure], failures: Failures) -> None:
    """Writes each figure as `NAME.pdf` and `NAME.png`; one with overlaid models also as `NAME_side_by_side`.

    Args:
        folder: where to.
        figures: what the diagnostics drew.
        failures: takes the figures that can't be drawn.

    Raises:
        StoreError: when a file can't be written.
    """
    for figure in figures:
        with failures.caught("figure's files", diagnostic_of(figure.name), but=StoreError):
            beside = set_apart(figure, only_crowded=False)
            drawings = {figure.name: figure}
            if beside != set_apart(figure, only_crowded=True):
                drawings[f"{figure.name}_side_by_side"] = beside
            for name, one in drawings.items():
                _write_figure(folder, name, one)


def _write_figure(folder: Path, name: str, figure: Figure) -> None:
    drawing = to_matplotlib(figure)
    for kind in ("pdf", "png"):
        buffer = io.BytesIO()
        # No creation date: the same tables make the same bytes.
        undated = {"CreationDate": None} if kind == "pdf" else None
        with paper_style():
            drawing.savefig(buffer, format=kind, dpi=_PNG_DPI, metadata=undated)
        write_whole(folder / f"{name}.{kind}", buffer.getvalue())


def _flat(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            joined = [None if part is None else " ".join(map(str, part)) for part in table.column(index).to_pylist()]
            table = table.set_column(index, field.name, pa.array(joined, pa.string()))
    return table
