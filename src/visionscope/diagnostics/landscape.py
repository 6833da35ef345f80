"""The loss around a network, along lines and over planes in the space of its weights (Park & Kim 2022, Fig. 1a)."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure
from visionscope.core.inputs import weight_type
from visionscope.core.rules import MOST_IMAGES, check_rules, rule, seed_rule
from visionscope.core.sample import SPAN
from visionscope.core.subject import Subject
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.curvature.directions import Direction
from visionscope.curvature.plane import PlaneModel, batch_norms
from visionscope.curvature.second_order import check_passes
from visionscope.data import published
from visionscope.diagnostics import _planes, _surfaces
from visionscope.diagnostics._curvature import (
    Measured,
    check_differentiable,
    measured_parameters,
    objective_of,
)
from visionscope.diagnostics._evaluation import Evaluation
from visionscope.diagnostics._outcomes import first_images
from visionscope.errors import ConfigError, NotApplicableError

_COPIES = 8  # of all weights: the copy that moves, its origin, two directions twice, a third line, L2
_READ_LATER = ("rise", "radius", "parameters")
_LENGTHS = {"eigenvectors": "curvature", "checkpoints": "distance"}


@dataclasses.dataclass(frozen=True)
class LandscapeRow:
    """The loss at one place in the space of weights."""

    part: str = column("row of the grid, line or place that it was measured with")
    plane: str = column("random, eigenvectors or checkpoints")
    normalization: str = column(
        "what the directions' lengths are: filter, layer, none, official, curvature or distance"
    )
    draw: int = column("0 for the plane's directions, 1 and up for a further draw of one direction")
    x: float = column("step along the first direction")
    y: float = column("step along the second direction")
    place: str = column("name of the checkpoint that lies here, else empty")
    nll: float = column("mean cross-entropy; may be infinite or NaN", "nat")
    l2: float | None = column("(weight_decay / 2) * sum of squared weights that are measured", "nat")
    l2_official: float = column("the authors' code: weight_decay * sum over tensors of |w|", "nat")
    accuracy: float = column("share of images whose top class has the largest share of the target")
    images: int = column("images in the means")
    bf16_error: float | None = column("|bf16 - fp32| / fp32 of the NLL here, over the first 256 images")
    measured: str = column("trainable: frozen numbers stay where they are; all: they may move")
    frozen: int = column("frozen numbers of the model")
    augmentation: str = column("how the images were changed: strong, weak or none")
    batch_norm: str = column("kept: running statistics of the network; reestimated: at each place; none: has no such")
    weight_decay: float = column("factor of the L2 term", "nat per squared weight")
    label_smoothing: float = column("share of each target spread over all classes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landscape:
    """Loss landscape: NLL, L2 and accuracy at w + x d1 + y d2, for the same images at every place.

    Directions are Gaussian, drawn from the seed and each parameter's name, with the filter normalization of Li et al.
    2018 over parameters of two or more dimensions. The authors' code takes norms across filters, redraws augmentation
    and Mixup at every place and adds up un-squared norms; its normalization and its L2 are offered as `official`, its
    redrawing is not. Accuracy counts an image as right where its top class has the larger share of the mixed target.
    Beside the grid, further directions are drawn and followed along one line each, to tell how much flatness depends
    on the draw.

    In the plane of eigenvectors all parameters that may move do, and a step of 1 changes the NLL by 1 nat if the
    Hessian alone decides. In the plane of checkpoints a step of 1 is the distance from the network to the first file;
    only parameters move, so re-estimate the statistics of batch normalization. Neither plane has further draws.

    Attributes:
        sample_size: how many images of the sample, the same at every place.
        points: places along each axis, odd.
        extent: largest step to either side; the plane of checkpoints chooses its own.
        axes: 2 for a grid, 1 for the line y = 0.
        plane: random, eigenvectors (the Hessian's two of largest magnitude, of the first 8 mini-batches of 16) or
            checkpoints.
        normalization: filter, layer (whole tensors), none, or official.
        parameters: trainable or all may move and are in L2; by default the trainable ones where some are frozen, else
            all. Between checkpoints all do.
        draws: further directions, along a line each.
        rise: the rise of the NLL, in nats, whose radius is told.
        radius: the step at which sharpness is told.
        batch_norm: kept leaves the running statistics as they are; reestimated measures them anew at each place.
        checkpoints: two files of weights, for the plane of checkpoints.
        seed: of the directions.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "landscape"
    version: ClassVar[int] = 2
    row: ClassVar[type] = LandscapeRow
    sample: ClassVar[str] = "train"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16")

    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)
    points: int = rule(21, least=3, most=1001)
    extent: float = rule(1.0, above=0, most=10**12)
    axes: Literal[1, 2] = 2
    plane: Literal["random", "eigenvectors", "checkpoints"] = "random"
    normalization: Literal["filter", "layer", "none", "official"] = "filter"
    parameters: Literal["trainable", "all"] | None = None
    draws: int = rule(5, least=0, most=10_000)
    rise: float = rule(1.0, above=0, most=1_000_000)
    radius: float = rule(0.5, above=0, most=1_000_000)
    batch_norm: Literal["kept", "reestimated"] = "kept"
    checkpoints: tuple[str, ...] = rule((), empty=False)
    seed: int = seed_rule()

    def __post_init__(self) -> None:
        check_rules(self, self.name)
        if self.points % 2 == 0:
            raise ConfigError(f"landscape.points: must be odd; got {self.points}. Take {self.points + 1}.")
        if self.radius > self.extent:
            raise ConfigError(f"landscape.radius: must be at most extent = {self.extent:g}; got {self.radius:g}")
        if self.plane == "checkpoints" and self.parameters == "trainable":
            raise ConfigError("landscape.parameters: must be all where plane is checkpoints; got 'trainable'")
        wanted = 2 if self.plane == "checkpoints" else 0
        if len(self.checkpoints) != wanted:
            raise ConfigError(
                f"landscape.checkpoints: must be {wanted or 'no'} files where plane is {self.plane}; "
                f"got {len(self.checkpoints)}"
            )

    def identity(self) -> dict[str, Any]:
        """The fields that numbers depend on, with the content of files of weights instead of their paths.

        What only the summary reads, `rise` and `radius`, is none of them: asking for others computes nothing anew. What
        `parameters` comes to is told by `identity_in`.

        Raises:
            ConfigError: when a file can't be read.
        """
        digests = [_planes.file_digest(path) for path in self.checkpoints]
        fields = {**dataclasses.asdict(self), "checkpoints": digests}
        return {name: value for name, value in fields.items() if name not in _READ_LATER}

    def identity_in(self, subject: Subject) -> list[str]:
        """What the numbers depend on beside the weights: which parameters are frozen, and whether they are left out.

        Args:
            subject: any.
        """
        return self._measured(subject).identity()

    def images(self, available: int) -> int:
        """As many as asked, or as there are.

        Args:
            available: images in the sample.

        Raises:
            DataError: when there are none.
        """
        return first_images(self.name, self.sample_size, available)

    def parts(self, subject: Subject) -> Sequence[str]:
        """A part per row of the grid, per further draw, and one for the places of checkpoints.

        Args:
            subject: any.

        Raises:
            NotApplicableError: where nothing would move, or there are no eigenvectors.
        """
        measured = self._measured(subject)
        if self.plane == "eigenvectors":
            check_differentiable(subject, self.name, measured)
        if self.plane == "random" and not _planes.moving_weights(subject.model, self.normalization, measured.names):
            raise NotApplicableError(
                f"{subject.label}: none of its {measured.which} parameters is a weight that a direction moves (of two "
                "or more dimensions, no token and no position)"
                + ("; take --landscape.parameters all" if measured.which == "trainable" else "")
            )
        rows = [f"row-{index:02d}" for index in range(self.points)] if self.axes == 2 else ["line-00"]
        if self.plane == "random":
            return [*rows, *(f"line-{draw:02d}" for draw in range(1, self.draws + 1))]
        return [*rows, "places"] if self.plane == "checkpoints" else rows

    def cost(self, subject: Subject) -> Cost:
        """A forward pass per image and place; a copy of the network, its directions and the images.

        Eigenvectors need the Lanczos vectors, too, and the graph of one mini-batch.

        Args:
            subject: with its sample.
        """
        images = self.images(len(subject.samples[self.sample]))
        weights = sum(value.numel() * value.element_size() for value in subject.model.parameters())
        shown = next(subject.samples[self.sample].batches(0, 1, 1)).images
        size = shown.numel() * weight_type(subject.model).itemsize
        memory = _COPIES * weights + images * size
        if self.plane == "eigenvectors":
            memory += _planes.eigenvectors_memory(subject, self.sample, self._measured(subject).names)
        return Cost(
            passes=images * self.points * (2 if self.batch_norm == "reestimated" else 1),
            memory=memory,
            advice=f"take fewer images (--landscape.sample_size, now {self.sample_size}), fewer points, or bf16",
        )

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[LandscapeRow]]]:
        """The rows of each part. The subject's model is not touched: a copy moves.

        Args:
            subject: with its sample `train` and its objective.
            parts: names from `parts`.

        Raises:
            NondeterminismError: when two passes over the sample differ.
            ConfigError: when the subject has no objective, or a checkpoint doesn't fit.
            DataError: for an image or a label that can't be used.
        """
        surroundings = Surroundings(self, subject)
        for part in parts:
            yield part, list(surroundings.rows(part))

    def _measured(self, subject: Subject) -> Measured:
        asked = "all" if self.plane == "checkpoints" else self.parameters
        return measured_parameters(subject, self.name, asked)

    def summary(self, table: pa.Table) -> pa.Table:
        """Flatness per model, with its spread over directions; see `LandscapeSummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        return _surfaces.summary(table, rise=self.rise, radius=self.radius)

    def figure(self, table: pa.Table) -> Figure:
        """Surfaces of the NLL and of NLL + L2, a panel per model, and the lines through the centre.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        return _surfaces.figure(table)


