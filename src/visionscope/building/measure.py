"""What a network costs: parameters, multiply-accumulates, memory traffic, images per second."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.building.counting import count
from visionscope.core.classes import class_counts
from visionscope.core.copying import copy_of
from visionscope.core.inputs import image_like
from visionscope.core.logits import Readout
from visionscope.errors import ConfigError
from visionscope.tracing.watch import shadow

__all__ = ["Costs", "Throughput", "costs", "latency", "throughput"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """What follows from the architecture.

    Attributes:
        parameters: how many numbers are trained.
        macs: multiply-accumulates of a forward pass of one image, by the formulas of `visionscope.building.formulas`:
            convolutions, matrix products and attention, Fourier transforms, average pooling, resampling.
        traffic: bytes that its operations read and write, each its own: nothing is fused, nothing stays in a cache.
        peak: most bytes that its results take at one time, beside weights and image, where each is freed as soon as the
            code lets go of it.
    """

    parameters: int
    macs: int
    traffic: int
    peak: int

    @property
    def gmacs(self) -> float:
        """The multiply-accumulates in units of 1e9."""
        return self.macs / 1e9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput:
    """What was measured on this machine.

    Attributes:
        forward: images per second of a forward pass in eval mode.
        training: images per second of a forward and backward pass and an SGD step, in training mode.
        batch: images per pass.
        threads: of torch; of no meaning on an accelerator.
        device: that it ran on.
        repeats: of which the fastest counts.
    """

    forward: float
    training: float
    batch: int
    threads: int
    device: str
    repeats: int


def costs(model: nn.Module, size: tuple[int, int], channels: int = 3) -> Costs:
    """Parameters, multiply-accumulates, memory traffic and peak memory in eval mode.

    Nothing is computed, where the model allows it: it is counted on the meta device.

    Args:
        model: is left as it was.
        size: height and width of the images in pixels.
        channels: of the images.

    Raises:
        ConfigError: for an operation of which it isn't known what it costs.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    images = torch.zeros(1, channels, *size).to(image_like(model, (channels, *size)))
    try:
        counted = count(shadow(model, "meta").eval(), images.to("meta"))
    except ConfigError:
        raise
    except Exception:  # as in tracing: some code runs on real tensors only
        counted = count(shadow(model).eval(), images)
    return Costs(parameters=parameters, macs=counted.macs, traffic=counted.traffic, peak=counted.peak)


def throughput(
    networks: Mapping[str, nn.Module],
    size: tuple[int, int],
    channels: int = 3,
    *,
    batch: int = 8,
    repeats: int = 3,
    device: torch.device | None = None,
) -> dict[str, Throughput]:
    """Images per second of a forward pass and of a training step in float32, after one pass of each that isn't counted.

    The networks take turns, so that whatever else the machine does meets all alike.

    Args:
        networks: by name; they are left as they were, copies are trained.
        size: height and width of the images in pixels.
        channels: of the images.
        batch: images per pass, at least 2, since batch normalisation of a 1x1 map needs them.
        repeats: of which the fastest counts: whatever else the machine does can only slow a pass down.
        device: the CPU without it.

    Raises:
        ConfigError: when batch or repeats is too small.
    """
    if batch < 2:
        raise ConfigError(
            f"batch must be 2 or more, since batch normalisation needs it; got {batch}. The smallest is 2"
        )
    if repeats < 1:
        raise ConfigError(f"repeats must be 1 or more; got {repeats}. The smallest is 1")
    device = device or torch.device("cpu")
    with torch.random.fork_rng():
        images = torch.rand(batch, channels, *size, device=device)
        copies = {name: copy_of(network).to(device) for name, network in networks.items()}
        passes = _seconds({name: _forward(network, images) for name, network in copies.items()}, repeats, device)
        steps = _seconds({name: _step(network, images) for name, network in copies.items()}, repeats, device)
    return {
        name: Throughput(
            forward=batch / min(passes[name]),
            training=batch / min(steps[name]),
            batch=batch,
            threads=torch.get_num_threads(),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            repeats=repeats,
        )
        for name in networks
    }


def latency(
    networks: Mapping[str, nn.Module],
    size: tuple[int, int],
    channels: int = 3,
    *,
    repeats: int = 21,
    device: torch.device | None = None,
) -> dict[str, float]:
    """Milliseconds of a forward pass of one image in eval mode and float32, the median, after one that isn't counted.

    The networks take turns, as in `throughput`.

    Args:
        networks: by name; they are left as they were.
        size: height and width of the image in pixels.
        channels: of the image.
        repeats: of which the median is taken.
        device: the CPU without it.
    """
    device = device or torch.device("cpu")
    with torch.random.fork_rng():
        image = torch.rand(1, channels, *size, device=device)
        runs = {name: _forward(copy_of(network).to(device), image) for name, network in networks.items()}
        return {name: 1000 * statistics.median(taken) for name, taken in _seconds(runs, repeats, device).items()}


def _forward(network: nn.Module, images: Tensor) -> Callable[[], None]:
    def forward() -> None:
        with torch.inference_mode():
            network.eval()(images)

    return forward


def _step(network: nn.Module, images: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    readout = Readout(counts=class_counts(network), output_is="logits")

    def step() -> None:
        logits = readout.logits(network.train()(images))
        targets = logits.new_zeros((len(logits), *logits.shape[2:]), dtype=torch.long)  # of images, or of pixels
        loss = F.cross_entropy(logits, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def _seconds(runs: Mapping[str, Callable[[], None]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in taken.items()}
