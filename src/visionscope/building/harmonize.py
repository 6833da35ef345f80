"""Attention for a convolutional network: some of its blocks become local attention, all else stays as it is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from visionscope.building.blocks import Block, find_stages, run_empty
from visionscope.building.placement import Placement
from visionscope.core.copying import copy_of
from visionscope.core.rules import MOST_PIXELS, SEEDS
from visionscope.core.turns import in_turn
from visionscope.core.values import Rule, Value, shown
from visionscope.errors import ConfigError, TraceError
from visionscope.models.mixers.mixer import mixer_of
from visionscope.models.stages import MIX
from visionscope.models.surgery import BlockChange, change_blocks

__all__ = ["HarmonizePlan", "StagePlan", "carry_out", "harmonize", "plan_harmonize", "replacements"]

_SIZE = Value(
    tuple[int, int] | None,
    Rule(least=1, most=MOST_PIXELS, words=f"height and width in pixels, each an integer from 1 to {MOST_PIXELS}"),
)
_MIXER = Value(str, Rule(longest=500))
_SEED = Value(int, Rule(least=0, most=SEEDS - 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What becomes of a stage.

    Attributes:
        before: kinds of its blocks, in order.
        after: the same with the added ones.
        grid: of its maps, height and width in positions.
        channels: of its last block.
        num_heads: of its attention blocks.
        head_dim: channels per head.
        window_size: edge of their windows in positions.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    grid: tuple[int, int]
    channels: int
    num_heads: int
    head_dim: int
    window_size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarmonizePlan:
    """What becomes of a network.

    Attributes:
        stages: from the highest resolution to the lowest.
        changes: the blocks that go in.
        input_size: height and width of the images that it was made for; others work as well.
    """

    stages: tuple[StagePlan, ...]
    changes: tuple[BlockChange, ...]
    input_size: tuple[int, int]


@in_turn
def harmonize(
    model: nn.Module,
    placement: Placement | Sequence[int],
    *,
    mixer: str = "",
    input_size: tuple[int, int] | None = None,
    seed: int = 0,
) -> nn.Module:
    """A copy of a convolutional network in which attention takes the place of some blocks, by the rules of AlterNet.

    With `mixer`, this takes those places instead, in branches of as many parameters.

    Stages and blocks are found by what the network does, so it may be of timm, torchvision or your own. An attention
    block has the channels, the stride and the drop path of the block that goes, and the kind, eps and momentum of its
    first normalisation. Where that one ended with an activation (ResNet, ResNeXt, RegNet) the new one does, too
    (`PostActMsaBlock`), with the arguments of its module; those of a function, `leaky_relu(x, 0.2)`, are not seen, and
    the new block has torch's defaults. Elsewhere (pre-activation ResNet, ConvNeXt, EfficientNet) it is AlterNet's own
    (`MsaBlock`). Inside the branch both have GELU, as in the official code, whatever the network has. The attention
    sees as many channels as the spatial convolution of the block that goes. All other weights are kept.

    The new network trains like the old one. `save_checkpoint` writes its blocks into the file, so that `MODEL@FILE` of
    the original's name loads it.

    Args:
        model: the network; it is left as it was.
        placement: how many attention blocks each stage gets, or those numbers alone: `(0, 1, 1, 1)`.
        mixer: what stands in their places, such as `guided` or `learned_blur(kernel_size=7)`; empty for attention.
        input_size: height and width of its images; None takes what the network's `pretrained_cfg` says.
        seed: of the new weights; torch's own generator is left as it was.

    Raises:
        ConfigError: when the placement breaks a rule, or a block can't be replaced, with the reason.
        TraceError: when the network can't be traced.
    """
    _SEED.checked("seed", seed)
    return carry_out(model, plan_harmonize(model, placement, mixer=mixer, input_size=input_size), seed=seed)


def plan_harmonize(
    model: nn.Module,
    placement: Placement | Sequence[int],
    *,
    mixer: str = "",
    input_size: tuple[int, int] | None = None,
) -> HarmonizePlan:
    """What `harmonize` would do.

    Args:
        model: as for `harmonize`.
        placement: likewise.
        mixer: likewise.
        input_size: likewise.

    Raises:
        ConfigError: as `harmonize`.
        TraceError: as `harmonize`.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model: must be a torch.nn.Module; got {shown(model)}")
    if not isinstance(placement, (Placement, str, Iterable)):
        raise ConfigError(
            "placement: must be a Placement or whole numbers, one per stage, such as (0, 1, 1, 1); got "
            f"{shown(placement)}"
        )
    if not isinstance(placement, Placement):
        numbers: Any = placement if isinstance(placement, (str, bytes)) else tuple(placement)
        placement = Placement(msa=numbers)
    own = _mixer_given(mixer)
    size = _SIZE.checked("input_size", input_size) or _own_size(model)
    stages = find_stages(model, size)
    orders = placement.orders([len(stage) for stage in stages])
    plans, changes = [], []
    for number, (stage, order, attention) in enumerate(
        zip(stages, orders, _attentions(placement, stages), strict=True), start=1
    ):
        changes += _changes(number, stage, order, {**attention, **own}, model)
        slot = f"{MIX}{mixer}" if mixer else "msa"
        plans.append(
            StagePlan(
                before=tuple(block.kind.value for block in stage),
                after=tuple(slot if kind == "msa" else kind for kind in order)
                if "msa" in order or len(order) > len(stage)
                else tuple(block.kind.value for block in stage),
                grid=stage[-1].grid,
                channels=stage[-1].out_chs,
                **attention,
            )
        )
    return HarmonizePlan(stages=tuple(plans), changes=tuple(changes), input_size=size)


