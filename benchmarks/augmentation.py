"""Training data: batched crop, flip and normalisation beside Pillow's, decoding, and their share of a training step.

CPU time on one core. Needs VISIONSCOPE_SHARED for CIFAR-10's 60,000 JPEG files; without it the images are noise and
nothing is decoded. About two minutes.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torchvision import transforms

from benchmarks.measure import Measurement, cpu_seconds, ratios
from benchmarks.training import our_step, registered
from visionscope.core.sample import InputConfig
from visionscope.data.augmentation import Augmentation
from visionscope.data.sources import open_source
from visionscope.training.feed import Feed
from visionscope.training.images import Images, decode
from visionscope.training.recipe import RECIPES

CONFIG = InputConfig(size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
BATCH, ROUNDS = 96, 30
PER_IMAGE = "us per image"


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    rows, images = _decoded()
    laptop, paper = RECIPES["laptop"], RECIPES["paper-cifar"]
    crops = Feed(images, CONFIG, laptop.augmentation, batch_size=BATCH, seed=0)
    strong = Feed(images, CONFIG, paper.augmentation, batch_size=BATCH, seed=0)
    functions = {
        "crop, flip, normalise": _stepping(crops),
        "RandAugment, Mixup and CutMix, too": _stepping(strong),
        "Pillow": _pillow(images),
        "Pillow with RandAugment": _pillow(images, paper.rand_augment),
    }
    times = cpu_seconds(functions, ROUNDS)
    scaled = {name: [1e6 / BATCH * seconds for seconds in own] for name, own in times.items()}
    for ours, theirs, goal in (
        ("crop, flip, normalise", "Pillow", 50.0),
        ("RandAugment, Mixup and CutMix, too", "Pillow with RandAugment", None),
    ):
        rows.append(
            Measurement(
                name=f"batch of {BATCH}: {ours}",
                unit=PER_IMAGE,
                value=statistics.median(scaled[ours]),
                spread=(min(scaled[ours]), max(scaled[ours])),
                peers={f"torchvision, {theirs}": statistics.median(scaled[theirs])},
                goal=goal,
            )
        )
    return [*rows, _share(images, laptop.augmentation, laptop.batch_size)]


def _decoded() -> tuple[list[Measurement], Images]:
    folder = Path(os.environ.get("VISIONSCOPE_SHARED", "../shared")) / "data" / "cifar10"
    if not folder.exists():
        print(f"no {folder}: noise instead, nothing decoded")
        pixels = torch.randint(256, (10_000, 3, 32, 32), dtype=torch.uint8)
        return [], Images(pixels=pixels, labels=torch.randint(10, (len(pixels),)))
    sources = [open_source(f"{folder}:{split}") for split in ("test", "train")]
    began = time.process_time()
    parts = [decode(source, CONFIG) for source in sources]
    seconds, count = time.process_time() - began, sum(map(len, parts))
    note = f"{count} JPEG files in {seconds:.1f} s, once"
    return [Measurement(name="decoding", unit="images/s", value=count / seconds, at_least=True, note=note)], parts[1]


def _stepping(feed: Feed) -> Callable[[], object]:
    """The batch of another step at each call."""
    batches: Iterator[object] = feed.batches()
    return lambda: next(batches)


def _pillow(images: Images, rand_augment: str = "") -> Callable[[], object]:
    """What a loader over torchvision's CIFAR10 class does with one batch."""
    fill = {"img_mean": tuple(round(255 * value) for value in CONFIG.mean)}
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            *([rand_augment_transform(rand_augment, fill)] if rand_augment else []),
            transforms.ToTensor(),
            transforms.Normalize(CONFIG.mean, CONFIG.std),
        ]
    )
    arrays = images.pixels[:5000].permute(0, 2, 3, 1).contiguous().numpy()

    def batch() -> object:
        chosen = torch.randint(len(arrays), (BATCH,)).tolist()
        return torch.stack([transform(Image.fromarray(arrays[index])) for index in chosen])

    return batch


def _share(images: Images, augmentation: Augmentation, size: int) -> Measurement:
    """Batches of the laptop recipe, as a share of a step of the smallest network with its data."""
    feed = Feed(images, CONFIG, augmentation, batch_size=size, seed=0)
    data = _stepping(feed)
    step = our_step(registered("resnet_nano"), size, recipe=RECIPES["laptop"])

    def both() -> None:
        data()
        step()

    times = cpu_seconds({"both": both, "data": data}, ROUNDS)
    share, spread = ratios(times, "both")["data"]
    return Measurement(
        name="resnet_nano, recipe laptop: data",
        unit="of a training step",
        value=share,
        spread=spread,
        note=f"{1e3 * statistics.median(times['both']):.3g} ms per step of {size} images",
    )
