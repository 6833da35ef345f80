"""Landscapes drawn: surfaces over the plane, lines through the centre."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel, Surface
from visionscope.core.finding import counted
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.landscape.question import Landscape
from visionscope.diagnostics.landscape.results import Cut, cuts_of
from visionscope.diagnostics.second_order.parameters import parameters_text

Row = dict[str, Any]


def figure(asked: Landscape, table: pa.Table) -> Figure:
    """Surfaces of the NLL and of NLL + L2, a panel per model, and the lines through the centre."""
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


def _drawn(rows: Sequence[Row]) -> list[Cut]:
    """The lines that one curve stands for: all where they are draws of one kind, else the first direction alone."""
    cuts = cuts_of(rows)
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


def _mean_line(model: str, cuts: Sequence[Cut]) -> Line | None:
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
            f"{_PLANES[first['plane']]}, {_LENGTHS[first['normalization']]}; the same "
            f"{counted(first['images'], 'image')} at every place (augmentation: {first['augmentation']}; "
            f"label smoothing {first['label_smoothing']:g}); "
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
