"""Files of weights by format: told by their first bytes, bounded by what they declare, read without running code."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from visionscope.core.files import open_regular
from visionscope.core.printable import printable, quoted
from visionscope.errors import ConfigError
from visionscope.models.find import opened_weights

_HEAD = 512  # bytes that tell what a file is
_INFLATION = 20  # bytes that a byte of a file may stand for, beyond
_FREE = 2**28
_LONGEST_HEADER = 10**8  # bytes, of safetensors
_LONGEST_PICKLE = 2**26  # bytes of all in a torch file but the tensors' numbers
_CHUNK = 2**22  # bytes read at a time
_LONGEST_REASON = 200  # characters
_UNKNOWN = re.compile(r"GLOBAL ([\w.]+)")
_CONTAINER = re.compile(rf"Can only [\w ]*?(dict|list)s?,.* got <class '{re.escape(__name__)}\.([\w.]+)'>")
_DETAIL = re.compile(r"WeightsUnpickler error: ([^\n]*)")
_MOST_FOREIGN = 200
_WANTED = "wanted is a state_dict() as safetensors, by torch.save, or as .npz"
# By their first bytes, and where in the file these are.
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "it is a Git LFS pointer instead of the file; git lfs pull fetches the file"),
    (0, b"<!doctype", "it is a web page; download the file itself"),
    (0, b"<html", "it is a web page; download the file itself"),
    (0, b"<?xml", "it is an XML document, such as a server's error; download the file itself"),
    (0, b"gguf", f"it is a GGUF file; {_WANTED}"),
    (0, b"\x89hdf", f"it is an HDF5 file, as Keras writes it; {_WANTED}"),
    (4, b"tfl3", f"it is a TensorFlow Lite file; {_WANTED}"),
    (0, b"\x93numpy", f"it is one array without a name; {_WANTED}"),
    (257, b"ustar", f"it is a tar archive; unpack it first: {_WANTED}"),
    *(
        (0, magic, f"it is compressed; unpack it first: {_WANTED}")
        for magic in (b"\x1f\x8b", b"bzh", b"\xfd7zxz", b"7z")
    ),
    *((0, magic, f"it is an image; {_WANTED}") for magic in (b"\x89png", b"\xff\xd8\xff", b"gif8", b"riff")),
)
_SUFFIXES = {
    ".onnx": f"it is an ONNX graph; {_WANTED}",
    ".index": f"it is a part of a TensorFlow checkpoint; {_WANTED}",
    ".msgpack": f"it is a Flax file; {_WANTED}",
}


class Foreign:
    """Stands for an object of another program that lies beside the weights; nothing of that program is run."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """An object that remembers nothing, or a plain container where the file fills it."""
        return cls.filled() if cls.filled else super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    filled: type[dict[Any, Any]] | type[list[Any]] | None = None


def read_content(path: Path) -> tuple[Any, dict[str, str]]:
    """The content of a file of torch, safetensors or numpy (`.npz`), and the metadata of safetensors.

    What it is its first bytes tell, not its name. Objects of other programs beside the weights (arguments, metrics) are
    left unread.

    Args:
        path: the file.

    Raises:
        ConfigError: when there is no such file, it is something else, damaged, or declares far more than it holds, or
            its weights could only be read by running code.
    """
    with opened_weights(path) as file:
        head = file.read(_HEAD)
        if head[:2] == b"PK":
            names = _checked_archive(path, file)
            return _read_npz(path, file) if names else _read_torch(path), {}
    if head[8:9] == b"{" and (path.suffix == ".safetensors" or int.from_bytes(head[:8], "little") <= _LONGEST_HEADER):
        return _read_safetensors(path)
    if head[:1] == b"\x80":
        return _read_torch(path), {}
    raise ConfigError(f"checkpoint {path}: it is not a readable {_meant(path)} file: {_what_it_is(head, path)}")


def check_archive(path: Path) -> None:
    """Refuses a zip archive, as torch writes it, that declares far more than it holds or is damaged; reads no object.

    Args:
        path: the file; one of another format is let through.

    Raises:
        ConfigError: naming what it declares.
        OSError: when it can't be read or is no regular file; `strerror` says which.
    """
    with open_regular(path) as file:
        if file.read(2) == b"PK":
            _checked_archive(path, file)


def check_tensors(state: dict[str, Tensor], path: Path) -> None:
    """Refuses tensors that hold no plain numbers, or declare far more of them than the file has.

    Args:
        state: by name.
        path: of the file, for errors.

    Raises:
        ConfigError: naming the first such tensor and what to save instead.
    """
    allowance = _allowance(path.stat().st_size)
    for name, value in state.items():
        found = _unusable(value)
        if found:
            raise ConfigError(f"checkpoint {path}: {quoted(name)} is {found}")
        size = value.numel() * value.element_size()
        if size > value.untyped_storage().nbytes():  # repeated along an axis
            allowance -= size
        if allowance < 0:
            raise ConfigError(
                f"checkpoint {path}: {quoted(name)} has the shape {quoted(tuple(value.shape))}, far more numbers than "
                "the file; save it again after .contiguous()"
            )


def _unusable(value: Tensor) -> str:
    if value.is_meta:
        return "on the meta device, a shape without numbers; save the state_dict() of the network that has them"
    if value.is_quantized:
        return "quantised; save the state_dict() from before quantisation"
    if value.is_nested:
        return "a nested tensor; save each of its tensors by a name of its own"
    if value.layout != torch.strided:
        return f"sparse ({str(value.layout).removeprefix('torch.')}); save it after .to_dense()"
    return ""


def _allowance(size: int) -> int:
    """Bytes that a file of a size may declare: compressed weights are hardly smaller, empty ones very much."""
    return _INFLATION * size + _FREE


def _meant(path: Path) -> str:
    return {".safetensors": "safetensors", ".npz": "npz"}.get(path.suffix, "torch")


def _what_it_is(head: bytes, path: Path) -> str:
    start = head.lower()
    if not start.strip(b"\0 \t\r\n"):
        return "it is empty" if not start else "it begins with nothing but zeros"
    for place, magic, words in _OTHERS:
        if start[place:].startswith(magic) or (not place and start.lstrip().startswith(magic)):
            return words
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    if start.lstrip()[:1] in (b"{", b"["):
        if path.name.endswith(".index.json") or b"weight_map" in start:
            return "it is a list of the files that hold the weights; name a file that holds all of them"
        return f"it is JSON; {_WANTED}"
    return f"it begins with {quoted(head[:12])}; {_WANTED}"


def _checked_archive(path: Path, file: BinaryIO) -> bool:
    """Whether a zip archive is numpy's, after a look at what it declares."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            declared = sum(entry.file_size for entry in entries)
            size = os.fstat(file.fileno()).st_size
            if declared > _allowance(size):
                raise ConfigError(
                    f"checkpoint {path}: it declares {declared:,} bytes and has {size:,}; no file of weights is "
                    "compressed so much"
                )
            pickled = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
            if pickled > _LONGEST_PICKLE:
                raise ConfigError(
                    f"checkpoint {path}: it holds {pickled:,} bytes beside the weights; at most {_LONGEST_PICKLE:,} "
                    "are read, save the state_dict() alone"
                )
            arrays = [entry for entry in entries if entry.filename.endswith(".npy")]
            for entry in arrays:
                _check_array(path, archive, entry)
            for entry in entries:
                _check_sum(archive, entry)
            return bool(arrays) or (path.suffix == ".npz" and not pickled)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise ConfigError(f"checkpoint {path}: it is not a readable {_meant(path)} file: {_line(error)}") from error


