"""Calibration as a whole, temperature included, in forward passes of the same images in the same batches.

CPU time, one thread; the summary with its bootstrap is timed apart. ResNet-20 carries the reference weights; ViT-Ti/4
is as initialized, which costs the same. Both see CIFAR-10 images, which VISIONSCOPE_SHARED must point to. The images
are decoded beforehand, for the bare passes as for the diagnostic.
"""

import dataclasses
import statistics
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import timm
import torch
from torch import Tensor, nn

from benchmarks.hessian import reference_network, training_images
from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.data.sample import Sample
from visionscope.diagnostics.calibration.question import Calibration
from visionscope.diagnostics.outcomes.passes import BATCH

ROUNDS = 7
GOAL = 1.03
_IMAGES = {"ResNet-20": 768, "ViT-Ti/4": 256}
_BESIDE = 64


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    resnet = reference_network()
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=10).eval()
    rows: list[Measurement] = []
    for name, model in (("ResNet-20", resnet.model), ("ViT-Ti/4", vit)):
        drawn = Sample(training_images(), resnet.input, images=_IMAGES[name] + _BESIDE)
        whole = next(drawn.batches(batch_size=len(drawn)))
        rows.extend(_rows(name, model, whole))
    return rows


@dataclasses.dataclass
class _Decoded:
    """Some images of a batch as a sample."""

    whole: Batch
    start: int
    stop: int
    digest: str = "decoded"

    def __len__(self) -> int:
        return self.stop - self.start

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        assert self.whole.labels is not None  # of class folders
        for first in range(start, stop, batch_size):
            last = min(first + batch_size, stop)
            own = slice(self.start + first, self.start + last)
            yield Batch(self.whole.images[own], self.whole.labels[own], torch.arange(first, last))


def _rows(name: str, model: nn.Module, whole: Batch) -> Iterator[Measurement]:
    images = len(whole.images)
    measured, beside = _Decoded(whole, 0, images - _BESIDE), _Decoded(whole, images - _BESIDE, images)
    subject = Subject(
        label="", model=model, points=(), watch=_unwatched, samples={"eval": measured, "calibration": beside}
    )
    batches = [batch.images for some in (measured, beside) for batch in some.batches(0, len(some), BATCH)]
    asked = Calibration()
    table = _table(asked, subject)
    functions = {
        "F": lambda: _forward(model, batches),
        "whole": lambda: _table(asked, subject),
        "summary": lambda: asked.summary(table),
    }
    times = cpu_seconds(functions, ROUNDS)
    value, spread = ratios(times, "F")["whole"]
    milliseconds = 1000 * statistics.median(times["F"]) / images
    yield Measurement(
        name=f"{name}: calibration, {images} images",
        unit="F",
        value=value,
        spread=spread,
        goal=GOAL,
        note=f"F = {milliseconds:.2f} ms per image; the summary once: {statistics.median(times['summary']):.2f} s",
    )


def _table(asked: Calibration, subject: Subject) -> pa.Table:
    rows = [row for _, some in asked.measure(subject, asked.parts(subject)) for row in some]
    return with_leading_of(to_table(asked.row, rows), [dict.fromkeys(LEADING, "")] * len(rows))


def _forward(model: nn.Module, images: list[Tensor]) -> None:
    with torch.no_grad():
        for batch in images:
            model(batch)


def _unwatched(callback: Any) -> Any:
    raise NotImplementedError
