"""The four words of the program - point, subject, diagnostic, part - and the plain figure that a diagnostic draws."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module  # of what imports torch, which the command line does without
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor, nn

    from visionscope.core.logits import Readout
    from visionscope.core.objective import Objective


SPAN = 256  # images in a part of an observer: what is stored, resumed and shared out as one
MINI_BATCH = 16  # images that Mixup and CutMix draw from together, and that one Hessian belongs to


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
        prefix_tokens: class, distillation and register tokens among the grid's tokens, wherever they stand.
        operations: all operations seen in the branch, by name.
        follows: name of the default point that holds the very stream that the branch received, which is what a change
            at this point is measured from; "" where no point holds it.
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
    follows: str = ""


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
        partners: (batch,) class index of the image that Mixup or CutMix put in, or None without either.
        shares: (batch,) share of the image's own class in its target, 0 to 1; the partner has the rest.
    """

    images: Tensor
    labels: Tensor | None
    positions: Tensor
    partners: Tensor | None = None
    shares: Tensor | None = None


class SampleLike(Protocol):
    """What the runner and the diagnostics need of a sample; `data.sample.Sample` is the real one."""

    @property
    def digest(self) -> str:
        """Identifies images, augmentation and their order."""

    def __len__(self) -> int: ...

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yields the images at the positions start to stop - 1, in order."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scope:
    """Some of a model's parameters, whose curvature is looked at on its own.

    Attributes:
        level: `model`, `stage`, `block` or `kind`.
        name: `model`, `stage 2`, `blocks.3`, `msa`, ...
        parameters: their names in `named_parameters`, in that order.
    """

    level: str
    name: str
    parameters: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What a diagnostic will need, told before it starts.

    Attributes:
        passes: forward passes of one image, or what takes as long, in each part.
        memory: bytes beside the model and its images at the worst moment.
        advice: what makes it need less.
    """

    passes: float
    memory: int
    advice: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """One model with its points and its frozen samples: all that a diagnostic is given.

    Attributes:
        label: how tables and figures call the model.
        model: the network, in eval mode, on its device.
        points: where its feature maps are looked at.
        watch: a context in which a forward pass hands each point's maps (b, c, h, w), in order, to be consumed at once.
        samples: by name: `eval`, `train`, `calibration`, `conflict`.
        precision: `fp32`, `fp64` or `bf16` (autocast).
        objective: what the model was trained to make small; None where only its feature maps are looked at.
        scopes: finds the parameters of the whole model, of each stage, each block and each kind.
        augmentation: how the images of the sample `train` were changed, in words for tables: `strong`, `weak`, `none`.
        input: size and normalisation of the images, for what works in pixel space; None where they are unknown.
        trace: what tracing found (a `tracing.Trace`), for what edits passes; None where nothing did.
        hidden: why the network can't be looked into, so that predictions alone can be asked of it; else "".
        fraction: share of the training images that it was trained on, where its checkpoint says it, else None.
        readout: how the logits are read from what the network returns.
    """

    label: str
    model: nn.Module
    points: tuple[Point, ...]
    watch: Callable[[Callable[[Point, Tensor], None]], AbstractContextManager[None]]
    samples: Mapping[str, SampleLike]
    precision: str = "fp32"
    objective: Objective | None = None
    scopes: Callable[[], Sequence[Scope]] = tuple
    augmentation: str = "none"
    input: InputConfig | None = None
    trace: Any = None
    hidden: str = ""
    fraction: float | None = None
    readout: Readout = dataclasses.field(default_factory=lambda: import_module("visionscope.core.logits").Readout())


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
    """A diagnostic fed from the forward pass that it shares with the others; may have `is_whole`, as below."""

    name: ClassVar[str]
    version: ClassVar[int]
    row: ClassVar[type]
    state_row: ClassVar[type]

    def observer(self, points: Sequence[Point]) -> Observer:
        """A fresh observer; it needs the points alone, so that stored parts are reduced without the model."""

    def figure(self, table: pa.Table) -> Figure:
        """Describes the diagnostic's figure, drawn from rows of one or more models (column `model`)."""


