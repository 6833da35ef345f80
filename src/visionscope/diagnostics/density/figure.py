"""The spectral density drawn, as a logarithm: outliers hold a few of millions of eigenvalues."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.finding import counted
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.density.question import UNIT, Density
from visionscope.diagnostics.density.results import masses
from visionscope.diagnostics.second_order.parameters import parameters_text

_BANDWIDTH = 0.01  # of the widest magnitude on the axis
_FLOOR = 1e-6  # of the highest density: what is drawn of a logarithm
_POINTS = 241


def figure(asked: Density, table: pa.Table) -> Figure:
    """The logarithm of the density, mean over random vectors with a band of one standard error."""
    models = {
        model: own
        for model, rows in rows_by_model(table).items()
        if (own := [row for row in rows if row["quantity"] == "ritz"])
    }
    values = [row["value"] for rows in models.values() for row in rows]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    width = _BANDWIDTH * max(high - low, 1e-12)
    at = np.linspace(low - 4 * width, high + 4 * width, _POINTS)
    curves = {model: _curves(rows, at, width) for model, rows in models.items()}
    floor = _FLOOR * max((float(curve.max()) for curve in curves.values()), default=1.0)
    lines = tuple(_line(model, at, curve, floor) for model, curve in curves.items())
    panel = Panel(
        model="",
        title="density of the whole spectrum",
        x_label=f"eigenvalue ({UNIT})",
        y_label="log10 of the density",
        lines=lines,
    )
    return Figure(
        name="density",
        title="Spectral density of the Hessian",
        caption=_caption(table, width),
        panels=(panel,) if lines else (),
    )


def _curves(rows: list[dict[str, Any]], at: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """(probes, places): the masses of each probe, each widened to a Gaussian."""
    curves = []
    for values, weights in masses(rows):
        steps = (at[:, None] - values) / width
        curves.append(np.exp(-(steps**2) / 2) @ weights / (width * math.sqrt(2 * math.pi)))
    return np.array(curves)


def _line(model: str, at: NDArray[np.float64], curves: NDArray[np.float64], floor: float) -> Line:
    mean = curves.mean(0)
    error = curves.std(0, ddof=1) / math.sqrt(len(curves)) if len(curves) > 1 else np.zeros_like(mean)
    shown = mean > floor
    logarithm = np.log10(mean, out=np.full_like(mean, math.nan), where=shown)
    # To first order; where the error is as large as the mean the band would leave the axes.
    relative = np.divide(error, mean, out=np.zeros_like(mean), where=shown)
    band = np.minimum(relative / math.log(10), 1.0)
    return Line(name=model, x=tuple(at.tolist()), y=tuple(logarithm.tolist()), error=tuple(band.tolist()))


def _caption(table: pa.Table, width: float) -> str:
    rows = table.to_pylist()
    probes = len({row["probe"] for row in rows if row["quantity"] == "ritz"})
    images = " or ".join(counted(count, "image") for count in sorted({row["images"] for row in rows}))
    ways = ", ".join(sorted({row["augmentation"] for row in rows}))
    return (
        f"Hessian of NLL + (weight decay / 2) |w|² over {images} (augmentation: {ways}), by stochastic Lanczos "
        f"quadrature with {probes} random vectors; masses widened to Gaussians of standard deviation {width:.3g}. "
        "Bands: one standard error over the vectors. "
        f"{parameters_text(rows)}"
    ).strip()
