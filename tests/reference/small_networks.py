"""Small networks that tests of tracing take apart: a residual network and a transformer with exchangeable parts."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

CLASSES = 4


def drawn(count: int = 4, size: int = 16, seed: int = 0) -> Tensor:
    """Smooth images: a coarse grid of random values, enlarged, so that the order of positions shows in a spectrum."""
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")


class Residual(nn.Module):
    """stem, then x = add(x, conv(x)) twice."""

    def __init__(self, add: Callable[[Tensor, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU()) for _ in range(2))
        self.head = nn.Linear(4, CLASSES)
        self.add = add or torch.add
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = self.add(x, block(x))
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    """Two heads, written out, so that every product can be exchanged."""

    def __init__(self, width: int, mix: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mix = mix or (lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(-1) @ v)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(self.mix(q, k, v).transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, width: int, mix: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attn = Attention(width, mix)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm(x))
        return x + self.mlp(x)


class Transformer(nn.Module):
    """Patches of 2 x 2 on a map of 8 x 8; `change` happens to the tokens ahead of the blocks, `undo` after them."""

    def __init__(
        self,
        change: Callable[[Tensor], Tensor] = lambda x: x,
        undo: Callable[[Tensor], Tensor] = lambda x: x,
        mix: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
        calls: tuple[int, ...] = (0, 1),
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 8, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.ModuleList(Block(8, mix) for _ in range(2))
        self.last = Block(8, mix)
        self.head = nn.Linear(8, CLASSES)
        self.change, self.undo, self.calls = change, undo, calls
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        x = self.change(self.embed(images).flatten(2).transpose(1, 2))
        for number in self.calls:
            x = self.blocks[number](x)
        x = self.last(self.undo(x))
        return self.head(x.mean(1))
