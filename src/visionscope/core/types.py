"""The four words of the program - point, subject, diagnostic, part - and the plain figure that a diagnostic draws."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor, nn


SPAN = 256  # images in a part of an observer: what is stored, resumed and shared out as one


class Kind(enum.StrEnum):
    """What a point's branch does, told by the operations that ran in it."""

    STEM = "stem"
    DOWN = "down"
    MSA = "msa"
    MLP = "mlp"
    CONV = "conv"
    POOL = "pool"
    FOURIER = "fourier"
    TOKEN_MLP = "token_mlp"
    BLOCK = "block"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a model where a feature map exists.

    Attributes:
        name: `blocks.3+msa` is the residual stream after the addition, `blocks.3.msa` what the branch adds;
            a plain module path is that module's output; `stem` is what the first residual block receives.
        kind: what the branch does.
        stage: 0 for the stem, then 1, 2, ...; a stage ends where the grid shrinks.
        depth: index / (number of points - 1), from 0 to 1.
        grid: height and width of the map in positions.
        channels: channels of the map.
        layout: the tensor's axes as an einops pattern over b, c, h, w, such as `b (h w) c`.
        prefix_tokens: class, distillation and register tokens in front of the grid's tokens.
        operations: all operations seen in the branch, by name.
    """

    name: str
    kind: Kind
    stage: int
    depth: float
    grid: tuple[int, int]
    channels: int
    layout: str
    prefix_tokens: int
    operations: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How a model wants its images.

    Attributes:
        size: height and width in pixels.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
        interpolation: `bicubic`, `bilinear` or `nearest`.
        crop: the centre crop's share of the resized image's shorter side.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop: float = 1.0


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some images of a sample.

    Attributes:
        images: (batch, channel, height, width), normalised.
        labels: (batch,) class indices, or None where the data has none that the model knows.
        positions: (batch,) positions in the sample, 0 to len(sample) - 1.
    """

    images: Tensor
    labels: Tensor | None
    positions: Tensor


class SampleLike(Protocol):
    """What the runner and the diagnostics need of a sample; `data.sample.Sample` is the real one."""

    @property
    def digest(self) -> str:
        """Identifies images, augmentation and their order."""

    def __len__(self) -> int: ...

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yields the images at the positions start to stop - 1, in order."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """One model with its points and its frozen samples: all that a diagnostic is given.

    Attributes:
        label: how tables and figures call the model.
        model: the network, in eval mode, on its device.
        points: where its feature maps are looked at.
        watch: a context in which every forward pass hands each point's maps (batch, channel, height, width) to the
            callback, in model order; the callback consumes them at once.
        samples: by name: `eval`, `train`, `calibration`, `conflict`.
        precision: `fp32`, `fp64` or `bf16` (autocast).
    """

    label: str
    model: nn.Module
    points: tuple[Point, ...]
    watch: Callable[[Callable[[Point, Tensor], None]], AbstractContextManager[None]]
    samples: Mapping[str, SampleLike]
    precision: str = "fp32"


class Observer(Protocol):
    """Collects sums over the feature maps of a span of images; several share one forward pass."""

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        """Takes the maps (batch, channel, height, width) of one point; must not keep a reference to them."""

    def state(self) -> list[Any]:
        """The sums as rows of the diagnostic's `state_row`, to be stored as one part."""

    def load(self, rows: Sequence[Any]) -> None:
        """Adds the stored sums of one part; parts are loaded in span order so that the bits are the same."""

    def merge(self, other: Any) -> None:
        """Adds the sums of another observer of the same diagnostic, which saw the span after this one's."""

    def rows(self) -> Iterator[Any]:
        """The result: rows of the diagnostic's `row`."""


@runtime_checkable
class ObservingDiagnostic(Protocol):
    """A diagnostic fed from the forward pass that it shares with the others."""

    name: ClassVar[str]
    version: ClassVar[int]
    row: ClassVar[type]
    state_row: ClassVar[type]

    def observer(self, points: Sequence[Point]) -> Observer:
        """A fresh observer; it needs the points alone, so that stored parts are reduced without the model."""

    def figure(self, table: pa.Table) -> Figure:
        """Describes the diagnostic's figure, drawn from rows of one or more models (column `model`)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One curve with its band.

    Attributes:
        name: in the legend and on hover.
        x: abscissae.
        y: ordinates; NaN leaves a gap.
        error: half-width of the band at each x (one standard error), or None.
        shade: 0 to 1, position of the curve's colour between first and last layer, or None for the model's colour.
        kinds: kind of each x's point, for markers; empty where the whole curve is one point.
        hover: a text per x; empty where x and y say it all.
        kind: kind of the point that the whole curve belongs to, or None.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] | None = None
    shade: float | None = None
    kinds: tuple[str, ...] = ()
    hover: tuple[str, ...] = ()
    kind: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heat:
    """A square or rectangular map of values.

    Attributes:
        values: rows of values, first row at the bottom; NaN is drawn as a hole.
        names_x: the name of each column.
        names_y: the name of each row.
        ticks: positions where a stage begins, with their labels.
        error: standard errors, the shape of `values`, or None.
        ticks_y: the same for the rows where they are not the columns' points.
    """

    values: tuple[tuple[float, ...], ...]
    names_x: tuple[str, ...]
    names_y: tuple[str, ...]
    ticks: tuple[tuple[int, str], ...] = ()
    error: tuple[tuple[float, ...], ...] | None = None
    ticks_y: tuple[tuple[int, str], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes: curves or a map, of one model or of several.

    Attributes:
        model: the label of the model that it shows, or "" where every line names its own.
        title: above the axes.
        x_label: with unit.
        y_label: with unit.
        lines: the curves, drawn in order.
        heat: the map, instead of curves.
        group: panels of one group stand side by side with common axes.
        boundaries: abscissae where a stage begins, drawn as thin vertical lines.
    """

    model: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    heat: Heat | None = None
    group: str = ""
    boundaries: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """What a diagnostic draws, free of any drawing library.

    Attributes:
        name: file name of the figure.
        title: above all panels.
        caption: what is drawn, over how many images, with which convention and which band.
        panels: in reading order.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
