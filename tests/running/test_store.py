import dataclasses
import errno
import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from running.conftest import run, small_study
from visionscope.core.table import column
from visionscope.errors import DataError, StoreError
from visionscope.running.parts import is_as_written, part_rows, part_table
from visionscope.running.store import LEADING, Store

RECORD = {"job": "a" * 64, "diagnostic": "fourier", "parts": ["0000-0256", "0256-0300"]}
PART = "0000-0256"


@dataclasses.dataclass(frozen=True)
class Sums:
    point: str = column("name of the point")
    total: float = column("sum")
    sums: tuple[float, ...] = column("sums per frequency")


class Adds:
    """A question whose parts hold sums."""

    state_row = Sums


ROWS = [Sums("stem", 0.1, (1.0, 2.0)), Sums("blocks.0+msa", -3.5e-300, ())]


def rows_of(store: Store) -> list[Sums] | None:
    table = part_table(store.folder(RECORD) / f"{PART}.parquet", RECORD, PART)
    return None if table is None else part_rows(table, RECORD, PART, Adds)


def copy_of(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def part_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.parquet"))


def test_part_comes_back_to_the_bit(tmp_path):
    store = Store(tmp_path)
    store.write_part(RECORD, PART, Sums, ROWS)
    assert rows_of(store) == ROWS
    assert [path.name for path in store.folder(RECORD).iterdir()] == [f"{PART}.parquet"]


def test_part_that_succeeds_removes_its_error(tmp_path):
    store = Store(tmp_path)
    store.write_error(RECORD, PART, DataError("cat.jpg is torn"))
    error = store.folder(RECORD) / f"{PART}.error.json"
    said = json.loads(error.read_text())
    assert said.pop("time")
    assert said == {"part": PART, "type": "DataError", "message": "cat.jpg is torn"}
    store.write_part(RECORD, PART, Sums, ROWS)
    assert not error.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_torn_part_is_not_done_and_logged(tmp_path, keep):
    store = Store(tmp_path)
    store.write_part(RECORD, PART, Sums, ROWS)
    path = store.folder(RECORD) / f"{PART}.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    assert not store.is_done(RECORD, PART, Adds)
    assert f"unreadable fourier/{RECORD['job']}/{PART}.parquet" in (tmp_path / "log.txt").read_text()


def test_flipped_bit_is_not_done(tmp_path):
    store = Store(tmp_path)
    store.write_part(RECORD, PART, Sums, ROWS)
    path = store.folder(RECORD) / f"{PART}.parquet"
    content = bytearray(path.read_bytes())
    content[content.index(b"blocks.0")] ^= 1
    path.write_bytes(content)
    assert not store.is_done(RECORD, PART, Adds)


def test_a_bit_flipped_anywhere_is_found(tmp_path):
    store = Store(tmp_path)
    store.write_part(RECORD, PART, Sums, ROWS)
    path = store.folder(RECORD) / f"{PART}.parquet"
    whole, kept = path.read_bytes(), 0
    for place in range(0, len(whole), 5):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        assert not is_as_written(path, RECORD, PART, Sums)
        if store.is_done(RECORD, PART, Adds):  # the bit was of the name under which the file says anything
            assert rows_of(store) == ROWS
            kept += 1
        else:
            with pytest.raises(StoreError):
                rows_of(store)
    assert kept < 5


def test_what_is_done_is_told_by_the_bytes_alone(tmp_path, monkeypatch):
    store = Store(tmp_path)
    text = Sums('{"checksum": "00000000"}', 1.0, ())  # rows may hold any text
    for name, rows in (("0000-0256", ROWS), ("0256-0300", [text]), ("0300-0301", [])):
        store.write_part(RECORD, name, Sums, rows)
    monkeypatch.setattr("visionscope.running.parts.pq", None)
    for name in ("0000-0256", "0256-0300", "0300-0301"):
        assert store.is_done(RECORD, name, Adds)
    assert not store.is_done(RECORD, "0301-0400", Adds)


def test_part_of_another_schema_is_not_done(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Older:
        point: str = column("name of the point")

    store = Store(tmp_path)
    store.write_part(RECORD, PART, Older, [Older("stem")])
    assert not store.is_done(RECORD, PART, Adds)
    assert "columns are not those of this version" in (tmp_path / "log.txt").read_text()


def refuse_after(monkeypatch: pytest.MonkeyPatch, calls: int, code: int) -> None:
    """Lets that many files reach the disk, then refuses all."""
    real = os.fsync
    count = 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > calls:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("calls", [0, 5, 6, 9, 11, 14])
def test_full_disk_stops_with_one_line_and_loses_nothing(tmp_path, finished, monkeypatch, calls):
    with monkeypatch.context() as patch:
        refuse_after(patch, calls, errno.ENOSPC)
        with pytest.raises(StoreError, match=r"the disk is full; free some space, then start the same command again"):
            run(small_study(), tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in part_files(tmp_path)}
    assert not list(tmp_path.glob("*/*/.*.tmp"))
    assert run(small_study(), tmp_path) == []
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert Store(tmp_path).table("fourier").equals(Store(finished).table("fourier"))
    assert Store(tmp_path).table("variance").equals(Store(finished).table("variance"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EROFS, r"the file system is read-only; name another folder with --out"),
        (errno.EACCES, r"permission denied; name another folder with --out"),
        (errno.EIO, r"Input/output error; fix that"),
    ],
)
def test_disk_that_refuses_is_named_in_one_line(tmp_path, monkeypatch, code, message):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path / "fourier"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match=rf"fourier: {message}") as caught:
        Store(tmp_path).write_part(RECORD, PART, Sums, ROWS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["run", "run/variance", "run/variance/job"])
