"""Published sets that are broken, lie about their size, or are no files."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pictures import png
from test_conflict import write as write_conflict
from test_corruptions import write_arrays, write_tree

from visionscope.data.conflict import ConflictFolder, names_digest
from visionscope.data.published_corruptions import open_published
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError, DataError

Write = Callable[..., Path]


def _header(path: Path, text: str) -> None:
    line = text.encode().ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line)


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("arr_0.npy", b"\0" * 1000)


def _shape(shape: str) -> str:
    return f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"


SPOILT: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "loop": lambda path: path.symlink_to(path),
    "objects": lambda path: np.save(path, np.array([{"a": 1}], object), allow_pickle=True),
    "archive": _archive,
    "pickle": lambda path: path.write_bytes(b"cos\nsystem\n(S'true'\ntR."),
    "declared": lambda path: _header(path, _shape("(1000000000, 1000000000, 9, 3)")),
    "large": lambda path: _header(path, _shape("(1000000, 1000, 9, 3)")),
    "overflow": lambda path: _header(path, _shape("(" + "9" * 30 + ", 1, 1, 3)")),
    "negative": lambda path: _header(path, _shape("(-5, 4, 4, 3)")),
    "expression": lambda path: _header(path, "(" * 60 + ")" * 50),
    "no bytes": lambda path: path.write_bytes(b""),
    "no images": lambda path: np.save(path, np.zeros((0, 16, 16, 3), np.uint8)),
}


@pytest.mark.parametrize("name", ["fog", "labels"])
@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_no_array_of_images_is_refused_unread(kind: str, name: str, tmp_path: Path) -> None:
    path = write_arrays(tmp_path) / f"{name}.npy"
    path.unlink()
    SPOILT[kind](path)
    with pytest.raises(DataError, match=rf"corruption\.folder: .*{name}\.npy") as caught:
        open_published(str(tmp_path), ("fog", "snow"), (1, 2), None)
    assert "\n" not in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize("index", range(0, 20, 3))
def test_any_image_of_an_array_that_changes_changes_the_fingerprint(index: int, tmp_path: Path) -> None:
    def fingerprint() -> str:
        return open_published(str(tmp_path), ("fog", "snow"), (1, 2), None).fingerprint()

    write_arrays(tmp_path)
    before = fingerprint()
    images = np.load(tmp_path / "snow.npy")
    images[index, 3, 4, 1] ^= 1
    np.save(tmp_path / "snow.npy", images)
    assert fingerprint() != before


def test_any_file_that_changes_its_size_changes_the_fingerprint(tmp_path: Path) -> None:
    def fingerprint() -> str:
        return open_published(str(tmp_path), ("fog", "snow"), (1, 2), None).fingerprint()

    write_tree(tmp_path)
    before = fingerprint()
    last = sorted(tmp_path.rglob("*.JPEG"))[-1]
    last.write_bytes(last.read_bytes() + b"\0")
    assert fingerprint() != before


def test_a_pipe_in_a_published_tree_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path)
    for severity in (1, 2):
        for kind in ("fog", "snow"):
            os.mkfifo(tmp_path / kind / str(severity) / "n01440764" / "x.JPEG")
    with pytest.raises(DataError, match=r"x\.JPEG is a named pipe, not a file"):
        open_published(str(tmp_path), ("fog", "snow"), (1, 2), 1000)


@pytest.mark.parametrize("text", ["~nobody_of_that_name/x", "x\0", "x" * 300, "x\ud800"])
def test_paths_that_no_folder_can_have(text: str) -> None:
    with pytest.raises(ConfigError, match=r"corruption\.folder: "):
        open_published(text, ("fog",), (1,), None)
    for opened in (lambda: ConflictFolder(text, 16), lambda: names_digest(text)):
        with pytest.raises(ConfigError, match=r"shape_bias\.folder: "):
            opened()


def test_a_conflict_folder_with_a_pipe_or_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(write_conflict(tmp_path))
    os.mkfifo(root / "cat" / "cat9-bicycle1.png")
    for opened in (lambda: ConflictFolder(str(root), 16), lambda: names_digest(str(root))):
        with pytest.raises(DataError, match="is a named pipe"):
            opened()
    (root / "cat" / "cat9-bicycle1.png").unlink()
    whole = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: whole(path if Path(path).name != "cat" else "/nowhere"))
    with pytest.raises(DataError, match="cat can't be read: No such file"):
        ConflictFolder(str(root), 16)


def test_names_of_conflict_images_may_be_no_utf_8(tmp_path: Path) -> None:
    root = Path(write_conflict(tmp_path, (("a\udcff", "a\udcff1-b2"), ("b", "b1-a\udcff2"))))
    source = ConflictFolder(str(root), 2)
    assert source.classes == ("a\\udcff", "b")
    assert source.name(0) == "a\\udcff/a\\udcff1-b2.png"
    assert len(names_digest(str(root))) == 64


def _hub(parquet_folder: Write, cells: list[Any]) -> Path:
    features = {"img": {"_type": "Image"}, "fine": {"_type": "ClassLabel", "names": ["owl", "\x1b[1melk"]}}
    labels = pa.array([0] * len(cells), pa.int64())
    metadata = json.dumps({"info": {"features": features}})
    return parquet_folder({"img": cells, "fine": labels}, folder="hub", metadata=metadata)


def test_local_data_of_hugging_face_point_nowhere_else(
    parquet_folder: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    (tmp_path / "outside.png").write_bytes(png())
    paths = ("/dev/zero", str(tmp_path / "outside.png"), "/etc/passwd")
    root = _hub(parquet_folder, [{"bytes": None, "path": path} for path in paths] + [{"bytes": png(), "path": "a"}])
    source = open_source(f"hfds/{root}", root=tmp_path / "cache")
    assert source.classes == ("owl", "\\x1b[1melk")
    for index in range(3):
        with pytest.raises(DataError, match="which is outside of its data"):
            source.content(index)
    assert source.content(3) == png()


def test_local_data_of_hugging_face_hold_no_pipes_and_no_scripts(parquet_folder: Write, tmp_path: Path) -> None:
    root = _hub(parquet_folder, [{"bytes": png(), "path": "a"}])
    os.mkfifo(root / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet is neither a folder nor a file"):
        open_source(f"hfds/{root}")
    script = tmp_path / "scripted"
    script.mkdir()
    (script / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(DataError, match="can't be fetched"):
        open_source(f"hfds/{script}", root=tmp_path / "cache")
    assert not (tmp_path / "ran").exists()
