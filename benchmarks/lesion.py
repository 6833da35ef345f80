"""All single removals of a network, in forward passes of the same images in batches of 32, beside whole passes.

CPU time, one thread. ResNet-20 carries the reference weights and sees CIFAR-10 images, which VISIONSCOPE_SHARED
must point to; ViT-Ti/4 and ResNet-18 are as initialized, which costs the same, and see the same images.
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
from visionscope.diagnostics.lesion.measure import Lesions
from visionscope.diagnostics.outcomes.passes import passes
from visionscope.tracing import trace

ROUNDS = 5
_IMAGES = {"ResNet-20": 128, "ResNet-18": 128, "ViT-Ti/4": 32}
_GOALS = {"fp32": 0.65, "bf16": 0.35}


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    resnet = reference_network()
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=10).eval()
    resnet_18 = timm.create_model("resnet18", num_classes=10).eval()
    rows: list[Measurement] = []
    for name, model in (("ResNet-20", resnet.model), ("ResNet-18", resnet_18), ("ViT-Ti/4", vit)):
        sample = Sample(training_images(), resnet.input, _IMAGES[name])
        images = [batch.images for batch in sample.batches(batch_size=32)]
        rows.extend(_rows(name, model, images))
    return rows


def _rows(name: str, model: nn.Module, images: list[Tensor]) -> Iterator[Measurement]:
    subjects = {precision: _subject(model, images[0], precision) for precision in ("fp32", "bf16")}
    lesions = {precision: Lesions(subject, "branch") for precision, subject in subjects.items()}
    naive = Lesions(subjects["fp32"], "branch")
    functions: dict[str, Callable[[], object]] = {
        "F": lambda: _forward(subjects["fp32"], images),
        "whole passes": lambda: _whole(subjects["fp32"], naive, images),
        "bare bf16": lambda: _forward(subjects["bf16"], images),
    }
    for precision in _GOALS:
        functions[precision] = lambda precision=precision: _outputs(subjects[precision], lesions[precision], images)
    times = cpu_seconds(functions, ROUNDS)
    count = len(naive.units)
    found = ratios(times, "F")
    peers = {"whole passes": found["whole passes"][0] / count}
    full, low = (_outputs(subjects[precision], lesions[precision], images) for precision in _GOALS)
    flips = 100 * float((full.argmax(-1) != low.argmax(-1)).double().mean())
    equal = torch.equal(full, _whole(subjects["fp32"], naive, images))
    milliseconds = 1000 * statistics.median(times["F"]) / sum(map(len, images))
    notes = {
        "fp32": f"{count} removals, F = {milliseconds:.2f} ms per image, {'same bits' if equal else 'OTHER BITS'}",
        "bf16": f"{flips:.2f} % of top-1 flip; a bare forward pass in bf16 takes {found['bare bf16'][0]:.2f} F",
    }
    for precision, goal in _GOALS.items():
        value, spread = found[precision]
        yield Measurement(
            name=f"{name}: a removal, {precision}",
            unit="F",
            value=value / count,
            spread=(spread[0] / count, spread[1] / count),
            peers=peers,
            goal=goal,
            note=notes[precision],
        )


def _subject(model: nn.Module, images: Tensor, precision: str) -> Subject:
    found = trace(model, images)
    return Subject(
        label="",
        model=model,
        points=found.points,
        watch=lambda callback: contextlib.nullcontext(),
        samples={},
        precision=precision,
        trace=found,
    )


def _forward(subject: Subject, images: list[Tensor]) -> None:
    with passes(subject):
        for batch in images:
            subject.model(batch)


def _outputs(subject: Subject, lesions: Lesions, images: list[Tensor]) -> Tensor:
    """All that the diagnostic passes: the intact network and every removal; logits (removal, image, class)."""
    with passes(subject):
        found = [torch.stack([logits for _, logits in lesions.outputs(batch)]) for batch in images]
    return torch.cat(found, 1)


def _whole(subject: Subject, lesions: Lesions, images: list[Tensor]) -> Tensor:
    """The same by a whole pass each."""
    found = []
    with passes(subject):
        for batch in images:
            if lesions.replay is None:
                next(lesions.outputs(batch))
            assert lesions.replay is not None
            outputs = [lesions.replay.full(batch)]
            outputs += [lesions.replay.full(batch, unit.edit) for unit in lesions.units]
            found.append(torch.stack([subject.readout.logits(output) for output in outputs]))
    return torch.cat(found, 1)
