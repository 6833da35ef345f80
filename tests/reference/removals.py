"""Images and subjects to take units out of, and the rows that come of it."""

import dataclasses

import torch

from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.diagnostics.lesion.question import Lesion, LesionRow
from visionscope.tracing import trace

CLASSES = 6


@dataclasses.dataclass
class Images:
    size: int = 16
    count: int = 40
    labelled: bool = True
    digest: str = "fixed"

    def __post_init__(self):
        generator = torch.Generator().manual_seed(5)
        self.images = torch.randn(self.count, 3, self.size, self.size, generator=generator)
        self.labels = torch.randint(CLASSES, (self.count,), generator=generator)

    def __len__(self):
        return self.count

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = torch.arange(first, min(first + batch_size, stop))
            yield Batch(self.images[own], self.labels[own] if self.labelled else None, own)


def subject_of(model, sample=None, precision="fp32", label="m"):
    sample = sample or Images()
    found = trace(model, torch.zeros(2, 3, sample.size, sample.size, dtype=next(model.parameters()).dtype))
    return Subject(
        label=label,
        model=model,
        points=found.points,
        watch=lambda callback: None,
        samples={"eval": sample},
        precision=precision,
        trace=found,
    )


def rows_of(subject, **fields):
    lesion = Lesion(**fields)
    return [row for _, rows in lesion.measure(subject, lesion.parts(subject)) for row in rows]


def table_of(rows, model="m", job="j"):
    first = {**dict.fromkeys(LEADING, "?"), "model": model, "job": job}
    return with_leading_of(to_table(LesionRow, rows), [first] * len(rows))
