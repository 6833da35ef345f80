"""The training loop: plain, on Lightning Fabric, for one process or many."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from visionscope.core.classes import class_counts
from visionscope.core.logits import Readout
from visionscope.core.objective import counting
from visionscope.core.sample import Batch
from visionscope.errors import VisionscopeError
from visionscope.training.clock import Clock, Progress
from visionscope.training.optimizers import average_of, optimizer_of, seed_step
from visionscope.training.plan import Training
from visionscope.training.precision import attention
from visionscope.training.snapshots import Position

CHECK_EVERY = 20  # steps: losses are read from the device, checked and reported


def fit(training: Training) -> nn.Module | None:
    """Trains the network in place, from where it was stopped; returns the moving average of its weights, if any.

    Args:
        training: what, with what and how.

    Raises:
        VisionscopeError: when a loss is not finite, with its step and images, or the disk refuses.
    """
    fabric, network, recipe, keeper = training.fabric, training.network, training.recipe, training.keeper
    module: Any = torch.compile(network) if recipe.compile else network
    model, optimizer = fabric.setup(module, optimizer_of(network, recipe))
    average = average_of(network, recipe)
    parts = {"network": network, "optimizer": optimizer, "precision": fabric.strategy.precision}
    parts |= {"average": average} if average else {}
    at = keeper.resume(parts)
    if at is None:
        at = Position()
        keeper.keep("init", network)
    if training.until == "init":
        return None
    training.watch(network, at.step, at.step / training.steps_per_epoch)
    clock = Clock(
        fabric,
        steps=training.steps,
        minutes=recipe.minutes,
        seconds=at.seconds,
        images_per_step=recipe.batch_size * fabric.world_size,
    )
    losses: list[Tensor] = []
    batches, done = training.feed.batches(at.step), clock.done(at.step)
    while done < 1:
        rate = recipe.learning_rate_at(clock.done(at.step + 0.5))
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses.append(_step(training, model, optimizer, next(batches), at.step))
        at.step += 1
        if average:
            average.update_parameters(network)
        before, done = done, clock.done(at.step)
        warm = before < recipe.warm_up <= done
        if warm:
            keeper.keep("warmup", network, step=str(at.step))
        training.watch(network, at.step, _epochs(training, at.step, done))
        epoch = _epoch_ended(training, at.step)
        stops = _stops(training, warm, epoch)
        if epoch or done >= 1 or stops or len(losses) == CHECK_EVERY:
            values = _finite(training, losses, at.step)
            now = at.step / training.steps_per_epoch
            at.loss, at.losses, at.seconds = at.loss + math.fsum(values), at.losses + len(values), clock.seconds()
            progress = clock.progress(epoch=now, done=done, learning_rate=rate, losses=values)
            training.report(progress)
            losses.clear()
            if epoch or done >= 1:
                _score(training, at, average, progress, scored=training.each_epoch or done >= 1)
            if (number := epoch or (round(now) if done >= 1 else 0)) in recipe.snapshots:
                keeper.keep(f"epoch-{number:04d}", network, step=str(at.step))
            if done >= 1 or stops or clock.due(training.save_seconds):
                keeper.save(at, parts)
            if stops:
                return None
            clock.go_on()
    return average.module if average else None


def _step(training: Training, model: Any, optimizer: Any, batch: Batch, step: int) -> Tensor:
    """One step of the optimizer; the loss before it."""
    fabric, recipe = training.fabric, training.recipe
    pixels = batch.images.pin_memory() if fabric.device.type == "cuda" else batch.images
    images = fabric.to_device(pixels).contiguous(memory_format=torch.channels_last)
    wanted = recipe.objective.targets(batch, training.classes)
    images_that_count = counting(batch)
    targets = fabric.to_device(wanted.float() if wanted.is_floating_point() else wanted)  # masks are class indices
    # In training mode a network may return more than in evaluation; values are not looked at, which would take time.
    readout = Readout(counts=class_counts(training.network, spec=training.classes), output_is="logits")

    def backward() -> Tensor:
        seed_step(training.seed, step, fabric.global_rank)
        with attention(fabric.strategy.precision.precision, fabric.device):
            losses = recipe.objective.nll(readout.logits(model(images)), targets)
            loss = losses.mean() if images_that_count == len(losses) else losses.sum() / images_that_count
            fabric.backward(loss)
        if recipe.clip_norm:
            fabric.clip_gradients(model, optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False)
        return loss.detach()

    loss = backward()
    optimizer.step(backward) if recipe.sam else optimizer.step()
    optimizer.zero_grad()
    return loss


def _epochs(training: Training, step: int, done: float) -> float:
    """Passes over the images so far; the last step, the nearest one to the end of an epoch, is at that end."""
    epochs = step / training.steps_per_epoch
    ended = round(epochs)
    return ended if done >= 1 and abs(epochs - ended) * training.steps_per_epoch <= 1 / 2 + 1e-9 else epochs


def _epoch_ended(training: Training, step: int) -> int:
    """The number of the epoch that ends with this step, or 0."""
    before, after = (math.floor(number / training.steps_per_epoch + 1e-9) for number in (step - 1, step))
    return after if after > before else 0


def _stops(training: Training, warm: bool, epoch: int) -> bool:
    """Whether the loop ends with the snapshot that was taken, if any, to be gone on from another time."""
    return (warm and training.until == "warmup") or bool(epoch and training.until == f"epoch-{epoch:04d}")


def _finite(training: Training, losses: list[Tensor], step: int) -> list[float]:
    """The losses of the last steps, when they and the weights after them are finite, in every process."""
    fabric, values = training.fabric, torch.stack(losses).tolist()
    weights = nn.utils.get_total_norm(list(training.network.parameters()))
    wrong = next((place for place, value in enumerate(values) if not math.isfinite(value)), len(values))
    bad = wrong < len(values) or not bool(weights.isfinite())
    everywhere: Any = fabric.all_reduce(torch.tensor(float(bad)), reduce_op="sum") if fabric.world_size > 1 else bad
    if not everywhere:
        return list(values)
    good = training.keeper.last_good()
    if wrong == len(values):  # the last update, or another process's loss: gradients are shared, so all stop together
        what = f"the weights are not finite after step {step}" if bad else "the loss of another process is not finite"
        raise VisionscopeError(f"the training stopped: {what}; {good}")
    number = step - len(losses) + wrong
    images = ", ".join(map(str, training.feed.batch(number).positions.tolist()))
    raise VisionscopeError(
        f"the training's loss is {values[wrong]} at step {number + 1}, on the training images {images}; {good}"
    )


def _score(training: Training, at: Position, average: Any, progress: Progress, *, scored: bool) -> None:
    """Writes the log's row, measures the network, and its average, first; keeps the best on a validation split."""
    for buffer in (*training.network.buffers(), *(average.module.buffers() if average else ())):
        if training.fabric.world_size > 1:  # batch normalisation's, which processes on CPUs keep each for itself
            torch.distributed.broadcast(buffer, 0)
    scores = dict(training.score(training.network)) if scored else dict.fromkeys(training.columns)
    if average:
        of_average = training.score(average.module) if scored else dict.fromkeys(training.columns)
        scores |= {f"ema_{name}": value for name, value in of_average.items()}
    row = {name: value for name, value in dataclasses.asdict(progress).items() if name != "done"}
    training.record(at.step, {**row, "loss": at.loss / at.losses, **scores})
    at.loss, at.losses = 0.0, 0
    best = scores[training.columns[0]]
    if training.selects and best is not None and best > at.best:
        at.best = best
        training.keeper.keep("best", training.network, step=str(at.step))
