"""What landscapes come to and how they are drawn: flatness, surfaces, lines."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel, Surface
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics._curvature import parameters_text
from visionscope.numerics.flatness import curvature, radius_of, rise_at

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class LandscapeSummaryRow:
    """One number about the loss around a network."""

    quantity: str = column("what it is")
    value: float | None = column("the number, a mean where there are several directions")
    deviation: float | None = column("standard deviation over directions")
    low: float | None = column("smallest over directions")
    high: float | None = column("largest over directions")
    unit: str = column("of value, deviation, low and high; one step is the length of one direction")
    directions: int = column("over how many directions")
    images: int = column("images in each loss")
    note: str = column("why there is no value, or what it leaves out")


@dataclasses.dataclass(frozen=True)
class _Cut:
    """The NLL along one direction through the centre."""

    axis: str
    draw: int
    steps: tuple[float, ...]
    losses: tuple[float, ...]


def summary(table: pa.Table, *, rise: float, radius: float) -> pa.Table:
    """A row per model and quantity, with the leading columns of the table.

    Args:
        table: rows of landscapes.
        rise: in nats, whose radius is told.
        radius: at which sharpness is told.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["job"], row["model"]), []).append(row)
    found, firsts = [], []
    for rows in groups.values():
        for said in _flatness(rows, rise, radius):
            found.append(said)
            firsts.append(rows[0])
    return with_leading_of(to_table(LandscapeSummaryRow, found), firsts)


def figure(table: pa.Table) -> Figure:
    """Surfaces of the NLL and of NLL + L2, and lines; a panel per model.

    Args:
        table: rows of one or more models, with the column `model`.
    """
    models = rows_by_model(table)
    planes = {model: grid for model, rows in models.items() if len(grid := _grid(rows)) > 1}
    squared = all(row["l2"] is not None for rows in models.values() for row in rows)
    l2 = "l2" if squared else "l2_official"
    word = "NLL + L2" if squared else "NLL + L2 of the authors' code"
    panels = [_surface(model, models[model], "NLL", "NLL (nat)", lambda row: row["nll"]) for model in planes]
    panels += [
        _surface(model, models[model], f"{word}, above its least", f"{word}, above its least (nat)", _with_l2(l2))
        for model in planes
    ]
    lines = tuple(line for model, rows in models.items() if (line := _mean_line(model, _drawn(rows))) is not None)
    if lines:
        panels.append(
            Panel(
                model="",
                title="along lines through the centre",
                x_label="step along a direction",
                y_label="NLL (nat)",
                lines=lines,
                group="lines",
            )
        )
    return Figure(name="landscape", title="Loss landscapes", caption=_caption(models, squared), panels=tuple(panels))


def _flatness(rows: Sequence[Row], rise: float, radius: float) -> list[LandscapeSummaryRow]:
    cuts = _cuts(rows)
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
        _over(f"sharpness: rise at step {radius:g}", rises, "nat", images, "beyond the line or not finite along {}"),
        *_bf16_errors(rows, images),
        _single("non-finite places", float(sum(not math.isfinite(row["nll"]) for row in rows)), "", images),
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


def _radius(rise: float, radii: Sequence[float | None], cuts: Sequence[_Cut], images: int) -> LandscapeSummaryRow:
    """Either sense of a direction counts by itself."""
    said = _over(f"radius at a rise of {rise:g} nat", radii, "step", images, "not reached along {} half-lines")
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


def _cuts(rows: Sequence[Row]) -> list[_Cut]:
    """The lines through the centre: the plane's two axes and the further draws."""
    found = []
    for draw in sorted({row["draw"] for row in rows}):
        own = [row for row in rows if row["draw"] == draw and not row["place"]]
        for axis, other in (("x", "y"), ("y", "x")):
            along = sorted((row[axis], row["nll"]) for row in own if row[other] == 0)
            if len(along) > 1 and any(step == 0 for step, _ in along):
                steps, losses = zip(*along, strict=True)
                found.append(_Cut(axis, draw, steps, losses))
    return found


def _drawn(rows: Sequence[Row]) -> list[_Cut]:
    """The lines that one curve stands for: all where they are draws of one kind, else the first direction alone."""
    cuts = _cuts(rows)
    return cuts if rows[0]["plane"] == "random" else cuts[:1]


