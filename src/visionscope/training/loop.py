"""A plain training loop on Lightning Fabric: enough to train a small network on small images in minutes."""

from __future__ import annotations

import copy
import csv
import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from visionscope.core.types import InputConfig
from visionscope.data.sources import Source, open_source
from visionscope.errors import ConfigError, VisionscopeError
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.load import LoadedModel, load_model
from visionscope.models.spec import parse_spec
from visionscope.training.images import Images, crop_and_flip, decode, normalise

BATCH = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
WARM_UP = 0.1  # share of the training

_REPORT_EVERY = 20  # steps
_LOG = "log.csv"
_WARM = "warmup.safetensors"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands.

    Attributes:
        epoch: passes over the training images so far, with fractions.
        done: share of the training, 0 to 1.
        seconds: since the first step.
        learning_rate: of the last step.
        loss: mean over the steps since the last report, label smoothing included; in nats.
    """

    epoch: float
    done: float
    seconds: float
    learning_rate: float
    loss: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training left.

    Attributes:
        checkpoint: a safetensors file that `MODEL@FILE` loads.
        warm_up: the same at the end of the warm-up, where the learning rate is at its peak.
        accuracy: share of the test images whose class has the largest logit.
        images: how many test images there are.
        log: the reports in order; `log.csv` beside the checkpoint holds them too.
    """

    checkpoint: Path
    warm_up: Path
    accuracy: float
    images: int
    log: tuple[Progress, ...]


