"""What the batches' sharpness comes to: means over batches with intervals."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import counted
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics.sharpness.question import KINDS, Sharpness
from visionscope.numerics.over_seeds import t_interval

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class MeanRow:
    """One kind of sharpness of one model, over its batches."""

    kind: str = column("average, worst or critical")
    value: float | None = column("mean over batches; null where one of them has none", ends=("low", "high"))
    low: float | None = column("lower end of its 95 % interval (Student's t over batches); null for one batch")
    high: float | None = column("upper end")
    unit: str = column("of value, low and high")
    step: float | None = column(
        "median critical step: a learning rate in squared weights per nat; along an update, a multiple of it"
    )
    direction: str = column("along which the critical step was looked for", role="setting")
    radius: float | None = column(
        "how far weights go, as a share of each weight's magnitude; null of critical, which has none", role="convention"
    )
    norm: str = column("what the radius bounds: gaussian (standard deviation), linf (each weight), l2 (all together)")
    nll: float = column("mean cross-entropy where the network is", "nat", title="NLL", role="outcome")
    batches: int = column("how many batches", role="count")
    images: int = column("images in each batch, the paper's m", role="count")
    forward_passes: float = column("forward passes of a batch, mean over batches", role="count")
    gradients: float = column("gradients of a batch", role="count")
    augmentation: str = column("how the images were changed: strong, weak or none", role="setting")
    note: str = column("why there is no value")


def summary(asked: Sharpness, table: pa.Table) -> pa.Table:
    """A row per model and kind."""
    found = [
        (own[0], _mean(own))
        for rows in rows_by_model(table).values()
        for kind in KINDS
        if (own := [row for row in rows if row["kind"] == kind])
    ]
    return with_leading_of(to_table(MeanRow, [row for _, row in found]), [first for first, _ in found])


def _mean(rows: Sequence[Row]) -> MeanRow:
    first, count = rows[0], len(rows)
    values = [row["value"] for row in rows if row["value"] is not None]
    steps = sorted(row["step"] for row in rows if row["step"] is not None)
    missing = [row["note"] for row in rows if row["value"] is None]
    known = not missing
    ends = t_interval(values) if known and count > 1 else (None, None)
    return MeanRow(
        kind=first["kind"],
        value=sum(values) / count if known else None,
        low=ends[0],
        high=ends[1],
        unit=first["unit"],
        step=(steps[(count - 1) // 2] + steps[count // 2]) / 2 if known and steps else None,
        direction=first["direction"],
        radius=first["radius"],
        norm=first["norm"],
        nll=sum(row["nll"] * row["images"] for row in rows) / sum(row["images"] for row in rows),
        batches=count,
        images=first["images"],
        forward_passes=sum(row["forward_passes"] for row in rows) / count,
        gradients=sum(row["gradients"] for row in rows) / count,
        augmentation=first["augmentation"],
        note="" if known else f"{len(missing)} of {counted(count, 'batch', 'batches')}: {missing[0]}",
    )
