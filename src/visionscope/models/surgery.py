"""Blocks of a network replaced or added by module path; the network remembers it, and so do its files of weights."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import nn

from visionscope.errors import ConfigError
from visionscope.models.postactivation import PostActMsaBlock
from visionscope.models.windows import MsaBlock

__all__ = ["BlockChange", "change_blocks", "changes_of", "changes_text", "read_changes"]

_REMEMBERED = "block_changes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockChange:
    """A block that goes into a network; everything that it takes to do it again without looking at the network.

    Attributes:
        path: module path of the block: of one that is there and goes, or of one that is added behind its last sibling.
        like: path of a block of the network: the new one gets its type, device and drop path; without `msa` the new one
            is a copy of it with fresh weights.
        msa: arguments of `MsaBlock` or, with `post_activation`, of `PostActMsaBlock`.
        post_activation: which of the two.
    """

    path: str
    like: str
    msa: Mapping[str, Any] | None = None
    post_activation: bool = False


def change_blocks(model: nn.Module, changes: Iterable[BlockChange], *, seed: int) -> None:
    """Puts the blocks in, with weights from the seed; all other modules and weights stay what they are.

    Args:
        model: is changed in place, and remembers the changes for `changes_of`.
        changes: in this order.
        seed: of the new weights; torch's own generator is left as it was.

    Raises:
        ConfigError: when the network has no such place.
    """
    changes = tuple(changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for change in changes:
            parent, _, name = change.path.rpartition(".")
            try:
                like, holder = model.get_submodule(change.like), model.get_submodule(parent)
            except AttributeError as error:
                raise ConfigError(f"block {change.path} can't be put into {type(model).__name__}: {error}") from error
            block = _fresh_copy(like) if change.msa is None else _attention(change, like)
            given = next(like.parameters(), None)
            if given is not None:
                block.to(device=given.device, dtype=given.dtype)
            holder.add_module(name, block.train(like.training))
    setattr(model, _REMEMBERED, (*changes_of(model), *changes))


def changes_of(model: nn.Module) -> tuple[BlockChange, ...]:
    """What `change_blocks` did to a network, also to the one that this is a copy of.

    Args:
        model: any network.
    """
    found: tuple[BlockChange, ...] = getattr(model, _REMEMBERED, ())
    return found


def changes_text(changes: Iterable[BlockChange]) -> str:
    """Changes as JSON.

    Args:
        changes: as `read_changes` gives them back.
    """
    return json.dumps([dataclasses.asdict(change) for change in changes], sort_keys=True)


def read_changes(text: str) -> tuple[BlockChange, ...]:
    """Changes from JSON.

    Args:
        text: of `changes_text`.

    Raises:
        ValueError: when it is none.
    """
    try:
        return tuple(BlockChange(**change) for change in json.loads(text))
    except TypeError as error:
        raise ValueError(f"blocks: {error}") from error


def _attention(change: BlockChange, like: nn.Module) -> nn.Module:
    kind: Callable[..., nn.Module] = PostActMsaBlock if change.post_activation else MsaBlock
    rates = [module.drop_prob or 0.0 for module in like.modules() if isinstance(module, DropPath)]
    block = kind(**(change.msa or {}), drop_path=max(rates, default=0.0))
    for module in block.modules():
        if isinstance(module, nn.Conv2d):  # as in AlterNet
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return block


def _fresh_copy(like: nn.Module) -> nn.Module:
    """What has no `reset_parameters`, such as a layer scale, keeps the values of the block that is copied."""
    block = copy.deepcopy(like)
    for module in block.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    zero: Any = getattr(block, "zero_init_last", None)
    if callable(zero):  # timm's ResNets start with branches that add nothing
        zero()
    return block
