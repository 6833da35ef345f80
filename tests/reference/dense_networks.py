"""Tiny networks that answer per pixel, and images with masks of two unlike numbers of pixels that count."""

import dataclasses

import torch
from torch import nn

from visionscope.core.sample import IGNORED, Batch, InputConfig

CLASSES, SIZE = 4, (16, 12)
INPUT = InputConfig(size=SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x).tanh()


class Segmenter(nn.Module):
    """A residual encoder at half the size of the images, and a 1x1 convolution; the logits stay at that size."""

    def __init__(self, classes=CLASSES, width=6, depth=3, key=""):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.encoder = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.segmentation_head = nn.Conv2d(width, classes, 1)
        self.key = key

    def forward(self, x):
        logits = self.segmentation_head(self.encoder(self.stem(x)))
        return {self.key: logits, "aux": logits + 1} if self.key else logits


def segmenter(seed=0, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Segmenter(**changes).double().eval()


def images_and_masks(count=20, *, seed=0, ignored=0.3, size=SIZE):
    """Images of [0, 1], normalised, and masks of their brightness, of which later images have more ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, size[0] // 4, size[1] // 4, generator=generator, dtype=torch.float64)
    pixels = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    masks = (pixels.mean(1) * CLASSES * 0.999).long()
    share = ignored * torch.arange(count)[:, None, None] / count
    masks[torch.rand(masks.shape, generator=generator) < share] = IGNORED
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (INPUT.mean, INPUT.std))
    return (pixels - mean) / std, masks


@dataclasses.dataclass
class Masked:
    """A sample of images with masks."""

    images: torch.Tensor
    masks: torch.Tensor
    digest: str = "fixed"

    def __len__(self):
        return len(self.images)

    def batches(self, start, stop, batch_size):
        for first in range(start, min(stop, len(self)), batch_size):
            own = slice(first, min(first + batch_size, stop, len(self)))
            yield Batch(self.images[own], self.masks[own], torch.arange(first, own.stop))


def mean_loss(logits, masks):
    """The mean over images of the mean over pixels that count, written out."""
    resized = nn.functional.interpolate(logits, masks.shape[1:], mode="bilinear", align_corners=False)
    log_p = resized - resized.logsumexp(1, keepdim=True)
    own = log_p.gather(1, masks.clamp(max=logits.shape[1] - 1)[:, None])[:, 0]
    counts = (masks != IGNORED).double()
    return -((own * counts).sum((1, 2)) / counts.sum((1, 2))).mean()


def fitted(network, images, masks, steps=150):
    """The same network after a few steps on these images, so that it is better than chance on them."""
    optimizer = torch.optim.Adam(network.parameters(), 0.03)
    for _ in range(steps):
        logits = network(images)
        logits = logits if isinstance(logits, torch.Tensor) else logits[network.key]
        resized = nn.functional.interpolate(logits, masks.shape[1:], mode="bilinear", align_corners=False)
        loss = nn.functional.cross_entropy(resized, masks, ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.requires_grad_(True).eval()
