"""A measuring diagnostic that takes no time: the mean loss of each mini-batch."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pyarrow as pa
import pytest
import torch

from visionscope.core import registry
from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.sample import MINI_BATCH
from visionscope.core.subject import Subject
from visionscope.core.table import column
from visionscope.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class LossRow:
    """One mini-batch."""

    mini_batch: int = column("its number")
    images: int = column("images in it")
    nll: float = column("mean cross-entropy", "nat")
    l2: float = column("weight decay's term", "nat")
    augmentation: str = column("how the images were changed")
    draw: int = column("of the global generator: the same for every run")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
    """The mean loss of each mini-batch; a part is one of them.

    Attributes:
        mini_batches: how many.
        memory: what it says that it needs.
    """

    name: ClassVar[str] = "losses"
    version: ClassVar[int] = 1
    row: ClassVar[type] = LossRow
    sample: ClassVar[str] = "train"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")
    prepared: ClassVar[list[tuple[str, ...]]] = []  # the parts of each call of `measure`

    mini_batches: int = 3
    memory: int = 1000

    def __post_init__(self) -> None:
        if self.mini_batches < 1:
            raise ConfigError(f"losses.mini_batches: must be at least 1; got {self.mini_batches}")

    def images(self, available: int) -> int:
        return min(self.mini_batches * MINI_BATCH, available)

    def parts(self, subject: Subject) -> Sequence[str]:
        return [f"{number:04d}" for number in range(-(-len(subject.samples[self.sample]) // MINI_BATCH))]

    def cost(self, subject: Subject) -> Cost:
        return Cost(passes=MINI_BATCH, memory=self.memory, advice="take fewer mini-batches (--losses.mini_batches)")

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[LossRow]]]:
        self.prepared.append(tuple(parts))
        assert subject.objective is not None
        assert torch.is_grad_enabled()
        sample, weight = subject.samples[self.sample], next(subject.model.parameters())
        l2 = subject.objective.l2(subject.model.named_parameters())
        draw = int(torch.randint(1000, ()))
        for part in parts:
            first = int(part) * MINI_BATCH
            (batch,) = sample.batches(first, min(first + MINI_BATCH, len(sample)), MINI_BATCH)
            logits = subject.readout.logits(subject.model(batch.images.to(weight.device, weight.dtype)))
            nll = subject.objective.nll(logits, subject.objective.targets(batch, logits.shape[1]))
            mean = float(nll.detach().double().mean())
            yield part, [LossRow(int(part), len(nll), mean, l2, subject.augmentation, draw)]

    def figure(self, table: pa.Table) -> Figure:
        rows = table.to_pylist()
        line = Line(name="loss", x=tuple(row["mini_batch"] for row in rows), y=tuple(row["nll"] for row in rows))
        panel = Panel(model=rows[0]["model"], title="", x_label="mini-batch", y_label="NLL (nat)", lines=(line,))
        return Figure(name="losses", title="Losses", caption="Of each mini-batch.", panels=(panel,))

    def summary(self, table: pa.Table) -> pa.Table:
        return table.group_by("model", use_threads=False).aggregate([("nll", "mean")])


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes it known as a package with an entry point would."""

    class Entry:
        name = "losses"

        def load(self) -> type:
            return Losses

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry()])
    monkeypatch.setattr(Losses, "prepared", [])
