"""One place of a loss landscape, in forward passes of the same images in batches of 32, beside loss-landscapes.

CPU time, one thread. ResNet-20 carries the reference weights; ViT-Ti/4 is as initialized, which costs the same. Both
see CIFAR-10 training images, which VISIONSCOPE_SHARED must point to.
"""

import copy
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import timm
import torch
import torch.nn.functional as F
from loss_landscapes import random_plane
from loss_landscapes.metrics.metric import Metric
from torch import Tensor, nn

from benchmarks.hessian import reference_network, training_images
from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.core.objective import Objective
from visionscope.core.subject import Subject
from visionscope.data.sample import Sample
from visionscope.diagnostics.landscape.measure import Surroundings
from visionscope.diagnostics.landscape.question import Landscape

ROUNDS = 7
BATCH = 32
STEPS = 3  # per axis for the peer, whose cost per place is wanted
_IMAGES = {"ResNet-20": 384, "ViT-Ti/4": 192}
_GOALS = {"ResNet-20": (0.80, 0.32), "ViT-Ti/4": (1.03, 0.48)}


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    resnet = reference_network()
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=10).eval()
    rows: list[Measurement] = []
    for name, model in (("ResNet-20", resnet.model), ("ViT-Ti/4", vit)):
        rows.extend(_rows(name, model, Sample(training_images(), resnet.input, images=_IMAGES[name])))
    return rows


def _rows(name: str, model: nn.Module, sample: Sample) -> Iterator[Measurement]:
    batches = list(sample.batches(batch_size=BATCH))
    narrow, layout = copy.deepcopy(model), torch.channels_last if name.startswith("ResNet") else torch.contiguous_format
    images = [batch.images for batch in batches]
    turned = [batch.contiguous(memory_format=layout) for batch in images]
    points = {precision: _point(_subject(model, sample, precision)) for precision in ("fp32", "bf16")}
    functions: dict[str, Callable[[], object]] = {
        "F": lambda: _forward(model, images),
        "bare bf16": lambda: _forward(narrow.to(memory_format=layout), turned, bf16=True),
        "loss-landscapes": lambda: _peer(model, batches),
        **points,
    }
    times = cpu_seconds(functions, ROUNDS)
    times["loss-landscapes"] = [seconds / STEPS**2 for seconds in times["loss-landscapes"]]
    found = ratios(times, "F")
    peers = {"loss-landscapes": found["loss-landscapes"][0]}
    milliseconds = 1000 * statistics.median(times["F"]) / len(sample)
    for precision, goal in zip(("fp32", "bf16"), _GOALS[name], strict=True):
        value, spread = found[precision]
        bare = f"a bare forward pass in bf16 takes {found['bare bf16'][0]:.2f} F"
        note = f"F = {milliseconds:.2f} ms per image" if precision == "fp32" else bare
        yield Measurement(
            name=f"{name}: one place, {precision}",
            unit="F",
            value=value,
            spread=spread,
            peers=peers,
            goal=goal,
            note=note,
        )


def _subject(model: nn.Module, sample: Sample, precision: str) -> Subject:
    return Subject(
        label="",
        model=model,
        points=(),
        watch=_unwatched,
        samples={"train": sample},
        precision=precision,
        objective=Objective(weight_decay=0.05),
    )


def _unwatched(callback: Callable[[Any, Tensor], None]) -> Any:
    raise NotImplementedError


def _point(subject: Subject) -> Callable[[], object]:
    asked = Landscape(sample_size=len(subject.samples["train"]), points=3, draws=0, extent=0.1, radius=0.1)
    surroundings = Surroundings(asked, subject)
    return lambda: surroundings.row("row-00", (0.05, -0.05, ""), checked=False)


def _forward(model: nn.Module, images: list[Tensor], *, bf16: bool = False) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for batch in images:
            model(batch)


class _MeanLoss(Metric):  # type: ignore[misc]
    """What a user of loss-landscapes writes to keep no graph."""

    def __init__(self, batches: list[Any]) -> None:
        super().__init__()
        self._batches = batches

    def __call__(self, wrapper: Any) -> float:
        with torch.no_grad():
            losses = [F.cross_entropy(wrapper.forward(batch.images), batch.labels) for batch in self._batches]
        return float(torch.stack(losses).mean())


def _peer(model: nn.Module, batches: list[Any]) -> None:
    # Its filter normalization divides by zero where a filter is zero, as in a fresh transformer; the cost is the same.
    random_plane(model, _MeanLoss(batches), distance=0.1, steps=STEPS, normalization="model", deepcopy_model=True)
