"""Training a network: from a model spec, a data spec and a recipe to files of weights and a log."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from visionscope.core.copying import channels_last
from visionscope.core.files import user_path
from visionscope.core.rules import values_of
from visionscope.core.sample import InputConfig
from visionscope.data.digest import source_digest
from visionscope.data.share import split_by_class
from visionscope.data.sources import Source, has_masks
from visionscope.models.decoders import check_no_decoder, segmenter_spec
from visionscope.models.load import LoadedModel
from visionscope.models.spec import ModelSpec
from visionscope.training.asked import settings_of
from visionscope.training.clock import Progress
from visionscope.training.evaluation import Scores
from visionscope.training.feed import Feed, load_images
from visionscope.training.folder import alone_in, finished, identity, is_kept, write_settings
from visionscope.training.images import labels_of
from visionscope.training.launching import check_task, launched, open_splits, put_back, reported, threads_of
from visionscope.training.loop import fit
from visionscope.training.mask_scores import MaskScores
from visionscope.training.networks import check_head, check_network, network_of
from visionscope.training.optimizers import generators_put_back
from visionscope.training.plan import Training, Watching
from visionscope.training.recipe import Recipe, choose_recipe, followed_by_masks
from visionscope.training.scoring import SCORE_BATCH, Scoring, chance_of
from visionscope.training.snapshots import Keeper, forget
from visionscope.training.terms import Terms
from visionscope.training.trackers import Tracker, open_trackers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training left in its folder.

    Attributes:
        checkpoint: the weights at the end, a safetensors file that `MODEL@FILE` loads; beside it lie those of the
            beginning (`init`), of the chosen epochs, the average (`ema`), the best on the validation split (`best`),
            as far as the recipe has them, `train.json` with everything that was asked for, and `log.csv`.
        warm_up: the weights at the end of the warm-up, where the learning rate is highest; None without a warm-up.
        scores: of the last weights on the test images; None where `until` ended the training before, and of masks.
        chance: share of the test images, 0 to 1, that are of their most common class; of masks, the pixel accuracy
            of answering one class everywhere, resized and cropped as they are scored.
        segmentation: the scores of a network that gives a class to every pixel; None otherwise.
    """

    checkpoint: Path
    warm_up: Path | None
    scores: Scores | None
    chance: float
    segmentation: MaskScores | None = None


