"""Receptive fields of all points, in gradients of the same images, beside the script that many papers share.

CPU time, one thread. G is the gradient of the loss with respect to the weights, F a forward pass, both in one batch.
The script (RepLKNet's, as VMamba has it) is rewritten plainly: for each point a forward pass and a backward pass, image
by image, positive parts alone. captum's Saliency is given the same sums as here, point by point, and its fields are
compared with ours. The networks that come with the package, on its own images.
"""

import functools
import statistics
from collections.abc import Iterator

import timm
import torch
import torch.nn.functional as F
from captum.attr import Saliency
from torch import Tensor, nn

import visionscope.models.alternet
import visionscope.models.nano  # noqa: F401  # both register the networks
from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.core.sample import InputConfig
from visionscope.core.subject import Point, Subject
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.diagnostics.receptive_field.question import ReceptiveField
from visionscope.tracing import trace, watch

ROUNDS = 3
IMAGES = 16
NETWORKS = ("resnet_nano", "vit_nano")
INPUT = InputConfig(size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
_GOAL = 1.0


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    return [row for name in NETWORKS for row in _rows(name)]


def _rows(name: str) -> Iterator[Measurement]:
    model = timm.create_model(name).eval()
    sample = Sample(open_source("embedded"), INPUT, IMAGES)
    [batch] = sample.batches(0, IMAGES, IMAGES)
    found = trace(model, batch.images)
    subject = Subject(
        label=name,
        model=model,
        points=found.points,
        watch=functools.partial(watch, model, found),
        samples={"eval": sample},
    )
    points = len(found.points)
    functions = {
        "G": lambda: _gradient(model, batch.images),
        "F": lambda: _forward(model, batch.images),
        "ours": lambda: list(ReceptiveField().measure(subject, ReceptiveField().parts(subject))),
        "script": lambda: [_script(subject, batch.images, point) for point in found.points],
        "captum": lambda: [_saliency(subject, batch.images, point) for point in found.points],
    }
    times = cpu_seconds(functions, ROUNDS)
    in_g = ratios(times, "G")
    in_f = ratios(times, "F")
    value, (low, high) = in_g["ours"]
    milliseconds = 1000 * statistics.median(times["F"]) / IMAGES
    yield Measurement(
        name=f"{name}: a point, of {points}",
        unit="G",
        value=value / points,
        spread=(low / points, high / points),
        peers={name: in_g[name][0] / points for name in ("script", "captum")},
        goal=_GOAL,
        note=f"{in_f['ours'][0] / points:.2f} F; F = {milliseconds:.2f} ms per image, G = {in_f['G'][0]:.2f} F; "
        f"captum's pictures differ by {_apart(subject, batch.images):.1g} of the largest pixel",
    )


def _forward(model: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        model(images)


def _gradient(model: nn.Module, images: Tensor) -> None:
    loss = F.cross_entropy(model(images), torch.arange(len(images)) % 10)
    torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)


def _saliency(subject: Subject, images: Tensor, wanted: Point) -> Tensor:
    """The field as the mean over images of captum's magnitudes of gradients, a forward and a backward pass."""

    def centre(given: Tensor) -> Tensor:
        kept: list[Tensor] = []

        def keep(point: Point, maps: Tensor) -> None:
            if point.name == wanted.name:
                kept.append(maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2].sum(1))

        with subject.watch(keep):
            subject.model(given)
        return kept[0]

    magnitudes = Saliency(centre).attribute(images.clone().requires_grad_(), abs=True)
    return magnitudes.double().sum(1).mean(0)


def _apart(subject: Subject, images: Tensor) -> float:
    """The largest difference between our pictures and captum's, in shares of the largest pixel."""
    rows = [row for _, own in ReceptiveField().measure(subject, ReceptiveField().parts(subject)) for row in own]
    found = 0.0
    for row, point in zip(rows, subject.points, strict=True):
        field = _saliency(subject, images, point).flatten()
        if row.field:
            found = max(found, float((field / field.sum() - torch.tensor(row.field)).abs().max() / max(row.field)))
    return found


def _script(subject: Subject, images: Tensor, wanted: Point) -> Tensor:
    total = torch.zeros(images.shape[-2:])
    for image in images:
        variable, kept = image[None].clone().requires_grad_(), {}

        def keep(point: Point, maps: Tensor, kept: dict[str, Tensor] = kept) -> None:
            kept[point.name] = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]

        with subject.watch(keep):
            subject.model(variable)
        (gradient,) = torch.autograd.grad(kept[wanted.name].relu().sum(), variable)
        total += gradient.relu().sum((0, 1))
    return total / len(images)
