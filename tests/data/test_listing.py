"""What lies in a data folder: every image of it or an error, whatever else lies there."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pictures import png
from timm.data.readers.reader_image_folder import find_images_and_targets

from visionscope.data.listing import KINDS, list_images
from visionscope.data.sources import open_source
from visionscope.errors import DataError

Write = Callable[..., Path]


def _never_listed(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Tests may run as root, who may read everything; a folder of that name fails as one of others' does."""
    whole = os.scandir

    def scandir(path: Any = ".") -> Any:
        if Path(path).name == name:
            raise OSError(number, os.strerror(number), str(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("name", ["dog", "puppies", "photos"])
def test_a_folder_that_can_t_be_read_is_named(
    name: str, number: int, class_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folder({"cat": 1, "dog": 1, "dog/puppies": 1})
    _never_listed(monkeypatch, name, number)
    with pytest.raises(DataError, match=f"{name} can't be read: {os.strerror(number)}; leaving it out would"):
        open_source(str(root))


def test_an_unreadable_split_is_no_split_less(class_folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folder({"train/cat": 1, "test/cat": 1})
    _never_listed(monkeypatch, "test", errno.EACCES)
    assert len(open_source(f"{root}:train")) == 1
    with pytest.raises(DataError, match="test can't be read: Permission denied"):
        open_source(str(root))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("pipe", r"image .*x\.jpg is a named pipe, not a file; remove it"),
        ("device", r"image .*x\.jpg is a device, not a file"),
        ("socket", r"image .*x\.jpg is a socket, not a file"),
        ("dangling", r"x\.jpg can't be read: No such file"),
        ("loop", "can't be read: Too many levels"),
    ],
)
def test_an_image_s_name_on_something_else_is_refused(kind: str, told: str, class_folder: Write) -> None:
    root = class_folder({"cat": 1, "dog": 1})
    path = root / "dog" / "x.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif kind == "dangling":
        path.symlink_to(root / "nowhere.jpg")
    else:
        path.symlink_to(path)
    with pytest.raises(DataError, match=told):
        open_source(str(root))


@pytest.mark.parametrize("target", ["", "cat", "dog", "dog/inner"])
def test_links_between_folders_end(target: str, class_folder: Write) -> None:
    root = class_folder({"cat": 1, "dog": 0, "dog/inner": 1})
    (root / "dog" / "inner" / "deep").symlink_to(root / target)
    with pytest.raises(DataError, match=r"is a link to .*, whose images would count twice; remove the link"):
        open_source(str(root))


@pytest.mark.parametrize("target", ["nowhere", "owl"])
def test_a_class_that_is_a_link_to_nowhere_is_not_left_out(target: str, class_folder: Write) -> None:
    root = class_folder({"cat": 1, "dog": 1})
    (root / "owl").symlink_to(root / target)
    with pytest.raises(DataError, match=r"owl can't be read: (No such file|Too many levels)"):
        open_source(str(root))


def test_links_to_other_folders_are_followed(class_folder: Write) -> None:
    elsewhere = class_folder({"tabby": 2}, folder="elsewhere")
    root = class_folder({"dog": 1})
    (root / "cat").symlink_to(elsewhere / "tabby")
    (root / "dog" / "linked.png").symlink_to(elsewhere / "tabby" / "0.png")
    source = open_source(str(root))
    assert (len(source), source.classes) == (4, ("cat", "dog"))


def test_folders_deep_below_each_other(class_folder: Write) -> None:
    root = class_folder({"/".join("abcdefghij"): 1})
    assert open_source(str(root)).classes == ("j",)
    with pytest.raises(DataError, match="more than 32 folders deep"):
        open_source(str(class_folder({"/".join(["d"] * 40): 1}, folder="deep")))


@pytest.mark.parametrize("ending", [".heic", ".svg", ".AVIF", ".jfif", ".dng"])
def test_images_of_a_kind_that_is_not_read_are_not_left_out_in_silence(ending: str, class_folder: Write) -> None:
    root = class_folder({"cat": 1})
    (root / "cat" / f"1{ending}").write_bytes(b"no matter what")
    with pytest.raises(DataError, match=f"1{ending} is of a kind of image that is not read"):
        open_source(str(root))


def test_other_files_are_left_out(class_folder: Write) -> None:
    root = class_folder({"cat": 1, "dog": 1})
    for name in ("readme.txt", "cat/labels.json", "dog/Thumbs.db", "dog/.x.jpg"):
        (root / name).write_bytes(b"")
    os.mkfifo(root / "dog" / "pipe")
    assert len(open_source(str(root))) == 2


def test_the_order_is_timm_s(class_folder: Write, tmp_path: Path) -> None:
    root = class_folder({"Class10": 11, "class2": 3, "class2b": 1, "x/y": 2, "10": 1, "9": 1, "a b": 1})
    (root / "Class10" / "IMG_9.PNG").write_bytes(png())
    (root / "Class10" / "img_10.png").write_bytes(png())
    samples, places = find_images_and_targets(str(root), types=KINDS)
    source = open_source(str(root))
    assert [str(root / source.name(index)) for index in range(len(source))] == [path for path, _ in samples]
    assert [source.label(index) for index in range(len(source))] == [label for _, label in samples]
    assert source.classes == tuple(places)


def test_names_that_are_no_numbers_though_they_look_so(class_folder: Write) -> None:
    source = open_source(str(class_folder({"²": 1, "٣": 1, "1" * 200: 1, "a": 1})))
    assert len(source.classes) == 4


def test_names_are_shown_without_what_steers_a_terminal(class_folder: Write) -> None:
    root = class_folder({"\x1b[31mred": 1, "\udcff\udcfe": 1, "line\nbreak": 1, "[bold]x": 1})
    source = open_source(str(root))
    shown = [*source.classes, *(source.name(index) for index in range(4))]
    assert "".join(shown).isprintable()
    assert "\n".join(shown).encode()
    assert sorted(source.classes) == sorted(["\\x1b[31mred", "\\udcff\\udcfe", "line break", "[bold]x"])
    assert sorted(source.image(index).size for index in range(4)) == [(20, 16)] * 4


def test_a_file_that_became_a_pipe_is_not_waited_for(class_folder: Write) -> None:
    root = class_folder({"cat": 2})
    source = open_source(str(root))
    for number, make in enumerate((os.mkfifo, os.mkdir)):
        (root / f"cat/{number}.png").unlink()
        make(root / f"cat/{number}.png")
        with pytest.raises(DataError, match=f"{number}.png can't be read: it is a (named pipe|folder), not a file"):
            source.image(number)


def test_a_huge_file_is_not_read(class_folder: Write) -> None:
    root = class_folder({"cat": 1})
    os.truncate(root / "cat" / "0.png", 2**40)
    with pytest.raises(DataError, match="at most 536,870,912 are read"):
        open_source(str(root)).image(0)


def test_a_folder_that_went_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be accessed: No such file"):
        list_images("photos", tmp_path / "photos")
