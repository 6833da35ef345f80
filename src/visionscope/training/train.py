"""Training a network: from a model spec, a data spec and a recipe to files of weights and a log."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from visionscope.core.sample import Batch
from visionscope.data.digest import source_digest
from visionscope.data.sources import Source, open_source
from visionscope.data.specs import needs_both_splits
from visionscope.errors import ConfigError
from visionscope.models.load import LoadedModel
from visionscope.training.clock import Progress
from visionscope.training.evaluation import Scores, clean_batches, evaluate
from visionscope.training.feed import Feed, load_images, split_by_class
from visionscope.training.folder import alone_in, finished, identity, write_settings
from visionscope.training.images import Images, labels_of
from visionscope.training.loop import fit
from visionscope.training.networks import check_head, network_for
from visionscope.training.optimizers import generators_put_back
from visionscope.training.plan import Training
from visionscope.training.precision import choose_precision
from visionscope.training.recipe import PRECISIONS, Recipe, choose_recipe
from visionscope.training.snapshots import Keeper, forget
from visionscope.training.terms import Terms
from visionscope.training.trackers import Tracker, open_trackers

_TRAIN_IMAGES = 2048  # that NLL_train is taken over
_SCORE_BATCH = 256  # the paper's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training left in its folder.

    Attributes:
        checkpoint: the weights at the end, a safetensors file that `MODEL@FILE` loads; beside it lie those of the
            beginning (`init`), of the chosen epochs, the average (`ema`), the best on the validation split (`best`),
            as far as the recipe has them, `train.json` with everything that was asked for, and `log.csv`.
        warm_up: the weights at the end of the warm-up, where the learning rate is highest; None without a warm-up.
        scores: of the last weights on the test images.
    """

    checkpoint: Path
    warm_up: Path | None
    scores: Scores


def train(
    spec: str,
    data: str,
    out: Path,
    *,
    recipe: str = "laptop",
    seed: int = 0,
    fraction: float = 1.0,
    same: str = "epochs",
    validation: float = 0.0,
    devices: int = 1,
    nodes: int = 1,
    workers: int = 0,
    track: Sequence[str] = (),
    report: Callable[[Progress], None] = lambda progress: None,
    note: Callable[[str], None] = lambda line: None,
    save_seconds: float = 60.0,
    **changes: Any,
) -> Trained:
    """Trains a model on the data's train split and scores it on its test split.

    After every epoch the log gets a row: mean loss of its steps, top-1, top-5 and NLL on clean images of the test split
    (of the validation split where one is held out), and NLL on 2,048 augmented training images, drawn once, in eval
    mode. The same command goes on where it was stopped, however it was stopped, and gives the same bits as without the
    stop (one machine, the same number of threads, no `minutes`). A training that is finished is not repeated.

    Several processes each take a batch of `batch_size`, and their gradients are averaged. Batch normalisation takes its
    statistics over all processes on GPUs, and over each one's own batch on CPUs, where torch has no such operation;
    the running statistics are then the first process's. Mixup and CutMix stay within a process's batch.

    Args:
        spec: a model spec; without `@FILE` the training starts from random weights.
        data: a data spec without split.
        out: run folder; the files go to its `train/DIGEST`.
        recipe: a name in `RECIPES`.
        seed: of weights, order, augmentation, dropout.
        fraction: share of the training images, of each class alike and drawn from the seed, to train on.
        same: what a fraction leaves the same: the number of `epochs` (fewer steps) or of `steps` (more passes; an epoch
            of the log has then as many steps as with all images).
        validation: share of the training images, of each class alike, that is held out, measured after each epoch and
            used to keep `best`; the test split is then read once, at the end.
        devices: processes per machine, one GPU each where there are GPUs.
        nodes: machines; Lightning Fabric reads the rest from SLURM's or torchrun's environment.
        workers: further processes that prepare batches.
        track: trackers besides log.csv: `tensorboard`, `wandb`, `mlflow`.
        report: is called every 20 steps.
        note: takes a line that the user should see.
        save_seconds: between two states that a stopped training goes on from.
        changes: fields of the recipe that replace its own.

    Raises:
        ConfigError: for a parameter out of its range, a data spec that names a split, or a model spec that is refused.
        DataError: when the data can't be read or lack labels.
        VisionscopeError: when the loss stops being finite, or the disk refuses.
    """
    chosen = choose_recipe(recipe, changes)
    terms = Terms(
        recipe=recipe,
        seed=seed,
        fraction=fraction,
        same=same,
        validation=validation,
        devices=devices,
        nodes=nodes,
        workers=workers,
        track=tuple(track),
    )
    seed, fraction, validation, track = terms.seed, terms.fraction, terms.validation, terms.track
    sources = _open_splits(data)
    with generators_put_back():
        fabric = _launched(chosen, devices, nodes)
        note = note if fabric.global_rank == 0 else lambda line: None
        loaded = network_for(spec, len(sources[0].classes), seed=seed, drop_path=chosen.drop_path, note=note)
        settings: dict[str, Any] = {"weights": loaded.digest, "input": dataclasses.asdict(loaded.input)}
        settings |= {"data digests": [source_digest(source) for source in sources]}
        settings |= {"recipe": dataclasses.asdict(chosen), "seed": seed, "fraction": fraction, "same": same}
        settings |= {"validation": validation, "processes": fabric.world_size}
        training = identity(settings)
        folder = out / "train" / training[:12]
        scores = finished(folder, training, note)
        if scores is not None:
            forget(folder)  # a kill may have come between the last weights and this
            return _trained(folder, scores)
        asked = {"model": spec, "data": data, "images": [len(source) for source in sources], "recipe name": recipe}
        asked |= {**settings, "training": training, "precision": fabric.strategy.precision.precision}
        with alone_in(folder, fabric):
            if fabric.global_rank == 0:
                write_settings(folder, asked)
            job = _Job(fabric, chosen, loaded, sources, asked, folder, workers)
            return job.run(track, report, note, save_seconds)


