"""What a diagnostic is: one question asked of a subject, with what it says of the answers."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from visionscope.core.figure import Figure
    from visionscope.core.finding import Finding
    from visionscope.core.measure import Measure
    from visionscope.core.subject import Point, Subject


class Theme(enum.StrEnum):
    """The topics of the page, in their order; a diagnostic may bring another one, as text."""

    TRAINING = "what training changes"
    FEATURE_MAPS = "what each block does to the feature maps"
    CURVATURE = "how the loss curves"
    ROBUSTNESS = "what breaks it"
    TRUST = "how far to trust it"


Tables = Mapping[str, "pa.Table"]
"""The tables of one diagnostic over all models of a run: `rows` and, if it has them, `summary`, `comparisons`,
`outcomes` and `between`, all with the leading columns; for findings also `points`, the `kind` of each point of each
`model`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """The results of one diagnostic over all models of a run, with figures and findings.

    Attributes:
        diagnostic: its name.
        theme: what it is about.
        place: its position within the theme.
        tables: its tables.
        figures: one for each set of its fields, and the one between models.
        findings: its sentences.
        measures: its numbers in the table at the top of the page.
        limits: what its numbers can't tell.
    """

    diagnostic: str
    theme: str
    place: int
    tables: Tables
    figures: tuple[Figure, ...] = ()
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    limits: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """The estimated cost of a diagnostic.

    Attributes:
        passes: forward passes of one image, or what takes as long, in each part.
        memory: bytes beside the model and its images at the worst moment.
        advice: what would reduce it.
    """

    passes: float
    memory: int
    advice: str


class Observer(Protocol):
    """Collects sums over the feature maps of a span of images; several share one forward pass.

    One that has `update_beside(point, tokens, positions)` also gets the prefix tokens (batch, token, channel) of each
    point, after its maps.
    """

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        """Takes the maps (batch, channel, height, width) of one point; must not keep a reference to them."""

    def state(self) -> list[Any]:
        """The sums as rows of the diagnostic's `state_row`, to be stored as one part."""

    def load(self, rows: Sequence[Any]) -> None:
        """Adds the stored sums of one part; parts are loaded in span order so that the bits are the same."""

    def rows(self) -> Iterator[Any]:
        """The result: rows of the diagnostic's `row`."""


class Saying(Protocol):
    """What a diagnostic may have beside its numbers; each of these is optional.

    Attributes:
        theme: its topic; without one it comes at the end of the page.
        place: its position within the theme; 100 by default.
    """

    theme: ClassVar[str]
    place: ClassVar[int]

    def summary(self, table: pa.Table) -> pa.Table:
        """The main numbers per model (leading columns kept), shown and stored beside the table."""

    def comparisons(self, table: pa.Table) -> pa.Table:
        """Differences between models, or between conditions of one, with intervals and, if a test is made, p.

        Leading columns are those of the first model, from which the other is subtracted.
        """

    def outcomes(self, table: pa.Table) -> pa.Table:
        """A row per image of what the rows pack into one cell."""

    def findings(self, tables: Tables) -> Sequence[Finding]:
        """Sentences, each with the rows of the tables that it was computed from."""

    def measures(self, tables: Tables) -> Sequence[Measure]:
        """The few numbers of each model that the table at the top of the page shows."""

    def limits(self, tables: Tables) -> Sequence[str]:
        """What its numbers can't tell, in whole sentences."""


@runtime_checkable
class ObservingDiagnostic(Protocol):
    """A diagnostic that gets feature maps from a forward pass shared with the others.

    It may have `is_whole`, as below, and what `Saying` lists. Stored parts of two models with equal sample and fields
    may be compared: by `between(states_x, states_y, points_x, points_y, model_x, model_y)`, which gives rows of
    `between_row`, drawn by `between_figure(table)`.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    row: ClassVar[type]
    state_row: ClassVar[type]

    def observer(self, points: Sequence[Point]) -> Observer:
        """A fresh observer; it needs only the points, so that stored parts are reduced without the model."""

    def figure(self, table: pa.Table) -> Figure:
        """Describes the diagnostic's figure, drawn from rows of one or more models (column `model`)."""


@runtime_checkable
class MeasuringDiagnostic(Protocol):
    """A diagnostic that works on its own, part by part.

    It may have what `Saying` lists. Also optional:
    `is_whole(part, rows, points)`, whether rows are exactly those of a part;
    `identity()`, what of its fields a job's digest depends on, `identity_in(subject)`, what of the model beside its
    weights; `needs_logits`, false if it uses no predictions; `beside`, further samples (`calibration`: images that
    `eval` leaves out; `eval` beside `train`), with `images_beside(available)`, how many; `source(spec, num_classes)`,
    images instead of the study's; `ensembles`, true if it needs only predictions, of any network; `dense`, true if it
    can be asked of networks that answer per pixel, too, where it uses predictions; `monitored`, fields that a monitor
    asks with where it is given no others; `reads_update`, true if it reads the subject's `update`.

    Attributes:
        sample: which of the subject's samples it reads.
        precisions: those in which its numbers can be trusted.
        row: the result; a part's file holds its rows.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    row: ClassVar[type]
    sample: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]

    def images(self, available: int) -> int:
        """How many of the sample's first images it reads, of those available."""

    def parts(self, subject: Subject) -> Sequence[str]:
        """The names of its parts, in the order of the table; a part is stored, resumed and shared out as one.

        Raises NotApplicableError if it does not apply to this subject: without attention or labels, for example.
        """

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
        """Yields each part with its rows as soon as it is computed; if one fails, it is called again for the rest."""

    def cost(self, subject: Subject) -> Cost:
        """Its estimated cost."""

    def figure(self, table: pa.Table) -> Figure:
        """Describes the diagnostic's figure, drawn from rows of one or more models (column `model`)."""
