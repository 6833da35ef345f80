"""Noise of nine frequency bands, in bare fp32 forward passes of the same images in batches of 32 (F).

CPU time, one thread; a band's share is that of the whole measurement, reading images and drawing noise included, over
its nine bands and the clean images. ResNet-20 carries the reference weights; ViT-Ti/4 is as initialized, which costs
the same. Both see CIFAR-10 training images, which VISIONSCOPE_SHARED must point to.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterator

import timm
import torch
from torch import Tensor, nn

from benchmarks.hessian import reference_network, training_images
from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.core.subject import Subject
from visionscope.data.sample import Sample
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise

ROUNDS = 5
BATCH = 32
_IMAGES = {"ResNet-20": 256, "ViT-Ti/4": 64}
_GOALS = {"fp32": 1.03, "bf16": 0.5}


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    resnet = reference_network()
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=10).eval()
    rows: list[Measurement] = []
    for name, model in (("ResNet-20", resnet.model.eval()), ("ViT-Ti/4", vit)):
        rows.extend(_rows(name, model, Sample(training_images(), resnet.input, images=_IMAGES[name])))
    return rows


def _rows(name: str, model: nn.Module, sample: Sample) -> Iterator[Measurement]:
    images = [batch.images for batch in sample.batches(batch_size=BATCH)]
    noises = {precision: _noise(model, sample, precision) for precision in _GOALS}
    functions: dict[str, Callable[[], object]] = {
        "F": lambda: _forward(model, images),
        "bare bf16": lambda: _forward(model, images, bf16=True),
        **noises,
    }
    times = cpu_seconds(functions, ROUNDS)
    for precision in _GOALS:
        times[precision] = [seconds / (1 + len(FrequencyNoise().frequencies)) for seconds in times[precision]]
    found = ratios(times, "F")
    milliseconds = 1000 * statistics.median(times["F"]) / len(sample)
    for precision, goal in _GOALS.items():
        value, spread = found[precision]
        bare = f"a bare forward pass in bf16 takes {found['bare bf16'][0]:.2f} F"
        note = f"F = {milliseconds:.2f} ms per image" if precision == "fp32" else bare
        yield Measurement(
            name=f"{name}: a band, {precision}", unit="F", value=value, spread=spread, goal=goal, note=note
        )


def _noise(model: nn.Module, sample: Sample, precision: str) -> Callable[[], object]:
    subject = Subject(
        label=precision,
        model=model,
        points=(),
        watch=lambda callback: contextlib.nullcontext(),
        samples={"eval": sample},
        precision=precision,
        input=sample.input,
    )
    asked = FrequencyNoise(sample_size=len(sample))
    parts = asked.parts(subject)
    return lambda: list(asked.measure(subject, parts))


def _forward(model: nn.Module, images: list[Tensor], *, bf16: bool = False) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for batch in images:
            model(batch)
