"""Gradients of the maps' centres with respect to the images: one forward pass, a backward pass per point."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visionscope.core.diagnostic import Cost
from visionscope.core.inputs import image_like
from visionscope.core.modes import evaluation_mode
from visionscope.core.subject import Point, Subject
from visionscope.diagnostics.receptive_field.question import SHARES, ReceptiveField, ReceptiveFieldRow
from visionscope.errors import NotApplicableError, VisionscopeError
from visionscope.numerics.fields import centre_of_mass, jackknife, radii
from visionscope.tracing.caches import clear_caches

_GROUPS = 10
_LOADED = 16  # images whose graph is kept at a time
_CELLS = 32  # of a stored picture's longer side, at most
_ROUNDING = 1e-5  # relative to the centre's magnitudes
_MEASURED = ("radius_50", "radius_99", "error_50", "error_99", "centre_row", "centre_column")
_GRAPH = 30  # tensors of an image's size in its graph, by a rough guess

Fields = NDArray[np.float64]


def parts(asked: ReceptiveField, subject: Subject) -> Sequence[str]:
    """A part per point: all come from the same passes."""
    if not subject.points:
        raise NotApplicableError(f"{subject.label}: has no feature maps whose receptive field could be measured")
    return [f"point-{place:04d}" for place in range(len(subject.points))]


def cost(asked: ReceptiveField, subject: Subject) -> Cost:
    """A forward pass, and a backward pass per point through the layers before it: half of one on average."""
    count = len(subject.samples[asked.sample])
    shown = next(iter(subject.samples[asked.sample].batches(0, 1, 1))).images
    points = len(subject.points)
    widest = max(math.prod(point.grid) * point.channels for point in subject.points)
    sums = _GROUPS * points * math.prod(shown.shape[-2:]) * 8
    return Cost(
        passes=count * (0.5 + 1 / points),
        memory=sums + _GRAPH * _LOADED * 4 * max(widest, shown.numel()) * max(1, points // 4),
        advice=f"take fewer images (--receptive_field.sample_size, now {asked.sample_size}) or smaller ones",
    )


def measure(
    asked: ReceptiveField, subject: Subject, parts: Sequence[str]
) -> Iterator[tuple[str, list[ReceptiveFieldRow]]]:
    """The row of each part, after one pass over the images for all of them."""
    chosen = {part: subject.points[int(part.rpartition("-")[2])] for part in parts}
    images = len(subject.samples[asked.sample])
    fields = _fields(asked, subject, list(chosen.values()))
    for part, point in chosen.items():
        yield part, [_row(part, point, fields[point.name], images)]


@dataclasses.dataclass
class _Field:
    """What the images gave at one point.

    Attributes:
        groups: (groups, height, width), the sums of |gradient| over the colours and images of each group.
        centres: of each image, the sum over the channels of the map's centre.
        sizes: of each image, the sum of their magnitudes.
    """

    groups: Fields
    centres: list[float] = dataclasses.field(default_factory=list)
    sizes: list[float] = dataclasses.field(default_factory=list)

    @property
    def is_constant(self) -> bool:
        """Whether what the centre's channels add up to is the same for all images but for rounding."""
        centres = np.array(self.centres)
        moves = centres - centres.mean() if len(centres) > 1 else centres
        return bool(np.abs(moves).max() <= _ROUNDING * np.mean(self.sizes)) or not self.groups.sum() > 0


