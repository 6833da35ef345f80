"""Figures 1a, 10a, C.4a and D.3: loss landscapes, and how alike the feature maps of two places are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from visionscope.claims.one_seed import Tables
from visionscope.core.figure import Heat, Panel, Surface
from visionscope.experiments.figures.over_seeds import rows_of


def landscapes(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure 1a: the NLL over a plane of two random directions, of the first seed of each variant.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    for variant in variants:
        rows = rows_of(tables, "landscape", variant, draw=0)
        if rows.empty:
            continue
        seed = int(rows["seed"].min())
        rows = rows[(rows["seed"] == seed) & (rows["place"] == "")]
        grid = rows.pivot_table(index="y", columns="x", values="nll", aggfunc="first")
        surface = Surface(
            x=tuple(map(float, grid.columns)),
            y=tuple(map(float, grid.index)),
            values=tuple(tuple(map(float, row)) for row in grid.to_numpy()),
            z_label="NLL (nat)",
        )
        yield Panel(
            model=variant,
            title=f"{variant}, seed {seed}",
            x_label="step along the first direction",
            y_label="step along the second direction",
            surface=surface,
            group="loss around the trained weights",
        )


def similarities(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure 10a: mini-batch CKA of every two points, the mean over seeds.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    for variant in variants:
        rows = rows_of(tables, "similarity", variant)
        if rows.empty:
            continue
        places = rows.groupby("point_x")[["depth_x", "stage_x"]].first().sort_values("depth_x", kind="stable")
        order = list(places.index)
        means = rows.groupby(["point_y", "point_x"])["cka"].mean().unstack()
        square = means.reindex(index=order, columns=order).to_numpy(dtype=float)
        square = np.where(np.isnan(square), square.T, square)
        heat = Heat(
            values=tuple(map(tuple, square.tolist())),
            names_x=tuple(map(str, order)),
            names_y=tuple(map(str, order)),
            ticks=_ticks(places["stage_x"]),
        )
        yield Panel(model=variant, title=variant, x_label="point", y_label="point", heat=heat)


def _ticks(stages: pd.Series[int]) -> tuple[tuple[int, str], ...]:
    """Where each stage begins."""
    found: dict[int, int] = {}
    for place, stage in enumerate(stages):
        found.setdefault(int(stage), place)
    return tuple((place, "stem" if stage == 0 else f"stage {stage}") for stage, place in found.items())
