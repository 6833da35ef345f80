"""Accuracy under 15 corruptions in 5 severities, in bare forward passes of as many images in batches of 32.

CPU time of the process that holds the network, one thread; the images are made in worker processes beside it, whose
time the wall clock shows: where cores suffice, a run takes as long as its forward passes. Then what each corruption
costs a worker, and a published set read from arrays. ViT-Ti/4 as initialized, on the embedded data.
"""

import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from benchmarks.measure import Measurement
from visionscope.core.sample import InputConfig
from visionscope.core.subject import Subject
from visionscope.data.corruption_types import SEVERITIES, TYPES
from visionscope.data.corruptions import corrupt, to_pixels
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.diagnostics.corruption.question import Corruption

ROUNDS = 2
IMAGES = 32
COST_IMAGES = {32: 32, 224: 2}
INPUT = InputConfig(size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
_GOAL = 1.10  # of the forward passes, in the process that holds the network


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=10).eval()
    sample = Sample(open_source("embedded", num_classes=10), INPUT, IMAGES)
    subject = Subject(label="vit", model=model, points=(), watch=_nothing, samples={"eval": sample}, input=INPUT)
    return [*_whole(subject), *_costs(), _published(subject)]


def _whole(subject: Subject) -> Iterator[Measurement]:
    asked = Corruption(sample_size=IMAGES)
    conditions = 1 + len(TYPES) * len(SEVERITIES)
    passes = IMAGES * conditions
    own, wall = _ratios(lambda: _measured(asked, subject), lambda: _forward(subject.model, subject, conditions))
    yield Measurement(
        name="on the fly, process of the network",
        unit="forward passes, CPU",
        value=statistics.median(own),
        spread=(min(own), max(own)),
        goal=_GOAL,
        note=f"of {passes} images; workers come on top",
    )
    yield Measurement(
        name="on the fly, by the wall clock",
        unit="forward passes, wall",
        value=statistics.median(wall),
        spread=(min(wall), max(wall)),
        note="1 where cores suffice for the workers",
    )


def _costs() -> Iterator[Measurement]:
    for size, images in COST_IMAGES.items():
        input = dataclasses.replace(INPUT, size=(size, size))
        sample = Sample(open_source("embedded", size=size), input, images)
        pixels = to_pixels(next(sample.batches(0, images, images)).images, input)
        for kind in TYPES:
            each = [
                _milliseconds(functools.partial(corrupt, pixels, range(images), kind, severity, 0))
                for severity in SEVERITIES
            ]
            each = [value / images for value in each]
            yield Measurement(
                name=f"{kind} at {size} pixels",
                unit="ms per image, CPU",
                value=statistics.mean(each),
                spread=(min(each), max(each)),
                note="mean, least and most over severities",
            )


def _published(subject: Subject) -> Measurement:
    """Arrays of the published layout, of 2,000 images a severity, in the system's file cache."""
    types = ("fog", "snow")
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        for kind in types:
            np.save(Path(folder) / f"{kind}.npy", random.integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8))
        np.save(Path(folder) / "labels.npy", np.tile(np.arange(2_000) % 10, 5))
        asked = Corruption(folder=folder, types=types, severities=(1, 2, 3), sample_size=IMAGES)
        conditions = 1 + len(types) * 3
        own, _ = _ratios(lambda: _measured(asked, subject), lambda: _forward(subject.model, subject, conditions))
    return Measurement(
        name="published arrays",
        unit="forward passes, CPU",
        value=statistics.median(own),
        spread=(min(own), max(own)),
        goal=_GOAL,
        note=f"of {IMAGES * conditions} images, with checks, digests and decoding",
    )


def _ratios(ours: Callable[[], object], bare: Callable[[], object]) -> tuple[list[float], list[float]]:
    """CPU and wall time of ours over that of bare, in turns, after a round that warms up."""
    own, wall = [], []
    for repetition in range(ROUNDS + 1):
        times = []
        for function in (ours, bare):
            began = time.process_time(), time.perf_counter()
            function()
            times.append((time.process_time() - began[0], time.perf_counter() - began[1]))
        if repetition:
            own.append(times[0][0] / times[1][0])
            wall.append(times[0][1] / times[1][1])
    return own, wall


def _measured(asked: Corruption, subject: Subject) -> None:
    for _ in asked.measure(subject, asked.parts(subject)):
        pass


def _forward(model: nn.Module, subject: Subject, times: int) -> None:
    batches = list(subject.samples["eval"].batches(0, IMAGES, 32))
    with torch.no_grad():
        for _ in range(times):
            for batch in batches:
                model(batch.images)


def _milliseconds(function: Callable[[], object]) -> float:
    function()  # makes the transform
    began = time.process_time()
    function()
    return 1000 * (time.process_time() - began)


def _nothing(callback: object) -> None:
    """Nothing is watched."""
