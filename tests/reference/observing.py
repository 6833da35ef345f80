"""Points and feature maps made up for tests, and the loop that feeds them to an observer."""

import dataclasses

import numpy as np
import pyarrow as pa
import torch

from visionscope.core.subject import Kind, Point
from visionscope.core.table import from_table, to_table


def make_points(grids, stages=None, kinds=None, channels=4, follows=None):
    """Points p0, p1, ..., each of which follows the one before unless `follows` says otherwise."""
    count = len(grids)
    return tuple(
        Point(
            name=f"p{index}",
            kind=Kind(kinds[index]) if kinds else Kind.CONV,
            stage=stages[index] if stages else 1,
            depth=index / max(1, count - 1),
            grid=grid,
            channels=channels,
            layout="b c h w",
            prefix_tokens=0,
            follows=follows[index] if follows else f"p{index - 1}" if index else "",
        )
        for index, grid in enumerate(grids)
    )


def make_maps(points, images, seed=0, dtype=torch.float64, offset=0.5):
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((images, 1, 1, 1))
    shapes = [(images, point.channels, *point.grid) for point in points]
    return [torch.from_numpy(rng.standard_normal(shape) + base + offset).to(dtype) for shape in shapes]


def feed(observer, points, maps, positions, batch):
    for start in range(0, len(positions), batch):
        place = torch.as_tensor(positions[start : start + batch])
        for point, own in zip(points, maps, strict=True):
            given = own[place].clone()
            observer.update(point, given, place)
            given.fill_(float("nan"))  # as a model does that overwrites its tensors
    return observer


def stored(diagnostic, observer):
    """The observer's state after a trip through an Arrow table."""
    return from_table(diagnostic.state_row, to_table(diagnostic.state_row, observer.state()))


def table_of(diagnostic, rows, model="m", **columns):
    rows = list(rows)
    table = to_table(diagnostic.row, rows)
    for name, value in {"model": model, **columns}.items():
        table = table.append_column(name, pa.array([value] * len(rows)))
    return table


def numbers(rows):
    """All floats of some rows as one array, NaN for None."""
    values = []
    for row in rows:
        for value in dataclasses.astuple(row):
            if value is None or isinstance(value, float):
                values.append(np.nan if value is None else value)
    return np.array(values)