def _grid(rows: Sequence[Row]) -> list[float]:
    return sorted({row["y"] for row in rows if not row["draw"] and not row["place"]})


def _with_l2(name: str) -> Callable[[Row], float]:
    return lambda row: float(row["nll"] + row[name])


def _surface(model: str, rows: Sequence[Row], group: str, z_label: str, value: Callable[[Row], float]) -> Panel:
    own = {(row["x"], row["y"]): value(row) for row in rows if not row["draw"] and not row["place"]}
    steps_x, steps_y = sorted({x for x, _ in own}), _grid(rows)
    least = min((z for z in own.values() if math.isfinite(z)), default=0.0) if "above" in group else 0.0
    values = tuple(tuple(own.get((x, y), math.nan) - least for x in steps_x) for y in steps_y)
    marks = tuple((row["x"], row["y"], row["place"]) for row in rows if row["place"])
    return Panel(
        model=model,
        title=model,
        x_label="step along the first direction",
        y_label="step along the second direction",
        group=group,
        surface=Surface(x=tuple(steps_x), y=tuple(steps_y), values=values, z_label=z_label, marks=marks),
    )


def _mean_line(model: str, cuts: Sequence[_Cut]) -> Line | None:
    """The mean over the directions of equal steps; a gap where the loss is not finite along one of them."""
    if not cuts:
        return None
    steps = cuts[0].steps
    alike = [cut for cut in cuts if cut.steps == steps]
    columns = list(zip(*(cut.losses for cut in alike), strict=True))
    whole = [all(map(math.isfinite, losses)) for losses in columns]
    mean = tuple(statistics.fmean(losses) if known else math.nan for losses, known in zip(columns, whole, strict=True))
    error = None
    if len(alike) > 1:
        error = tuple(statistics.stdev(losses) if known else 0.0 for losses, known in zip(columns, whole, strict=True))
    return Line(name=model, x=steps, y=mean, error=error)


_PLANES = {
    "random": "random Gaussian directions",
    "eigenvectors": "the eigenvectors of the Hessian's two eigenvalues of largest magnitude",
    "checkpoints": "the plane through the network and two further checkpoints",
}
_LENGTHS = {
    "filter": "filter-normalized (a step of 1 is as long as each output filter)",
    "layer": "normalized by layer (a step of 1 is as long as each tensor)",
    "none": "not normalized (a step of 1 moves every weight by a standard normal number)",
    "official": "normalized as in the authors' code (norms across filters)",
    "curvature": "a step of 1 changes the NLL by 1 nat where the Hessian alone decides",
    "distance": "a step of 1 is the distance from the network to the first of them",
}
_NORMS = {
    "kept": "BatchNorm statistics kept",
    "reestimated": "BatchNorm statistics measured anew at each place",
    "none": "no BatchNorm",
}


def _caption(models: dict[str, list[Row]], squared: bool) -> str:
    described: dict[str, list[str]] = {}
    for model, rows in models.items():
        first = rows[0]
        text = (
            f"{_PLANES[first['plane']]}, {_LENGTHS[first['normalization']]}; the same {first['images']} images at "
            f"every place (augmentation: {first['augmentation']}; label smoothing {first['label_smoothing']:g}); "
            f"{_NORMS[first['batch_norm']]}; weight decay {first['weight_decay']:g}"
        )
        described.setdefault(text, []).append(model)
    if len(described) == 1:
        said = [f"NLL and L2 along {next(iter(described))}."]
    else:
        said = [f"{', '.join(names)}: {text}." for text, names in described.items()]
    said.append(
        "L2 is (weight decay / 2) |w|²."
        if squared
        else "L2 is the authors' weight decay times the sum over tensors of |w|, not squared, as one of the models was "
        "published with no other."
    )
    said.append(parameters_text([rows[0] for rows in models.values()]))
    losses = [row["nll"] for rows in models.values() for row in rows]
    holes = sum(not math.isfinite(loss) for loss in losses)
    if holes:
        said.append(f"Holes: {holes} places where the loss is infinite or not a number.")
    counts = {model: len(_drawn(rows)) for model, rows in models.items()}
    if any(count > 1 for count in counts.values()):
        said.append("Lines: mean over the directions, the band one standard deviation over them.")
    alone = [model for model, count in counts.items() if count == 1]
    if alone:
        said.append(f"{', '.join(alone)}: the line is that of the first direction.")
    return " ".join(filter(None, said))
