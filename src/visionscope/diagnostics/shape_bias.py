"""Does a network go by shape or by texture? Decisions on images where the two disagree (Geirhos et al. 2019)."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.sample import SPAN
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, column, to_table, with_leading_of
from visionscope.data import conflict
from visionscope.diagnostics import _outcomes
from visionscope.diagnostics._outcomes import OutcomeRow, first_images
from visionscope.errors import DataError, NotApplicableError
from visionscope.numerics.paired import Flags, wilson

ALL = "all"
_APART = 0.08  # between the models' points of one class


@dataclasses.dataclass(frozen=True)
class ShapeBiasRow(OutcomeRow):
    """Which cue-conflict images are decided by their shape (`right`), and which by their texture."""

    texture: str = column("which are decided for the class of their texture, in the digits of `right`")
    shapes: str = column("the class of each image's shape, two hexadecimal digits each, an index of `classes`")
    classes: tuple[str, ...] = column("the classes that are decided between")
    decision: str = column(
        "how: between the classes of the head, or by the mean probability of the ImageNet classes of each of 16"
    )


@dataclasses.dataclass(frozen=True)
class ShapeBiasSummaryRow:
    """Shape bias of one model, over all classes or over the images whose shape is of one."""

    shape_class: str = column("class of the shape; `all` for all images")
    shape_bias: float | None = column("decisions for the shape / for shape or texture; None without any such decision")
    low: float | None = column("lower end of its 95 % interval (Wilson, over the decisions for either)")
    high: float | None = column("upper end of its 95 % interval")
    shape: int = column("images decided for the class of their shape")
    texture: int = column("images decided for the class of their texture")
    other: int = column("images decided for another class")
    images: int = column("images in all")
    decision: str = column(
        "how: between the classes of the head, or by the mean probability of the ImageNet classes of each of 16"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeBias:
    """Shape bias: the share of decisions for the shape among those for either cue, where shape and texture disagree.

    `shape / (shape + texture)` over cue-conflict images (Geirhos et al. 2019); decisions for a third class are told
    apart and count for neither. A network with ImageNet's 1,000 classes decides between the paper's 16 entry-level
    classes: for each the probabilities of its ImageNet classes (207 in all) are averaged, as in the authors' code; the
    cross-entropy is then that of these 16 means, made to sum to 1. Other networks decide between the classes of their
    head.

    Attributes:
        folder: images in the layout of texture-vs-shape/stimuli/style-transfer-preprocessed-512; where it is empty and
            the study is about the embedded data, their split `conflict`.
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "shape_bias"
    version: ClassVar[int] = 1
    row: ClassVar[type] = ShapeBiasRow
    sample: ClassVar[str] = "conflict"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")
    ensembles: ClassVar[bool] = True

    folder: str = ""
    sample_size: int = rule(2000, least=1, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def identity(self) -> dict[str, Any]:
        """The fields, with the names of the folder's images, which tell their textures, instead of its path.

        Raises:
            DataError: when it is not there.
        """
        return {**dataclasses.asdict(self), "folder": conflict.names_digest(self.folder) if self.folder else ""}

    def source(self, spec: str, num_classes: int | None) -> Any:
        """The images it reads.

        Args:
            spec: the study's data spec.
            num_classes: of the model's head, or None where unknown.

        Raises:
            NotApplicableError: without cue-conflict images for these data and this head.
            DataError: for a folder without such images.
        """
        return conflict.open_conflict(self.folder, spec, num_classes)

    def images(self, available: int) -> int:
        """As many as asked, or as there are.

        Args:
            available: images in the sample.

        Raises:
            DataError: when there are none.
        """
        return first_images(self.name, self.sample_size, available)

    def parts(self, subject: Subject) -> Sequence[str]:
        """Spans of 256 images.

        Args:
            subject: with its sample `conflict`.

        Raises:
            NotApplicableError: for images that don't tell the class of their texture.
        """
        _cues_of(subject)
        return spans_of(len(subject.samples[self.sample]))

    def cost(self, subject: Subject) -> Cost:
        """A forward pass per image.

        Args:
            subject: with its sample.
        """
        sample = subject.samples[self.sample]
        shown = next(iter(sample.batches(0, 1, 1))).images
        return Cost(
            passes=min(SPAN, len(sample)),
            memory=2 * _outcomes.BATCH * shown.numel() * shown.element_size(),
            advice=f"take fewer images (--shape_bias.sample_size, now {self.sample_size})",
        )

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[ShapeBiasRow]]]:
        """The row of each part.

        Args:
            subject: with its sample `conflict`.
            parts: names from `parts`.

        Raises:
            DataError: for an image that can't be used.
            NotApplicableError: for images that don't tell the class of their texture.
        """
        source, indices = _cues_of(subject)
        for part in parts:
            start, stop = span_of(part)
            textures = torch.tensor([source.texture(int(index)) for index in indices[start:stop]])
            yield part, [self._row(subject, part, textures, tuple(source.classes))]

    def summary(self, table: pa.Table) -> pa.Table:
        """Shape bias per model, over all images and per class of the shape.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        rows: list[ShapeBiasSummaryRow] = []
        firsts: list[Mapping[str, Any]] = []
        for decisions in _decisions(table):
            counted = _counted(decisions)
            rows += counted
            firsts += [decisions.first] * len(counted)
        return with_leading_of(to_table(ShapeBiasSummaryRow, rows), firsts)

    def figure(self, table: pa.Table) -> Figure:
        """Shape bias over all images and per class, with intervals.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        models = _decisions(table)
        lines = tuple(
            _line(decisions, _APART * (index - (len(models) - 1) / 2)) for index, decisions in enumerate(models)
        )
        names = list(dict.fromkeys(row.shape_class for decisions in models for row in _counted(decisions)))
        numbered = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        images = sorted({len(decisions.shape) for decisions in models})
        ways = ", ".join(sorted({str(decisions.first["decision"]) for decisions in models}))
        return Figure(
            name="shape_bias",
            title="Shape or texture",
            caption=(
                f"Of the decisions for either cue, the share for the shape, on {' or '.join(map(str, images))} images "
                f"whose texture is of another class; 95 % intervals (Wilson). By class of the shape: {numbered}. "
                f"Decisions: {ways}."
            ),
            panels=(
                Panel(
                    model="",
                    title="Shape bias",
                    x_label="class of the shape (0: all; numbers in the caption)",
                    y_label="shape bias (1: shape alone, 0: texture alone)",
                    lines=lines,
                ),
            ),
        )

    def _row(self, subject: Subject, part: str, textures: Tensor, classes: tuple[str, ...]) -> ShapeBiasRow:
        start, stop = span_of(part)
        by_shape, by_texture, nll, labels, way = [], [], [], [], ""
        for batch in _outcomes.batches(subject, self.sample, start, stop):
            assert batch.labels is not None
            with _outcomes.passes(subject):
                logits = _outcomes.predict(subject, batch.images)
            scores, way = _scores(logits, len(classes), subject.label)
            own = textures[batch.positions - start].to(batch.labels)
            right, losses = _outcomes.score(scores, batch.labels, subject=subject, positions=batch.positions)
            by_shape.append(right)
            by_texture.append(_outcomes.score(scores, own, subject=subject, positions=batch.positions)[0])
            nll.append(losses)
            labels += batch.labels.tolist()
        return ShapeBiasRow(
            part=part,
            sample=_outcomes.sample_text(subject.samples[self.sample]),
            start=start,
            images=stop - start,
            right=_outcomes.bits(torch.cat(by_shape)),
            nll=float(torch.cat(nll).mean()),
            texture=_outcomes.bits(torch.cat(by_texture)),
            shapes=bytes(labels).hex(),
            classes=classes,
            decision=way,
        )


