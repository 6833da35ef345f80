"""Files that others name: what is refused without waiting, and what is written whole."""

import os
import socket
import stat
from pathlib import Path

import pytest

from visionscope.core.files import open_regular, read_regular, user_path, write_whole
from visionscope.errors import ConfigError


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="out: a path can't hold a NUL"):
        user_path("out", "a\0b")
    with pytest.raises(ConfigError, match=r"out: a path can't hold half of a character; got 'a\\ud800'"):
        user_path("out", "a\ud800")
    with pytest.raises(ConfigError, match="out: there is no home folder '~nobody_of_that_name'"):
        user_path("out", "~nobody_of_that_name/run")
    with pytest.raises(ConfigError, match="at most 255 bytes; got 'run/xxx"):
        user_path("out", "run/" + "x" * 256)
    with pytest.raises(ConfigError, match="at most 4095 bytes"):
        user_path("out", "x/" * 3000)
    assert user_path("out", "~/run") == Path.home() / "run"
    assert user_path("out", "é" * 127) == Path("é" * 127)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket", "loop"])
def test_only_regular_files_are_opened_and_nothing_is_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    with pytest.raises(OSError, match=r"not a file|symbolic links|No such device"):
        open_regular(path)


def test_no_more_is_read_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes; at most 4 are read"):
        read_regular(path, 4)


def test_a_file_is_written_whole_with_the_users_umask(tmp_path: Path) -> None:
    path = tmp_path / "it"
    before = os.umask(0o027)
    try:
        write_whole(path, b"old")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def fail(file: object) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_whole(path, fail)
    assert path.read_bytes() == b"old"
    write_whole(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["it"]
