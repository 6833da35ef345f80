"""A training step (soft-target cross-entropy, gradient norm 5, AdamW) at 32 px against the official modules, plainly.

The unit is the official module written down plainly (tests/reference/official_models.py), float32, with AdamW's plain
loop. CPU time, one thread, in turns. On a GPU: images per second beside timm's own training step. Ten minutes.
"""

import ctypes
import dataclasses
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import timm
import torch
from lightning_fabric import Fabric
from tests.reference import official_models
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import dispatch_clip_grad
from torch import nn

import visionscope.models.load  # noqa: F401  # registers the networks
from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.core.sample import Batch
from visionscope.training import loop
from visionscope.training.optimizers import optimizer_of
from visionscope.training.precision import choose_precision
from visionscope.training.recipe import Recipe

CLASSES = 100
BATCHES = (16, 96)
ROUNDS = {16: 7, 96: 2}
LADDER_ROUNDS = 2
GPU_BATCH, GPU_STEPS, GPU_ROUNDS = 96, 50, 5
RECIPE = Recipe(drop_path=0.0)  # of the paper; the unit has no stochastic depth either


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A network as it is registered, the same one written down plainly, and the largest ratio that is wanted."""

    name: str
    create: Callable[[], nn.Module]
    plain: Callable[[], nn.Module]
    goal: float


def registered(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=CLASSES, **arguments)


NETWORKS = (
    Network(
        name="AlterNet-50 (0,1,3,2)",
        create=registered("alternet_50_cifar", msa=(0, 1, 3, 2)),
        plain=lambda: official_models.alternet(50),
        goal=0.50,
    ),
    Network(
        name="AlterNet-50 (0,1,1,2)",
        create=registered("alternet_50_cifar"),
        plain=lambda: official_models.alternet(50, msa=(0, 1, 1, 2)),
        goal=0.50,
    ),
    Network(
        name="ResNet-50",
        create=registered("resnet_50_cifar"),
        plain=lambda: official_models.resnet(50),
        goal=0.45,
    ),
    Network(
        name="ViT-Ti/2",
        create=registered("vit_ti_cifar"),
        plain=official_models.vit_tiny,
        goal=0.62,
    ),
)


def run() -> list[Measurement]:
    keep_memory()
    torch.manual_seed(0)
    rows: list[Measurement] = []
    for network in NETWORKS:
        rows.extend(_rows(network, 16))
        rows.extend(_rows(network, 96))
    if torch.cuda.is_available():
        rows.extend(row for network in NETWORKS for row in _gpu_rows(network, torch.device("cuda")))
    else:
        print("no GPU: skipped images per second beside timm's training step")
    return rows


def keep_memory() -> None:
    """Has glibc keep freed memory, for both sides: else large batches of both measure page faults, not arithmetic."""
    libc = ctypes.CDLL("libc.so.6")
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    if not (libc.mallopt(m_trim_threshold, 2**31 - 1) and libc.mallopt(m_mmap_max, 0)):
        raise RuntimeError("mallopt refused")


def _rows(network: Network, size: int) -> list[Measurement]:
    """The ratio at a batch size, and what each part gives at the smaller one."""
    unit = _plain_step(network, size)
    times = cpu_seconds({"unit": unit, "all": our_step(network.create, size)}, ROUNDS[size])
    ratio, spread = ratios(times, "unit")["all"]
    seconds = {name: statistics.median(own) for name, own in times.items()}
    note = f"{size / seconds['all']:.3g} images/s, plain {size / seconds['unit']:.3g}; least time {_least(times):.3g}"
    row = Measurement(
        name=f"{network.name}, batch {size}",
        unit="of the plain step",
        value=ratio,
        spread=spread,
        goal=network.goal,
        note=note,
    )
    if size == max(BATCHES):
        return [row, *([_as_glibc_does(network, size)] if network is NETWORKS[0] else [])]
    found = ratios(cpu_seconds({"unit": unit, **_ladder(network, size)}, LADDER_ROUNDS), "unit")
    del found["unit"]
    return [
        row,
        *(
            Measurement(name=f"  {name}", unit="of the plain step", value=ratio, spread=spread)
            for name, (ratio, spread) in found.items()
        ),
    ]


def _least(times: Mapping[str, list[float]]) -> float:
    """Ratio of the least times, which other programs on the machine disturb least."""
    return min(times["all"]) / min(times["unit"])


def _as_glibc_does(network: Network, size: int) -> Measurement:
    """The ratio in a fresh process whose memory management is left alone."""
    command = [sys.executable, "-m", "benchmarks.training", network.name, str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    ratio, least, most = json.loads(done.stdout.splitlines()[-1])
    return Measurement(
        name="  freed memory goes back to the system",
        unit="of the plain step",
        value=ratio,
        spread=(least, most),
        note="as glibc does by default: both sides with page faults",
    )


def _fresh_process(name: str, size: int) -> None:
    network = next(network for network in NETWORKS if network.name == name)
    times = cpu_seconds({"unit": _plain_step(network, size), "all": our_step(network.create, size)}, ROUNDS[size])
    ratio, spread = ratios(times, "unit")["all"]
    print(json.dumps([ratio, *spread]))


def _batch(size: int, device: torch.device | str = "cpu") -> Batch:
    """Random images under Mixup."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (size,), generator=draw)
    return Batch(
        torch.randn(size, 3, 32, 32, generator=draw).to(device),
        labels.to(device),
        torch.arange(size),
        partners=labels.flip(0).to(device),
        shares=torch.full((size,), 0.7, dtype=torch.float64, device=device),
    )