def _check_sum(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Reads an entry for its checksum, which torch doesn't look at; 0 is written where torch was told to make none.

    Raises:
        zipfile.BadZipFile: when the numbers are not those that were saved.
    """
    if entry.CRC:
        with archive.open(entry) as file:
            while file.read(_CHUNK):
                pass


def _check_array(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
    numbers = 1
    for length in shape:
        numbers *= length
    if numbers < 0 or numbers * kind.itemsize > entry.file_size:
        raise ConfigError(
            f"checkpoint {path}: {quoted(entry.filename)} declares the shape {quoted(shape)} and has "
            f"{entry.file_size:,} bytes"
        )


def _read_safetensors(path: Path) -> tuple[Any, dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RuntimeError, KeyError) as error:
        raise ConfigError(f"checkpoint {path}: it is not a readable safetensors file: {_line(error)}") from error


def _read_npz(path: Path, file: BinaryIO) -> dict[str, Tensor]:
    file.seek(0)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
    except Exception as error:  # a damaged archive raises errors of numpy, zipfile, zlib and struct
        raise ConfigError(f"checkpoint {path}: it is not a readable npz file: {_line(error)}") from error


def _read_torch(path: Path) -> Any:
    """Unknown classes are replaced by ones that do nothing, one after the other, as torch's reader tells them."""
    known: dict[str, type[Foreign]] = {}
    while True:
        try:
            replaced: list[Any] = [(kind, name) for name, kind in known.items()]
            # As an open file, for torch tells the format of a path by its suffix.
            with torch.serialization.safe_globals(replaced), warnings.catch_warnings(), open_regular(path) as file:
                warnings.simplefilter("ignore")  # what torch says of a scripted model is said as an error below
                return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if len(known) < _MOST_FOREIGN and _replaced(known, str(error)):
                continue
            if known or _UNKNOWN.search(str(error)):
                raise ConfigError(
                    f"checkpoint {path}: it holds Python objects and could only be read by running code from the "
                    "file, which is refused; save the state_dict() alone, best as safetensors"
                ) from error
            raise ConfigError(f"checkpoint {path}: it is not a readable torch file: {_line(error)}") from error
        except Exception as error:  # a damaged or hostile pickle raises whatever its instructions lead to
            if "TorchScript" in str(error):
                raise ConfigError(
                    f"checkpoint {path}: it is a scripted model; save its state_dict() alone, best as safetensors"
                ) from error
            raise ConfigError(f"checkpoint {path}: it is not a readable torch file: {_line(error)}") from error


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
    """The first line of an error without a library's advice on how to run a file's code after all."""
    detail = _DETAIL.search(str(error))
    line = detail[1] if detail else str(error).strip().partition("\n")[0]
    if "weights_only" in line or "Weights only load failed" in line:
        line = "its pickle is damaged"
    return printable(line)[:_LONGEST_REASON] or type(error).__name__
