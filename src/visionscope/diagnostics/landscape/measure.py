"""The loss at the places of a landscape: a copy of the network moves, the images stay."""

from collections.abc import Iterator, Sequence

import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.inputs import weight_type
from visionscope.core.sample import SPAN
from visionscope.core.subject import Subject, objective_of
from visionscope.curvature.directions import Direction
from visionscope.curvature.parameters import MeasuredParameters, check_differentiable, measured_parameters
from visionscope.curvature.plane import PlaneModel, batch_norms
from visionscope.curvature.second_order import check_passes
from visionscope.diagnostics.landscape import planes
from visionscope.diagnostics.landscape.evaluation import Evaluation
from visionscope.diagnostics.landscape.question import Landscape, LandscapeRow
from visionscope.errors import NotApplicableError

_COPIES = 8  # of all weights: the copy that moves, its origin, two directions twice, a third line, L2
_LENGTHS = {"eigenvectors": "curvature", "checkpoints": "distance"}


def identity_in(asked: Landscape, subject: Subject) -> list[str]:
    """Which parameters are frozen, and whether they are left out."""
    return _measured(asked, subject).identity()


def parts(asked: Landscape, subject: Subject) -> Sequence[str]:
    """A part per row of the grid, per further draw, and one for the places of checkpoints."""
    measured = _measured(asked, subject)
    if asked.plane == "eigenvectors":
        check_differentiable(subject, asked.name, measured)
    if asked.plane == "random" and not planes.moving_weights(subject.model, asked.normalization, measured.names):
        raise NotApplicableError(
            f"{subject.label}: none of its {measured.which} parameters is a weight that a direction moves (of two "
            "or more dimensions, no token and no position)"
            + ("; take --landscape.parameters all" if measured.which == "trainable" else "")
        )
    rows = [f"row-{index:02d}" for index in range(asked.points)] if asked.axes == 2 else ["line-00"]
    if asked.plane == "random":
        return [*rows, *(f"line-{draw:02d}" for draw in range(1, asked.draws + 1))]
    return [*rows, "places"] if asked.plane == "checkpoints" else rows


def cost(asked: Landscape, subject: Subject) -> Cost:
    """A forward pass per image and place; a copy of the network, its directions and the images.

    Eigenvectors need the Lanczos vectors, too, and the graph of one mini-batch.
    """
    images = asked.images(len(subject.samples[asked.sample]))
    weights = sum(value.numel() * value.element_size() for value in subject.model.parameters())
    shown = next(subject.samples[asked.sample].batches(0, 1, 1)).images
    size = shown.numel() * weight_type(subject.model).itemsize
    memory = _COPIES * weights + images * size
    if asked.plane == "eigenvectors":
        memory += planes.eigenvectors_memory(subject, asked.sample, _measured(asked, subject).names)
    return Cost(
        passes=images * asked.points * (2 if asked.batch_norm == "reestimated" else 1),
        memory=memory,
        advice=f"take fewer images (--landscape.sample_size, now {asked.sample_size}), fewer points, or bf16",
    )


def measure(asked: Landscape, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[LandscapeRow]]]:
    """The rows of each part, after two passes have agreed; the subject's model is not touched."""
    surroundings = Surroundings(asked, subject)
    for part in parts:
        yield part, list(surroundings.rows(part))


def _measured(asked: Landscape, subject: Subject) -> MeasuredParameters:
    # Two files of weights differ from the network in frozen parameters, too.
    which = "all" if asked.plane == "checkpoints" else asked.parameters
    return measured_parameters(subject, asked.name, which)


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
        self._measured = _measured(asked, subject)
        self._plane = planes.plane_of(subject, asked, self._measured.names)
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
        return planes.random_line(self._subject.model, asked.normalization, asked.seed, draw, "x", self._measured.names)

    def _prepared(self, *axes: Direction) -> _Axes:
        return axes, [self._copy.prepared(axis) for axis in axes]

    def _l2(self, at: tuple[float, float, str], axes: Sequence[Direction]) -> tuple[float, float]:
        """Of the weights as they would be in the network itself, where nothing is folded."""
        moved = dict(self._origin)
        for step, axis in zip(at[:2], axes, strict=True):
            moved.update({name: torch.add(moved[name], value, alpha=step) for name, value in axis.items()})
        squared, official = (self._objective.l2(moved.items(), way) for way in ("squared", "official"))
        return squared, official
