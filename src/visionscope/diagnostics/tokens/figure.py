"""Token norms drawn: outliers and norms against depth, and where the outliers lie."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Heat, Line, Panel
from visionscope.core.finding import number
from visionscope.core.grouping import depth_line, images_text, rows_by_model, stage_boundaries
from visionscope.diagnostics.tokens.question import DEVIATIONS, TokenNorms
from visionscope.diagnostics.tokens.results import Row, known_rows, stands_out


def figure(asked: TokenNorms, table: pa.Table) -> Figure:
    """Share of outliers against depth, norms against depth, and the map of outliers where one stands out most."""
    models = {model: known_rows(rows) for model, rows in rows_by_model(table).items()}
    models = {model: rows for model, rows in models.items() if rows}
    lines = [_line(model, rows, "outlier_share", "outlier_error", factor=100) for model, rows in models.items()]
    shares = Panel(
        model="",
        title="Outlier tokens",
        x_label="normalized depth",
        y_label="share of positions (%)",
        lines=tuple(lines),
    )
    norms = [_norm_panel(model, rows) for model, rows in models.items()]
    maps = [_map_panel(model, stands_out(rows)) for model, rows in models.items()]
    said = [
        f"Norm of tokens over channels; outliers have a norm above median + {DEVIATIONS:g} MAD of their own image;"
        f" means over {images_text(table)}. Bands: one standard error over images.",
    ]
    if any(len(panel.lines) > 1 for panel in norms):
        said.append("Class and register tokens (prefix) are drawn apart and count in no share.")
    if maps:
        said.append(
            "Maps: share of images whose token there is an outlier, compared with the largest such share, at the point"
            " whose largest norm is largest compared with the mean."
        )
    return Figure(name="tokens", title="Norms of tokens", caption=" ".join(said), panels=(shares, *norms, *maps))


def _line(name: str, rows: Sequence[Row], value: str, error: str, *, factor: float = 1) -> Line:
    own: list[dict[str, Any]] = [
        {**row, value: factor * row[value], "standard_error": None if row[error] is None else factor * row[error]}
        for row in rows
    ]
    return depth_line(name, own, value, (), lambda row: f"{row['point']} ({row['kind']})")


def _norm_panel(model: str, rows: Sequence[Row]) -> Panel:
    lines = [_line("positions", rows, "norm", "norm_error")]
    beside = [row for row in rows if row["prefix_norm"] is not None]
    if beside:
        lines.append(_line("prefix tokens", beside, "prefix_norm", "prefix_error"))
    return Panel(
        model=model,
        title=f"{model}: norm",
        x_label="normalized depth",
        y_label="mean norm of a token",
        lines=tuple(lines),
        group="norms",
        boundaries=stage_boundaries([row["depth"] for row in rows], [row["stage"] for row in rows]),
    )


def _map_panel(model: str, row: Row) -> Panel:
    width, most = row["grid_width"], max(row["shares"])
    shares = [share / most if most else 0.0 for share in row["shares"]]
    lines = [tuple(shares[first : first + width]) for first in range(0, len(shares), width)]
    return Panel(
        model=model,
        title=f"{model}: outliers at {row['point']}, up to {number(100 * most, 2)} %",
        x_label="column of the map",
        y_label="",
        heat=Heat(
            values=tuple(reversed(lines)),
            names_x=tuple(f"column {place}" for place in range(width)),
            names_y=tuple(f"row {place}" for place in reversed(range(len(lines)))),
        ),
        group="maps",
    )
