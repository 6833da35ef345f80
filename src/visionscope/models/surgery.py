"""Blocks of a network replaced or added by module path; the network remembers it, and so do its files of weights."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import nn

from visionscope.errors import ConfigError, nearest
from visionscope.models.mixers.mixer import mixer_of
from visionscope.models.postactivation import PostActMsaBlock
from visionscope.models.windows import MsaBlock, draw_convolutions

__all__ = [
    "ACTIVATIONS",
    "ACTIVATION_ARGUMENTS",
    "NORMS",
    "BlockChange",
    "change_blocks",
    "changes_of",
    "changes_text",
    "read_changes",
]

# What a block may be made of, as timm calls it; the names of activations are those of torch's functions.
NORMS = ("batchnorm2d", "groupnorm1", "layernorm2d", "rmsnorm2d")
ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "celu", "selu"),
    *("gelu", "gelu_tanh", "silu", "mish", "hardswish"),
)
ACTIVATION_ARGUMENTS = {"leaky_relu": "negative_slope", "elu": "alpha", "celu": "alpha"}

_REMEMBERED = "block_changes"
# The largest values of a plan; a file may hold any numbers, and they decide how much memory is taken.
_LARGEST = {"in_chs": 65536, "out_chs": 65536, "mid_chs": 65536, "num_heads": 65536, "head_dim": 65536}
_LARGEST |= {"stride": 64, "window_size": 64}  # the index of a window has window_size ** 4 numbers
_LARGEST_INNER = 65536
_LARGEST_LAYER = 2**28
_NAMES = {"norm_layer": NORMS, "act_layer": ACTIVATIONS, "final_act_layer": ACTIVATIONS}
_REQUIRED = ("in_chs", "out_chs", "num_heads")
_EITHER = (*_LARGEST, "norm_layer", "act_layer", "mixer")
_ARGUMENTS = {
    False: (*_EITHER, "per_head_bias", "attn_drop"),
    True: (*_EITHER, "final_act_layer", "final_act_kwargs"),
}
_PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockChange:
    """A block that goes into a network; everything that it takes to do it again without looking at the network.

    Attributes:
        path: module path of the block: of one that is there and goes, or of one that is added behind its last sibling.
        like: path of a block of the network: the new one gets its type, device and drop path (timm's `DropPath`,
            torchvision's `StochasticDepth`); without `msa` the new one is a copy of it with fresh weights.
        msa: arguments of `MsaBlock` or, with `post_activation`, of `PostActMsaBlock`, all but `drop_path`; layers by
            name, of `NORMS` and `ACTIVATIONS`.
        post_activation: which of the two.
        norm: `eps` and `momentum` of the attention block's normalisations; those that are not there are timm's.

    Raises:
        ConfigError: when a value breaks its rule; plans are read from files, and these from anywhere.
    """

    path: str
    like: str
    msa: Mapping[str, Any] | None = None
    post_activation: bool = False
    norm: Mapping[str, float | None] | None = None

    def __post_init__(self) -> None:
        """Checks all that can be checked without the network."""
        for name, value in (("path", self.path), ("like", self.like)):
            if not isinstance(value, str) or not _PATH.fullmatch(value):
                raise ConfigError(f"{name} of a changed block must be a module path, such as layer2.3; got {value!r}")
        try:
            if not isinstance(self.post_activation, bool):
                raise ConfigError(f"post_activation must be true or false; got {self.post_activation!r}")
            if self.msa is not None:
                _check_attention(self.msa, _ARGUMENTS[self.post_activation])
            _check_norm(self.norm)
        except ConfigError as error:
            raise ConfigError(f"block {self.path}: {error}") from error


def _check_attention(msa: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if not isinstance(msa, Mapping):
        raise ConfigError(f"msa must be arguments by name; got {msa!r}")
    for name in msa:
        if name not in known:
            raise ConfigError(f"msa has no argument {name!r}.{nearest(str(name), known)}")
    for name in _REQUIRED:
        if name not in msa:
            raise ConfigError(f"msa must say {name}; got {', '.join(msa) or 'nothing'}")
    for name, value in msa.items():
        if name == "mid_chs" and value is None:
            continue
        if name in _LARGEST and not (type(value) is int and 1 <= value <= _LARGEST[name]):
            raise ConfigError(f"{name} must be a whole number from 1 to {_LARGEST[name]}; got {value!r}")
        if name in _NAMES and value not in _NAMES[name]:
            raise ConfigError(f"{name} must be a layer by its name; got {value!r}.{nearest(str(value), _NAMES[name])}")
    if not isinstance(msa.get("per_head_bias", False), bool):
        raise ConfigError(f"per_head_bias must be true or false; got {msa['per_head_bias']!r}")
    if not (_is_number(msa.get("attn_drop", 0.0)) and 0 <= msa.get("attn_drop", 0.0) < 1):
        raise ConfigError(f"attn_drop must be a number from 0 to less than 1; got {msa['attn_drop']!r}")
    _check_mixer(msa.get("mixer", ""))
    _check_activation(msa.get("final_act_kwargs"), msa.get("final_act_layer", "relu"))
    _check_size(msa)


def _check_mixer(given: Any) -> None:
    if not isinstance(given, str):
        raise ConfigError(f"mixer must be text; got {given!r}")
    if given:
        mixer_of(given)


def _check_size(msa: Mapping[str, Any]) -> None:
    before, after, inner = msa["in_chs"], msa["out_chs"], msa["num_heads"] * msa.get("head_dim", 64)
    if inner > _LARGEST_INNER:
        raise ConfigError(f"num_heads x head_dim must be at most {_LARGEST_INNER}; got {inner}")
    middle = msa.get("mid_chs") or max(1, after // 4)
    largest = max(before * after, before * middle, 3 * inner * middle, inner * after)
    if largest > _LARGEST_LAYER:
        raise ConfigError(f"in_chs, mid_chs, out_chs: no layer may have more than 2^28 weights; got {largest}")


def _check_activation(given: Any, layer: str) -> None:
    known = ACTIVATION_ARGUMENTS.get(layer)
    if given is None:
        return
    if not isinstance(given, Mapping) or list(given) != [known] or not all(_is_number(one) for one in given.values()):
        rule = f"must be a number by the name {known}" if known else f"must be left out, since {layer} takes none"
        raise ConfigError(f"final_act_kwargs {rule}; got {given!r}")


def _check_norm(norm: Any) -> None:
    if norm is None:
        return
    if not isinstance(norm, Mapping) or not set(norm) <= {"eps", "momentum"}:
        raise ConfigError(f"norm must hold eps and momentum, or one of them; got {norm!r}")
    eps, momentum = norm.get("eps", 1e-5), norm.get("momentum")
    if not (_is_number(eps) and 0 <= eps <= 1):
        raise ConfigError(f"eps of norm must be a number from 0 to 1; got {eps!r}")
    if momentum is not None and not (_is_number(momentum) and 0 <= momentum <= 1):
        raise ConfigError(f"momentum of norm must be a number from 0 to 1, or null; got {momentum!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


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
    # Weights are drawn on the CPU, by its generator alone: torch.manual_seed would seed all devices' and leave them so.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        for change in changes:
            try:
                _put_in(model, change)
            except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
                raise ConfigError(
                    f"block {change.path}, like {change.like}, can't be put into {type(model).__name__}: "
                    f"{str(error).partition(chr(10))[0]}. The plan must have been made for this network"
                ) from error
    setattr(model, _REMEMBERED, (*changes_of(model), *changes))


def _put_in(model: nn.Module, change: BlockChange) -> None:
    parent, _, name = change.path.rpartition(".")
    like, holder = model.get_submodule(change.like), model.get_submodule(parent)
    block = _fresh_copy(like) if change.msa is None else _attention(change, like)
    given = next(like.parameters(), None)
    if given is not None:
        block.to(device=given.device, dtype=given.dtype)
    holder.add_module(name, block.train(like.training))


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
        ValueError: when it is none, with what is wrong.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"blocks is not valid JSON: {error}") from error
    fields = [field.name for field in dataclasses.fields(BlockChange)]
    if not isinstance(given, list):
        raise ValueError(f"blocks must be a list; got {given!r}")
    for change in given:
        if not isinstance(change, dict):
            raise ValueError(f"each of blocks must hold {', '.join(fields)}; got {change!r}")
        strange = next((name for name in change if name not in fields), None)
        if strange is not None:
            raise ValueError(f"blocks knows no {strange!r}.{nearest(strange, fields)}")
        if not {"path", "like"} <= set(change):
            raise ValueError(f"each of blocks must say path and like; got {change!r}")
    try:
        return tuple(BlockChange(**change) for change in given)
    except ConfigError as error:
        raise ValueError(f"blocks: {error}") from error


def _attention(change: BlockChange, like: nn.Module) -> nn.Module:
    kind: Callable[..., nn.Module] = PostActMsaBlock if change.post_activation else MsaBlock
    block = kind(**(change.msa or {}), drop_path=max(map(_drop_path, like.modules())))
    draw_convolutions(block)
    for module in block.modules():
        for name, value in (change.norm or {}).items():  # no other module of the block has attributes of these names
            if hasattr(module, name):
                setattr(module, name, value)
    return block


def _drop_path(module: nn.Module) -> float:
    if isinstance(module, DropPath):
        return float(module.drop_prob or 0.0)
    # By name: torchvision need not be there.
    return float(getattr(module, "p", 0.0)) if type(module).__name__ == "StochasticDepth" else 0.0


def _fresh_copy(like: nn.Module) -> nn.Module:
    """Convolutions start as in timm's networks, normal by their fan-out, the others as torch makes them.

    What is zero throughout in the block that is copied starts as zero, such as the weight of a last normalisation where
    the network begins with branches that add nothing. What has no `reset_parameters`, such as a layer scale, keeps its
    values.
    """
    block = copy.deepcopy(like)
    zero = {name for name, given in like.named_parameters() if not (given.is_meta or given.any())}
    if not any(given.is_meta for given in like.parameters()):
        block.cpu()
    for module in block.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        if isinstance(module, nn.Conv2d):  # the fan of torch's own function knows no groups
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    for name, parameter in block.named_parameters():
        if name in zero:
            nn.init.zeros_(parameter)
    return block
