"""What never ends or never fits: files, folders and data that take for ever or all memory, by name."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Make = Callable[[Path], object]


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**42)


def _bomb(path: Path) -> None:
    """A gibibyte of zeros in a mebibyte, as an archive of torch has them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("archive/data.pkl", "w", force_zip64=True) as entry:
            for _ in range(1024):
                entry.write(bytes(2**20))
        file.writestr("archive/version", "3\n")


def _safetensors(path: Path, length: int, header: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", length) + header)


def _claiming(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}}).encode()
    _safetensors(path, len(header), header)


def _recursive(path: Path) -> None:
    """A list that holds itself, as the state of a network."""
    held: list[object] = []
    held.append(held)
    path.write_bytes(pickle.dumps({"state_dict": held}))


def _nested(path: Path) -> None:
    path.write_bytes(b"\x80\x02" + b"(" * 2_000_000 + b"t" * 2_000_000 + b".")


def _laughs(path: Path) -> None:
    """Lists of lists that stand for 10^30 entries, some bytes each."""
    held: list[object] = [0] * 10
    for _ in range(30):
        held = [held] * 10
    path.write_bytes(pickle.dumps({"state_dict": {"w": held}}))


def _yaml_laughs(path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]" for number in range(1, 30)]
    path.write_text("\n".join([*lines, "models: *a29", "data: embedded"]))


def _yaml_deep(path: Path) -> None:
    path.write_text("models: " + "[" * 200_000)


def _yaml_number(path: Path) -> None:
    path.write_text("models: [resnet_nano]\ndata: embedded\nseed: " + "9" * 2_000_000)


FILES: dict[str, Make] = {
    "pipe": os.mkfifo,
    "device": _device,
    "loop": _loop,
    "folder": lambda path: path.mkdir(),
    "huge": _huge,
}
CHECKPOINTS: dict[str, Make] = {
    **{f"{kind}{ending}": make for kind, make in FILES.items() for ending in (".safetensors", ".pth")},
    "length.safetensors": lambda path: _safetensors(path, 2**62),
    "header.safetensors": lambda path: _safetensors(path, 2**20, b"[" * 2**20),
    "claiming.safetensors": _claiming,
    "bomb.pth": _bomb,
    "recursive.pth": _recursive,
    "nested.pth": _nested,
    "laughs.pth": _laughs,
}
STUDIES: dict[str, Make] = {
    **{f"{kind}.yaml": make for kind, make in FILES.items()},
    "laughs.yaml": _yaml_laughs,
    "deep.yaml": _yaml_deep,
    "number.yaml": _yaml_number,
}


def _picture(path: Path) -> None:
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path, "PNG")


def _class_folder(root: Path) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        _picture(root / name / "0.png")
    return root


def _image_pipe(root: Path) -> None:
    os.mkfifo(_class_folder(root) / "dog" / "1.png")


def _image_device(root: Path) -> None:
    _device(_class_folder(root) / "dog" / "1.png")


def folder_loop(root: Path) -> None:
    (_class_folder(root) / "dog" / "again").symlink_to(root)


def _many_ways(root: Path) -> None:
    """2^40 ways through 40 folders."""
    for number in range(40):
        (root / f"d{number}").mkdir(parents=True)
        for link in ("x", "y"):
            (root / f"d{number}" / link).symlink_to(root / f"d{number + 1}")
    (root / "d40").mkdir()
    _picture(root / "d40" / "0.png")


def _pixels(root: Path) -> None:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + b"\0\0\0\0"
    (_class_folder(root) / "dog" / "0.png").write_bytes(file)


def _stripe(root: Path) -> None:
    Image.new("RGB", (1, 2_000_000)).save(_class_folder(root) / "dog" / "0.png")


def _huge_image(root: Path) -> None:
    (_class_folder(root) / "dog" / "0.png").unlink()
    _huge(root / "dog" / "0.png")


def _rows(root: Path, cells: pa.Array) -> None:
    root.mkdir()
    pq.write_table(pa.table({"image": cells, "label": pa.array([0] * len(cells))}), root / "x.parquet")


def _parquet_paths(root: Path) -> None:
    _rows(root, pa.array([{"bytes": None, "path": "/dev/zero"}] * 4))


def _parquet_pipe(root: Path) -> None:
    _rows(root, pa.array([{"bytes": None, "path": "pipe.png"}] * 4))
    os.mkfifo(root / "pipe.png")


def _parquet_file(root: Path) -> None:
    root.mkdir()
    os.mkfifo(root / "x.parquet")


def repeated(root: Path) -> None:
    value = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)).save(value, "BMP")
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array([value.getvalue()]))
    root.mkdir()
    table = pa.table({"image": cells})
    pq.write_table(table, root / "x.parquet", dictionary_pagesize_limit=2**28, store_schema=False)


def published_pipe(root: Path) -> None:
    root.mkdir()
    for name in ("fog", "labels"):
        os.mkfifo(root / f"{name}.npy")


def published_claim(root: Path) -> None:
    root.mkdir()
    shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000, 1000, 3), }"
    line = shape.encode().ljust(117) + b"\n"
    for name in ("fog", "labels"):
        (root / f"{name}.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line)


DATA: dict[str, Make] = {
    "pipe": os.mkfifo,
    "device": _device,
    "loop": _loop,
    "pipe.parquet": os.mkfifo,
    "device.parquet": _device,
    "huge.parquet": _huge,
    "image pipe": _image_pipe,
    "image device": _image_device,
    "folder loop": folder_loop,
    "many ways": _many_ways,
    "pixels": _pixels,
    "stripe": _stripe,
    "huge image": _huge_image,
    "parquet paths": _parquet_paths,
    "parquet pipe": _parquet_pipe,
    "parquet file": _parquet_file,
}