def replacements(
    model: nn.Module, *, mixer: str = "", input_size: tuple[int, int]
) -> tuple[tuple[BlockChange | str, ...], ...]:
    """What `harmonize` would put in the place of each block of each stage, whatever blocks it was asked for.

    Args:
        model: as for `harmonize`.
        mixer: likewise.
        input_size: likewise.

    Returns:
        A stage each, from the highest resolution to the lowest, with the new block or why there can't be one.

    Raises:
        ConfigError: for an unknown mixer, and a network in which no stages are found.
        TraceError: when the network can't be traced.
    """
    own = _mixer_given(mixer)
    stages = find_stages(model, input_size)
    attentions = _attentions(Placement(msa=(0,) * len(stages)), stages)
    found = []
    for number, (stage, attention) in enumerate(zip(stages, attentions, strict=True), start=1):
        blocks: list[BlockChange | str] = []
        for block in stage:
            try:
                _check_convolutions(number, stage)
                blocks.append(_replacement(block, {**attention, **own}))
            except ConfigError as error:
                blocks.append(str(error))
        found.append(tuple(blocks))
    return tuple(found)


def carry_out(model: nn.Module, plan: HarmonizePlan, *, seed: int = 0) -> nn.Module:
    """A copy of the network with a plan's blocks, checked by a pass over empty images.

    Args:
        model: that the plan was made for; it is left as it was.
        plan: of `plan_harmonize`.
        seed: of the new weights.

    Raises:
        ConfigError: when the network does not run with the new blocks.
    """
    changed = copy_of(model)
    change_blocks(changed, plan.changes, seed=seed)
    try:
        record = run_empty(changed, plan.input_size)
    except TraceError as error:  # code that reaches into its blocks fails when they are others
        raise ConfigError(f"with other blocks in their places, {error}") from error
    called = {frame.path for frame in record.frames}
    for change in plan.changes:
        if change.path not in called:
            holder = change.path.rpartition(".")[0] or type(model).__name__
            raise ConfigError(f"extend: {holder} does not run a block that is added to it as {change.path}")
    return changed