def train(
    model: str | nn.Module,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] = "visionscope-run",
    *,
    recipe: str = "laptop",
    task: str = "classification",
    decoder: str = "linear",
    seed: int = 0,
    fraction: float = 1.0,
    same: str = "epochs",
    validation: float = 0.0,
    scored: str = "epochs",
    devices: int = 1,
    nodes: int = 1,
    workers: int = 0,
    track: Sequence[str] = (),
    report: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] = lambda line: None,
    save_seconds: float = 60.0,
    until: str = "",
    threads: int | None = None,
    monitor: Watching | None = None,
    input: InputConfig | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    warm_up: float | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    decays: str | None = None,
    sam: float | None = None,
    clip_norm: float | None = None,
    label_smoothing: float | None = None,
    crop: str | None = None,
    padding: int | None = None,
    flip: float | None = None,
    rand_augment: str | None = None,
    erase: float | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    drop_path: float | None = None,
    ema: float | None = None,
    precision: str | None = None,
    compile: bool | None = None,
    snapshots: tuple[int, ...] | None = None,
) -> Trained:
    """Trains a model on the data's train split and scores it on its test split.

    After every epoch the log gets a row: mean loss of its steps, top-1, top-5 and NLL on clean images of the test split
    (of the validation split where one is held out), and NLL on 2,048 augmented training images, drawn once, in eval
    mode. With masks it has mean IoU and pixel accuracy in the place of top-1 and top-5. The same command goes on where
    it was stopped, however it was stopped, and gives the same bits as without the stop (one machine, the same number of
    threads, no `minutes`). A training that is finished is not repeated.

    Several processes each take a batch of `batch_size`, and their gradients are averaged. Batch normalisation takes its
    statistics over all processes on GPUs, and over each one's own batch on CPUs, where torch has no such operation;
    the running statistics are then the first process's. Mixup and CutMix stay within a process's batch.

    A network that is given as such is trained in place and holds the last weights in the end, also where the training
    was finished before; its mode and its device are left as they were. What tells one training from another is then
    its weights, its attributes and the code of its classes; functions that these call are not seen.

    Args:
        model: a model spec, which without `@FILE` starts from random weights; or a network, with the weights that it
            has.
        data: a data spec without split, such as `embedded` or a folder.
        out: run folder; the files go to its `train/DIGEST`.
        recipe: a name in `RECIPES`.
        task: `classification`, or `segmentation` of data with masks: the model spec then names the backbone of a
            `segmenter`, or one such. Masks follow crops and flips; what else a recipe draws is left out.
        decoder: of a segmentation: `linear` or an architecture of segmentation_models_pytorch.
        seed: of weights, order, augmentation, dropout.
        fraction: share of the training images, of each class alike and drawn from the seed, to train on.
        same: what a fraction leaves the same: the number of `epochs` (fewer steps) or of `steps` (more passes; an epoch
            of the log has then as many steps as with all images).
        validation: share of the training images, of each class alike, that is held out, measured after each epoch and
            used to keep `best`; the test split is then read once, at the end.
        scored: whether the log's rows have scores after each of the `epochs`, or at the `end` alone, which saves time
            and keeps no `best`.
        devices: processes per machine, one GPU each where there are GPUs.
        nodes: machines; Lightning Fabric reads the rest from SLURM's or torchrun's environment.
        workers: further processes that prepare batches.
        track: trackers besides log.csv: `tensorboard`, `wandb`, `mlflow`.
        report: is called every 20 steps; by default a training of more than 5 s writes a line to stderr now and then.
        note: takes a line that the user should see.
        save_seconds: between two states that a stopped training goes on from.
        until: `init`, `warmup` or a snapshot such as `epoch-0005`: the training ends once its weights are kept, and the
            same call without it goes on from there.
        threads: of torch while it trains, which then are a part of what tells one training from another; by default as
            many as torch has, which are not.
        monitor: a `Monitor`, which measures the network while it trains and changes no bit of it; its rows go to the
            training's folder, its numbers to the trackers.
        input: size and normalisation of the images of a network given as such; by default as its `pretrained_cfg` says.
        epochs: passes over the training images; this and all that follow replace the recipe's own values.
        minutes: time limit in minutes, by which the learning rate is down; such runs are not repeatable to the bit.
        warm_up: share of the training over which the learning rate climbs.
        batch_size: images per process and step.
        optimizer: `adamw` (Loshchilov & Hutter 2019) or `sgd` (with Nesterov's momentum).
        learning_rate: highest learning rate, reached after the warm-up.
        momentum: momentum of `sgd`.
        weight_decay: factor of the weight decay; decoupled for `adamw`, joined to the gradient for `sgd`.
        decays: which parameters decay: `all` (the paper) or `matrices`, those of two or more dimensions.
        sam: radius of sharpness-aware minimization (Foret et al. 2021), about 0.05; 0 for none; doubles the cost.
        clip_norm: largest norm of the whole gradient; 0 for no limit.
        label_smoothing: share of each target that is spread evenly over the classes.
        crop: `pad` (black border, then a random crop), `resized` (a random share of the area) or `centre` (none).
        padding: width of the border of `pad`, in pixels.
        flip: probability of a horizontal flip.
        rand_augment: timm's RandAugment recipe, such as `rand-m9-n2-mstd1.0`; empty for none.
        erase: probability of random erasing.
        mixup: alpha of Mixup; 0 for none. With both Mixup and CutMix, each gets half of the batches.
        cutmix: alpha of CutMix; 0 for none.
        drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
        ema: decay per step of the weights' moving average, such as 0.9998; 0 for none.
        precision: `auto` (bf16 where the hardware computes in it, else fp16 on a GPU and fp32 on a processor), `fp32`,
            `bf16` or `fp16`; the narrow ones by autocast.
        compile: whether the network is compiled by torch.compile first; pays off on GPUs.
        snapshots: epochs after which the weights are kept, such as 1,5,20.

    Raises:
        ConfigError: for a parameter out of its range, a data spec that names a split, or a model spec that is refused.
        DataError: when the data can't be read or lack labels.
        VisionscopeError: when the loss stops being finite, or the disk refuses.
    """
    given = locals()
    check_network(model)
    changes = {name: given[name] for name in values_of(Recipe)}
    chosen, terms = choose_recipe(recipe, changes), Terms(**{name: given[name] for name in values_of(Terms)})
    data, folder = os.fspath(data), user_path("out", os.fspath(out))
    sources = open_splits(data)
    check_task(terms.task, sources[0])
    with generators_put_back(), reported(report) as told, put_back(model), threads_of(threads):
        fabric = launched(chosen, devices, nodes)
        note = note if fabric.global_rank == 0 else lambda line: None
        begun: str | ModelSpec | nn.Module = model
        if has_masks(sources[0]):
            chosen = followed_by_masks(chosen, changes, note)
            if isinstance(model, nn.Module):
                check_no_decoder(terms.decoder, type(model).__name__)
            else:
                begun = segmenter_spec(model, terms.decoder)
        loaded = network_of(
            begun, input, len(sources[0].classes), seed=terms.seed, drop_path=chosen.drop_path, note=note
        )
        digests = [source_digest(source) for source in sources]
        settings = settings_of(chosen, terms, loaded, digests, processes=fabric.world_size, threads=threads)
        training = identity(settings)
        folder = folder / "train" / training[:12]
        scores = finished(folder, training, note)
        if scores is not None:
            forget(folder)  # a kill may have come between the last weights and this
            if monitor is not None and fabric.global_rank == 0:
                monitor.finished(folder)
            if isinstance(model, nn.Module):
                model.load_state_dict(load_file(folder / "last.safetensors"))
            return _trained(folder, scores, sources[1], loaded.input)
        if until and is_kept(folder / f"{until}.safetensors", training):
            return _trained(folder, None, sources[1], loaded.input)
        name = begun if isinstance(begun, str) else loaded.spec.text
        asked = {"model": name, "data": data, "images": [len(source) for source in sources], "recipe name": recipe}
        asked |= {"task": terms.task} if has_masks(sources[0]) else {}
        asked |= {**settings, "training": training, "precision": fabric.strategy.precision.precision}
        with alone_in(folder, fabric):
            if fabric.global_rank == 0:
                write_settings(folder, asked)
            if monitor is not None:
                own = {"weight_decay": chosen.weight_decay, "label_smoothing": chosen.label_smoothing}
                monitor.begin(folder, loaded.input, **own)
            job = _Job(fabric, chosen, loaded, sources, asked, folder, terms.workers)
            return job.run(terms, told, note, save_seconds, until, monitor)


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
        self._test_source = sources[1]
        self._ranks = {"rank": fabric.global_rank, "processes": fabric.world_size}
        images, test = (
            load_images(source, loaded.input, augmentation, digest=digest)
            for source, augmentation, digest in zip(
                sources, (recipe.augmentation, None), asked["data digests"], strict=True
            )
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
        self._feed = self._feed_of(chosen, asked["seed"], recipe.batch_size, workers)
        dense = has_masks(sources[0])
        scored = min(SCORE_BATCH, recipe.batch_size) if dense else SCORE_BATCH  # logits per pixel fill the memory
        # Other draws than the training's, the same after every epoch.
        again = self._feed_of(chosen, asked["seed"] + 1, max(1, scored // fabric.world_size), 0)
        largest = len(sources[0].classes) - 1 if dense else int(labels.max())
        self._readout = check_head(loaded, loaded.input, largest, dense=dense)
        self._scoring = Scoring(
            fabric=fabric,
            loaded=loaded,
            readout=self._readout,
            objective=recipe.objective,
            test=test,
            held_images=load_images(sources[0], loaded.input) if whole else images,
            held=self._held,
            again=again,
            batch_size=scored,
        )

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
        terms: Terms,
        report: Callable[[Progress], None],
        note: Callable[[str], None],
        save_seconds: float,
        until: str,
        monitor: Watching | None,
    ) -> Trained:
        fabric, recipe, first = self._fabric, self._recipe, self._fabric.global_rank == 0
        if self._asked["fraction"] < 1:
            kept = f"{len(self._feed)} of {self._whole} training images"
            alike = "" if self._readout.dense else ", the same share of each class"
            note(f"{kept}{alike}; {self._steps} steps, as many {self._asked['same']} as on all of them")
        spec = dataclasses.replace(self._loaded.spec, arguments={}, checkpoint=None).text
        told = {"trained": spec, "data": self._asked["data"], "asked": json.dumps(self._asked)}
        keeper = Keeper(
            self._folder,
            self._loaded,
            self._readout.columns,
            writes=first,
            training=self._asked["training"],
            metadata={**told, "steps_per_epoch": str(self._steps_per_epoch)},
        )
        network = channels_last(self._loaded.model.train())
        if fabric.device.type == "cuda" and fabric.world_size > 1:
            # torch's own would drop the activations in timm's layers.
            network = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        trackers = open_trackers(terms.track, self._folder, self._asked, keeper.step()) if first else []

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
            score=self._scoring.score,
            columns=self._scoring.columns,
            each_epoch=terms.scored == "epochs",
            until=until,
            watch=functools.partial(_watch, monitor, trackers),
            record=functools.partial(_record, trackers),
            report=report if first else lambda progress: None,
            selects=bool(len(self._held)) and terms.scored == "epochs",  # of one moment, none is the best
            save_seconds=save_seconds,
        )
        try:
            average = fit(training)
        finally:
            for tracker in trackers:
                tracker.close()
        if until and is_kept(keeper.path(until), self._asked["training"]):
            return _trained(self._folder, None, self._test_source, self._loaded.input)
        if average is not None:
            keeper.keep("ema", average, scores=json.dumps(dataclasses.asdict(self._scoring.final(average))))
        scores = self._scoring.final(network)
        keeper.keep("last", network, scores=json.dumps(dataclasses.asdict(scores)))  # which says: finished
        fabric.barrier()
        if first:
            forget(self._folder)
        return _trained(self._folder, scores, self._test_source, self._loaded.input)


def _record(trackers: Sequence[Tracker], step: int, values: Mapping[str, float | None]) -> None:
    for tracker in trackers:
        tracker.log(step, values)


def _watch(monitor: Watching | None, trackers: Sequence[Tracker], network: nn.Module, step: int, epoch: float) -> None:
    values = monitor.step(network, step, epoch) if monitor else {}
    if values:
        _record(trackers[1:], step, values)  # the first is log.csv, which has columns of its own


def _trained(folder: Path, scores: Scores | MaskScores | None, tested: Source, config: InputConfig) -> Trained:
    warm, last = folder / "warmup.safetensors", folder / "last.safetensors"
    return Trained(
        checkpoint=last,
        warm_up=warm if warm.exists() else None,
        scores=scores if isinstance(scores, Scores) else None,
        chance=chance_of(tested, config),
        segmentation=scores if isinstance(scores, MaskScores) else None,
    )
