"""Landscapes written down directly: weights put in place by functional_call, nothing folded, nothing moved in place."""

import hashlib
import math

import numpy as np
import torch
from torch.func import functional_call


def gaussian(shape, key):
    entropy = int.from_bytes(hashlib.sha256(key.encode()).digest(), "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy))).standard_normal(shape)


def filter_normalized(weight, key):
    """Li et al. 2018: filter by filter, d_i |w_i| / |d_i|."""
    weight = weight.detach().double().numpy()
    drawn = gaussian(weight.shape, key)
    for w, d in zip(weight, drawn, strict=True):
        d *= math.sqrt((w**2).sum()) / math.sqrt((d**2).sum())
    return torch.from_numpy(drawn)


def officially_normalized(weight, key):
    """The authors' code: norms over the first axis."""
    weight = weight.detach().double()
    drawn = torch.from_numpy(gaussian(tuple(weight.shape), key))
    return (weight**2).sum(0, keepdim=True).sqrt() / ((drawn**2).sum(0, keepdim=True).sqrt() + 1e-7) * drawn


def loss_at(model, directions, steps, batches, weight_decay, label_smoothing=0.0):
    """NLL, L2, official L2 and accuracy of images (images, labels, partners, shares) at w + sum of step * direction."""
    moved = {}
    for name, value in model.named_parameters():
        moved[name] = value.detach().clone()
        for step, direction in zip(steps, directions, strict=True):
            if name in direction:
                moved[name] = moved[name] + (step * direction[name]).to(value)
    total, right, count = 0.0, 0, 0
    for images, labels, partners, shares in batches:
        with torch.no_grad():
            logits = functional_call(model, moved, (images,))
        for scores, label, partner, share in zip(logits, labels, partners, shares, strict=True):
            target = torch.full((len(scores),), label_smoothing / len(scores), dtype=torch.float64)
            target[label] += (1 - label_smoothing) * share
            target[partner] += (1 - label_smoothing) * (1 - share)
            total -= float((target * scores.double().log_softmax(0)).sum())
            right += int(scores.argmax() == (label if share >= 0.5 else partner))
            count += 1
    squares = [float((value.double() ** 2).sum()) for value in moved.values()]
    return {
        "nll": total / count,
        "l2": weight_decay / 2 * sum(squares),
        "l2_official": weight_decay * sum(map(math.sqrt, squares)),
        "accuracy": right / count,
    }
