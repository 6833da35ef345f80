"""What lies in a file of weights: read without running code, and the part of it that is a network's state."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from visionscope.errors import ConfigError, nearest

State = dict[str, Tensor]

RAW = ("state_dict", "model", "model_state_dict", "net", "network", "module", "weights", "params")
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema", "averaged_model")
"""The keys under which programs keep a network's state, and the running average of it."""

_INNER = (*RAW, "shadow")  # what lies inside an average's dictionary
_OTHERS = re.compile(r"optim|sched|scaler|amp|callbacks|loops|hparams|hyper_parameters", re.IGNORECASE)
# What wrappers leave in a name, wherever the wrapped part begins: torch.compile, FSDP and activation checkpointing.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_UNKNOWN = re.compile(r"GLOBAL ([\w.]+)")
_CONTAINER = re.compile(rf"Can only [\w ]*?(dict|list)s?,.* got <class '{re.escape(__name__)}\.([\w.]+)'>")
_MOST_FOREIGN = 200


class Foreign:
    """Stands for an object of another program that lies beside the weights; nothing of that program is run."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """An object that remembers nothing, or a plain container where the file fills it."""
        return cls.filled() if cls.filled else super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    filled: type[dict[Any, Any]] | type[list[Any]] | None = None


def plain_name(name: str) -> str:
    """A tensor's name without what torch's wrappers put into it.

    Args:
        name: such as `blocks._orig_mod.0.weight`.
    """
    return _WRAPPERS.sub("", name)


def split_place(path: Path) -> tuple[Path, str]:
    """The file and the part of it that `FILE#KEY` names; a file whose own name has a `#` is that file.

    Args:
        path: with or without `#KEY`.
    """
    text, mark, key = str(path).rpartition("#")
    if not mark or path.is_file():
        return path, ""
    return Path(text), key


def read_content(path: Path) -> tuple[Any, dict[str, str]]:
    """The content of a file of torch, safetensors or numpy (`.npz`), and the metadata of safetensors.

    Objects of other programs beside the weights (arguments, metrics) are left unread.

    Args:
        path: the file.

    Raises:
        ConfigError: when there is no such file, it is damaged, or its weights could only be read by running code.
    """
    if not path.is_file():
        raise ConfigError(f"checkpoint {path}: there is no such file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return (_read_npz(path) if path.suffix == ".npz" else _read_torch(path)), {}


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
    while isinstance(content, Mapping):
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
    taken, rest = [], key
    while isinstance(content, Mapping) and rest:
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
            raise ConfigError(f"checkpoint {path}: it has no part {key!r}.{nearest(key, known)}")
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
    return ", ".join(f"{path.name}#{key}" for key in keys)


def _holds_state(value: Any) -> bool:
    """Whether tensors by name lie in it, at whatever depth under known keys."""
    if not isinstance(value, Mapping):
        return False
    return bool(_tensors(value)) or any(_holds_state(value.get(key)) for key in (*_INNER, *AVERAGES))


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


def _read_safetensors(path: Path) -> tuple[Any, dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"checkpoint {path}: it is no readable safetensors file: {_line(error)}") from error


def _read_npz(path: Path) -> State:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"checkpoint {path}: it is no readable npz file: {_line(error)}") from error


def _read_torch(path: Path) -> Any:
    """Unknown classes are replaced by ones that do nothing, one after the other, as torch's reader tells them."""
    known: dict[str, type[Foreign]] = {}
    while True:
        try:
            replaced: list[Any] = [(kind, name) for name, kind in known.items()]
            with torch.serialization.safe_globals(replaced), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch says of a scripted model is said as an error below
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if len(known) < _MOST_FOREIGN and _replaced(known, str(error)):
                continue
            if known or _UNKNOWN.search(str(error)):
                raise ConfigError(
                    f"checkpoint {path}: it holds Python objects and could only be read by running code from the "
                    "file, which is refused; save the state_dict() alone, best as safetensors"
                ) from error
            raise ConfigError(f"checkpoint {path}: it is no readable torch file: {_line(error)}") from error
        except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
            if "TorchScript" in str(error):
                raise ConfigError(
                    f"checkpoint {path}: it is a scripted model; save its state_dict() alone, best as safetensors"
                ) from error
            raise ConfigError(f"checkpoint {path}: it is no readable torch file: {_line(error)}") from error


def _replaced(known: dict[str, type[Foreign]], error: str) -> bool:
    """Takes the class that an error is about among those that are replaced, or replaces it by a container."""
    found = _UNKNOWN.search(error)
    if found:
        name = found[1] if "." in found[1] else f"builtins.{found[1]}"
        if name in known:
            return False
        known[name] = type(name, (Foreign,), {})
        return True
    container = _CONTAINER.search(error)
    if container is None or container[2] not in known or known[container[2]].filled:
        return False
    known[container[2]] = type(container[2], (Foreign,), {"filled": dict if container[1] == "dict" else list})
    return True


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
