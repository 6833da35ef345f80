"""The stages of AlterNet as data, the rule for the order of their blocks, and what is built from them."""

from __future__ import annotations

import dataclasses
import numbers
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from timm.layers.create_conv2d import create_conv2d
from timm.layers.create_norm_act import get_norm_act_layer
from timm.models import checkpoint_seq
from timm.models.resnetv2 import DownsampleConv, PreActBasic, PreActBottleneck
from torch import Tensor, nn

from visionscope.errors import ConfigError
from visionscope.models.mixers.mixer import mixer_of
from visionscope.models.windows import MsaBlock, check_positive

__all__ = ["AlterNetStage", "Stage", "alternate", "build_stem"]

MIX = "mix:"
"""Before the name of a mixer in the blocks of a stage."""


def alternate(blocks: int, msa: int) -> tuple[str, ...]:
    """The order of a stage's blocks by the paper's rule: conv x (n - 2m), then (conv, msa) x m.

    The official code takes 2m > n too and then builds another order than it says.

    Args:
        blocks: n, how many in all.
        msa: m, how many of them are attention.

    Raises:
        ConfigError: when 2m > n, n is no positive integer, or m no integer of 0 or more.
    """
    check_positive("blocks", blocks)
    if not isinstance(msa, numbers.Integral) or not 0 <= 2 * msa <= blocks:
        raise ConfigError(
            "msa must be an integer, at least 0 and at most half of a stage's blocks, since a convolution block goes "
            f"before each; got {msa!r} of {blocks}. The largest possible is {blocks // 2}"
        )
    return ("conv",) * (blocks - 2 * msa) + ("conv", "msa") * msa


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """The blocks of one resolution.

    Attributes:
        blocks: "conv", "msa" or "mix:MIXER" for each block in its order; any order is possible, `alternate` gives the
            paper's. A mixer, such as `mix:guided` (`visionscope models 'mix:*'`), stands where attention would, and
            its branch has as many parameters.
        channels: of the blocks' outputs.
        stride: of the first block.
        num_heads: of its attention blocks.
        head_dim: channels per head.
        window_size: edge of the attention's windows, in positions.
    """

    blocks: tuple[str, ...]
    channels: int
    stride: int = 1
    num_heads: int = 1
    head_dim: int = 64
    window_size: int = 7

    def __post_init__(self) -> None:
        """Checks the blocks' names and the numbers."""
        wrong = [kind for kind in self.blocks if kind not in ("conv", "msa") and not kind.startswith(MIX)]
        if wrong or not self.blocks:
            raise ConfigError(
                f"blocks of a stage must be conv, msa or mix:MIXER, at least one; got {wrong or self.blocks!r}"
            )
        for kind in self.blocks:
            if kind.startswith(MIX):
                mixer_of(kind.removeprefix(MIX))
        for name in ("channels", "stride", "num_heads", "head_dim", "window_size"):
            check_positive(name, getattr(self, name))


class AlterNetStage(nn.Module):
    """The blocks that a `Stage` lists; with `grad_checkpointing` each is computed again in the backward pass."""

    def __init__(
        self,
        in_chs: int,
        stage: Stage,
        *,
        bottleneck: bool,
        drop_paths: Sequence[float],
        norm_layer: Any,
        act_layer: Any,
        msa_act_layer: Any,
        **attention: Any,
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.blocks = nn.Sequential()
        channels = stage.channels
        for index, (kind, drop_path) in enumerate(zip(stage.blocks, drop_paths, strict=True)):
            stride = stage.stride if index == 0 else 1
            block: nn.Module
            if kind != "conv":
                block = MsaBlock(
                    in_chs,
                    channels,
                    stride=stride,
                    mid_chs=channels // 4 if bottleneck else channels,
                    num_heads=stage.num_heads,
                    head_dim=stage.head_dim,
                    window_size=stage.window_size,
                    drop_path=drop_path,
                    norm_layer=norm_layer,
                    act_layer=msa_act_layer,
                    mixer=kind.removeprefix(MIX) if kind.startswith(MIX) else "",
                    **attention,
                )
            else:
                block = (PreActBottleneck if bottleneck else PreActBasic)(
                    in_chs,
                    channels,
                    stride=stride,
                    proj_layer=DownsampleConv if stride != 1 or in_chs != channels else None,
                    conv_layer=create_conv2d,
                    norm_layer=get_norm_act_layer(norm_layer, act_layer=act_layer),
                    drop_path_rate=drop_path,
                )
            self.blocks.append(block)
            in_chs = channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, in_chs, h, w) to (b, channels, h / stride, w / stride)."""
        y: Tensor = checkpoint_seq(self.blocks, x) if self.grad_checkpointing else self.blocks(x)
        return y


def build_stem(kind: str, in_chans: int, channels: int, norm_act: Any) -> nn.Sequential:
    """The layers before the first stage; `AlterNet` says which there are.

    Args:
        kind: "plain", "pooled" or "deep".
        in_chans: channels of the images.
        channels: of the output.
        norm_act: makes a normalisation with activation.

    Raises:
        ConfigError: for another kind.
    """
    half = channels // 2
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"conv": (in_chans, channels, 3, 1)},
        "pooled": {"conv": (in_chans, channels, 7, 2), "pool": nn.MaxPool2d(3, 2, 1)},
        "deep": {
            "conv1": (in_chans, half, 3, 2),
            "norm1": norm_act,
            "conv2": (half, half, 3, 1),
            "norm2": norm_act,
            "conv3": (half, channels, 3, 1),
        },
    }
    if kind not in kinds:
        raise ConfigError(f"stem must be one of {', '.join(kinds)}; got {kind!r}")
    layers: dict[str, nn.Module] = {}
    for name, layer in kinds[kind].items():
        if isinstance(layer, tuple):
            channels_in, channels_out, size, stride = layer
            layers[name] = create_conv2d(channels_in, channels_out, size, stride=stride)  # type: ignore[no-untyped-call]
        else:
            layers[name] = layer if isinstance(layer, nn.Module) else layer(half)
    return nn.Sequential(OrderedDict(layers))
