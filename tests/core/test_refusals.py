import os
import types

import pytest

from visionscope.core.refusals import check_can_be_written
from visionscope.errors import StoreError


def test_a_folder_that_is_there_or_can_be_made_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (
        tmp_path,
        tmp_path / "a" / "b",
        tmp_path.relative_to(tmp_path),
        (tmp_path / "c").relative_to(tmp_path),
    ):
        check_can_be_written(folder)
    (tmp_path / "link").symlink_to(tmp_path)
    check_can_be_written(tmp_path / "link" / "d")
    assert sorted(os.listdir(tmp_path)) == ["link"]


def test_what_is_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    for name in ("file", "file/inside", "file/inside/deep"):
        with pytest.raises(StoreError, match="file: a file stands where a folder should be; move it away"):
            check_can_be_written(tmp_path / name)
    with pytest.raises(StoreError, match="loop: links lead in a circle; remove them"):
        check_can_be_written(tmp_path / "loop" / "inside")
    with pytest.raises(StoreError, match="nowhere: can't be made there; name another folder with --out"):
        check_can_be_written(tmp_path / "nowhere")


def test_a_folder_that_may_not_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StoreError, match=rf"^{tmp_path}: permission denied; name another folder with --out"):
        check_can_be_written(tmp_path / "run")
    monkeypatch.setattr(os, "statvfs", lambda path: types.SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(StoreError, match=rf"^{tmp_path}: the file system is read-only; name another folder with --out"):
        check_can_be_written(tmp_path / "run")