class _Job:
    """One training in one process."""

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        loaded: LoadedModel,
        sources: tuple[Source, Source],
        asked: Mapping[str, Any],
        folder: Path,
        workers: int,
    ) -> None:
        self._fabric, self._recipe, self._loaded, self._asked, self._folder = fabric, recipe, loaded, asked, folder
        self._ranks = {"rank": fabric.global_rank, "processes": fabric.world_size}
        images, self._test = (
            load_images(source, loaded.input, augmentation)
            for source, augmentation in zip(sources, (recipe.augmentation, None), strict=True)
        )
        labels = labels_of(images)
        everything = torch.arange(len(labels))
        self._held, rest = (
            split_by_class(labels, asked["validation"], asked["seed"])
            if asked["validation"]
            else (everything[:0], everything)
        )
        chosen = rest[split_by_class(labels[rest], asked["fraction"], asked["seed"])[0]]
        counted = rest if asked["same"] == "steps" else chosen
        self._whole = len(rest)
        self._steps_per_epoch = len(counted) / (recipe.batch_size * fabric.world_size)
        self._steps = max(1, round(recipe.epochs * self._steps_per_epoch))
        self._images = images
        # Training images come whole into a padded crop; those held out are cropped as in evaluation.
        whole = recipe.crop == "pad" and loaded.input.crop < 1 and len(self._held) > 0
        self._held_images = load_images(sources[0], loaded.input) if whole else images
        self._feed = self._feed_of(chosen, asked["seed"], recipe.batch_size, workers)
        # Other draws than the training's, the same after every epoch.
        self._again = self._feed_of(chosen, asked["seed"] + 1, max(1, _SCORE_BATCH // fabric.world_size), 0)
        self._readout = check_head(loaded, loaded.input, int(labels.max()))
        self._tested: dict[nn.Module, Scores] = {}

    def _feed_of(self, chosen: Tensor, seed: int, batch_size: int, workers: int) -> Feed:
        return Feed(
            self._images,
            self._loaded.input,
            self._recipe.augmentation,
            batch_size=batch_size,
            seed=seed,
            workers=workers,
            chosen=chosen,
            **self._ranks,
        )

    def run(
        self,
        track: Sequence[str],
        report: Callable[[Progress], None],
        note: Callable[[str], None],
        save_seconds: float,
    ) -> Trained:
        fabric, recipe = self._fabric, self._recipe
        first = fabric.global_rank == 0
        if self._asked["fraction"] < 1:
            kept = f"{len(self._feed)} of {self._whole} training images, the same share of each class"
            note(f"{kept}; {self._steps} steps, as many {self._asked['same']} as on all of them")
        spec = dataclasses.replace(self._loaded.spec, arguments={}, checkpoint=None).text
        keeper = Keeper(
            self._folder,
            self._loaded,
            self._readout.columns,
            writes=first,
            training=self._asked["training"],
            metadata={"trained": spec, "data": self._asked["data"], "asked": json.dumps(self._asked)},
        )
        network = self._loaded.model.train().to(memory_format=torch.channels_last)
        if fabric.device.type == "cuda" and fabric.world_size > 1:
            # torch's own would drop the activations in timm's layers.
            network = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        trackers: list[Tracker] = []
        if first:
            trackers = open_trackers(track, self._folder, self._asked, keeper.step())

        def record(step: int, values: Mapping[str, float]) -> None:
            for tracker in trackers:
                tracker.log(step, values)

        training = Training(
            fabric=fabric,
            network=network,
            classes=self._readout.classes,
            recipe=recipe,
            feed=self._feed,
            steps=self._steps,
            steps_per_epoch=self._steps_per_epoch,
            seed=self._asked["seed"],
            keeper=keeper,
            score=self._score,
            record=record,
            report=report if first else lambda progress: None,
            selects=bool(len(self._held)),
            save_seconds=save_seconds,
        )
        try:
            average = fit(training)
        finally:
            for tracker in trackers:
                tracker.close()
        if average is not None:
            keeper.keep("ema", average, scores=json.dumps(dataclasses.asdict(self._final(average))))
        scores = self._final(network)
        keeper.keep("last", network, scores=json.dumps(dataclasses.asdict(scores)))  # which says: finished
        fabric.barrier()
        if first:
            forget(self._folder)
        return _trained(self._folder, scores)

    def _score(self, network: nn.Module) -> dict[str, float]:
        """The columns of the log that a network is measured for."""
        if len(self._held):
            scores = self._clean(network, self._held_images, self._held)
        else:
            scores = self._tested[network] = self._clean(network, self._test)
        batches = self._again.batches(0, math.ceil(min(len(self._again), _TRAIN_IMAGES) / _SCORE_BATCH))
        augmented = self._evaluated(network, batches)
        return {
            "top_1": scores.top_1,
            "top_5": scores.top_5,
            "nll": scores.nll,
            "nll_train": augmented.nll,
        }

    def _final(self, network: nn.Module) -> Scores:
        """On the test images; the last row of the log has measured that already, unless it was held-out images."""
        return self._tested.get(network) or self._clean(network, self._test)

    def _clean(self, network: nn.Module, images: Images | Source, chosen: Tensor | None = None) -> Scores:
        return self._evaluated(
            network, clean_batches(images, self._loaded.input, _SCORE_BATCH, chosen=chosen, **self._ranks)
        )

    def _evaluated(self, network: nn.Module, batches: Iterable[Batch]) -> Scores:
        """In float32, whatever the training computes in."""

        def reduce(sums: Tensor) -> Tensor:
            added: Any = self._fabric.all_reduce(sums, reduce_op="sum") if self._fabric.world_size > 1 else sums
            return torch.as_tensor(added).cpu()

        return evaluate(
            network,
            batches,
            self._recipe.objective,
            readout=self._readout,
            label=self._loaded.label,
            reduce=reduce,
        )


def _trained(folder: Path, scores: Scores) -> Trained:
    warm = folder / "warmup.safetensors"
    return Trained(checkpoint=folder / "last.safetensors", warm_up=warm if warm.exists() else None, scores=scores)


def _launched(recipe: Recipe, devices: int, nodes: int) -> Fabric:
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision on stderr
    precision = choose_precision(recipe.precision)
    if recipe.sam and precision == PRECISIONS["fp16"]:
        raise ConfigError("sam: can't go with fp16, which precision auto is on this GPU; take --precision 32")
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


def _open_splits(data: str) -> tuple[Source, Source]:
    train_source, test_source = (open_source(data, default_split=split) for split in ("train", "test"))
    if train_source.split == test_source.split:
        raise needs_both_splits(data)
    if train_source.classes != test_source.classes:
        differing = sorted(set(train_source.classes) ^ set(test_source.classes))
        raise ConfigError(f"--data must have the same classes in both splits; {data!r} has not: {', '.join(differing)}")
    return train_source, test_source
