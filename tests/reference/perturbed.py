"""A small non-square subject whose network keeps what it was shown, for tests of diagnostics that change images."""

import dataclasses

import torch
from torch import nn

from visionscope.core.sample import Batch, InputConfig
from visionscope.core.subject import Subject

SIZE = (12, 9)
CLASSES = 5
INPUT = InputConfig(size=SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))


@dataclasses.dataclass
class Images:
    """Random pixels of [0, 1], normalised, with labels or without."""

    count: int = 40
    labelled: bool = True
    digest: str = "fixed"

    def __post_init__(self):
        generator = torch.Generator().manual_seed(3)
        self.pixels = torch.rand(self.count, 3, *SIZE, generator=generator, dtype=torch.float64)
        mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (INPUT.mean, INPUT.std))
        self.images = (self.pixels - mean) / std
        self.labels = torch.randint(0, CLASSES, (self.count,), generator=generator)

    def __len__(self):
        return self.count

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = slice(first, min(first + batch_size, stop))
            labels = self.labels[own] if self.labelled else None
            yield Batch(self.images[own], labels, torch.arange(first, own.stop))


class Seeing(nn.Module):
    """A convolutional network that remembers its inputs; `broken` makes every logit NaN."""

    def __init__(self, broken=False):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(1), nn.Linear(8 * 8 * 5, CLASSES)
        )
        self.seen = []
        self.broken = broken

    def forward(self, x):
        self.seen.append(x.detach().clone())
        logits = self.body(x)
        return logits * torch.nan if self.broken else logits


def subject(name="m", **fields):
    """In float64; `images` and `broken` are for the sample and the network, the rest for the subject."""
    images = fields.pop("images", None) or Images()
    model = Seeing(fields.pop("broken", False)).double().eval()
    given = {"input": INPUT, "precision": "fp64", **fields}
    return Subject(label=name, model=model, points=(), watch=lambda callback: None, samples={"eval": images}, **given)


def measured(diagnostic, given):
    """The rows of all parts."""
    parts = diagnostic.parts(given)
    return [row for _, rows in diagnostic.measure(given, parts) for row in rows]


def outcome(given, images):
    """Which of changed images are right, and the mean NLL, image by image."""
    labels = given.samples["eval"].labels
    with torch.no_grad():
        logits = torch.cat([given.model.body(image[None]) for image in images])
    right = "".join("1" if int(row.argmax()) == label else "0" for row, label in zip(logits, labels, strict=True))
    nll = -torch.stack([row.log_softmax(0)[label] for row, label in zip(logits, labels, strict=True)]).mean()
    return f"{int(right, 2):0{len(right) // 4}x}", float(nll)
