"""What changes images and asks the network again: outcomes span by span, their summary, a curve of it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Line
from visionscope.core.inputs import image_like
from visionscope.core.sample import Batch, InputConfig
from visionscope.core.spans import span_of
from visionscope.core.subject import Subject
from visionscope.core.table import to_table, with_leading_of
from visionscope.diagnostics._outcomes import (
    SIGNIFICANT,
    Pooled,
    batches,
    bits,
    changes,
    passes,
    pooled,
    predict,
    sample_text,
    score,
)
from visionscope.errors import NotApplicableError


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The way between a model's images and pixels of [0, 1]: image = (pixel - mean) / std.

    Attributes:
        mean: (channel, 1, 1).
        std: (channel, 1, 1).
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, subject: Subject) -> "Pixels":
        """The normalisation of a subject, on its device and of its type.

        Args:
            subject: with its input.

        Raises:
            NotApplicableError: when it is unknown.
        """
        config = input_of(subject)
        like = image_like(subject.model, (len(config.mean), *config.size))
        mean, std = (torch.tensor(values, dtype=torch.float64).to(like) for values in (config.mean, config.std))
        return cls(mean[:, None, None], std[:, None, None])

    def of_images(self, images: Tensor) -> Tensor:
        """Pixels of [0, 1]; what rounding put beside it is taken back.

        Args:
            images: (batch, channel, height, width), normalised.
        """
        return (images * self.std + self.mean).clamp(0, 1)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Images as the model takes them.

        Args:
            pixels: (batch, channel, height, width) in [0, 1].
        """
        return (pixels - self.mean) / self.std


def input_of(subject: Subject) -> InputConfig:
    """Size and normalisation of a subject's images.

    Args:
        subject: any.

    Raises:
        NotApplicableError: when they are unknown.
    """
    if subject.input is None:
        raise NotApplicableError(f"{subject.label}: needs the size and normalisation of its images, which are unknown")
    return subject.input


def outcomes(
    subject: Subject, name: str, part: str, changed: Callable[[Batch], Iterable[Tensor]], batch_size: int | None = None
) -> list[dict[str, Any]]:
    """The columns of an `OutcomeRow` for each condition of a span; an image is read once for all of them.

    Args:
        subject: with its sample.
        name: of the sample.
        part: the span.
        changed: from a batch, its images under each condition, in the same order for every batch.
        batch_size: images at a time, where it matters to what is changed; the usual one by default.
    """
    start, stop = span_of(part)
    right: list[list[Tensor]] = []
    losses: list[list[Tensor]] = []
    # One context around all passes: autocast keeps its weights in bfloat16 instead of rounding them for each.
    with passes(subject):
        for batch in batches(subject, name, start, stop, batch_size):
            assert batch.labels is not None
            for place, images in enumerate(changed(batch)):
                # Convolutions are faster so, and the first one hands the layout on to all others.
                logits = predict(subject, images.contiguous(memory_format=torch.channels_last))
                found = score(logits, batch.labels, subject=subject, positions=batch.positions)
                if place == len(right):
                    right.append([])
                    losses.append([])
                right[place].append(found[0])
                losses[place].append(found[1])
    return [
        {
            "part": part,
            "sample": sample_text(subject.samples[name]),
            "start": start,
            "images": stop - start,
            "right": bits(torch.cat(flags)),
            "nll": float(torch.cat(nll).mean()),
        }
        for flags, nll in zip(right, losses, strict=True)
    ]


def usual_cost(subject: Subject, name: str, passes_per_image: float, advice: str) -> Cost:
    """Forward passes of the images of a span, and the memory of a batch with its changed copies.

    Args:
        subject: with its sample.
        name: of the sample.
        passes_per_image: over all conditions.
        advice: what makes it need less.
    """
    sample = subject.samples[name]
    shown = next(sample.batches(0, 1, 1)).images
    parts = -(-len(sample) // 256)
    return Cost(passes=passes_per_image * len(sample) / parts, memory=32 * 8 * 8 * shown.numel(), advice=advice)


def summary(
    table: pa.Table,
    row: type,
    keys: Sequence[str],
    is_clean: Callable[[Mapping[str, Any]], bool],
    more: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]] = lambda rows: {},
) -> pa.Table:
    """A row per model and condition, with the leading columns: what it lost against the clean images.

    Args:
        table: rows of one or more models, with the leading columns.
        row: the summary's dataclass, a `ChangeRow` with the columns `keys` and those of `more`.
        keys: the columns that name the condition.
        is_clean: whether a row's condition is that of the clean images.
        more: from the rows of one condition, further columns.
    """
    spans: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for own in table.to_pylist():
        spans.setdefault((own["model"], own["job"], *(own[key] for key in keys)), []).append(own)
    models: dict[tuple[Any, Any], list[tuple[Any, Pooled]]] = {}
    for key, some in pooled(table, keys).items():
        models.setdefault((key[0], key[1]), []).append((key, some))
    rows, firsts = [], []
    for conditions in models.values():
        clean = next(some for _, some in conditions if is_clean(some.first))
        damaged = [(key, some) for key, some in conditions if some is not clean]
        found = changes([some for _, some in damaged], clean)
        for (key, some), change in zip(damaged, found, strict=True):
            rows.append(row(**change, **{name: some.first[name] for name in keys}, **more(spans[key])))
            firsts.append(some.first)
    return with_leading_of(to_table(row, rows), firsts)


def change_line(name: str, rows: Sequence[Mapping[str, Any]], x: str) -> Line:
    """A curve of the change in accuracy, grey where chance alone would make as much.

    Args:
        name: in the legend.
        rows: of a summary, of one model.
        x: the column of the abscissae.
    """
    ordered = sorted(rows, key=lambda row: float(row[x]))
    return Line(
        name=name,
        x=tuple(row[x] for row in ordered),
        y=tuple(row["change"] for row in ordered),
        low=tuple(row["change_low"] for row in ordered),
        high=tuple(row["change_high"] for row in ordered),
        faint=tuple(row["p_holm"] >= SIGNIFICANT for row in ordered),
        hover=tuple(
            f"{name}, {x} {row[x]:g}: {row['change']:+.2f} pp ({row['change_low']:+.2f} to {row['change_high']:+.2f}), "
            f"accuracy {100 * row['accuracy']:.2f} %, p {row['p_holm']:.2g}"
            for row in ordered
        ),
    )