def published_landscape(name: str) -> pa.Table:
    """One of the two landscapes that the authors published, as rows to be drawn beside one's own.

    `Landscape().figure(pa.concat_tables([own, published_landscape("ViT-Ti")]))`, with `own` as `Store.table` gives it.
    Of the L2 term only the official, un-squared convention was published.

    Args:
        name: `ResNet-50` or `ViT-Ti`.

    Raises:
        ConfigError: for another name.
    """
    rows = [
        LandscapeRow(
            part=f"row-{index // 21:02d}",
            plane="random",
            normalization="official",
            draw=0,
            x=place.x,
            y=place.y,
            place="",
            nll=place.nll,
            l2=None,
            l2_official=published.WEIGHT_DECAY * place.norms,
            accuracy=place.accuracy,
            images=published.IMAGES,
            measured="all",
            frozen=0,
            bf16_error=None,
            augmentation="strong, drawn anew at each place",
            batch_norm="kept" if name == "ResNet-50" else "none",
            weight_decay=published.WEIGHT_DECAY,
            label_smoothing=published.LABEL_SMOOTHING,
        )
        for index, place in enumerate(published.published_places(name))
    ]
    leading = {"model": f"{name} (published)", "data": "CIFAR-100", "weights": "of the authors", "precision": "fp32"}
    first = {**leading, "job": f"published {name}"}
    return with_leading_of(to_table(LandscapeRow, rows), [first] * len(rows))


