"""The loss of each mini-batch: a measuring diagnostic in one file."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pyarrow as pa
import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.grouping import rows_by_model
from visionscope.core.rules import check_rules, rule
from visionscope.core.sample import MINI_BATCH
from visionscope.core.subject import Subject
from visionscope.core.table import column, to_table, with_leading_of


@dataclasses.dataclass(frozen=True)
class LossRow:
    """One mini-batch."""

    part: str = column("the mini-batch's part", role="hidden")
    mini_batch: int = column("its number")
    nll: float = column("mean cross-entropy", "nat", title="NLL")


@dataclasses.dataclass(frozen=True)
class LossSummaryRow:
    """All mini-batches of a model."""

    nll: float = column("mean over mini-batches", "nat", title="NLL")
    mini_batches: int = column("how many", role="count")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    """Cross-entropy of each mini-batch of 16 training images.

    Attributes:
        mini_batches: how many.
    """

    name: ClassVar[str] = "loss"
    version: ClassVar[int] = 1
    row: ClassVar[type] = LossRow
    sample: ClassVar[str] = "train"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")

    mini_batches: int = rule(8, least=1, most=10_000)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        return min(self.mini_batches * MINI_BATCH, available)

    def parts(self, subject: Subject) -> Sequence[str]:
        return [f"{first:04d}" for first in range(0, len(subject.samples["train"]), MINI_BATCH)]

    def cost(self, subject: Subject) -> Cost:
        return Cost(passes=MINI_BATCH, memory=2**20, advice="take fewer images (--loss.mini_batches)")

    @torch.no_grad()
    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[LossRow]]]:
        sample, objective = subject.samples["train"], subject.objective
        weight = next(subject.model.parameters())
        for part in parts:
            first = int(part)
            (batch,) = sample.batches(first, min(first + MINI_BATCH, len(sample)), MINI_BATCH)
            logits = subject.readout.logits(subject.model(batch.images.to(weight)))
            nll = objective.nll(logits, objective.targets(batch, logits.shape[1]))
            yield part, [LossRow(part, first // MINI_BATCH, nll.mean().item())]

    def summary(self, table: pa.Table) -> pa.Table:
        models = list(rows_by_model(table).values())
        rows = [LossSummaryRow(sum(row["nll"] for row in rows) / len(rows), len(rows)) for rows in models]
        return with_leading_of(to_table(LossSummaryRow, rows), [rows[0] for rows in models])

    def figure(self, table: pa.Table) -> Figure:
        panels = []
        for model, rows in rows_by_model(table).items():
            line = Line(name=model, x=tuple(r["mini_batch"] for r in rows), y=tuple(r["nll"] for r in rows))
            panels.append(Panel(model=model, title=model, x_label="mini-batch", y_label="NLL (nat)", lines=(line,)))
        caption = "Cross-entropy, mean over the 16 images of a mini-batch."
        return Figure(name=self.name, title="Loss", caption=caption, panels=tuple(panels))