def _fields(asked: ReceptiveField, subject: Subject, points: Sequence[Point]) -> Mapping[str, _Field]:
    """The fields of some points, from one pass over the images."""
    sample = subject.samples[asked.sample]
    count = len(sample)
    groups = min(_GROUPS, count)
    found: dict[str, _Field] = {}
    like = None
    with differentiable_by_images(subject.model):
        for batch in sample.batches(0, count, _LOADED):
            like = image_like(subject.model, batch.images.shape[1:]) if like is None else like
            images = batch.images.to(like).detach().requires_grad_()
            # Groups go by position, so that no number depends on how images are loaded.
            own = [position * groups // count for position in batch.positions.tolist()]
            for point, centre, gradient in input_gradients(subject, images, points):
                _check(point, gradient, batch.positions)
                field = found.setdefault(point.name, _Field(np.zeros((groups, *gradient.shape[-2:]))))
                np.add.at(field.groups, own, gradient.abs().double().sum(1).cpu().numpy())
                field.centres += centre.sums.tolist()
                field.sizes += centre.sizes.tolist()
    return found


@contextmanager
def differentiable_by_images(model: nn.Module) -> Iterator[None]:
    """A context in which gradients with respect to images, and to them alone, are taken, in evaluation mode.

    Args:
        model: any network; its mode and the flags of its parameters are as before afterwards.
    """
    flags = [(value, value.requires_grad) for value in model.parameters()]
    hook = model.register_forward_pre_hook(lambda module, args: clear_caches(module))
    try:
        with evaluation_mode(model), torch.enable_grad():
            for value, _ in flags:
                value.requires_grad_(False)
            yield
    finally:
        hook.remove()
        clear_caches(model)
        for value, flag in flags:
            value.requires_grad_(flag)


@dataclasses.dataclass(frozen=True)
class Centre:
    """The centre of a batch of maps.

    Attributes:
        sums: (batch,) over channels, with their graph.
        sizes: (batch,) of magnitudes.
    """

    sums: Tensor
    sizes: Tensor


def input_gradients(
    subject: Subject, images: Tensor, points: Sequence[Point]
) -> Iterator[tuple[Point, Centre, Tensor]]:
    """The centre of each point's map, and the gradient of its sum over channels, of the images' shape.

    Args:
        subject: its points are watched in one forward pass.
        images: (batch, channel, height, width), requiring a gradient.
        points: of the subject.

    Raises:
        VisionscopeError: when the gradients of a point don't reach the images.
    """
    wanted, centres = {point.name for point in points}, {}

    def consume(point: Point, maps: Tensor) -> None:
        if point.name in wanted:
            # Summed at once: the network may overwrite the map, but not what autograd knows of it.
            centre = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
            centres[point.name] = Centre(centre.sum(1), centre.detach().abs().sum(1))

    with subject.watch(consume):
        subject.model(images)
    for place, point in enumerate(points):
        centre = centres.pop(point.name)
        gradient = None
        if centre.sums.requires_grad:
            keep = place + 1 < len(points)
            (gradient,) = torch.autograd.grad(centre.sums.sum(), images, retain_graph=keep, allow_unused=True)
        if gradient is None:
            raise VisionscopeError(
                f"receptive_field at {point.name!r}: no gradient reaches the images; a part of the forward runs under "
                "torch.no_grad or detaches"
            )
        yield point, centre, gradient


def _check(point: Point, gradient: Tensor, positions: Tensor) -> None:
    bad = ~gradient.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        place = int(positions[int(bad.nonzero()[0, 0])])
        raise VisionscopeError(
            f"receptive_field at {point.name!r}: the gradient of image position {place} is not finite"
        )


def _row(part: str, point: Point, field: _Field, images: int) -> ReceptiveFieldRow:
    groups, total = field.groups, field.groups.sum(0)
    even = radii(np.ones_like(total), SHARES)
    about: dict[str, Any] = {
        "part": part,
        "point": point.name,
        "kind": str(point.kind),
        "stage": point.stage,
        "depth": point.depth,
        "grid_height": point.grid[0],
        "grid_width": point.grid[1],
        "images": images,
        "even_50": even[0],
        "even_99": even[1],
        "groups": len(groups),
    }
    if field.is_constant:
        note = "the centre's channels add up to the same for all images, as those of a normalization may"
        return ReceptiveFieldRow(**{**about, **dict.fromkeys(_MEASURED)}, field=(), field_width=0, note=note)
    errors = jackknife(groups, SHARES)
    picture = _cells(total / total.sum())
    values = (*radii(total, SHARES), *(errors or (None, None)), *centre_of_mass(total))
    return ReceptiveFieldRow(
        **{**about, **dict(zip(_MEASURED, values, strict=True))},
        field=tuple(picture.ravel().tolist()),
        field_width=picture.shape[1],
        note="" if errors is not None else "an error needs 4 groups of images",
    )


def _cells(field: Fields) -> Fields:
    """The field in square cells, so that its longer side has 32 at most; what fills no cell at the edges is summed."""
    side = -(-max(field.shape) // _CELLS)
    rows, columns = (range(0, size, side) for size in field.shape)
    found: Fields = np.add.reduceat(np.add.reduceat(field, rows, axis=0), columns, axis=1)
    return found
