"""What a training begins with: its processes, and the two splits of its data."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import nn

from visionscope.core.inputs import place_of
from visionscope.core.ticking import Ticking, duration
from visionscope.data.mask_folder import LAYOUT
from visionscope.data.sources import Source, has_masks, open_source
from visionscope.data.specs import needs_both_splits
from visionscope.errors import ConfigError
from visionscope.training.clock import Progress
from visionscope.training.precision import choose_precision
from visionscope.training.recipe import PRECISIONS, Recipe
from visionscope.training.terms import SEGMENTATION


def launched(recipe: Recipe, devices: int, nodes: int) -> Fabric:
    """The processes of a training, started.

    Args:
        recipe: tells the precision.
        devices: processes per machine.
        nodes: machines.

    Raises:
        ConfigError: for more devices than there are, and a precision that does not go with the recipe here.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision on stderr
    precision = choose_precision(recipe.precision)
    if recipe.sam and precision == PRECISIONS["fp16"]:
        raise ConfigError("sam: does not work with fp16, which precision auto is on this GPU; take precision fp32")
    several = devices * nodes > 1
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1 and not several:
        raise ConfigError(f"devices: must be given where {started} processes were started; got 1 on 1 machine")
    try:
        fabric = Fabric(
            accelerator="auto",
            devices=devices,
            num_nodes=nodes,
            strategy="ddp" if several else "auto",
            precision=precision,  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError) as error:  # as Fabric refuses more devices than there are
        raise ConfigError(f"devices: {str(error).strip().splitlines()[0]}") from error
    if several:
        fabric.launch()
    return fabric


def open_splits(data: str) -> tuple[Source, Source]:
    """The train split and the test split of a data spec.

    Args:
        data: the spec, without split.

    Raises:
        ConfigError: where there are not both, or they differ in their classes.
        DataError: when the data can't be read.
    """
    train_source, test_source = (open_source(data, default_split=split) for split in ("train", "test"))
    if train_source.split == test_source.split:
        raise needs_both_splits(data)
    if train_source.classes != test_source.classes:
        differing = sorted(set(train_source.classes) ^ set(test_source.classes))
        raise ConfigError(f"--data must have the same classes in both splits; {data!r} has not: {', '.join(differing)}")
    return train_source, test_source


def check_task(task: str, source: Source) -> None:
    """Refuses data that a task can't be learned from.

    Args:
        task: in `TASKS`.
        source: of the training images.

    Raises:
        ConfigError: for a segmentation without masks, and masks for a classification.
    """
    if has_masks(source) and task != SEGMENTATION:
        raise ConfigError(f"data {source.spec!r} has a class for each pixel, not each image; add --task {SEGMENTATION}")
    if task == SEGMENTATION and not has_masks(source):
        raise ConfigError(
            f"--task {SEGMENTATION} needs a mask for each image, and data {source.spec!r} has none; take "
            f"embedded-masks, Parquet files with a column of masks, or a folder with {LAYOUT}"
        )


@contextmanager
def put_back(model: str | nn.Module) -> Iterator[None]:
    """Gives a network that was handed in its modes and its device back.

    Args:
        model: the network; of a model spec nothing is to be put back.
    """
    if isinstance(model, str):
        yield
        return
    modes, device = [(module, module.training) for module in model.modules()], place_of(model)
    try:
        yield
    finally:
        model.to(device)
        for module, training in modes:
            module.training = training


@contextmanager
def threads_of(count: int | None) -> Iterator[None]:
    """Lets torch compute with so many threads, and with as many as before afterwards.

    Args:
        count: how many; None changes nothing.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def reported(report: Callable[[Progress], None] | None) -> Iterator[Callable[[Progress], None]]:
    """What is called with a training's progress.

    Args:
        report: it; without it, lines are written to stderr now and then.
    """
    if report is not None:
        yield report
        return
    last: list[Progress] = []

    def line(seconds: float) -> str:
        if not last:
            return f"training: reading images, {duration(seconds)} so far"
        return f"training: {last[-1].done:.0%}, {last[-1].text}, about {duration(last[-1].seconds_left)} left"

    first = not getattr(rank_zero_only, "rank", None)  # of several processes one speaks
    with Ticking(line, shown=first):
        yield lambda progress: last.__setitem__(slice(None), [progress])
