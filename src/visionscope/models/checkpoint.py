"""Files of weights with what ours say of the network: its head, its arguments, how it wants its images."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import save
from torch import Tensor, nn

from visionscope.core.files import open_regular, write_whole
from visionscope.core.printable import printable, quoted
from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError, nearest
from visionscope.models import official
from visionscope.models.find import split_place
from visionscope.models.snapshots import NAMESPACE, Moment, moment_of
from visionscope.models.surgery import BlockChange, changes_of, changes_text, read_changes
from visionscope.models.weight_files import State, plain_name, state_in
from visionscope.models.weight_formats import check_tensors, read_content

_DIGEST = "sha256"  # of the tensors
_LONGEST_REASON = 300  # characters
_ALWAYS = ("num_classes", "arguments", "input")  # what every file of ours says


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a file of weights.

    Attributes:
        path: the file.
        state: tensors by parameter name, on the CPU, without what torch's wrappers put into names.
        part: the keys that lead to them in the file, joined by dots; or "".
        others: further keys of the file that hold a network's state.
        num_classes: size of the head as the file's metadata say it, or None.
        arguments: keyword arguments of the architecture, from the metadata.
        input: size, mean, std, interpolation and crop, as far as the metadata say them.
        blocks: what was changed in the architecture, as `surgery.change_blocks` does it.
        layer_norm_eps: of its layer normalisations, where it is another than the architecture's own.
        fraction: share of the training images that the network was trained on, from the metadata of `train`, or None.
        moment: of the training that wrote it, or None.
    """

    path: Path
    state: State
    part: str = ""
    others: tuple[str, ...] = ()
    num_classes: int | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    input: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    blocks: tuple[BlockChange, ...] = ()
    layer_norm_eps: float | None = None
    fraction: float | None = None
    moment: Moment | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a file of safetensors, of torch (with `weights_only=True`) or of numpy (`.npz`).

    A network's state is looked for under the keys that programs keep it under (`state_dict`, `model`, ...; raw weights
    before their average, `state_dict_ema`, `model_ema`, `ema`, ...). `FILE#KEY` takes another: KEY is keys and a prefix
    of names, joined by dots. What torch's wrappers put into names (`_orig_mod.`) is taken out.

    Metadata of safetensors are read where they are ours (`visionscope.*`; in files older than that name, where they
    have the form of ours); those of other programs are not ours to read.

    Args:
        path: the file, with or without `#KEY`.

    Raises:
        ConfigError: when there is no such file or part, it holds no weights, several parts might be meant, it is
            damaged, or could only be read by running code.
    """
    file, key = split_place(path)
    content, metadata = read_content(file)
    state, part, others = state_in(content, key, file)
    check_tensors(state, file)
    state = {plain_name(name): value for name, value in state.items()}
    own = own_metadata(metadata)
    try:
        classes = int(own["num_classes"]) if "num_classes" in own else None
        arguments, config, asked = (json.loads(own.get(key, "{}")) for key in ("arguments", "input", "asked"))
        fraction = float(asked["fraction"]) if "fraction" in asked else None
        input_parts = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
        blocks = read_changes(own.get("blocks", "[]"))
        epsilon = float(own["layer_norm_eps"]) if "layer_norm_eps" in own else None
        arguments = dict(arguments)
        moment = moment_of(own, file)
        _check_metadata(classes, input_parts, fraction, epsilon)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = printable(str(error))[:_LONGEST_REASON]
        raise ConfigError(f"checkpoint {path}: its metadata can't be read: {reason}") from error
    return Checkpoint(
        path=file,
        state=state,
        part=part,
        others=others,
        num_classes=classes,
        arguments=arguments,
        input=input_parts,
        blocks=blocks,
        layer_norm_eps=epsilon,
        fraction=fraction,
        moment=moment,
    )


def _check_metadata(
    classes: int | None, config: Mapping[str, Any], fraction: float | None, epsilon: float | None
) -> None:
    fields = [field.name for field in dataclasses.fields(InputConfig)]
    strange = next((key for key in config if key not in fields), None)
    if strange is not None:
        raise ValueError(f"input knows no {quoted(strange)}.{nearest(strange, fields)}")
    if classes is not None and classes < 0:
        raise ValueError(f"num_classes must be at least 0; got {classes}")
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1; got {fraction}")
    if epsilon is not None and not 0 <= epsilon < 1:
        raise ValueError(f"layer_norm_eps must be from 0 to below 1; got {epsilon}")


def own_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """What `save_checkpoint` wrote into a file, by its own names; empty for the metadata of another program.

    Args:
        metadata: of a safetensors file.
    """
    own = {key.removeprefix(NAMESPACE): value for key, value in metadata.items() if key.startswith(NAMESPACE)}
    return own or (dict(metadata) if _are_older(metadata) else {})


def _are_older(metadata: Mapping[str, str]) -> bool:
    """Whether they are ours from before they had a namespace: all three that are always there, and each readable."""
    try:
        classes, arguments, config = (json.loads(metadata[key]) for key in _ALWAYS)
    except (KeyError, ValueError, RecursionError):
        return False
    fields = {field.name for field in dataclasses.fields(InputConfig)}
    return (
        isinstance(classes, int)
        and isinstance(arguments, dict)
        and isinstance(config, dict)
        and {"size", "mean", "std"} <= {*config} <= fields
    )


def save_checkpoint(
    path: Path, model: nn.Module, *, num_classes: int, arguments: Mapping[str, Any], config: InputConfig, **more: str
) -> None:
    """Writes a model's weights as safetensors, with the metadata that `read_checkpoint` understands (`visionscope.*`).

    Equal weights and metadata give equal bytes. A digest of the tensors goes with them, see `is_as_written`.

    Args:
        path: the file; it appears under its name only when it is complete and on the disk.
        model: whose state is written, with the blocks that were changed in it.
        num_classes: size of the head.
        arguments: keyword arguments of the architecture, as JSON can hold them.
        config: how the model wants its images.
        more: further metadata.
    """
    own = {
        "num_classes": str(num_classes),
        "arguments": json.dumps(dict(arguments), sort_keys=True),
        "input": json.dumps(dataclasses.asdict(config), sort_keys=True),
        **more,
    }
    if changes_of(model):
        own["blocks"] = changes_text(changes_of(model))
    if official.settled(model) is not None:
        own["layer_norm_eps"] = repr(official.settled(model))
    metadata = {NAMESPACE + key: value for key, value in own.items()}
    content = save(_unshared(model.state_dict()), metadata)
    write_whole(path, functools.partial(_write_sorted, content))


def _write_sorted(content: bytes, file: BinaryIO) -> None:
    """Writes a safetensors file with a digest and its header in order; the library's own is another in each process."""
    end = 8 + int.from_bytes(content[:8], "little")
    described = json.loads(content[8:end])
    digest = _described_digest(described)
    digest.update(memoryview(content)[end:])
    described["__metadata__"][NAMESPACE + _DIGEST] = digest.hexdigest()
    header = json.dumps(described, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8 bytes
    file.write(len(header).to_bytes(8, "little"))
    file.write(header)
    file.write(memoryview(content)[end:])


def _described_digest(described: Mapping[str, Any]) -> hashlib._Hash:
    """Of the names, types, shapes and places of a safetensors file's tensors; their numbers follow."""
    tensors = {name: value for name, value in described.items() if name != "__metadata__"}
    return hashlib.sha256(json.dumps(tensors, sort_keys=True).encode())


def is_as_written(path: Path) -> bool:
    """Whether a safetensors file has the tensors that `save_checkpoint` wrote there with its metadata.

    Args:
        path: the file. One without a digest, from before there was one or of another program, counts as it is.

    Raises:
        OSError: when it can't be read or is no regular file.
        ValueError: when it is no safetensors file.
    """
    with open_regular(path) as file:
        described = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        told = own_metadata(described.get("__metadata__", {})).get(_DIGEST)
        digest = _described_digest(described)
        return told is None or hashlib.file_digest(file, lambda: digest).hexdigest() == told  # type: ignore[arg-type]


def _unshared(state: Mapping[str, Tensor]) -> State:
    """Contiguous tensors of which no two share memory, which safetensors refuses; tied weights are written twice."""
    seen: set[int] = set()
    result = {}
    for name, value in state.items():
        place = value.untyped_storage().data_ptr()
        result[name] = value.clone(memory_format=torch.contiguous_format) if place in seen else value.contiguous()
        seen.add(place)
    return result