def _plain_step(network: Network, size: int) -> Callable[[], object]:
    model = network.plain().train()
    plain = torch.optim.AdamW(
        model.parameters(),
        lr=RECIPE.learning_rate,
        weight_decay=RECIPE.weight_decay,
        foreach=False,
        fused=False,
    )
    return _bare_step(model, plain, size, torch.contiguous_format)


def _ladder(network: Network, size: int) -> Mapping[str, Callable[[], object]]:
    """The registered network in float32, with what makes it fast added one after the other; bf16 makes it all."""
    steps = {}
    for name, layout, fused in (
        ("ours in float32", torch.contiguous_format, False),
        ("and channels_last", torch.channels_last, False),
        ("and fused AdamW", torch.channels_last, True),
    ):
        model = network.create().train().to(memory_format=layout)
        arguments = {"fused": True} if fused else {"foreach": False, "fused": False}
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=RECIPE.learning_rate, weight_decay=RECIPE.weight_decay, **arguments
        )
        steps[name] = _bare_step(model, optimizer, size, layout)
    return steps


def _bare_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, size: int, layout: torch.memory_format
) -> Callable[[], object]:
    batch = _batch(size)
    images = batch.images.contiguous(memory_format=layout)
    targets = RECIPE.objective.targets(batch, CLASSES).float()

    def step() -> None:
        loss = -(targets * model(images).log_softmax(dim=1)).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip_norm)
        optimizer.step()

    return step


def our_step(
    create: Callable[[], nn.Module],
    size: int,
    *,
    recipe: Recipe = RECIPE,
    accelerator: str = "cpu",
    compiled: bool = False,
) -> Callable[[], object]:
    """The training loop's own step, on one batch again and again."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator=accelerator, devices=1, precision=choose_precision(recipe.precision))
    model = create().train().to(memory_format=torch.channels_last)
    wrapped, optimizer = fabric.setup(torch.compile(model) if compiled else model, optimizer_of(model, recipe))
    training: Any = SimpleNamespace(fabric=fabric, recipe=recipe, classes=CLASSES, seed=0)
    batch = _batch(size, fabric.device)
    return lambda: loop._step(training, wrapped, optimizer, batch, 0)


def _gpu_rows(network: Network, device: torch.device) -> list[Measurement]:
    """Images per second, with and without torch.compile, beside timm's step around the same network."""
    steps = {
        "ours": our_step(network.create, GPU_BATCH, accelerator=device.type),
        "timm": _timm_step(network, device),
        "ours, compiled": our_step(network.create, GPU_BATCH, accelerator=device.type, compiled=True),
        "timm, compiled": _timm_step(network, device, compiled=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(GPU_ROUNDS + 1):
        for name, step in steps.items():
            rate = _rate(step, device)
            if repetition:
                rates[name].append(rate)
    return [
        Measurement(
            name=f"{network.name}, batch {GPU_BATCH}, GPU{kind}",
            unit="images/s",
            value=statistics.median(rates[f"ours{kind}"]),
            spread=(min(rates[f"ours{kind}"]), max(rates[f"ours{kind}"])),
            peers={"timm's step": statistics.median(rates[f"timm{kind}"])},
            at_least=True,
            note=torch.cuda.get_device_name(device),
        )
        for kind in ("", ", compiled")
    ]


def _rate(step: Callable[[], object], device: torch.device) -> float:
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(GPU_STEPS):
        step()
    torch.cuda.synchronize(device)
    return GPU_BATCH * GPU_STEPS / (time.perf_counter() - began)


def _timm_step(network: Network, device: torch.device, compiled: bool = False) -> Callable[[], object]:
    """What timm's train.py does with `--amp --amp-dtype bfloat16 --clip-grad 5 --opt adamw`, and `--torchcompile`."""
    model = network.create().train().to(device)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=RECIPE.learning_rate, weight_decay=RECIPE.weight_decay)
    forward = torch.compile(model) if compiled else model
    batch, criterion = _batch(GPU_BATCH, device), SoftTargetCrossEntropy()
    targets = RECIPE.objective.targets(batch, CLASSES).float()

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = criterion(forward(batch.images), targets)
        loss.backward()
        dispatch_clip_grad(model.parameters(), value=RECIPE.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    _fresh_process(sys.argv[1], int(sys.argv[2]))
