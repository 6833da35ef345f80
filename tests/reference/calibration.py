"""Calibration measures image by image in plain Python, straight from their definitions; nothing shared with ours."""

import math
from collections.abc import Callable, Sequence


def softmax(logits: Sequence[float]) -> list[float]:
    largest = max(logits)
    powers = [math.exp(value - largest) for value in logits]
    total = math.fsum(powers)
    return [power / total for power in powers]


def nll(logits: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    losses = []
    for own, label in zip(logits, labels, strict=True):
        largest = max(own)
        losses.append(largest + math.log(math.fsum(math.exp(value - largest) for value in own)) - own[label])
    return math.fsum(losses) / len(losses)


def brier(logits: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    total = 0.0
    for own, label in zip(logits, labels, strict=True):
        total += math.fsum((p - (place == label)) ** 2 for place, p in enumerate(softmax(own)))
    return total / len(labels)


def bin_of(probability: float, bins: int) -> int:
    """(low, high] with 0 in the first; an end is the floating-point number nearest to it."""
    return next(place for place in range(bins) if probability <= (place + 1) / bins)


def ece(
    confidence: Sequence[float], right: Sequence[bool], bins: int = 10, of: Callable[[float], float] = abs
) -> float:
    total = 0.0
    for chosen in range(bins):
        inside = [place for place, value in enumerate(confidence) if bin_of(value, bins) == chosen]
        if inside:
            mean = math.fsum(confidence[place] for place in inside) / len(inside)
            share = sum(right[place] for place in inside) / len(inside)
            total += len(inside) / len(confidence) * of(mean - share)
    return total


def adaptive_ece(confidence: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """For confidences of which no two are equal."""
    order = sorted(range(len(confidence)), key=lambda place: confidence[place])
    total, start = 0.0, 0
    for chosen in range(bins):
        stop = start + len(order) // bins + (chosen < len(order) % bins)
        total += abs(math.fsum(confidence[place] - right[place] for place in order[start:stop]))
        start = stop
    return total / len(order)


def classwise_ece(probabilities: Sequence[Sequence[float]], labels: Sequence[int], bins: int = 10) -> float:
    classes = len(probabilities[0])
    errors = [
        ece([own[chosen] for own in probabilities], [label == chosen for label in labels], bins)
        for chosen in range(classes)
    ]
    return math.fsum(errors) / classes


def iou(predicted: Sequence[int], labels: Sequence[int]) -> float:
    shares = []
    for chosen in sorted(set(labels)):
        either = [p == chosen or y == chosen for p, y in zip(predicted, labels, strict=True)]
        both = [p == chosen == y for p, y in zip(predicted, labels, strict=True)]
        shares.append(sum(both) / sum(either))
    return math.fsum(shares) / len(shares)
