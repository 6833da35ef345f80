"""One moment of a monitor, in gradients of the same images, and its share of an epoch.

CPU time, one thread. The four diagnostics are negative eigenvalues, high frequencies, token similarity and critical
sharpness along the update, with a monitor's own defaults. F is a forward pass and G a gradient with respect to the
weights, both of the monitor's 128 images in one batch. Beside all four stand four monitors of one each, which share no
pass. An epoch is one of CIFAR-10, in steps of AdamW on such a batch; the goal is a monitor's default limit. Weights
move by one step between two moments. The networks that come with the package, on its own images. Ten minutes.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import visionscope.models.alternet
import visionscope.models.nano  # noqa: F401  # both register the networks
from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.core.sample import InputConfig
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.monitoring.monitor import Monitor

ROUNDS = 2
IMAGES, EPOCH = 128, 50_000
NETWORKS = ("resnet_nano", "vit_nano")
DIAGNOSTICS = ("hessian", "fourier", "token_similarity", "sharpness")
INPUT = InputConfig(size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
_AT_MOST = 5.0  # percent
_NEVER = 10**6


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    return [row for name in NETWORKS for row in _rows(name)]


def _rows(name: str) -> Iterator[Measurement]:
    model = timm.create_model(name, pretrained=True).eval()
    [batch] = Sample(open_source("embedded", num_classes=10), INPUT, IMAGES).batches(0, IMAGES, IMAGES)
    images, labels = batch.images, batch.labels
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    with tempfile.TemporaryDirectory() as folder:
        asked = {"all": DIAGNOSTICS, **{one: (one,) for one in DIAGNOSTICS}}
        functions: dict[str, Callable[[], object]] = {
            "F": lambda: _forward(model, images),
            "G": lambda: _loss(model, images, labels).backward(),
            "step": lambda: _step(model, optimizer, images, labels),
            "follow": _moment(model, images, labels, ("sharpness",), f"{folder}/follow", every=_NEVER),
            **{key: _moment(model, images, labels, names, f"{folder}/{key}", every=1) for key, names in asked.items()},
        }
        times = cpu_seconds(functions, ROUNDS)
    times["alone"] = [sum(own) for own in zip(*(times[one] for one in DIAGNOSTICS), strict=True)]
    in_f, in_g, in_steps = (ratios(times, unit) for unit in ("F", "G", "step"))
    milliseconds = 1000 * statistics.median(times["F"]) / IMAGES
    note = f"{in_f['all'][0]:.1f} F; F = {milliseconds:.2f} ms per image, G = {in_f['G'][0]:.2f} F"
    value, spread = in_g["all"]
    one_by_one = {"one by one": in_g["alone"][0]}
    yield Measurement(name=f"{name}: a moment", unit="G", value=value, spread=spread, peers=one_by_one, note=note)
    for one in DIAGNOSTICS:
        value, spread = in_g[one]
        yield Measurement(name=f"{name}:   {one} alone", unit="G", value=value, spread=spread)
    value, (low, high) = in_steps["all"]
    percent = 100 * IMAGES / EPOCH
    yield Measurement(
        name=f"{name}: a moment, of an epoch",
        unit="%",
        value=percent * value,
        spread=(percent * low, percent * high),
        goal=_AT_MOST,
        note=f"of {EPOCH} images in steps of {IMAGES}",
    )
    value, (low, high) = in_steps["follow"]
    ends = (100 * low, 100 * high)
    yield Measurement(name=f"{name}: following updates, of a step", unit="%", value=100 * value, spread=ends)


def _moment(
    model: nn.Module, images: Tensor, labels: Tensor, diagnostics: Sequence[str], out: str, *, every: int
) -> Callable[[], object]:
    """A monitor's next step at each call: it measures where their number is a multiple of `every`."""
    monitor = Monitor(images, labels, diagnostics=diagnostics, every=every, at_most=None, out=out, input=INPUT)
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1
        monitor.step(model, taken, 0.0)

    return step


def _forward(model: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        model(images)


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(model(images), labels)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    _loss(model, images, labels).backward()
    optimizer.step()
