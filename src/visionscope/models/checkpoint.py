"""Files of weights: read without running code, fitted to a network name by name and shape by shape."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from visionscope.core.types import InputConfig
from visionscope.errors import ConfigError
from visionscope.models import official
from visionscope.models.surgery import BlockChange, changes_of, changes_text, read_changes

State = dict[str, Tensor]
Convert = Callable[[State, nn.Module], Any]

_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "_orig_mod.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a file of weights.

    Attributes:
        path: the file.
        state: tensors by parameter name, on the CPU.
        num_classes: size of the head as the file's metadata say it, or None.
        arguments: keyword arguments of the architecture, from the metadata.
        input: size, mean, std, interpolation and crop, as far as the metadata say them.
        blocks: what was changed in the architecture, as `surgery.change_blocks` does it.
        layer_norm_eps: of its layer normalisations, where it is another than the architecture's own.
        fraction: share of the training images that the network was trained on, from the metadata of `train`, or None.
    """

    path: Path
    state: State
    num_classes: int | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    input: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    blocks: tuple[BlockChange, ...] = ()
    layer_norm_eps: float | None = None
    fraction: float | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a safetensors file, or a torch file with `weights_only=True`.

    A dictionary under `state_dict`, `model`, `model_state_dict`, `state_dict_ema` or `model_ema` is taken out (the
    first of them that is there: raw weights rather than their average), and the prefixes `module.` and `_orig_mod.`,
    which torch's wrappers leave on every name, are removed.

    Args:
        path: the file.

    Raises:
        ConfigError: when there is no such file, it holds no weights, is damaged, or could only be read by running code.
    """
    if not path.is_file():
        raise ConfigError(f"checkpoint {path}: there is no such file")
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        content, metadata = _read_safetensors(path)
    else:
        content = _read_torch(path)
    state = _without_prefix(_unwrapped(content))
    if not state:
        raise ConfigError(f"checkpoint {path}: it holds no tensors by parameter name")
    try:
        classes = int(metadata["num_classes"]) if "num_classes" in metadata else None
        arguments, config, asked = (json.loads(metadata.get(key, "{}")) for key in ("arguments", "input", "asked"))
        fraction = float(asked["fraction"]) if "fraction" in asked else None
        input_parts = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
        blocks = read_changes(metadata.get("blocks", "[]"))
        epsilon = float(metadata["layer_norm_eps"]) if "layer_norm_eps" in metadata else official.layer_norm_eps(state)
        arguments = dict(arguments)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"checkpoint {path}: its metadata can't be read: {error}") from error
    return Checkpoint(
        path=path,
        state=state,
        num_classes=classes,
        arguments=arguments,
        input=input_parts,
        blocks=blocks,
        layer_norm_eps=epsilon,
        fraction=fraction,
    )


def save_checkpoint(
    path: Path, model: nn.Module, *, num_classes: int, arguments: Mapping[str, Any], config: InputConfig, **more: str
) -> None:
    """Writes a model's weights as safetensors, with the metadata that `read_checkpoint` understands.

    Args:
        path: the file; it appears under its name only when it is complete and on the disk.
        model: whose state is written, with the blocks that were changed in it.
        num_classes: size of the head.
        arguments: keyword arguments of the architecture, as JSON can hold them.
        config: how the model wants its images.
        more: further metadata.
    """
    metadata = {
        "num_classes": str(num_classes),
        "arguments": json.dumps(dict(arguments), sort_keys=True),
        "input": json.dumps(dataclasses.asdict(config), sort_keys=True),
        **more,
    }
    if changes_of(model):
        metadata["blocks"] = changes_text(changes_of(model))
    if official.settled(model) is not None:
        metadata["layer_norm_eps"] = repr(official.settled(model))
    partial = path.with_name(f".{path.name}.partial")
    save_file(_unshared(model.state_dict()), partial, metadata)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _unshared(state: Mapping[str, Tensor]) -> State:
    """Contiguous tensors of which no two share memory, which safetensors refuses; tied weights are written twice."""
    seen: set[int] = set()
    result = {}
    for name, value in state.items():
        place = value.untyped_storage().data_ptr()
        result[name] = value.clone(memory_format=torch.contiguous_format) if place in seen else value.contiguous()
        seen.add(place)
    return result


def head_size(
    checkpoint: Checkpoint, model: nn.Module, num_classes: int | None, convert: Convert | None = None
) -> int | None:
    """The size of the checkpoint's head: from its metadata, else from the shapes.

    The head's tensors are those that differ from the model's in their first axis alone, where the model's length is
    `num_classes`; None where there are none such or they disagree.

    Args:
        checkpoint: the weights.
        model: the network with a head of `num_classes`.
        num_classes: the size of the model's head, or None where it is unknown.
        convert: as for `fit`.
    """
    if checkpoint.num_classes is not None:
        return checkpoint.num_classes
    state = _converted(checkpoint.state, model, convert)
    sizes = set()
    for name, wanted in model.state_dict().items():
        given = state.get(name)
        if given is None or given.shape == wanted.shape or given.ndim != wanted.ndim or given.ndim == 0:
            continue
        if wanted.shape[0] == num_classes and given.shape[1:] == wanted.shape[1:]:
            sizes.add(given.shape[0])
    return sizes.pop() if len(sizes) == 1 else None


def fit(checkpoint: Checkpoint, model: nn.Module, convert: Convert | None = None) -> None:
    """Loads the checkpoint into the model; every name and every shape must agree.

    Where they don't, the weights are converted first, by default from the layouts of the official code
    (`official.translate`), then with the model family's own `checkpoint_filter_fn`, as timm does with the weights that
    it downloads: it renames the layers of the original publication and resamples position embeddings.

    Args:
        checkpoint: the weights.
        model: is changed in place.
        convert: maps tensors under other names to the model's.

    Raises:
        ConfigError: listing the missing, unexpected and mis-shaped names, the first few of each.
    """
    state = _converted(checkpoint.state, model, convert)
    wanted = model.state_dict()
    shared = [name for name in wanted if name in state]
    shapes = {name: (tuple(state[name].shape), tuple(wanted[name].shape)) for name in shared}
    wrong = [f"{name} {given} instead of {own}" for name, (given, own) in shapes.items() if given != own]
    result = model.load_state_dict({name: state[name] for name in shared if shapes[name][0] == shapes[name][1]}, False)
    # What torch itself fills in (batch counters of files older than torch 0.4.1) is not missing.
    missing = [name for name in result.missing_keys if name not in state]
    unexpected = [name for name in state if name not in wanted]
    problems = [("missing", missing), ("unexpected", unexpected), ("mis-shaped", wrong)]
    if any(names for _, names in problems):
        listed = "; ".join(_some(word, names) for word, names in problems if names)
        raise ConfigError(f"checkpoint {checkpoint.path} does not fit the model: {listed}")
    official.settle(model, checkpoint.layer_norm_eps)


def _some(word: str, names: list[str], most: int = 3) -> str:
    more = ", ..." if len(names) > most else ""
    return f"{len(names)} {word}: {', '.join(names[:most])}{more}"


def _read_safetensors(path: Path) -> tuple[Any, dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"checkpoint {path}: it is no readable safetensors file: {_line(error)}") from error


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise ConfigError(
                f"checkpoint {path}: it holds Python objects and could only be read by running code from the file, "
                "which is refused; save the state_dict() alone, best as safetensors"
            ) from error
        raise ConfigError(f"checkpoint {path}: it is no readable torch file: {_line(error)}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ConfigError(f"checkpoint {path}: it is no readable torch file: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _unwrapped(content: Any) -> State:
    while isinstance(content, dict):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        content = inner
    return {}


def _without_prefix(state: State) -> State:
    for prefix in _PREFIXES * 2:  # compiled inside a data-parallel wrapper, or the other way round
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _converted(state: State, model: nn.Module, convert: Convert | None) -> State:
    function = convert
    if not _same(state, model) and convert is None:
        state = _translated(state)
        function = _family_filter(model)
    if function is None or _same(state, model):
        return state
    try:
        changed = function(dict(state), model)
    except Exception:  # made for one publication's names, it may fail in any way on others': compare them as they are
        return state
    return changed if isinstance(changed, dict) else state


def _translated(state: State) -> State:
    try:
        return official.translate(state)
    except Exception:  # names of an official file, but not all of them or of other shapes: compared as they are
        return state


def _same(state: State, model: nn.Module) -> bool:
    wanted = model.state_dict()
    return state.keys() == wanted.keys() and all(state[name].shape == wanted[name].shape for name in wanted)


def _family_filter(model: nn.Module) -> Convert | None:
    for kind in type(model).__mro__:
        function = getattr(sys.modules.get(kind.__module__), "checkpoint_filter_fn", None)
        if function is not None:
            found: Convert = function
            return found
    return None
