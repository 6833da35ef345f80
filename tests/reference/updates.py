"""What optimizers do to single numbers, written out one by one in float64, and the first rise along it."""

import math

import torch


def sgd(weights, gradient_of, rate, steps):
    """Weights before each step of gradient descent, and after the last."""
    path = [weights.tolist()]
    for _ in range(steps):
        slopes = gradient_of(torch.tensor(path[-1], dtype=torch.float64)).tolist()
        path.append([weight - rate * slope for weight, slope in zip(path[-1], slopes, strict=True)])
    return path


def adamw(weights, gradient_of, rate, steps, *, decay, first=0.9, second=0.999, tiny=1e-8):
    """The same of AdamW (Loshchilov & Hutter 2019, algorithm 2)."""
    path = [weights.tolist()]
    mean, square = [0.0] * len(weights), [0.0] * len(weights)
    for number in range(1, steps + 1):
        slopes = gradient_of(torch.tensor(path[-1], dtype=torch.float64)).tolist()
        moved = []
        for place, slope in enumerate(slopes):
            mean[place] = first * mean[place] + (1 - first) * slope
            square[place] = second * square[place] + (1 - second) * slope**2
            own = mean[place] / (1 - first**number)
            size = math.sqrt(square[place] / (1 - second**number)) + tiny
            moved.append(path[-1][place] - rate * decay * path[-1][place] - rate * own / size)
        path.append(moved)
    return path


def first_rise_between(loss, before, after, step):
    """How many times the change between two places fits until the loss is above its start, by many small steps."""
    before, after = (torch.tensor(place, dtype=torch.float64) for place in (before, after))
    start, count = float(loss(before)), 1
    while float(loss(before + count * step * (after - before))) <= start:
        count += 1
    return count * step