@dataclasses.dataclass(frozen=True)
class _Decisions:
    """All images of one model.

    Attributes:
        first: a row of it.
        shape: (n,) which are decided by shape.
        texture: (n,) which by texture.
        classes: (n,) name of the shape's class.
    """

    first: Mapping[str, Any]
    shape: Flags
    texture: Flags
    classes: tuple[str, ...]


def entry_level_scores(logits: Tensor) -> Tensor:
    """The logarithm of the mean probability of each of the 16 entry-level classes.

    Args:
        logits: (batch, 1000).

    Returns:
        (batch, 16).
    """
    logs = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(1)
    means = [logs[:, list(indices)].logsumexp(1) - np.log(len(indices)) for indices in conflict.ENTRY_LEVEL.values()]
    return torch.stack(means, dim=1)


def _scores(logits: Tensor, classes: int, label: str) -> tuple[Tensor, str]:
    """Logits between the images' classes, and how they came about."""
    if logits.shape[1] == classes:
        return logits, "between the classes of the head"
    if (logits.shape[1], classes) == (conflict.IMAGENET, len(conflict.ENTRY_LEVEL)):
        return entry_level_scores(logits), "mean probability of the ImageNet classes of each of 16"
    raise DataError(f"{label}: the head must have {classes} classes for these images; it has {logits.shape[1]}")


