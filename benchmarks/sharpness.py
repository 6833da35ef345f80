"""Sharpness, in forward passes and gradients of the same images, beside plain loops over a copy of the network.

CPU time, one thread. F is a forward pass and G a gradient with respect to the weights, both in batches of 32. The plain
loops are what the authors' code does (Andriushchenko et al. 2023): noise on a copy, and Auto-PGD, of which the loss
that it finds stands beside ours. The critical step has no peer in one's hands: its passes are counted.
"""

import copy
import statistics
from collections.abc import Iterator
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import visionscope.models.alternet
import visionscope.models.nano  # noqa: F401  # both register the networks
from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.core.objective import Objective
from visionscope.core.sample import InputConfig
from visionscope.core.subject import Subject
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.diagnostics.sharpness.question import Sharpness

ROUNDS = 2
IMAGES, BATCH = 64, 32
TIMES = 6  # draws, and steps
NETWORKS = ("resnet_nano", "vit_nano")
INPUT = InputConfig(size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
_GOALS = {"average": None, "worst": 1.3, "critical": 10.0}
_CHECKPOINTS = (0.22, 0.41, 0.57, 0.7, 0.8, 0.87, 0.93)  # Auto-PGD's, as shares of the steps


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    return [row for name in NETWORKS for row in _rows(name)]


def _rows(name: str) -> Iterator[Measurement]:
    model = timm.create_model(name, pretrained=True).eval()
    sample = Sample(open_source("embedded", num_classes=10), INPUT, IMAGES)
    batches = [(batch.images, batch.labels) for batch in sample.batches(0, IMAGES, BATCH)]
    subject = Subject(
        label=name,
        model=model,
        points=(),
        watch=_unwatched,
        samples={"train": sample},
        objective=Objective(weight_decay=0.0),
    )
    functions = {
        "F": lambda: _loss(model, batches),
        "G": lambda: _gradient(model, batches),
        "plain average": lambda: _noise(model, batches, 0.1),
        "plain worst": lambda: _auto_pgd(model, batches, 0.002),
        **{kind: lambda kind=kind: _ours(subject, kind) for kind in _GOALS},
    }
    times = cpu_seconds(functions, ROUNDS)
    in_f, in_g = ratios(times, "F"), ratios(times, "G")
    ours, theirs = _ours(subject, "worst").value, _auto_pgd(model, batches, 0.002)
    notes = {
        "average": f"F = {1000 * statistics.median(times['F']) / IMAGES:.2f} ms per image; with the first G and checks",
        "worst": f"found {ours:.4f} nat, Auto-PGD {theirs:.4f}; G = {in_f['G'][0]:.2f} F",
        "critical": f"{_ours(subject, 'critical').forward_passes} passes; all, with the gradient and checks",
    }
    for kind, found in (("average", in_f), ("worst", in_g), ("critical", in_f)):
        each = 1 if kind == "critical" else TIMES
        value, (low, high) = found[kind]
        yield Measurement(
            name=f"{name}: {kind}" + ("" if kind == "critical" else ", each"),
            unit="G" if kind == "worst" else "F",
            value=value / each,
            spread=(low / each, high / each),
            peers={} if kind == "critical" else {"plain loop": found[f"plain {kind}"][0] / each},
            goal=_GOALS[kind],
            note=notes[kind],
        )


def _unwatched(callback: object) -> Any:
    raise NotImplementedError


def _ours(subject: Subject, kind: str) -> Any:
    asked = Sharpness(kinds=(kind,), batches=1, batch_size=IMAGES, draws=TIMES, steps=TIMES)
    [(_, [row])] = asked.measure(subject, asked.parts(subject))
    return row


def _loss(model: nn.Module, batches: list[tuple[Tensor, Any]]) -> float:
    with torch.no_grad():
        return sum(float(F.cross_entropy(model(images), labels)) for images, labels in batches) / len(batches)


def _gradient(model: nn.Module, batches: list[tuple[Tensor, Any]]) -> list[Tensor]:
    parameters = list(model.parameters())
    total = [torch.zeros_like(value) for value in parameters]
    for images, labels in batches:
        found = torch.autograd.grad(F.cross_entropy(model(images), labels), parameters, materialize_grads=True)
        for one, own in zip(total, found, strict=True):
            one += own / len(batches)
    return total


def _noise(model: nn.Module, batches: list[tuple[Tensor, Any]], radius: float) -> float:
    noisy, total = copy.deepcopy(model), 0.0
    for _ in range(TIMES):
        for value, origin in zip(noisy.parameters(), model.parameters(), strict=True):
            value.data = origin.data + radius * origin.data.abs() * torch.randn_like(origin)
        total += _loss(noisy, batches)
    return total / TIMES - _loss(model, batches)


def _auto_pgd(model: nn.Module, batches: list[tuple[Tensor, Any]], radius: float) -> float:
    """Linf, from a random place, step 2 radius halved where too few steps raise the loss, momentum 0.75."""
    moving, origin = copy.deepcopy(model), [value.detach() for value in model.parameters()]
    torch.manual_seed(0)
    u = [radius * (2 * torch.rand_like(value) - 1) for value in origin]
    before, step, start, best, raised, last = u, 2 * radius, _loss(model, batches), 0.0, 0, 0
    checks = {round(share * TIMES) for share in _CHECKPOINTS}
    for index in range(TIMES):
        _put(moving, origin, u)
        signs = [own.sign() for own in _gradient(moving, batches)]
        ahead = [(one + step * sign).clamp(-radius, radius) for one, sign in zip(u, signs, strict=True)]
        u, before = [0.75 * new + 0.25 * old for new, old in zip(ahead, before, strict=True)], u
        _put(moving, origin, u)
        rise = _loss(moving, batches) - start
        raised, best = raised + (rise > best), max(best, rise)
        if index in checks:
            step *= 0.5 if raised < 0.75 * (index - last) else 1.0
            raised, last = 0, index
    return best


def _put(model: nn.Module, origin: list[Tensor], u: list[Tensor]) -> None:
    for value, here, one in zip(model.parameters(), origin, u, strict=True):
        value.data = here + here.abs() * one
