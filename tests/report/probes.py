"""Invented rows of the diagnostics that ask for gradients or for compressed images, as large as real ones."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from report.samples import Invented, as_table, leading
from visionscope.diagnostics.compression.question import Compression
from visionscope.diagnostics.receptive_field.question import ReceptiveField
from visionscope.diagnostics.sharpness.question import GRADIENT, UNITS, Sharpness

CELLS = 32


def receptive_fields(models: Sequence[Invented]) -> dict[str, pa.Table]:
    """Speckled spots that grow with depth."""
    rows = []
    for model in models:
        for index, spot in enumerate(model.spots()):
            place = {"point": spot.name, "kind": spot.kind, "stage": spot.stage, "depth": spot.depth}
            radius = 2.0 + index
            own = {"part": f"{index:04d}", "images": 50, "grid_height": spot.grid, "grid_width": spot.grid}
            own |= {"radius_50": radius, "error_50": 0.1, "radius_99": 2 * radius, "error_99": 0.2, "note": ""}
            own |= {"even_50": 90.0, "even_99": 150.0, "centre_row": 112.0, "centre_column": 112.0, "groups": 10}
            field = _spot(radius, seed=index)
            rows.append({**leading(model), **place, **own, "field": field, "field_width": CELLS})
    return {ReceptiveField.name: as_table(ReceptiveField.row, rows)}


def _spot(radius: float, *, seed: int) -> tuple[float, ...]:
    axis = np.arange(CELLS) - CELLS // 2
    speckle = np.random.default_rng(seed).uniform(0.5, 1, (CELLS, CELLS))
    spot = speckle * np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / radius**2)
    return tuple(map(float, (spot / spot.sum()).ravel()))


def sharpnesses(models: Sequence[Invented], *, batches: int = 8) -> dict[str, pa.Table]:
    """All three kinds of each batch."""
    rows = []
    for model in models:
        for batch in range(batches):
            for place, (kind, unit) in enumerate(UNITS.items()):
                own = {
                    "part": f"{batch:04d}-{batch + 1:04d}",
                    "batch": batch,
                    "images": 128,
                    "kind": kind,
                    "unit": unit,
                }
                own |= {
                    "value": 0.1 * (1 + place) + 0.01 * batch,
                    "standard_error": 0.01,
                    "radius": 0.1,
                    "norm": "linf",
                }
                own |= {"direction": GRADIENT, "step": 10.0, "step_low": 9.5, "step_high": 10.5, "forward_passes": 5}
                own |= {"gradients": 1, "nll": 1.0, "parameters": 1000, "measured": "all", "frozen": 0, "note": ""}
                rows.append({**leading(model), **own, "augmentation": "strong", "label_smoothing": 0.1})
    return {Sharpness.name: as_table(Sharpness.row, rows)}


def compressions(models: Sequence[Invented]) -> dict[str, pa.Table]:
    """Maps that part from the clean ones with depth and with compression."""
    rows = []
    for model in models:
        for spot in model.spots():
            place = {"point": spot.name, "kind": spot.kind, "stage": spot.stage, "depth": spot.depth}
            for quality in Compression().levels:
                lost = spot.depth * (100 - quality) / 200
                own = {"part": "0000-0256", "quality": quality, "images": 256, "dropped": 0, "origin": "Pillow"}
                own |= {"high_change": -256 * lost, "high_squares": 256 * (lost**2 + 0.01)}
                own |= {"cosine": 256 * (1 - lost), "cosine_squares": 256 * ((1 - lost) ** 2 + 0.0001)}
                groups = [(1 - lost + 0.01 * group, 1.0, 1.0) for group in range(8)]
                own["hsic"] = tuple(value for group in groups for value in group)
                rows.append({**leading(model), **place, **own})
    return {Compression.name: as_table(Compression.row, rows)}
