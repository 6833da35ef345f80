"""Data specs: what is refused, and how soon."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from visionscope.data.sources import open_source
from visionscope.data.specs import DataSpec, check_data_spec, find_data
from visionscope.errors import ConfigError, DataError, VisionscopeError

UNUSABLE = [
    (None, "data: must be text"),
    (3, "data: must be text"),
    (["embedded"], "data: must be text"),
    ("", "name the images"),
    (" \n\t", "name the images"),
    ("photos\0", "can't hold a NUL"),
    ("embedded\0:test", "can't hold a NUL"),
    ("~nobody_of_that_name/photos", "there is no home folder '~nobody_of_that_name'"),
    ("x" * 300, "at most 255 bytes"),
    ("photos/" * 2000, "at most 4095 bytes"),
    ("https://example.org/photos.zip", "is an address, and nothing is fetched"),
    ("s3://bucket/photos:test", "is an address"),
    ("file:///tmp/photos", "is an address"),
    ("torch/nosuch", "no torchvision data set 'nosuch'"),
    ("torch/../cifar10", "no torchvision data set"),
    ("torch/" + "c" * 5000, "at most 255 bytes"),
    ("torch/cifar10:tset", "has no split 'tset', only: train, test"),
    ("embedded:tset", "embedded data has no split 'tset'"),
    ("embedded:", "ends with a colon"),
    ("torch/cifar10:", "ends with a colon"),
    ("hfds/uoft-cs/cifar100:", "ends with a colon"),
    ("wds/shards", "is a stream"),
]


@pytest.mark.parametrize(("text", "told"), UNUSABLE)
def test_what_no_data_can_be_is_told_without_looking_at_a_file(text: object, told: str) -> None:
    with pytest.raises(VisionscopeError, match=told) as caught:
        check_data_spec(text)
    assert len(str(caught.value)) < 5500


@pytest.mark.parametrize("text", ["embedded", "embedded:conflict", "embedded:validation", "torch/CIFAR10:train", "a:b"])
def test_what_may_be_data_passes(text: str) -> None:
    check_data_spec(text)


def _at(folder: Path, kind: str) -> Path:
    path = folder / kind
    if kind == "pipe.parquet":
        os.mkfifo(path)
    elif kind == "device.parquet":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(folder / "nowhere")
    elif kind == "photo.png":
        path.write_bytes(b"no matter what")
    return path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", "there is no"),
        ("pipe.parquet", "is neither a folder nor a file; give a folder"),
        ("device.parquet", "is neither a folder nor a file"),
        ("loop", "can't be accessed: Too many levels of symbolic links"),
        ("dangling", "there is no"),
        ("photo.png", "is a file; give a folder of class folders"),
        ("photo.png/inside", "there is no"),
    ],
)
def test_a_path_that_can_be_no_data_is_told_in_one_line(kind: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        find_data(str(_at(tmp_path, kind)))
    with pytest.raises(DataError, match=told):
        open_source(str(tmp_path / kind))


def test_a_name_that_the_hub_can_t_have_is_not_looked_up() -> None:
    for name in ("../secret", "a/b/c", "a b", "x" * 200, "a/" + "b" * 97):
        with pytest.raises(DataError, match="is neither a name on the Hugging Face hub"):
            find_data(f"hfds/{name}")


def test_a_path_that_is_there_may_hold_colons_and_be_called_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a:b", "a:b:", "[red]x", "\udcff\udcfe", "line\nbreak"):
        (tmp_path / name).mkdir()
        assert find_data(name) == DataSpec(name, "path", name, None)
    (tmp_path / "a").mkdir()
    assert find_data("a:b") == DataSpec("a:b", "path", "a:b", None)
    assert find_data("a:train") == DataSpec("a:train", "path", "a", "train")
    with pytest.raises(DataError, match="'a:' ends with a colon"):
        find_data("a:")


def test_a_prefix_alone_names_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="named after a slash, as in 'torch/cifar10'"):
        find_data("torch/")
    with pytest.raises(DataError, match="named after a slash, as in 'hfds/uoft-cs/cifar100'"):
        find_data("HFDS/")


def test_the_nearest_name_is_found_among_many_at_once(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"folder{number}.parquet").touch()
    with pytest.raises(DataError, match="Did you mean"):
        find_data(str(tmp_path / "foldr7.parquet"))


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VISIONSCOPE_DATA", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="VISIONSCOPE_DATA: must be a folder"):
        open_source("torch/cifar10")


def test_specs_are_checked_without_torch_and_timm() -> None:
    program = "import sys, visionscope.data.specs; sys.exit(bool({'torch', 'timm', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
