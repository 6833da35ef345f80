"""Which part of what lies in a file of weights is a network's state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from visionscope.core.printable import printable, quoted
from visionscope.errors import ConfigError, nearest
from visionscope.models.weight_formats import Foreign

State = dict[str, Tensor]

RAW = ("state_dict", "model", "model_state_dict", "net", "network", "module", "weights", "params")
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema", "averaged_model")
"""The keys under which programs keep a network's state, and the running average of it."""

_INNER = (*RAW, "shadow")  # what lies inside an average's dictionary
_OTHERS = re.compile(r"optim|sched|scaler|amp|callbacks|loops|hparams|hyper_parameters", re.IGNORECASE)
# What wrappers leave in a name, wherever the wrapped part begins: torch.compile, FSDP and activation checkpointing.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_LISTED = 20
_DEEPEST = 8  # dictionaries in one another that are looked into; a pickle may hold one that holds itself


def plain_name(name: str) -> str:
    """A tensor's name without what torch's wrappers put into it.

    Args:
        name: such as `blocks._orig_mod.0.weight`.
    """
    return _WRAPPERS.sub("", name)


def state_in(content: Any, key: str, path: Path) -> tuple[State, str, tuple[str, ...]]:
    """A network's state in the content of a file.

    Of the keys that hold one the first is taken, raw weights before their average. Where no known key is there, the
    content itself, or else the one dictionary of tensors in it.

    Args:
        content: of the file.
        key: a part that the user chose: keys from the outermost, then a prefix of names, joined by dots; or "".
        path: of the file, for errors.

    Returns:
        The tensors by name; the keys that lead to them; and other keys beside these that hold a state, too.

    Raises:
        ConfigError: when there is no tensor, several parts might be meant, or the chosen one is not there.
    """
    if key:
        return _chosen(content, key, path)
    taken: list[str] = []
    others: tuple[str, ...] = ()
    while isinstance(content, Mapping) and len(taken) < _DEEPEST:
        known = (*RAW, *AVERAGES) if not taken else (*_INNER, *AVERAGES)
        inner = [name for name in known if _holds_state(content.get(name))]
        if not inner and not _tensors(content):
            inner = _unknown(content, path)
        if not inner:
            break
        if not taken:
            others = tuple(name for name in dict.fromkeys([*inner, *_networks(content)]) if name != inner[0])
        taken.append(inner[0])
        content = content[inner[0]]
    state = _tensors(content)
    if not state:
        raise ConfigError(f"checkpoint {path}: {_what_lies_there(content)}")
    return state, ".".join(taken), others


def _chosen(content: Any, key: str, path: Path) -> tuple[State, str, tuple[str, ...]]:
    taken: list[str] = []
    rest = key
    while isinstance(content, Mapping) and rest and len(taken) < _DEEPEST:
        fitting = [name for name in map(str, content) if f"{rest}.".startswith(f"{name}.")]
        inner = next((name for name in sorted(fitting, key=len, reverse=True) if _holds_state(content[name])), None)
        if inner is None:
            break
        taken.append(inner)
        content, rest = content[inner], rest[len(inner) + 1 :]
    if not taken:
        # A prefix of names may be meant, of the state that would be taken anyway.
        state, where, _ = state_in(content, "", path)
    else:
        state, deeper, _ = state_in(content, "", path)
        where = ".".join([*taken, deeper] if deeper else taken)
    if rest:
        known = [*_parts(content), *_prefixes(state)]
        state = {name[len(rest) + 1 :]: value for name, value in state.items() if name.startswith(f"{rest}.")}
        where = f"{where}.{rest}" if where else rest
        if not state:
            raise ConfigError(f"checkpoint {path}: it has no part {quoted(key)}.{nearest(key, known)}")
    return state, where, ()


def _networks(content: Any) -> list[str]:
    """The keys that hold a state and are no optimizer's."""
    return [name for name in _parts(content) if not _OTHERS.search(name)]


def _parts(content: Any) -> list[str]:
    return [str(name) for name, value in content.items() if _holds_state(value)] if isinstance(content, Mapping) else []


def _prefixes(state: State) -> list[str]:
    return sorted({name.partition(".")[0] for name in state if "." in name})


def _unknown(content: Mapping[Any, Any], path: Path) -> list[str]:
    """The one key that holds a state, where none is known."""
    found = _networks(content)
    if len(found) > 1:
        raise ConfigError(f"checkpoint {path}: it holds several networks; choose one: {_choices(path, found)}")
    return found


def _choices(path: Path, keys: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"{path.name}#{printable(key)[:80]}" for key in keys[:_LISTED]) + (", ..." * (len(keys) > _LISTED))


def _holds_state(value: Any) -> bool:
    """Whether tensors by name lie in it, under known keys."""
    level, seen = [value], {id(value)}
    for _ in range(_DEEPEST):
        mappings = [one for one in level if isinstance(one, Mapping)]
        if any(_tensors(one) for one in mappings):
            return True
        inner = [one.get(key) for one in mappings for key in (*_INNER, *AVERAGES)]
        level = [one for one in {id(one): one for one in inner}.values() if id(one) not in seen]
        seen.update(map(id, level))
    return False


def _tensors(content: Any) -> State:
    if not isinstance(content, Mapping):
        return {}
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _what_lies_there(content: Any) -> str:
    inside = [content.get(key) for key in (*RAW, *AVERAGES)] if isinstance(content, Mapping) else [content]
    if any(isinstance(value, Foreign) for value in inside):
        return (
            "it holds a whole pickled network, which could only be read by running code from the file, which is "
            "refused; save the state_dict() alone, best as safetensors"
        )
    shadow = content.get("shadow_params") if isinstance(content, Mapping) else None
    return f"it holds no tensors by parameter name{', only a list of them (shadow_params)' if shadow else ''}"
