"""A part file counts only where it is that part of that job, whole."""

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from running.conftest import run, small_study, study_of
from visionscope.errors import StoreError
from visionscope.running.plan import plan
from visionscope.running.records import points_from
from visionscope.running.store import Store

FIRST, LAST = "0000-0256", "0256-0300"


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    copied = Path(shutil.copytree(finished, tmp_path / "run"))
    (copied / "log.txt").write_text("")
    return copied


def part(folder: Path, diagnostic: str, name: str) -> Path:
    (path,) = (folder / diagnostic).glob(f"*/{name}.parquet")
    return path


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table], *, said: bool) -> None:
    """Writes a part's rows anew, with or without what it says of itself."""
    table = change(pq.read_table(path))
    pq.write_table(table if said else table.replace_schema_metadata(None), path)


def _swap(folder: Path) -> None:
    one, other = part(folder, "fourier", FIRST), part(folder, "fourier", LAST)
    one.rename(one.with_name("kept"))
    other.rename(one)
    one.with_name("kept").rename(other)


def _swap_unsaid(folder: Path) -> None:
    for name in (FIRST, LAST):
        rewritten(part(folder, "fourier", name), lambda table: table, said=False)
    _swap(folder)


def _of_another_job(folder: Path) -> None:
    (other,) = plan(study_of(only=["fourier"], seed=1))
    run((other,), folder.parent / "other")
    shutil.copy(part(folder.parent / "other", "fourier", FIRST), part(folder, "fourier", FIRST))


def _rows(change: Callable[[pa.Table], pa.Table], *, said: bool) -> Callable[[Path], None]:
    return lambda folder: rewritten(part(folder, "fourier", FIRST), change, said=said)


def _flip_a_word(folder: Path) -> None:
    """Changes a letter in what the file says of its writer, which no checksum of Parquet covers."""
    path = part(folder, "fourier", FIRST)
    content = path.read_bytes()
    assert b"parquet-cpp" in content
    path.write_bytes(content.replace(b"parquet-cpp", b"parquet-cqp"))


def _flip(folder: Path) -> None:
    """Flips the first bit behind a quarter of the file that changes a number and nothing else."""
    path = part(folder, "fourier", FIRST)
    content, table = path.read_bytes(), pq.read_table(path)
    for place in range(len(content) // 4, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with suppress(pa.ArrowException, OSError, UnicodeDecodeError):
            if not pq.read_table(path).equals(table):
                return
    raise AssertionError("no bit changes a number alone")


DAMAGES: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "no rows": (_rows(lambda table: table.slice(0, 0), said=True), r"it holds 0 of \d+ rows", 1),
    "no rows, as older versions wrote": (_rows(lambda table: table.slice(0, 0), said=False), "it holds no rows", 1),
    "fewer rows": (_rows(lambda table: table.slice(1), said=True), r"it holds \d+ of \d+ rows", 1),
    "fewer rows, unsaid": (_rows(lambda table: table.slice(1), said=False), "its rows are not those of this part", 1),
    "rows twice": (_rows(lambda table: pa.concat_tables([table] * 2), said=True), r"it holds \d+ of \d+ rows", 1),
    "swapped": (_swap, "it is the part '0256-0300'", 2),
    "swapped, unsaid": (_swap_unsaid, "its rows are not those of this part", 2),
    "of another job": (_of_another_job, "it is a part of another job", 1),
    "of another diagnostic": (
        lambda folder: shutil.copy(part(folder, "variance", FIRST), part(folder, "fourier", FIRST)),
        "it is a part of another job",
        1,
    ),
    "a flipped bit": (_flip, "CRC checksum verification failed", 1),
    "a flipped bit beside the numbers": (_flip_a_word, "its bytes are not those that were written", 1),
    "a pipe": (
        lambda folder: (part(folder, "fourier", FIRST).unlink(), os.mkfifo(_place(folder))),
        "it is a named pipe, not a file",
        1,
    ),
    "a link to a device": (
        lambda folder: (part(folder, "fourier", FIRST).unlink(), _place(folder).symlink_to("/dev/zero")),
        "it is a device, not a file",
        1,
    ),
    "a link to itself": (
        lambda folder: (part(folder, "fourier", FIRST).unlink(), _place(folder).symlink_to(f"{FIRST}.parquet")),
        "Too many levels of symbolic links",
        1,
    ),
}


def _place(folder: Path) -> Path:
    (job,) = (folder / "fourier").iterdir()
    return job / f"{FIRST}.parquet"


