"""Files of weights that are something else, damaged or hostile: a line each, no code run, no hang, no memory taken."""

import gzip
import io
import json
import math
import os
import pickle
import resource
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError
from visionscope.models.checkpoint import read_checkpoint
from visionscope.models.load import load_model

INPUT = InputConfig(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


def refused(path: Path, message: str) -> None:
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match=message) as raised:
        read_checkpoint(path)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 900
    assert "weights_only" not in str(raised.value)
    assert time.process_time() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


OTHERS = {
    "pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
    "pointer.pth": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "it is a Git LFS pointer instead of the file",
    ),
    "page.pth": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "it is a web page; download the file itself"),
    "page.safetensors": (b"\n  <html lang='en'>", "it is a web page"),
    "denied.pth": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "it is an XML document"),
    "model.safetensors.index.json": (b'{"metadata": {}, "weight_map": {"a": "b"}}', "a list of the files that hold"),
    "config.pth": (b'{"architectures": ["ViT"]}', "it is JSON; wanted is a state_dict"),
    "model.gguf": (b"GGUF\x03\0\0\0", "it is a GGUF file; wanted is"),
    "model.h5": (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras writes it"),
    "model.onnx": (b"\x08\x08\x12\x07pytorch", "it is an ONNX graph"),
    "model.ckpt.index": (b"\x00\x00\x01a", "a part of a TensorFlow checkpoint"),
    "flax_model.msgpack": (b"\xde\x00\x10", "it is a Flax file"),
    "model.tflite": (b"\x1c\0\0\0TFL3", "it is a TensorFlow Lite file"),
    "array.npy": (b"\x93NUMPY\x01\0", "it is one array without a name"),
    "w.pth.gz": (gzip.compress(b"x"), "it is compressed; unpack it first"),
    "cat.png": (b"\x89PNG\r\n\x1a\n", "it is an image"),
    "empty.safetensors": (b"", "it is not a readable safetensors file: it is empty"),
    "empty.npz": (b"", "it is not a readable npz file: it is empty"),
    "zeros.pth": (b"\0" * 1000, "it begins with nothing but zeros"),
    "notes.pth": (b"epoch 3, loss 0.1", "it begins with b'epoch 3, los'; wanted is"),
    "control.pth": (b"\x1b[31mred", "it begins with"),
    "long.safetensors": (struct.pack("<Q", 2**60) + b"{}", "it is not a readable safetensors file: "),
    "short.safetensors": (struct.pack("<Q", 50) + b"{", "it is not a readable safetensors file: "),
    "deep.safetensors": (
        struct.pack("<Q", 20_000) + b'{"a":' + b"[" * 19_995,
        "it is not a readable safetensors file: ",
    ),
    "half.zip.pth": (b"PK\x03\x04" + b"\0" * 50, "it is not a readable torch file: "),
    "none.npz": (b"PK\x05\x06" + b"\0" * 18, "it holds no tensors by parameter name"),
    "protocol.pth": (b"\x80\x09.", "it is not a readable torch file: "),
    "opcodes.pth": (b"\x80\x02" + bytes(range(1, 200)), "it is not a readable torch file: "),
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_that_are_something_else_are_named(name: str, tmp_path: Path) -> None:
    content, message = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)


def _header(**tensors: Any) -> bytes:
    content = json.dumps(tensors).encode()
    return struct.pack("<Q", len(content)) + content


