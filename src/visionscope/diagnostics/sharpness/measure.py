"""The rise of the loss under changes of the weights, batch by batch."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.inputs import image_like
from visionscope.core.objective import counting
from visionscope.core.sample import MINI_BATCH
from visionscope.core.subject import Subject, Update, objective_of
from visionscope.curvature.critical import Critical, critical_sharpness, critical_step
from visionscope.curvature.moving import MovableWeights, movable
from visionscope.curvature.parameters import MeasuredParameters, check_differentiable, measured_parameters
from visionscope.curvature.perturbations import average_rise, worst_rise
from visionscope.curvature.sample_hessian import product_bytes, vector_bytes
from visionscope.curvature.second_order import check_passes
from visionscope.diagnostics.sharpness.question import (
    AVERAGE,
    CRITICAL,
    GRADIENT,
    PER_UPDATE,
    UNITS,
    UPDATE,
    WORST,
    Sharpness,
    SharpnessRow,
)
from visionscope.errors import VisionscopeError

_LOADED = 2 * MINI_BATCH  # images whose graph is kept at a time
_GRADIENT = 3.0  # forward passes that a gradient costs
_SEARCH = 4  # forward passes that the critical step usually takes
_COPIES = 5  # of the weights: where they were, a change, the best one, two gradients


def identity_in(asked: Sharpness, subject: Subject) -> list[str]:
    """Which parameters are frozen, and whether they stay where they are."""
    return _measured(asked, subject).identity()


def parts(asked: Sharpness, subject: Subject) -> Sequence[str]:
    """One batch of m images each, named by its number and the next one."""
    check_differentiable(subject, asked.name, _measured(asked, subject))
    count = max(1, len(subject.samples[asked.sample]) // asked.batch_size)
    return [f"{number:04d}-{number + 1:04d}" for number in range(count)]


def cost(asked: Sharpness, subject: Subject) -> Cost:
    """Passes of the kinds asked for; the graph of 32 images, and five vectors over the parameters."""
    names = _measured(asked, subject).names
    graph = product_bytes(subject, asked.sample, objective_of(subject, asked.name), "eval", names)
    each = {AVERAGE: asked.draws, WORST: _GRADIENT * asked.steps, CRITICAL: _SEARCH}
    passes = _GRADIENT + sum(each[kind] for kind in asked.kinds)
    return Cost(
        passes=passes * min(asked.batch_size, len(subject.samples[asked.sample])),
        memory=graph + _COPIES * vector_bytes(subject.model, names),
        advice=f"take fewer draws (--sharpness.draws, now {asked.draws}), fewer steps, or --sharpness.kinds critical",
    )


def measure(asked: Sharpness, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[SharpnessRow]]]:
    """The rows of each part, after two passes over the first mini-batch have agreed."""
    measured = _measured(asked, subject)
    check_differentiable(subject, asked.name, measured)
    check_passes(subject.model, subject.samples[asked.sample], parameters=measured.names)
    for part in parts:
        yield part, _rows(asked, subject, measured, part)


def _measured(asked: Sharpness, subject: Subject) -> MeasuredParameters:
    return measured_parameters(subject, asked.name, asked.parameters)


class BatchLoss:
    """The NLL of one batch of images, by a network whose weights may move meanwhile.

    Attributes:
        images: how many; of masks, those with a pixel that counts.
        forward_passes: of the whole batch, so far.
        gradients: of the whole batch, so far.
    """

    def __init__(self, subject: Subject, name: str, start: int, stop: int) -> None:
        self._subject, self._objective = subject, objective_of(subject, "sharpness")
        self._logits_of = subject.readout.after(subject.model)
        self._batches = list(subject.samples[name].batches(start, stop, _LOADED))
        self._like = image_like(subject.model, self._batches[0].images.shape[1:])
        self.images = sum(map(counting, self._batches))
        self.forward_passes = self.gradients = 0

    def value(self) -> float:
        """Mean NLL in nats where the weights are now, as it comes: infinite or NaN, too."""
        self.forward_passes += 1
        with torch.no_grad():
            losses = [self._share(place) for place in range(len(self._batches))]
        return sum(float(loss) for loss in losses)

    def gradient(self, parameters: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
        """Mean NLL, and its gradient; zeros for parameters that the loss does not hold.

        Args:
            parameters: what is differentiated by.

        Raises:
            VisionscopeError: when the loss depends on none of them.
        """
        self.gradients += 1
        value, total = 0.0, [torch.zeros_like(one) for one in parameters]
        with torch.enable_grad():
            for place in range(len(self._batches)):
                loss = self._share(place)
                if not loss.requires_grad:
                    raise VisionscopeError(
                        f"{type(self._subject.model).__name__}: no gradient of the loss reaches the parameters that "
                        "are measured: the forward runs under torch.no_grad or detaches"
                    )
                value += float(loss.detach())
                found = torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True)
                for sum_so_far, one in zip(total, found, strict=True):
                    sum_so_far.add_(one)
        return value, total

    def _share(self, place: int) -> Tensor:
        batch = self._batches[place]
        mean = self._objective.mean_nll(self._logits_of, batch, self._like)
        return mean.double() * (counting(batch) / self.images)


def _rows(asked: Sharpness, subject: Subject, measured: MeasuredParameters, part: str) -> list[SharpnessRow]:
    number = int(part.partition("-")[0])
    first = number * asked.batch_size
    stop = min(first + asked.batch_size, len(subject.samples[asked.sample]))
    loss = BatchLoss(subject, asked.sample, first, stop)
    with movable(subject.model, measured.names) as weights:
        if subject.update is not None and asked.kinds == (CRITICAL,):
            nll, gradient = loss.value(), {}
        else:
            nll, found = loss.gradient(list(weights.here.values()))
            gradient = dict(zip(weights.here, found, strict=True))
        if not abs(nll) < float("inf"):
            raise VisionscopeError(f"sharpness: the NLL of batch {number} is {nll}")
        shared = {
            "part": part,
            "batch": number,
            "images": loss.images,
            "nll": nll,
            "parameters": sum(value.numel() for value in weights.here.values()),
            "measured": measured.which,
            "frozen": measured.frozen_of(measured.frozen),
            "augmentation": subject.augmentation,
            "label_smoothing": objective_of(subject, asked.name).label_smoothing,
        }
        rows = []
        for kind in asked.kinds:
            loss.forward_passes = loss.gradients = 0
            weights.restore()
            if kind == AVERAGE:
                own = _average(asked, weights, loss, nll, number)
            elif kind == WORST:
                own = _worst(asked, weights, loss, nll, gradient)
            elif subject.update is None:
                own = _critical(weights, loss, nll, gradient)
            else:
                own = _critical_of_update(weights, loss, nll, subject.update)
            shares = bool(gradient) and kind != AVERAGE and own.get("direction") != UPDATE
            counts = {"forward_passes": loss.forward_passes, "gradients": loss.gradients + shares}
            rows.append(SharpnessRow(**{**_NOTHING, "unit": UNITS[kind], **shared, **own, **counts}, kind=kind))
    return rows


_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("value", "standard_error", "radius", "step", "step_low", "step_high")),
    **dict.fromkeys(("norm", "direction", "note"), ""),
}


def _average(asked: Sharpness, weights: MovableWeights, loss: BatchLoss, nll: float, number: int) -> dict[str, Any]:
    keys = [f"{asked.seed}/{number}/{draw}" for draw in range(asked.draws)]
    rises = average_rise(weights, loss.value, nll, asked.average_radius, keys)
    told = {"radius": asked.average_radius, "norm": "gaussian"}
    broken = sum(not abs(rise) < float("inf") for rise in rises)
    if broken:
        return {**told, "note": f"the NLL is not finite in {broken} of {asked.draws} draws"}
    error = statistics.stdev(rises) / len(rises) ** 0.5
    return {**told, "value": statistics.fmean(rises), "standard_error": error}


def _worst(
    asked: Sharpness, weights: MovableWeights, loss: BatchLoss, nll: float, gradient: dict[str, Tensor]
) -> dict[str, Any]:
    rise = worst_rise(weights, loss, nll, gradient, radius=asked.radius, steps=asked.steps, norm=asked.norm)
    told = {"radius": asked.radius, "norm": asked.norm}
    return {**told, "value": rise} if rise < float("inf") else {**told, "note": "the NLL is not finite on the way"}


def _critical(weights: MovableWeights, loss: BatchLoss, nll: float, gradient: dict[str, Tensor]) -> dict[str, Any]:
    downhill = {name: -value for name, value in gradient.items()}
    slope = -sum(float(value.double().square().sum()) for value in gradient.values())
    return _told(critical_sharpness(weights, downhill, loss.value, nll, slope), GRADIENT)


def _critical_of_update(weights: MovableWeights, loss: BatchLoss, nll: float, update: Update) -> dict[str, Any]:
    """From where the weights were before the optimizer's last step, along what it changed."""
    told = {"direction": UPDATE, "unit": PER_UPDATE}
    if update.note:
        return {**told, "note": update.note}

    def loss_at(step: float) -> float:
        if step == 1:  # where the network is
            return nll
        weights.move(update.change, step - 1)
        return loss.value()

    # Begun at one update: where a straight line would reach zero lies beyond all sense, for one update changes little.
    weights.move(update.change, -1)
    start, gradient = loss.gradient(list(weights.here.values()))
    pairs = [
        (value, update.change[name])
        for name, value in zip(weights.here, gradient, strict=True)
        if name in update.change
    ]
    slope = sum(float((value.double() * change.double()).sum()) for value, change in pairs)
    return {**_told(critical_step(loss_at, start, slope, first=1.0), UPDATE), **told}


def _told(found: Critical, direction: str) -> dict[str, Any]:
    known = found.step is not None
    return {
        "value": found.sharpness,
        "direction": direction,
        "step": found.step,
        "step_low": found.low if known else None,
        "step_high": found.high if known else None,
        "note": found.note,
    }