@pytest.mark.parametrize("name", DAMAGES)
def test_a_file_that_is_not_that_part_is_told_and_computed_anew(folder, finished, name):
    damage, said, count = DAMAGES[name]
    damage(folder)
    (state,) = [state for state in Store(folder).states() if state.record["diagnostic"] == "fourier"]
    (record, job) = state.record, state.record["job"][:12]
    assert len(Store(folder).stored_parts(record)) == 2 - count
    assert run(small_study(), folder) == []
    log = (folder / "log.txt").read_text()
    assert log.count("it counts as not done") >= count
    assert log.count(f"computed fourier/{job}/") == count
    assert "computed variance" not in log
    assert re.search(f"unreadable fourier/{record['job']}/.*{said}", log)
    assert Store(folder).table("fourier").equals(Store(finished).table("fourier"))


def test_a_run_that_is_done_is_told_by_the_bytes_of_its_files_alone(folder, monkeypatch):
    monkeypatch.setattr("visionscope.running.parts.pq", None)
    assert run(small_study(), folder) == []
    assert (folder / "log.txt").read_text() == ""


def test_what_a_file_says_is_enough_to_tell_without_its_diagnostic(folder):
    _swap(folder)
    (state,) = [state for state in Store(folder).states() if state.record["diagnostic"] == "fourier"]
    assert (state.done, state.left) == ((), (FIRST, LAST))
    assert dict(state.unusable) == {FIRST: f"it is the part {LAST!r}", LAST: f"it is the part {FIRST!r}"}


def test_files_from_before_they_said_whose_they_are_are_kept(folder):
    for name in (FIRST, LAST):
        rewritten(part(folder, "fourier", name), lambda table: table, said=False)
    assert run(small_study(), folder) == []
    assert "computed fourier" not in (folder / "log.txt").read_text()


def test_a_part_of_a_newer_format_counts_as_not_done(folder):
    path = part(folder, "variance", LAST)
    table = pq.read_table(path)
    said = {**json.loads(table.schema.metadata[b"visionscope"]), "format": 99}
    pq.write_table(table.replace_schema_metadata({b"visionscope": json.dumps(said)}), path)
    (state,) = [state for state in Store(folder).states() if state.record["diagnostic"] == "variance"]
    assert dict(state.unusable) == {LAST: "it is of format 99, this version reads 1"}


def test_a_file_that_declares_billions_of_values_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("visionscope.running.parts._MOST_VALUES", 5)
    (state,) = [state for state in Store(folder).states() if state.record["diagnostic"] == "variance"]
    assert all("values; at most 5 are read" in reason for reason in state.unusable.values())
    assert len(state.unusable) == 2


def test_a_file_that_may_not_be_read_is_computed_anew(folder, monkeypatch):
    real = os.open

    def refuse(path: object, *given: object) -> int:
        if str(path).endswith(f"{FIRST}.parquet") and "fourier" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *given)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        state = Store(folder).states()[0]
        assert dict(state.unusable) == {FIRST: "Permission denied"}
        assert run(small_study(), folder) == []
    assert (folder / "log.txt").read_text().count("computed fourier") == 1


def test_a_folder_in_a_parts_place_stops_before_anything_is_computed(folder):
    _place(folder).unlink()
    _place(folder).mkdir()
    (_place(folder) / "mine").touch()
    with pytest.raises(StoreError, match=r"0000-0256.parquet: a folder stands where a file should be; move it away"):
        run(small_study(), folder)
    assert "computed" not in (folder / "log.txt").read_text()
    assert (_place(folder) / "mine").exists()
    shutil.rmtree(_place(folder))
    assert run(small_study(), folder) == []


@pytest.mark.parametrize("name", ["variance", "fourier", "similarity", "token_similarity", "tokens"])
@pytest.mark.parametrize("damage", [lambda rows: rows[1:], lambda rows: rows[:-1], lambda rows: [*rows, rows[0]]])
def test_observers_tell_whether_rows_are_all_of_a_part(tmp_path, name, damage):
    (planned,) = plan(study_of(only=[name], images=270))
    assert run((planned,), tmp_path) == []
    (job,) = planned.jobs
    for own, rows in Store(tmp_path).stored_parts(job.record).items():
        assert job.diagnostic.is_whole(own, rows, points_from(job.record))
        assert not job.diagnostic.is_whole(own, damage(rows), points_from(job.record))
        assert not job.diagnostic.is_whole("0512-0768", rows, points_from(job.record))
