"""Sharpness in plain loops over single numbers, in float64: nothing of the package's own way of moving weights."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import functional_call


def loss_of(model, images, targets):
    """A function from weights, flat in the order of `named_parameters`, to the mean cross-entropy."""
    named = {name: value.detach() for name, value in model.named_parameters()}

    def loss(flat):
        moved, start = {}, 0
        for name, value in named.items():
            moved[name] = flat[start : start + value.numel()].reshape(value.shape)
            start += value.numel()
        return F.cross_entropy(functional_call(model, moved, (images,)), targets)

    return loss


def flat_weights(model):
    """All parameters one after the other."""
    return torch.cat([value.detach().reshape(-1) for value in model.parameters()])


def rises(loss, weights, radius, draws):
    """The rise for each row of standard normal numbers, weight by weight."""
    start = float(loss(weights))
    found = []
    for numbers in draws:
        moved = weights.clone()
        for place in range(len(weights)):
            moved[place] = weights[place] + abs(float(weights[place])) * radius * float(numbers[place])
        found.append(float(loss(moved)) - start)
    return found


def worst(loss, weights, radius, steps, norm):
    """Projected ascent in u, with w + |w| u, by autograd through u itself."""
    u, best = torch.zeros_like(weights), 0.0
    start = float(loss(weights))
    for _ in range(steps):
        variable = u.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(weights + weights.abs() * variable), variable)
        if norm == "linf":
            u = np.clip(u.numpy() + 2.5 * radius / steps * np.sign(slope.numpy()), -radius, radius)
        else:
            u = u.numpy() + 2.5 * radius / steps * slope.numpy() / np.sqrt((slope.numpy() ** 2).sum())
            u = u * min(1.0, radius / np.sqrt((u**2).sum()))
        u = torch.from_numpy(u)
        best = max(best, float(loss(weights + weights.abs() * u)) - start)
    return best


def first_rise(loss_at, start, step):
    """The first of many small steps at which a loss is above its start."""
    count = 1
    while loss_at(count * step) <= start:
        count += 1
    return count * step