def _changes(
    number: int, stage: Sequence[Block], order: Sequence[str], attention: Mapping[str, Any], model: nn.Module
) -> list[BlockChange]:
    if "msa" in order or len(order) > len(stage):
        _check_convolutions(number, stage)
    changes = []
    for block, kind in zip(stage, order, strict=False):
        if kind == "msa":
            changes.append(_replacement(block, attention))
    last = stage[-1]
    kept = [block for block, kind in zip(stage, order, strict=False) if kind == "conv"]
    path = last.path
    for kind in order[len(stage) :]:
        path = _next_path(path, model)
        if kind == "msa":
            appended = dataclasses.replace(last, path=path, in_chs=last.out_chs, stride=1)
            changes.append(dataclasses.replace(_replacement(appended, attention), like=last.path))
            continue
        donor = next((b for b in reversed(kept) if b.in_chs == b.out_chs == last.out_chs and b.stride == 1), None)
        if donor is None:
            raise ConfigError(
                f"extend: stage {number} has no convolution block of {last.out_chs} channels in and out to copy; "
                f"with at least one attention block there, the added one can be attention"
            )
        changes.append(BlockChange(path=path, like=donor.path))
    return changes


def _check_convolutions(number: int, stage: Sequence[Block]) -> None:
    strange = next((block for block in stage if block.kind.value != "conv"), None)
    if strange is not None:
        raise ConfigError(
            f"stage {number}: its blocks must all be convolutions; {strange.path} is {strange.kind.value}"
            f"{f' ({strange.obstacle})' if strange.obstacle else ''}. Give the stage 0 attention blocks"
        )


def _mixer_given(mixer: str) -> dict[str, Any]:
    """The argument of new blocks that says what mixes; none for attention."""
    if not mixer:
        return {}
    mixer_of(_MIXER.checked("mixer", mixer))
    return {"mixer": mixer}


def _attentions(placement: Placement, stages: Sequence[Sequence[Block]]) -> list[dict[str, int]]:
    """Of each stage, the arguments that its attention blocks share."""
    head_dim = placement.head_dim_for(stages[-1][-1].out_chs)
    window_size = placement.window_size_for(stages[-1][-1].grid)
    return [
        {"num_heads": heads, "head_dim": head_dim, "window_size": window_size}
        for heads, _ in zip(placement.heads(), stages, strict=True)
    ]


def _replacement(block: Block, attention: Mapping[str, Any]) -> BlockChange:
    if block.obstacle:
        raise ConfigError(f"block {block.path} can't be replaced by attention: {block.obstacle}")
    arguments: dict[str, Any] = {name: getattr(block, name) for name in ("in_chs", "out_chs", "mid_chs", "stride")}
    arguments |= {"norm_layer": block.norm, **attention}
    if block.activation:
        arguments["final_act_layer"] = block.activation
    if block.activation_values:
        arguments["final_act_kwargs"] = dict(block.activation_values)
    post_activation = block.activation is not None
    norm = dict(block.norm_values) or None
    return BlockChange(path=block.path, like=block.path, msa=arguments, post_activation=post_activation, norm=norm)


def _next_path(path: str, model: nn.Module) -> str:
    """The path behind a block that is the last in the module that holds it: b3 after b2, 3 after 2."""
    holder, _, name = path.rpartition(".")
    numbered = re.fullmatch(r"(.*?)(\d+)", name)
    following = f"{numbered[1]}{int(numbered[2]) + 1}" if numbered else ""
    names = list(dict(model.get_submodule(holder).named_children()))
    if not numbered or (name in names and names[-1] != name):
        behind = names[names.index(name) + 1 :]
        reason = f"{', '.join(behind[:3])} follows it" if behind else "its name has no number"
        raise ConfigError(f"extend: no block can be added behind {path} in {holder or type(model).__name__}: {reason}")
    return f"{holder}.{following}" if holder else following


def _own_size(model: nn.Module) -> tuple[int, int]:
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    size = config.get("input_size") if isinstance(config, Mapping) else getattr(config, "input_size", None)
    if not size:
        raise ConfigError(
            f"input_size: {type(model).__name__} does not say how large its images are; give height and width, "
            "such as (224, 224)"
        )
    return int(size[-2]), int(size[-1])