@runtime_checkable
class MeasuringDiagnostic(Protocol):
    """A diagnostic that works on its own, part by part.

    More are looked for, and may be missing: `is_whole(part, rows, points)`, whether rows are all of a part's;
    `identity()`, what of its fields a job's digest depends on, `identity_in(subject)`, what of the model beside its
    weights; `needs_logits`, false where no predictions are asked; `beside`, further samples (`calibration`: images that
    `eval` leaves out; `eval` beside `train`), with `images_beside(available)`, how many; `source(spec, num_classes)`,
    images instead of the study's; `ensembles`, true for predictions alone, of whatever network.

    Attributes:
        sample: which of the subject's samples it reads.
        precisions: those that its numbers can be trusted in.
        row: the result; a part's file holds its rows.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    row: ClassVar[type]
    sample: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]

    def images(self, available: int) -> int:
        """How many of the sample's first images it reads, of those that there are."""

    def parts(self, subject: Subject) -> Sequence[str]:
        """The names of its parts, in the order of the table; a part is stored, resumed and shared out as one.

        Raises NotApplicableError where it has nothing to ask of this subject: no attention, say, or no labels.
        """

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
        """Hands over each part, with its rows, once it is computed; where one fails the others are asked for again."""

    def cost(self, subject: Subject) -> Cost:
        """What it will need."""

    def figure(self, table: pa.Table) -> Figure:
        """Describes the diagnostic's figure, drawn from rows of one or more models (column `model`)."""

    def summary(self, table: pa.Table) -> pa.Table:
        """What the rows come to, per model (leading columns kept): shown and stored beside the table."""


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
        filled: a density: the area below it is shaded, no point of it is marked.
        low: lower ends of 95 % intervals, drawn as whiskers or a band instead of `error`; None where there are none.
        high: their upper ends.
        faint: per x, whether the point differs from nothing but chance: drawn in grey; empty where all count.
        role: `curve`; `points`, marks that no line joins; `reference`, a thin grey line that is no measurement.
        starts: per x, the abscissa of the point that holds what this one's branch received, NaN where none does; empty
            where the points are no steps.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] | None = None
    shade: float | None = None
    kinds: tuple[str, ...] = ()
    hover: tuple[str, ...] = ()
    kind: str | None = None
    filled: bool = False
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    faint: tuple[bool, ...] = ()
    role: str = "curve"
    starts: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """One small image of a contact sheet.

    Attributes:
        png: the file's bytes.
        title: under the image.
    """

    png: bytes
    title: str


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
class Surface:
    """A quantity over a plane, drawn as contours and, where figures can be turned, in three dimensions.

    Attributes:
        x: abscissae of the columns.
        y: ordinates of the rows.
        values: values[j][i] at x[i], y[j]; NaN and infinity are holes.
        z_label: the quantity, with unit.
        marks: further places in the plane with their names, such as checkpoints.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    z_label: str
    marks: tuple[tuple[float, float, str], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes: curves, a map or a surface, of one model or of several.

    Attributes:
        model: the label of the model that it shows, or "" where every line names its own.
        title: above the axes.
        x_label: with unit.
        y_label: with unit.
        lines: the curves, drawn in order.
        heat: the map, instead of curves.
        group: panels of one group stand side by side with common axes.
        boundaries: abscissae where a stage begins, drawn as thin vertical lines.
        surface: a quantity over a plane, instead of curves.
        pictures: rows of images, instead of curves: a contact sheet.
    """

    model: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    heat: Heat | None = None
    group: str = ""
    boundaries: tuple[float, ...] = ()
    surface: Surface | None = None
    pictures: tuple[tuple[Picture, ...], ...] = ()


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
