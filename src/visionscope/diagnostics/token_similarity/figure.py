"""Token similarities drawn against depth."""

from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.grouping import depth_line, images_text, rows_by_model, stage_boundaries
from visionscope.diagnostics.token_similarity.question import TokenSimilarity

Row = dict[str, Any]
_FURTHER = {
    "Energy of the mean token": ("share of all energy (%)", "mean_share", 100),
    "Effective rank": ("effective rank", "effective_rank", 1),
}


def figure(asked: TokenSimilarity, table: pa.Table) -> Figure:
    """Mean cosine against depth, a panel per model; share of the mean token and effective rank, a curve per model."""
    models = {model: [row for row in rows if row["cosine"] is not None] for model, rows in rows_by_model(table).items()}
    panels = [_panel(model, rows) for model, rows in models.items()]
    for title, (label, value, factor) in _FURTHER.items():
        lines = tuple(_line(model, rows, value, factor) for model, rows in models.items() if rows)
        panels.append(
            Panel(model="", title=title, x_label="normalized depth", y_label=label, lines=lines, group="over depth")
        )
    said = [
        f"Cosine of two tokens of an image, mean over pairs and {images_text(table)}; 1 where all tokens are alike.",
        "Share of the energy that the mean token holds, and exp(entropy) of the normalised eigenvalues of the tokens'"
        " Gram matrix. Bands: one standard error over images.",
    ]
    if any(panel.boundaries for panel in panels):
        said.append("Vertical lines: a stage begins.")
    return Figure(name="token_similarity", title="Similarity of tokens", caption=" ".join(said), panels=tuple(panels))


def _panel(model: str, rows: list[Row]) -> Panel:
    return Panel(
        model=model,
        title=model,
        x_label="normalized depth",
        y_label="mean cosine of two tokens",
        lines=(_line(model, rows, "cosine", 1),),
        group="cosine",
        boundaries=stage_boundaries([row["depth"] for row in rows], [row["stage"] for row in rows]),
    )


def _line(model: str, rows: list[Row], value: str, factor: float) -> Line:
    own = []
    for row in rows:
        error = row[f"{value}_error"]
        own.append({**row, value: factor * row[value], "standard_error": None if error is None else factor * error})
    # The largest rank is another one where grid or channels change.
    comparable = ("rank_limit",) if value == "effective_rank" else ()
    return depth_line(model, own, value, comparable, lambda row: f"{row['point']} ({row['kind']})")
