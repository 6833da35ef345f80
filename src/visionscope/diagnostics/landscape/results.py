"""What landscapes come to: how flat the loss is around a network, and around which of two it is flatter."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import interval, joined
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics.landscape.question import Landscape
from visionscope.numerics.flatness import curvature, radius_of, rise_at

Row = dict[str, Any]

RADIUS, SHARPNESS = "radius at a rise of ", "sharpness: rise at step "
"""How the names of these quantities begin; the rise or the step follows."""

SHARE_OF_L2, HOLES = "share of L2 in the rise to the border", "non-finite places"
_ALL_PAIRS = 3
_SETTINGS = ("data", "precision", "plane", "normalization", "images", "augmentation", "batch_norm", "label_smoothing")


@dataclasses.dataclass(frozen=True)
class LandscapeSummaryRow:
    """One number about the loss around a network."""

    quantity: str = column("what it is")
    value: float | None = column(
        "the number, a mean where there are several directions",
        ends=("low", "high"),
        ends_are="range",
        spread="deviation",
        spread_is="deviation",
    )
    deviation: float | None = column("standard deviation over directions")
    low: float | None = column("smallest over directions")
    high: float | None = column("largest over directions")
    unit: str = column("of value, deviation, low and high; one step is the length of one direction")
    directions: int = column("over how many directions", role="count")
    images: int = column("images in each loss", role="count")
    note: str = column("why there is no value, or what it leaves out")


@dataclasses.dataclass(frozen=True)
class LandscapeComparisonRow:
    """Around which of two networks the loss is flatter, by their mean sharpness over directions."""

    other: str = column("the network whose number is taken away")
    number: str = column("what they are compared in")
    difference: float | None = column(
        "the first's mean less the other's; below zero the first lies flatter", ends=("low", "high")
    )
    low: float | None = column(
        "lower end of its 95 % interval (Welch, over directions), wider where the two are the extremes of several"
    )
    high: float | None = column("upper end")
    value: float | None = column("the first's mean over directions", spread="deviation", spread_is="deviation")
    deviation: float | None = column("standard deviation over directions")
    directions: int = column("over how many directions", role="count")
    other_value: float | None = column(
        "the other's mean over directions", spread="other_deviation", spread_is="deviation"
    )
    other_deviation: float | None = column("standard deviation over directions")
    other_directions: int = column("over how many directions", role="count")
    unit: str = column("of all these")
    chosen_of: int = column(
        "out of how many the two were chosen as the extremes; of 2 there is no choice", role="count"
    )
    note: str = column("why they don't compare, or empty")


@dataclasses.dataclass(frozen=True)
class Cut:
    """The NLL along one direction through the centre."""

    axis: str
    draw: int
    steps: tuple[float, ...]
    losses: tuple[float, ...]


def summary(asked: Landscape, table: pa.Table) -> pa.Table:
    """Flatness per model, with its spread over directions, and what its grid holds besides."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["job"], row["model"]), []).append(row)
    found, firsts = [], []
    for rows in groups.values():
        for said in _flatness(rows, asked.rise, asked.radius):
            found.append(said)
            firsts.append(rows[0])
    return with_leading_of(to_table(LandscapeSummaryRow, found), firsts)


def comparisons(asked: Landscape, table: pa.Table) -> pa.Table:
    """Each two of a few networks, or of many the flattest and the sharpest, by Welch's interval over directions.

    All are taken at the step of `radius`. Networks of one architecture share their draws, which makes the interval
    wider than it need be. Along eigenvectors and between checkpoints nothing was drawn, so nothing is compared.
    """
    settings = {name: {key: rows[0][key] for key in _SETTINGS} for name, rows in rows_by_model(table).items()}
    known = [
        {**row, **settings[name]}
        for name, rows in rows_by_model(summary(asked, table)).items()
        for row in rows
        if row["quantity"].startswith(SHARPNESS)
    ]
    found = [(first, _compared(first, second, chosen_of)) for first, second, chosen_of in _pairs(known)]
    return with_leading_of(to_table(LandscapeComparisonRow, [row for _, row in found]), [first for first, _ in found])


