"""The whole spectrum of a sample's Hessian: its density by stochastic Lanczos quadrature, its trace by Hutch++."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.grouping import rows_by_model
from visionscope.core.rules import MOST_IMAGES, check_rules, rule, seed_rule
from visionscope.core.sample import MINI_BATCH
from visionscope.core.subject import Point, Subject
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.curvature.density import quadratures, trace_parts
from visionscope.curvature.second_order import check_passes
from visionscope.diagnostics._curvature import (
    Measured,
    SampleHessian,
    check_differentiable,
    measured_parameters,
    objective_of,
    parameters_text,
    product_bytes,
    seed_of,
    vector_bytes,
)
from visionscope.errors import DataError

PROBES_PER_PART = 2
_TRACE = "trace"
_UNIT = "nat per squared weight"
_BANDWIDTH = 0.01  # of the widest magnitude on the axis
_FLOOR = 1e-6  # of the highest density: what is drawn of a logarithm
_POINTS = 241


@dataclasses.dataclass(frozen=True)
class DensityRow:
    """One mass of the spectral density, or one term of the trace."""

    quantity: str = column("ritz: a mass of the density; sketch and residual: the two terms of Hutch++")
    probe: int = column("number of the random vector; -1 for the sketch")
    value: float = column("Ritz value, or the term of the trace", _UNIT)
    weight: float = column("of a Ritz value: its share of the probe's mass; 1 for terms of the trace")
    images: int = column("images in the Hessian")
    parameters: int = column("how many numbers it is taken over")
    measured: str = column("trainable: frozen numbers are left out; all: they are among them")
    frozen: int = column("frozen numbers of the model: left out, or among `parameters`")
    unused: int = column("numbers that the loss does not depend on: their curvature is the weight decay alone")
    augmentation: str = column("how the images were changed: strong, weak or none")
    batch_norm: str = column("eval: running statistics; train: those of each mini-batch")
    weight_decay: float = column("factor of the L2 term", _UNIT)


@dataclasses.dataclass(frozen=True)
class DensitySummaryRow:
    """One number that the spectrum comes to."""

    quantity: str = column("what it is")
    value: float = column("its estimate; the unit stands beside it")
    standard_error: float | None = column("over random vectors")
    unit: str = column("of both")
    images: int = column("images in the Hessian")
    parameters: int = column("how many numbers it is taken over")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Density:
    """Spectral density and trace of the Hessian of `NLL + (weight_decay / 2) |w|²` over a whole sample.

    Density: stochastic Lanczos quadrature. Trace: Hutch++. Both from Hessian-vector products that are summed over
    mini-batches of 16; the graph of a mini-batch serves all the vectors of a part, then goes.

    Attributes:
        mini_batches: how many mini-batches of 16 images.
        probes: random vectors of the density.
        steps: Lanczos steps of each.
        sketch: random vectors of Hutch++'s sketch, and as many for the rest.
        parameters: trainable or all; by default the trainable ones where some are frozen, else all.
        batch_norm: eval keeps the running statistics; train takes those of the mini-batch.
        seed: of the random vectors.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "density"
    version: ClassVar[int] = 2
    row: ClassVar[type] = DensityRow
    sample: ClassVar[str] = "train"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")

    mini_batches: int = rule(16, least=1, most=MOST_IMAGES // MINI_BATCH)
    probes: int = rule(4, least=2, most=10_000)
    steps: int = rule(25, least=2, most=10_000)
    sketch: int = rule(8, least=2, most=10_000)
    parameters: Literal["trainable", "all"] | None = None
    batch_norm: Literal["eval", "train"] = "eval"
    seed: int = seed_rule()

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        """Whole mini-batches: as many as asked, or as there are.

        Args:
            available: images in the sample.

        Raises:
            DataError: when they don't fill one mini-batch.
        """
        if available < MINI_BATCH:
            raise DataError(f"density: needs at least {MINI_BATCH} images, one mini-batch; the data have {available}")
        return min(self.mini_batches, available // MINI_BATCH) * MINI_BATCH

    def identity(self) -> dict[str, Any]:
        """The fields, without the choice of parameters: `identity_in` tells what it comes to."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "parameters"}

    def identity_in(self, subject: Subject) -> list[str]:
        """What the numbers depend on beside the weights: which parameters are frozen, and whether they are left out.

        Args:
            subject: any.
        """
        return self._measured(subject).identity()

    def parts(self, subject: Subject) -> Sequence[str]:
        """The trace, then two random vectors of the density each.

        Args:
            subject: any.

        Raises:
            NotApplicableError: for parameters by which there are no second derivatives.
        """
        check_differentiable(subject, self.name, self._measured(subject))
        firsts = range(0, self.probes, PROBES_PER_PART)
        return [_TRACE, *(f"probes-{first:02d}-{min(first + PROBES_PER_PART, self.probes):02d}" for first in firsts)]

    def is_whole(self, part: str, rows: Sequence[DensityRow], points: Sequence[Point]) -> bool:
        """Whether stored rows are of a part's random vectors, all of them, or of the trace.

        Args:
            part: a name from `parts`.
            rows: as they were stored.
            points: of the model.
        """
        if part == _TRACE:
            return bool(rows) and all(row.quantity != "ritz" for row in rows)
        first, last = map(int, part.split("-")[1:])
        return {row.probe for row in rows if row.quantity == "ritz"} == set(range(first, last))

    def cost(self, subject: Subject) -> Cost:
        """About nine forward passes per image and product; one retained graph, and the vectors of one part.

        Args:
            subject: with its sample and objective.
        """
        sample = subject.samples[self.sample]
        names = self._measured(subject).names
        needed = product_bytes(subject, self.sample, objective_of(subject, self.name), self.batch_norm, names)
        vector = vector_bytes(subject.model, names)
        products = max(PROBES_PER_PART * self.steps, 3 * self.sketch)
        return Cost(
            passes=9.0 * products * len(sample),
            memory=needed + max(2 * PROBES_PER_PART * self.steps, 6 * self.sketch) * vector,
            advice=f"take fewer steps (--density.steps, now {self.steps}), smaller images, or a GPU",
        )

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[DensityRow]]]:
        """The masses or terms of each part.

        Args:
            subject: with its sample `train` and its objective.
            parts: names from `parts`.

        Raises:
            NondeterminismError: when two passes over a mini-batch differ.
            VisionscopeError: when the model can't be differentiated twice, naming module and operation, or a product is
                not finite, or the loss depends on parameters that no gradient reaches.
        """
        objective, sample = objective_of(subject, self.name), subject.samples[self.sample]
        measured = self._measured(subject)
        check_differentiable(subject, self.name, measured)
        check_passes(subject.model, sample, self.batch_norm, second_derivatives=True, parameters=measured.names)
        batches = list(sample.batches(0, len(sample), MINI_BATCH))
        hessian = SampleHessian(subject, objective, batches, self.batch_norm, measured.names)
        for part in parts:
            terms = self._trace(hessian) if part == _TRACE else self._masses(hessian, part)
            yield (
                part,
                [
                    DensityRow(
                        *term,
                        images=len(sample),
                        parameters=hessian.like.numel(),
                        measured=measured.which,
                        frozen=measured.frozen_of(measured.frozen),
                        unused=hessian.unused,
                        augmentation=subject.augmentation,
                        batch_norm=self.batch_norm,
                        weight_decay=objective.weight_decay,
                    )
                    for term in terms
                ],
            )

    def _measured(self, subject: Subject) -> Measured:
        return measured_parameters(subject, self.name, self.parameters)

    def _trace(self, hessian: SampleHessian) -> list[tuple[str, int, float, float]]:
        found = trace_parts(hessian.products, hessian.like, seed_of(self.seed, _TRACE), self.sketch)
        rest = [("residual", probe, value, 1.0) for probe, value in enumerate(found.residuals.tolist())]
        return [("sketch", -1, found.sketch, 1.0), *rest]

    def _masses(self, hessian: SampleHessian, part: str) -> list[tuple[str, int, float, float]]:
        first, stop = map(int, part.split("-")[1:])
        seeds = [seed_of(self.seed, probe) for probe in range(first, stop)]
        runs = quadratures(hessian.products, hessian.like, seeds, self.steps)
        return [
            ("ritz", probe, value, weight)
            for probe, run in zip(range(first, stop), runs, strict=True)
            for value, weight in zip(run.values.tolist(), run.weights.tolist(), strict=True)
        ]

    def summary(self, table: pa.Table) -> pa.Table:
        """Trace, mean, share of negative mass and the ends of the spectrum; see `DensitySummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        jobs: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in table.to_pylist():
            jobs.setdefault((row["job"], row["model"]), []).append(row)
        rows = [(group[0], row) for group in jobs.values() for row in _summed(group)]
        found = to_table(DensitySummaryRow, [row for _, row in rows])
        return with_leading_of(found, [first for first, _ in rows])

    def figure(self, table: pa.Table) -> Figure:
        """The logarithm of the density, mean over random vectors with a band of one standard error.

        Args:
            table: rows of one or more models, with the column `model`.
        """
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
            x_label=f"eigenvalue ({_UNIT})",
            y_label="log10 of the density",
            lines=lines,
        )
        return Figure(
            name="density",
            title="Spectral density of the Hessian",
            caption=_caption(table, width),
            panels=(panel,) if lines else (),
        )


def _summed(rows: list[dict[str, Any]]) -> Iterator[DensitySummaryRow]:
    first = rows[0]
    sizes = (first["images"], first["parameters"])
    sketch = [row["value"] for row in rows if row["quantity"] == "sketch"]
    rest = np.array([row["value"] for row in rows if row["quantity"] == "residual"])
    if sketch and len(rest):
        error = float(rest.std(ddof=1)) / math.sqrt(len(rest))
        yield DensitySummaryRow("trace", sketch[0] + float(rest.mean()), error, _UNIT, *sizes)
    probes = list(_probes(rows))
    if not probes:
        return
    means = [first["parameters"] * float(values @ weights) for values, weights in probes]
    negative = [float(weights[values < 0].sum()) for values, weights in probes]
    yield DensitySummaryRow("trace from the density's probes", *_mean(means), _UNIT, *sizes)
    yield DensitySummaryRow("share of negative mass", *_mean(negative), "of all eigenvalues", *sizes)
    for name, pick in (("smallest Ritz value", min), ("largest Ritz value", max)):
        yield DensitySummaryRow(name, float(pick(pick(values) for values, _ in probes)), None, _UNIT, *sizes)


def _probes(rows: list[dict[str, Any]]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    own = [row for row in rows if row["quantity"] == "ritz"]
    for probe in sorted({row["probe"] for row in own}):
        pairs = [(row["value"], row["weight"]) for row in own if row["probe"] == probe]
        values, weights = np.array(pairs).T
        yield values, weights


def _mean(values: list[float]) -> tuple[float, float | None]:
    mean = float(np.mean(values))
    return mean, float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None


def _curves(rows: list[dict[str, Any]], at: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """(probes, places): the masses of each probe, each widened to a Gaussian."""
    curves = []
    for values, weights in _probes(rows):
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
    images = " or ".join(sorted({str(row["images"]) for row in rows}))
    ways = ", ".join(sorted({row["augmentation"] for row in rows}))
    return (
        f"Hessian of NLL + (weight decay / 2) |w|² over {images} images (augmentation: {ways}), by stochastic Lanczos "
        f"quadrature with {probes} random vectors; masses widened to Gaussians of standard deviation {width:.3g}. "
        "Bands: one standard error over the vectors. "
        f"{parameters_text(rows)}"
    ).strip()
