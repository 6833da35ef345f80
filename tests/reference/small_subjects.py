"""Small networks, mixed images and the loop that measures a diagnostic's parts, for tests of landscapes."""

import dataclasses

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from visionscope.core.objective import Objective
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.curvature.plane import batch_norms
from visionscope.diagnostics.landscape.question import LandscapeRow

CLASSES = 5
SMALL = {"points": 3, "draws": 1, "sample_size": 40}


@dataclasses.dataclass
class Images:
    """Random images, each mixed with another."""

    count: int = 40
    size: int = 8
    mixed: bool = True
    digest: str = "fixed"
    served: int = 0

    def __post_init__(self):
        generator = torch.Generator().manual_seed(3)
        self.images = torch.randn(self.count, 3, self.size, self.size, generator=generator)
        self.labels, self.partners = (torch.randint(0, CLASSES, (self.count,), generator=generator) for _ in range(2))
        self.shares = torch.rand(self.count, generator=generator, dtype=torch.float64)

    def __len__(self):
        return self.count

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = slice(first, min(first + batch_size, stop))
            more = (self.partners[own], self.shares[own]) if self.mixed else ()
            yield Batch(self.images[own], self.labels[own], torch.arange(first, own.stop), *more)

    def as_given(self, batch_size):
        """For the twin."""
        shares = self.shares if self.mixed else torch.ones(self.count, dtype=torch.float64)
        columns = (self.images, self.labels, self.partners, shares)
        return zip(*(column.split(batch_size) for column in columns), strict=True)


def convolutional(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    )
    for norm in batch_norms(model):
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
    return model.eval()


def transformer(seed=0):
    torch.manual_seed(seed)
    return VisionTransformer(
        img_size=8, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=CLASSES, drop_path_rate=0.5
    ).eval()


def subject(model, sample=None, precision="fp32", **objective):
    return Subject(
        label="m",
        model=model.double() if precision == "fp64" else model,
        points=(),
        watch=lambda callback: None,
        samples={"train": sample or Images()},
        precision=precision,
        objective=Objective(**objective),
        augmentation="strong",
    )


def measured(landscape, given):
    parts = landscape.parts(given)
    found = dict(landscape.measure(given, parts))
    assert list(found) == list(parts)
    return [row for rows in found.values() for row in rows]


def table(rows, model="m", job="j"):
    """As `Store.table` hands it out."""
    first = {**dict.fromkeys(LEADING, "?"), "model": model, "job": job}
    return with_leading_of(to_table(LandscapeRow, rows), [first] * len(rows))