def cuts_of(rows: Sequence[Row]) -> list[Cut]:
    """The lines through the centre: the plane's two axes and the further draws.

    Args:
        rows: of one model.
    """
    found = []
    for draw in sorted({row["draw"] for row in rows}):
        own = [row for row in rows if row["draw"] == draw and not row["place"]]
        for axis, other in (("x", "y"), ("y", "x")):
            along = sorted((row[axis], row["nll"]) for row in own if row[other] == 0)
            if len(along) > 1 and any(step == 0 for step, _ in along):
                steps, losses = zip(*along, strict=True)
                found.append(Cut(axis, draw, steps, losses))
    return found


def _pairs(known: Sequence[Row]) -> Iterator[tuple[Row, Row, int]]:
    """Two networks each, and from how many they were chosen."""
    if len(known) <= _ALL_PAIRS:
        yield from ((first, second, 2) for first, second in itertools.combinations(known, 2))
        return
    ranked = sorted((row for row in known if row["value"] is not None), key=lambda row: float(row["value"]))
    if len(ranked) > 1:
        yield ranked[0], ranked[-1], len(ranked)


def _compared(first: Row, second: Row, chosen_of: int) -> LandscapeComparisonRow:
    note = _why_not(first, second)
    difference, ends = (None, None) if note else _difference(first, second, chosen_of)
    return LandscapeComparisonRow(
        other=second["model"],
        number=first["quantity"],
        difference=difference,
        low=ends and ends[0],
        high=ends and ends[1],
        value=first["value"],
        deviation=first["deviation"],
        directions=first["directions"],
        other_value=second["value"],
        other_deviation=second["deviation"],
        other_directions=second["directions"],
        unit=first["unit"],
        chosen_of=chosen_of,
        note=note,
    )


def _why_not(first: Row, second: Row) -> str:
    """Why two landscapes don't compare, or ""."""
    pairs = {key: {first[key], second[key]} for key in _SETTINGS}
    # A network without BatchNorm has no statistics that could differ.
    pairs["batch_norm"] -= {"none"}
    differing = [key.replace("_", " ") for key, pair in pairs.items() if len(pair) > 1]
    if differing:
        return f"they differ in {joined(differing)}"
    if first["plane"] != "random":
        return f"directions of the plane of {first['plane']} are no random draws"
    for row in (first, second):
        if row["value"] is None:
            return f"around {row['model']} the loss is {row['note']}"
        if row["deviation"] is None:
            return "one direction has no spread (ask for draws)"
    return ""


def _difference(first: Row, second: Row, chosen_of: int) -> tuple[float, tuple[float, float] | None]:
    """Welch's interval of the difference of two means; with Bonferroni's confidence for the extremes of several."""
    rows = (first, second)
    parts = [row["deviation"] ** 2 / row["directions"] for row in rows]
    freedoms = [part**2 / (row["directions"] - 1) for part, row in zip(parts, rows, strict=True)]
    # Without any spread Welch's degrees are 0 / 0; the smaller sample's are the cautious ones.
    fewest = min(row["directions"] for row in rows) - 1
    degrees = int(sum(parts) ** 2 / sum(freedoms)) if sum(freedoms) else fewest
    difference = first["value"] - second["value"]
    return difference, interval(difference, math.sqrt(sum(parts)), degrees, comparisons=math.comb(chosen_of, 2))


def _flatness(rows: Sequence[Row], rise: float, radius: float) -> list[LandscapeSummaryRow]:
    cuts = cuts_of(rows)
    images = max(row["images"] for row in rows)
    centre = next((row for row in rows if row["x"] == row["y"] == 0 and not row["draw"]), None)
    if centre is None:
        return []
    said = [
        _single("NLL at the centre", centre["nll"], "nat", images),
        _single("L2 at the centre", centre["l2"], "nat", images),
        _single("accuracy at the centre", centre["accuracy"], "", images),
    ]
    per_square = "nat per squared step"
    curvatures = [curvature(cut.steps, cut.losses) for cut in cuts]
    for cut, value in zip(cuts, curvatures, strict=True):
        if not cut.draw:
            said.append(_single(f"curvature along {cut.axis}", value, per_square, images))
    radii = [distance for cut in cuts for distance in radius_of(rise, cut.steps, cut.losses)]
    rises = [rise_at(radius, cut.steps, cut.losses) for cut in cuts]
    said += [
        _over("curvature", curvatures, per_square, images, "no finite neighbours of the centre along {}"),
        _radius(rise, radii, cuts, images),
        _over(f"{SHARPNESS}{radius:g}", rises, "nat", images, "beyond the line or not finite along {}"),
        *_bf16_errors(rows, images),
        *_share_of_l2(rows, images),
        _single(HOLES, float(sum(not math.isfinite(row["nll"]) for row in rows)), "", images),
    ]
    return said