def _cues_of(subject: Subject) -> tuple[Any, Sequence[int]]:
    """The source that knows textures, and the index in it of each position."""
    sample = subject.samples["conflict"]
    source, indices = getattr(sample, "source", None), getattr(sample, "indices", None)
    if indices is None or not hasattr(source, "texture"):
        raise NotApplicableError(
            f"{subject.label}: shape_bias needs images that tell the class of their texture: data embedded, or a "
            "folder of cue-conflict images"
        )
    return source, indices


def _decisions(table: pa.Table) -> list[_Decisions]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["model"], row["job"]), []).append(row)
    found = []
    for rows in groups.values():
        rows.sort(key=lambda row: int(row["start"]))
        names = [row["classes"][number] for row in rows for number in bytes.fromhex(row["shapes"])]
        found.append(
            _Decisions(
                first={name: rows[0][name] for name in (*LEADING, "decision")},
                shape=np.concatenate([_outcomes.flags(row["right"], row["images"]) for row in rows]),
                texture=np.concatenate([_outcomes.flags(row["texture"], row["images"]) for row in rows]),
                classes=tuple(names),
            )
        )
    return found


def _counted(decisions: _Decisions) -> list[ShapeBiasSummaryRow]:
    rows = []
    names = np.array(decisions.classes)
    for name in (ALL, *sorted(set(decisions.classes))):
        chosen = np.ones(len(names), dtype=bool) if name == ALL else names == name
        shape, texture = int(decisions.shape[chosen].sum()), int(decisions.texture[chosen].sum())
        decided = shape + texture
        low, high = wilson(shape, decided) if decided else (None, None)
        rows.append(
            ShapeBiasSummaryRow(
                shape_class=name,
                shape_bias=shape / decided if decided else None,
                low=low,
                high=high,
                shape=shape,
                texture=texture,
                other=int(chosen.sum()) - decided,
                images=int(chosen.sum()),
                decision=str(decisions.first["decision"]),
            )
        )
    return rows


def _line(decisions: _Decisions, aside: float) -> Line:
    rows = [(number, row) for number, row in enumerate(_counted(decisions)) if row.shape_bias is not None]
    return Line(
        name=str(decisions.first["model"]),
        x=tuple(number + aside for number, _ in rows),
        y=tuple(float(row.shape_bias or 0.0) for _, row in rows),
        low=tuple(float(row.low or 0.0) for _, row in rows),
        high=tuple(float(row.high or 0.0) for _, row in rows),
        hover=tuple(
            f"{row.shape_class}: {row.shape} for shape, {row.texture} for texture, {row.other} for neither"
            for _, row in rows
        ),
        role="points",
    )
