"""Networks small enough that a run takes no time; their weights come from a fixed generator."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from visionscope.models.alternet import AlterNet
from visionscope.models.stages import Stage, alternate

_CONFIG = {"input_size": (3, 16, 16), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "crop_pct": 1.0}


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Convolutions(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(Residual(width), Residual(width))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.blocks(self.stem(x)).mean((2, 3))))


class Repeated(nn.Module):
    """One block that is called three times in a pass, with one weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.block = Residual(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = self.block(x)
        return self.head(x.mean((2, 3)))


class Normalized(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, stride=4), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(Residual(width), nn.BatchNorm2d(width), Residual(width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.mix(y, y, y, need_weights=False)[0]


class Tokens(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, stride=4)
        self.blocks = nn.Sequential(Attention(width), Attention(width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


def _fixed(model: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    model.pretrained_cfg = _CONFIG
    return model


def convolutions(width: int = 8, seed: int = 0) -> nn.Module:
    return _fixed(Convolutions(width), seed)


def normalized(width: int = 8, seed: int = 0) -> nn.Module:
    return _fixed(Normalized(width), seed)


def tokens(width: int = 8, seed: int = 0) -> nn.Module:
    return _fixed(Tokens(width), seed)


def alternating(width: int = 8, seed: int = 0) -> nn.Module:
    stages = [
        Stage(blocks=alternate(1, 0), channels=width, stride=2),
        Stage(blocks=alternate(2, 1), channels=width, stride=2, num_heads=2, head_dim=width // 2, window_size=2),
    ]
    return _fixed(AlterNet(stages, num_classes=10, stem="plain", stem_chs=width, bottleneck=False), seed)


def repeated(width: int = 8, seed: int = 0) -> nn.Module:
    return _fixed(Repeated(width), seed)


class Returning(Convolutions):
    """The convolutions, which return something else than their logits alone."""

    def __init__(self, width: int, returned: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__(width)
        self.returned = returned

    def forward(self, x: Tensor) -> Any:
        features = self.dropout(self.blocks(self.stem(x)).mean((2, 3)))
        return self.returned(features, self.head(features))


def returning(returned: Callable[[Tensor, Tensor], Any], width: int = 8, seed: int = 0) -> nn.Module:
    return _fixed(Returning(width, returned), seed)


def pair() -> nn.Module:
    return returning(lambda features, logits: (features, logits))


def twice() -> nn.Module:
    return returning(lambda features, logits: {"first": logits, "second": 2 * logits})


def softmax() -> nn.Module:
    return returning(lambda features, logits: logits.softmax(1))


def stale() -> nn.Module:
    """States more classes than its head has: somebody put another head on, and the number was left."""
    model = single()
    model.num_classes = 1000
    return model


def single() -> nn.Module:
    return returning(lambda features, logits: logits[:, :1])