_Axes = tuple[Sequence[Direction], Sequence[Direction]]
"""Two directions as drawn, and as the copy that moves wants them."""


class Surroundings:
    """What the parts of one landscape share: the images, the plane, and the copy of the network that moves."""

    def __init__(self, asked: Landscape, subject: Subject) -> None:
        objective = objective_of(subject, "landscape")
        sample, model = subject.samples[asked.sample], subject.model
        check_passes(model, sample)
        self._asked, self._subject, self._objective = asked, subject, objective
        self._evaluation = Evaluation(subject, asked.sample, asked.images(len(sample)), objective)
        self._measured = asked._measured(subject)
        self._plane = _planes.plane_of(subject, asked, self._measured.names)
        named = dict(model.named_parameters())
        self._origin = {name: named[name].detach() for name in self._measured.names}
        foldable = asked.plane == "random" and asked.batch_norm == "kept"
        images = self._evaluation.batches()[0] if foldable else None
        self._copy = PlaneModel(model, self._plane.x, images=images, along=self._plane.x)
        self._axes = self._prepared(self._plane.x, self._plane.y)
        self._statistics = self._evaluation.equal_batches() if asked.batch_norm == "reestimated" else ()
        self._batch_norm = asked.batch_norm if batch_norms(model) else "none"

    def rows(self, part: str) -> Iterator[LandscapeRow]:
        """Measures one part."""
        kind, _, number = part.partition("-")
        plane, draw, line = self._plane, 0, self._axes
        if kind == "places":
            places = plane.places
        elif kind == "row":
            places = tuple((x, plane.steps_y[int(number)], "") for x in plane.steps_x)
        else:
            places, draw = tuple((x, 0.0, "") for x in plane.steps_x), int(number)
        if draw:
            line = self._prepared(self._drawn(draw), {})
        for count, at in enumerate(places):
            yield self.row(part, at, draw=draw, axes=line, checked=not count)

    def row(
        self, part: str, at: tuple[float, float, str], *, draw: int = 0, axes: _Axes | None = None, checked: bool
    ) -> LandscapeRow:
        """Measures one place; `checked` adds the error of bf16."""
        asked, network, bf16 = self._asked, self._copy.network, self._subject.precision == "bf16"
        raw, ready = axes or self._axes
        self._copy.move(((at[0], ready[0]), (at[1], ready[1])))
        if self._batch_norm == "reestimated":
            self._copy.reestimate(self._statistics)
        loss = self._evaluation.loss(network, bf16=bf16)
        l2, l2_official = self._l2(at, raw)
        return LandscapeRow(
            part=part,
            plane=asked.plane,
            normalization=_LENGTHS.get(asked.plane, asked.normalization),
            draw=draw,
            x=at[0],
            y=at[1],
            place=at[2],
            nll=loss.nll,
            l2=l2,
            l2_official=l2_official,
            accuracy=loss.accuracy,
            images=self._evaluation.images,
            measured=self._measured.which,
            frozen=self._measured.frozen_of(self._measured.frozen),
            bf16_error=self._evaluation.bf16_error(network, SPAN) if bf16 and checked else None,
            augmentation=self._subject.augmentation,
            batch_norm=self._batch_norm,
            weight_decay=self._objective.weight_decay,
            label_smoothing=self._objective.label_smoothing,
        )

    def _drawn(self, draw: int) -> Direction:
        asked = self._asked
        return _planes.random_line(
            self._subject.model, asked.normalization, asked.seed, draw, "x", self._measured.names
        )

    def _prepared(self, *axes: Direction) -> _Axes:
        return axes, [self._copy.prepared(axis) for axis in axes]

    def _l2(self, at: tuple[float, float, str], axes: Sequence[Direction]) -> tuple[float, float]:
        """Of the weights as they would be in the network itself, where nothing is folded."""
        moved = dict(self._origin)
        for step, axis in zip(at[:2], axes, strict=True):
            moved.update({name: torch.add(moved[name], value, alpha=step) for name, value in axis.items()})
        squared, official = (self._objective.l2(moved.items(), way) for way in ("squared", "official"))
        return squared, official