@pytest.mark.parametrize(
    "content",
    [
        _header(w={"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}),
        _header(w={"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}) + b"\0" * 8,
        _header(w={"dtype": "F32", "shape": [2**63, 4], "data_offsets": [0, 8]}) + b"\0" * 8,
        _header(w={"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}) + b"\0" * 8,
        _header(w={"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}) + b"\0" * 8,
        _header(w={"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}) + b"\0" * 8,
        _header(w=3),
    ],
)
def test_safetensors_that_declare_what_is_not_there(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(tmp_path / "a.safetensors", "it is not a readable safetensors file: ")


def test_a_format_is_told_by_content_whatever_the_name(tmp_path: Path) -> None:
    state = {"w": torch.ones(2)}
    save_file(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.npz", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "c.npz", w=np.ones(2))
    (tmp_path / "c.npz").rename(tmp_path / "c.bin")
    for name in ("a.pth", "a.safetensors", "b.npz", "c.bin"):
        assert read_checkpoint(tmp_path / name).state["w"].tolist() == [1, 1]


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "round.pth").symlink_to("other.pth")
    (tmp_path / "other.pth").symlink_to("round.pth")
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    (tmp_path / "folder.pth").mkdir()
    for name, message in {
        "pipe.pth": "it can't be read: it is a named pipe, not a file",
        "pipe.safetensors": "it is a named pipe",
        "round.pth": "it can't be read: Too many levels of symbolic links",
        "zero.safetensors": "it is a device, not a file",
        "folder.pth": "it is a folder, not a file",
        "gone.pth": "there is no such file",
        "folder.pth/../folder.pth/x": "there is no such file",
    }.items():
        refused(tmp_path / name, message)
    refused(Path("/dev/zero"), "it is a device")
    refused(tmp_path / "pipe.pth#model", "there is no such file|named pipe")


def _zip(path: Path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("entry", ["archive/data.pkl", "w.npy", "archive/data/0"])
def test_archives_that_would_fill_the_memory(entry: str, tmp_path: Path) -> None:
    _zip(tmp_path / "bomb.pth", {"archive/data.pkl": b"\x80\x02}.", entry: b"\0" * 2**29})
    refused(tmp_path / "bomb.pth", "it declares 536,.* bytes and has [0-9,]+; no file of weights is compressed so much")


def test_an_archive_with_a_pickle_of_a_hundred_megabytes(tmp_path: Path) -> None:
    _zip(tmp_path / "long.pth", {"archive/data.pkl": b"N0" * 50_000_000})
    refused(tmp_path / "long.pth", "it holds 100,000,000 bytes beside the weights; at most 67,108,864 are read")


def _array(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + b"\0" * 8


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(2**62, 2**62)", "(-1,)", "(99999999999999999999, 3)", "'x'", "(3,)"]
)
def test_arrays_that_declare_what_is_not_there(shape: str, tmp_path: Path) -> None:
    _zip(tmp_path / "a.npz", {"w.npy": _array(shape)})
    refused(tmp_path / "a.npz", "a.npz: ('w.npy' declares the shape|it is not a readable npz file: )")


@pytest.mark.parametrize("kind", ["object", "U5", "datetime64[s]", "void"])
def test_arrays_that_are_no_numbers(kind: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.zeros(3, dtype=[("a", "f4")] if kind == "void" else kind))
    refused(tmp_path / "a.npz", "it is not a readable npz file: ")


def test_a_tar_archive_is_unpacked_first(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pth")
    with tarfile.open(tmp_path / "w.pth.tar", "w") as archive:
        archive.add(tmp_path / "w.pth")
    refused(tmp_path / "w.pth.tar", "it is a tar archive; unpack it first")


def _itself(key: str, **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = dict(more)
    content[key] = content
    return content


def _braided() -> dict[str, Any]:
    """Each dictionary holds the next under eight known keys: 8 ** 40 ways to the end of it."""
    content: dict[str, Any] = {"epoch": 1}
    for _ in range(40):
        content = dict.fromkeys(
            ("state_dict", "model", "net", "network", "module", "weights", "ema", "params"), content
        )
    return content


def _nested(depth: int) -> dict[str, Any]:
    content: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(depth):
        content = {"model": content}
    return content


@pytest.mark.parametrize(
    "content",
    [_itself("model"), _itself("state_dict", ema={}), _braided(), _nested(300), {"model": [_itself("model")]}],
)
def test_pickles_that_hold_themselves_or_each_other(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "it holds no tensors by parameter name")


def test_a_pickle_that_holds_itself_beside_the_weights_is_read(tmp_path: Path) -> None:
    torch.save(_itself("model", w=torch.ones(2)), tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").state["w"].tolist() == [1, 1]


def test_a_pickle_as_deep_as_a_million_brackets(tmp_path: Path) -> None:
    for name, content in {"lists": b"\x80\x02" + b"]" * 10**6, "tuples": b"\x80\x02)" + b"\x85" * 10**6}.items():
        with zipfile.ZipFile(tmp_path / f"{name}.pth", "w") as archive:
            archive.writestr("archive/data.pkl", content + b".")
            archive.writestr("archive/version", "3")
        refused(tmp_path / f"{name}.pth", "it holds no tensors by parameter name|it is not a readable torch file: ")


class _Calls:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_allowed_functions_with_huge_arguments(tmp_path: Path) -> None:
    for content in (_Calls(bytearray, 10**13), _Calls(bytearray, 10**18), _Calls(torch.Size, [2**70])):
        torch.save({"a": content, "b": 1}, tmp_path / "a.pth")
        refused(tmp_path / "a.pth", "it holds no tensors|it is not a readable torch file: |Python objects")


def test_numbers_that_changed_on_the_disk(tmp_path: Path) -> None:
    """Each entry of the archive has a checksum, which torch doesn't look at."""
    torch.save({"w": torch.full((1000,), 3.0)}, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    place = content.index(struct.pack("<f", 3.0) * 10)
    content[place + 3] ^= 1
    (tmp_path / "a.pth").write_bytes(content)
    refused(tmp_path / "a.pth", "it is not a readable torch file: Bad CRC-32 for file")


def test_files_that_were_saved_without_checksums(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.full((1000,), 3.0)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_checkpoint(tmp_path / "a.pth").state["w"].unique().tolist() == [3]


def test_storages_that_are_not_there(tmp_path: Path) -> None:
    """Numbers are declared in the pickle, apart from the bytes that hold them."""
    torch.save({"w": torch.ones(3)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes()
    storage = content.index(b"cpu")
    assert content[storage + 3 :].startswith(b"q\x06K\x03N") or b"K\x03" in content
    (tmp_path / "a.pth").write_bytes(content.replace(b"K\x03N", b"\x8a\x06\0\0\0\0\0\x10N"))
    refused(tmp_path / "a.pth", "it is not a readable torch file: ")


STRANGE: dict[str, tuple[Callable[[], Any], str]] = {
    "meta": (lambda: torch.ones(2, 2, device="meta"), "'w' is on the meta device, a shape without numbers; save"),
    "sparse": (lambda: torch.eye(2).to_sparse(), r"'w' is sparse \(sparse_coo\); save it after .to_dense"),
    "csr": (lambda: _quiet(torch.eye(2).to_sparse_csr), r"'w' is sparse \(sparse_csr\)"),
    "quantised": (lambda: _quiet(torch.quantize_per_tensor, torch.ones(2, 2), 0.1, 0, torch.qint8), "is quantised;"),
    "endless": (lambda: torch.ones(1).expand(2**40), r"'w' has the shape \(1099511627776,\), far more numbers than"),
    "wide": (lambda: torch.ones(1, 1).expand(2**30, 2**30), r"'w' has the shape .*after .contiguous"),
}


def _quiet(function: Callable[..., Any], *arguments: Any) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch calls a prototype, or old
        return function(*arguments)


@pytest.mark.parametrize("kind", STRANGE)
def test_tensors_that_hold_no_plain_numbers(kind: str, tmp_path: Path) -> None:
    make, message = STRANGE[kind]
    _quiet(torch.save, {"state_dict": {"a": torch.ones(1), "w": make()}}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", message)


def test_a_nested_tensor_is_an_object_of_another_program(tmp_path: Path) -> None:
    nested = _quiet(torch.nested.nested_tensor, [torch.ones(1), torch.ones(2)])
    _quiet(torch.save, {"a": torch.ones(1), "w": nested}, tmp_path / "a.pth")
    assert set(read_checkpoint(tmp_path / "a.pth").state) == {"a"}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_of_other_floating_types_load(kind: torch.dtype, tmp_path: Path) -> None:
    model = load_model("resnet_nano", random_weights=0).model
    save_file({name: value.to(kind) for name, value in model.state_dict().items()}, tmp_path / "a.safetensors")
    loaded = load_model(f"resnet_nano@{tmp_path}/a.safetensors").model
    assert torch.equal(loaded.conv1[0].weight, model.conv1[0].weight.to(kind).float())


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_numbers_that_would_become_others_are_refused(kind: torch.dtype, tmp_path: Path) -> None:
    state = load_model("resnet_nano", random_weights=0).model.state_dict()
    state["fc.weight"] = state["fc.weight"].to(kind)
    torch.save(state, tmp_path / "a.pth")
    word = str(kind).removeprefix("torch.")
    with pytest.raises(ConfigError, match=f"'fc.weight' holds {word} numbers instead of float32; save"):
        load_model(f"resnet_nano@{tmp_path}/a.pth")


@pytest.mark.parametrize("name", ["fc.weight", "layer1.0.bn1.running_var"])
def test_weights_that_are_no_numbers_name_their_file(name: str, tmp_path: Path) -> None:
    state = load_model("resnet_nano", random_weights=0).model.state_dict()
    state[name].view(-1)[0] = math.nan
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=rf"checkpoint .*a.pth: the (parameter|buffer) '{name}' holds NaN \(1 of its"):
        load_model(f"resnet_nano@{tmp_path}/a.pth")


def test_what_overflows_the_networks_type_is_infinite(tmp_path: Path) -> None:
    state = {
        name: value.double() for name, value in load_model("resnet_nano", random_weights=0).model.state_dict().items()
    }
    state["fc.bias"][:] = 1e300
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=r"'fc\.bias' holds infinity"):
        load_model(f"resnet_nano@{tmp_path}/a.pth")


def test_what_a_plain_pickle_says(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"w": [1, 2]}))
    refused(tmp_path / "a.pth", "it is not a readable torch file: ")
    stream = io.BytesIO()
    pickle.dump({"w": np.ones(2)}, stream)
    (tmp_path / "b.pth").write_bytes(stream.getvalue())
    refused(tmp_path / "b.pth", "it is not a readable torch file: |Python objects")