def _bf16_errors(rows: Sequence[Row], images: int) -> list[LandscapeSummaryRow]:
    known = [row["bf16_error"] for row in rows if row["bf16_error"] is not None]
    if not known:
        return []
    said = _single("largest error of bf16 measured", max(known), "share of the NLL", images)
    return [dataclasses.replace(said, note=f"at {len(known)} places, over the first 256 images; curvature has it most")]


def _single(quantity: str, value: float | None, unit: str, images: int) -> LandscapeSummaryRow:
    finite = value is not None and math.isfinite(value)
    note = "" if finite else "not known" if value is None else f"it is {value}"
    return LandscapeSummaryRow(quantity, value if finite else None, None, None, None, unit, 1, images, note)


def _radius(rise: float, radii: Sequence[float | None], cuts: Sequence[Cut], images: int) -> LandscapeSummaryRow:
    """Either sense of a direction counts by itself."""
    said = _over(f"{RADIUS}{rise:g} nat", radii, "step", images, "not reached along {} half-lines")
    first = min((abs(step) for cut in cuts for step in cut.steps if step), default=0.0)
    coarse = sum(radius is not None and radius < first for radius in radii)
    if said.note or not coarse:
        return said
    told = f"within the first step along {coarse} of {len(radii)} half-lines: take a smaller extent"
    return dataclasses.replace(said, note=told)


def _over(quantity: str, values: Sequence[float | None], unit: str, images: int, missing: str) -> LandscapeSummaryRow:
    """The mean over directions; none where it would leave some out, as these are the steepest or the flattest."""
    known = [value for value in values if value is not None]
    complete = len(known) == len(values) and bool(known)
    count = len(values) - len(known)
    return LandscapeSummaryRow(
        quantity=quantity,
        value=statistics.fmean(known) if complete else None,
        deviation=statistics.stdev(known) if complete and len(known) > 1 else None,
        low=min(known, default=None),
        high=max(known) if complete else None,
        unit=unit,
        directions=len(values),
        images=images,
        note="" if complete else missing.format(f"{count} of {len(values)}"),
    )


def _share_of_l2(rows: Sequence[Row], images: int) -> list[LandscapeSummaryRow]:
    """The mean share of L2 in the rise of NLL + L2 from the centre to the border of the grid, where both are finite."""
    grid = [row for row in rows if not row["draw"] and not row["place"] and row["l2"] is not None]
    centre = next((row for row in grid if row["x"] == row["y"] == 0), None)
    if centre is None or len({row["y"] for row in grid}) < 2:
        return []
    ends = {key: {min(row[key] for row in grid), max(row[key] for row in grid)} for key in ("x", "y")}
    border = [row for row in grid if row["x"] in ends["x"] or row["y"] in ends["y"]]
    rises = [(row["nll"] - centre["nll"], row["l2"] - centre["l2"]) for row in border]
    finite = [(nll, l2) for nll, l2 in rises if math.isfinite(nll) and math.isfinite(l2)]
    # Where either falls, a share says nothing.
    if not finite or any(nll < 0 or l2 < 0 for nll, l2 in finite):
        return []
    total = statistics.fmean(nll + l2 for nll, l2 in finite)
    if total <= 0:
        return []
    return [_single(SHARE_OF_L2, statistics.fmean(l2 for _, l2 in finite) / total, "of the rise of NLL + L2", images)]