def train(
    spec: str,
    data: str,
    out: Path,
    *,
    epochs: float = 10.0,
    minutes: float | None = None,
    seed: int = 0,
    learning_rate: float = LEARNING_RATE,
    augment: bool = True,
    fraction: float = 1.0,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Trains a model on the data's train split and counts what it gets right on its test split.

    AdamW (Loshchilov & Hutter 2019) with batches of 32, weight decay 0.05 on tensors of two and more dimensions and
    label smoothing 0.1; the learning rate climbs linearly in the first tenth and falls to zero along a half
    cosine; random shifts and mirror images; bf16 autocast where the processor computes in it. All images are held in
    memory. Without `minutes`, the same seed, number of threads and machine give the same bits. A training that was
    finished before with the same arguments is not repeated.

    Args:
        spec: a model spec; without `@FILE` the training starts from random weights.
        data: a data spec without split.
        out: run folder; `warmup.safetensors` (the weights when the learning rate is at its peak), `last.safetensors`
            and `log.csv` are written in its `train/DIGEST`.
        epochs: passes over the training images at most.
        minutes: time after which the learning rate has come down and the training ends, however many epochs that is.
        seed: of weights, order and augmentation.
        learning_rate: the highest; small residual networks like 4e-3, small transformers 1e-3.
        augment: shift and mirror the images; worth it from about ten epochs on.
        fraction: share of the training images, of each class alike and drawn from the seed, to train on.
        report: is called every 20 steps and at the end.

    Raises:
        ConfigError: for a parameter out of its range, a data spec that names a split, or a model spec that is refused.
        DataError: when the data can't be read or lack labels.
        VisionscopeError: when the loss stops being finite.
    """
    for name, value in (("epochs", epochs), ("minutes", minutes), ("learning-rate", learning_rate)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"--{name} must be a positive number; got {value}")
    if not 0 < fraction <= 1:
        raise ConfigError(f"--fraction must be above 0 and at most 1; got {fraction}")
    sources = _open_splits(data)
    loaded = _load_for(sources[0], spec, seed)
    settings = {"weights": loaded.digest, "data": data, "epochs": epochs, "minutes": minutes, "seed": seed}
    settings |= {"learning_rate": learning_rate, "augment": augment, "fraction": fraction}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    path = out / "train" / digest[:12] / "last.safetensors"
    if path.exists():
        return _finished(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    images, test = (decode(source, loaded.input, seed) for source in sources)
    classes = _head_size(loaded, images)
    images = _share(images, fraction, seed)
    log: list[Progress] = []

    def note(progress: Progress) -> None:
        log.append(progress)
        report(progress)

    schedule = _Schedule(learning_rate, epochs, minutes, len(images))
    batches = _batches(images, augment, torch.Generator().manual_seed(seed))
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of dropout and the like
        warm = _fit(loaded, batches, schedule, note)
    with (path.parent / _LOG).open("w", newline="") as file:
        rows = csv.DictWriter(file, [field.name for field in dataclasses.fields(Progress)])
        rows.writeheader()
        rows.writerows(dataclasses.asdict(progress) for progress in log)
    accuracy = 0.0
    for file_path, model in ((path.with_name(_WARM), warm), (path, loaded.model)):  # the last one says: finished
        accuracy = evaluate(model, test, loaded.input)
        save_checkpoint(
            file_path,
            model,
            num_classes=classes,
            arguments=loaded.spec.arguments,
            config=loaded.input,
            trained=dataclasses.replace(loaded.spec, arguments={}, checkpoint=None).text,
            data=data,
            accuracy=repr(accuracy),
            images=str(len(test)),
        )
    return Trained(checkpoint=path, warm_up=path.with_name(_WARM), accuracy=accuracy, images=len(test), log=tuple(log))


def evaluate(model: nn.Module, images: Images, config: InputConfig) -> float:
    """The share of images whose class has the largest logit; computed in float32, in eval mode, which it leaves on.

    Args:
        model: on any device.
        images: with labels.
        config: the model's normalisation.
    """
    device = next(model.parameters()).device
    model.eval()
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(images), 2 * BATCH):
            span = slice(start, start + 2 * BATCH)
            logits = _logits(model(normalise(images.pixels[span].to(device), config)))
            correct += int((logits.argmax(1).cpu() == images.labels[span]).sum())
    return correct / len(images)


def computes_bf16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself; emulated, they are slower than float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@dataclasses.dataclass
class _Schedule:
    """How much of the training is done, by steps and by the clock, and the learning rate that goes with it."""

    peak: float
    epochs: float
    minutes: float | None
    images: int

    def __post_init__(self) -> None:
        self.steps = max(1, round(self.epochs * self.images / BATCH))
        self.start = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def done(self, step: float) -> float:
        by_clock = self.seconds() / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.steps, by_clock))

    def learning_rate(self, done: float) -> float:
        """Linear from 0 over the warm-up, then (1 + cos) / 2 down to 0."""
        if done < WARM_UP:
            return self.peak * done / WARM_UP
        return self.peak * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def _share(images: Images, fraction: float, seed: int) -> Images:
    """A share of each class, at least one image of each; all images in their order where the share is 1."""
    if fraction == 1:
        return images
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in sorted(set(images.labels.tolist())):
        places = (images.labels == label).nonzero()[:, 0]
        count = max(1, round(fraction * len(places)))
        chosen.append(places[torch.randperm(len(places), generator=generator)[:count]])
    kept = torch.cat(chosen).sort().values
    return Images(pixels=images.pixels[kept], labels=images.labels[kept])


def _batches(images: Images, augment: bool, generator: torch.Generator) -> Iterator[Images]:
    """Endless: pass after pass in a new order, without a seam between passes."""
    order = torch.empty(0, dtype=torch.long)
    while True:
        while len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(images), generator=generator)])
        chosen, order = order[:BATCH], order[BATCH:]
        pixels = images.pixels[chosen]
        yield Images(pixels=crop_and_flip(pixels, generator) if augment else pixels, labels=images.labels[chosen])


def _fit(
    loaded: LoadedModel, batches: Iterator[Images], schedule: _Schedule, report: Callable[[Progress], None]
) -> nn.Module:
    """Trains the model in place; returns a copy of it at the end of the warm-up."""
    narrow = computes_bf16()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision on stderr
    fabric = Fabric(accelerator="auto", devices=1, precision="bf16-mixed" if narrow else "32-true")
    network = loaded.model.train().to(memory_format=torch.channels_last)
    decaying, others = ([p for p in network.parameters() if (p.ndim > 1) == wide] for wide in (True, False))
    groups = [{"params": decaying, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    model, optimizer = fabric.setup(network, torch.optim.AdamW(groups))
    losses: list[Tensor] = []
    warm: nn.Module | None = None
    step, done = 0, 0.0
    while done < 1:
        batch = next(batches)
        step += 1
        rate = schedule.learning_rate(schedule.done(step - 0.5))
        for group in optimizer.param_groups:
            group["lr"] = rate
        pixels, labels = fabric.to_device(batch.pixels), fabric.to_device(batch.labels)
        with _attention(fabric, narrow):
            logits = _logits(model(normalise(pixels, loaded.input)))
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
            fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        done = schedule.done(step)
        if warm is None and done >= WARM_UP:
            warm = copy.deepcopy(network)
        if step % _REPORT_EVERY == 0 or done >= 1:
            mean = float(torch.stack(losses).mean())
            losses.clear()
            if not math.isfinite(mean):
                raise VisionscopeError(f"{loaded.label}: the training's loss is {mean} by step {step}")
            report(
                Progress(
                    epoch=step * BATCH / schedule.images,
                    done=done,
                    seconds=schedule.seconds(),
                    learning_rate=rate,
                    loss=mean,
                )
            )
    return network if warm is None else warm


def _finished(path: Path) -> Trained:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    with (path.parent / _LOG).open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    log = tuple(Progress(**row) for row in rows)
    return Trained(
        checkpoint=path,
        warm_up=path.with_name(_WARM),
        accuracy=float(metadata["accuracy"]),
        images=int(metadata["images"]),
        log=log,
    )


def _attention(fabric: Fabric, narrow: bool) -> AbstractContextManager[None]:
    # torch's fused attention on the CPU takes five times as long backwards in bfloat16 as the products written out.
    return sdpa_kernel(SDPBackend.MATH) if narrow and fabric.device.type == "cpu" else nullcontext()


def _logits(output: Any) -> Tensor:
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def _open_splits(data: str) -> tuple[Source, Source]:
    train_source, test_source = (open_source(data, default_split=split) for split in ("train", "test"))
    if train_source.split == test_source.split:
        raise ConfigError(f"--data must have a train and a test split and name neither of them; got {data!r}")
    return train_source, test_source


def _load_for(source: Source, spec: str, seed: int) -> LoadedModel:
    """The model with as many classes as the source; its own head where the source doesn't name its classes."""
    model_spec = parse_spec(spec)
    fresh = None if model_spec.checkpoint else seed
    loaded = load_model(model_spec, random_weights=fresh)
    if loaded.num_classes in (None, len(source.classes)) or not source.classes:
        return loaded
    head = "num_labels" if model_spec.source == "hf" else "num_classes"
    arguments = {**model_spec.arguments, head: len(source.classes)}
    return load_model(dataclasses.replace(model_spec, arguments=arguments), random_weights=fresh)


def _head_size(loaded: LoadedModel, images: Images) -> int:
    with torch.inference_mode():
        size = _logits(loaded.model(normalise(images.pixels[:2], loaded.input))).shape[1]
    if int(images.labels.max()) >= size:
        raise ConfigError(f"{loaded.label}: its head has {size} classes, too few for label {int(images.labels.max())}")
    return size