def test_file_where_a_folder_should_be(tmp_path, finished, place):
    folder = tmp_path / "run"
    blocked = tmp_path / place
    if place.endswith("job"):
        (digest,) = (path.name for path in (finished / "variance").iterdir())
        blocked = folder / "variance" / digest
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("in the way")
    with pytest.raises(StoreError, match=r"a file stands where a folder should be; move it away"):
        run(small_study(), folder)
    blocked.unlink()
    assert run(small_study(), folder) == []
    assert Store(folder).table("variance").equals(Store(finished).table("variance"))


def test_folder_where_a_part_should_be(tmp_path):
    store = Store(tmp_path)
    (store.folder(RECORD) / f"{PART}.parquet").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"a folder stands where a file should be"):
        store.write_part(RECORD, PART, Sums, ROWS)


def test_many_writers_of_one_part(tmp_path):
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(5):
                Store(tmp_path).write_part(RECORD, PART, Sums, ROWS)
                assert Store(tmp_path).is_done(RECORD, PART, Adds)
                assert rows_of(Store(tmp_path)) == ROWS
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(list(Store(tmp_path).folder(RECORD).iterdir())) == 1


def test_old_litter_is_swept_and_fresh_is_left(tmp_path):
    store = Store(tmp_path)
    store.write_part(RECORD, PART, Sums, ROWS)
    fresh, old = (store.folder(RECORD) / f".{PART}.parquet.{name}.tmp" for name in ("1-fresh", "2-old"))
    fresh.touch()
    old.touch()
    os.utime(old, (time.time() - 4000,) * 2)
    store.sweep(RECORD)
    assert fresh.exists()
    assert not old.exists()


def test_states_are_told_by_names_alone(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    first, second = sorted((folder / "fourier").glob("*/*.parquet"))
    first.unlink()
    first.with_name("0000-0256.error.json").write_text(json.dumps({"message": "cat.jpg is torn"}))
    second.unlink()
    fourier, variance = Store(folder).states()
    assert (fourier.done, dict(fourier.failed), fourier.left) == (
        (),
        {"0000-0256": "cat.jpg is torn"},
        ("0256-0300",),
    )
    assert (len(variance.done), dict(variance.failed), variance.left) == (2, {}, ())


def test_table_has_leading_columns_with_meanings(finished):
    table = Store(finished).table("variance")
    assert table.column_names[:5] == list(LEADING)
    assert set(table["model"].to_pylist()) == {"cnn"}
    assert set(table["weights"].to_pylist()) == {"set by the factory"}
    assert all(len(job) == 12 for job in table["job"].to_pylist())
    assert set(table["images"].to_pylist()) == {300}
    assert all(field.metadata[b"meaning"] for field in table.schema)


def test_table_of_a_job_without_parts_is_empty(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    for path in (folder / "fourier").glob("*/*.parquet"):
        path.unlink()
    table = Store(folder).table("fourier")
    assert table.num_rows == 0
    assert table.schema.equals(Store(finished).table("fourier").schema)


def test_a_run_that_is_none_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"is not a run folder; `visionscope diagnose --out"):
        Store(tmp_path / "absent").jobs()
    with pytest.raises(StoreError, match=r"holds no job; is it the folder that --out named"):
        Store(tmp_path).jobs()


def test_unknown_table_is_refused(finished):
    with pytest.raises(StoreError, match=r"holds no job of the diagnostic 'hessian'"):
        Store(finished).table("hessian")


def test_torn_job_file_is_refused_then_written_anew(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    (path,) = (folder / "fourier").glob("*/job.json")
    path.write_text('{"job": ')
    with pytest.raises(StoreError, match=r"job.json: it can't be read \(not valid JSON: .*\); run the study again"):
        Store(folder).jobs()
    assert run(small_study(), folder) == []
    assert Store(folder).table("fourier").equals(Store(finished).table("fourier"))


def test_job_of_an_older_formula_is_refused(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    (path,) = (folder / "fourier").glob("*/job.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "version": 0}))
    with pytest.raises(StoreError, match=r"was made by version 0 of the diagnostic, this is version \d+"):
        Store(folder).table("fourier")


def test_part_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    store = Store(tmp_path)
    part = store.folder(RECORD) / f"{PART}.parquet"

    def refuse(source: Path, target: Path) -> None:
        assert len(source.read_bytes()) > 0
        assert not target.exists()
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(StoreError, match=r"0000-0256.parquet: Input/output error; fix that"):
            store.write_part(RECORD, PART, Sums, ROWS)
    assert list(store.folder(RECORD).iterdir()) == []
    store.write_part(RECORD, PART, Sums, ROWS)
    assert part.is_file()
