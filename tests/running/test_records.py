"""Damaged run folders: the damage is named, the rest goes on, and the next run mends it without computing anew."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from running.conftest import run, small_study
from visionscope.cli import main
from visionscope.errors import StoreError
from visionscope.running.store import Store

Damage = Callable[[Path], object]


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    copied = Path(shutil.copytree(finished, tmp_path / "run"))
    (copied / "log.txt").write_text("")
    return copied


def job(folder: Path) -> Path:
    (path,) = (folder / "fourier").iterdir()
    return path


def text(change: Callable[[str], str]) -> Damage:
    def damage(folder: Path) -> None:
        path = job(folder) / "job.json"
        path.write_text(change(path.read_text()))

    return damage


def entry(name: str, value: object) -> Damage:
    """Another value for an entry; `...` removes it."""

    def change(content: str) -> str:
        record = json.loads(content)
        *outer, last = (int(key) if key.isdecimal() else key for key in name.split("."))
        place: Any = record
        for key in outer:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        return json.dumps(record)

    return text(change)


def instead(make: Callable[[Path], object]) -> Damage:
    """Something else in the place of job.json."""

    def damage(folder: Path) -> None:
        path = job(folder) / "job.json"
        path.unlink()
        make(path)

    return damage


DAMAGES: dict[str, tuple[Damage, str]] = {
    "parts a number": (entry("parts", 3), "parts: must be a list of different names without slashes; got 3"),
    "parts above": (entry("parts", ["../../../etc/passwd"]), "parts: must be a list of different names"),
    "parts from the root": (entry("parts", ["/etc/passwd"]), "parts: must be a list of different names"),
    "parts twice": (entry("parts", ["0000-0256"] * 2), "parts: must be a list of different names"),
    "part overlong": (entry("parts", ["a" * 300]), "parts: must be a list of different names"),
    "no parts": (entry("parts", []), "parts: must be a list of different names"),
    "model null": (entry("model", None), "model: must hold names and values; got None"),
    "label a list": (entry("model.label", ["a"]), "model.label: must be text; got ['a']"),
    "half a character": (text(lambda known: known.replace('"cnn"', '"\\ud800"')), "surrogates not allowed"),
    "no version": (entry("version", ...), "it lacks version"),
    "version text": (entry("version", "3"), "version: must be a whole number; got '3'"),
    "job above": (entry("job", "../../etc"), "job: must be the name of its folder"),
    "diagnostic above": (entry("diagnostic", "../.."), "diagnostic: must be the name of its folder, 'fourier'"),
    "point of unknown kind": (entry("points.1.kind", "quantum"), "points[1].kind: must be one of stem, down, msa"),
    "point of a newer version": (entry("points.1.colour", 1), "points[1]: this version knows no 'colour' of a point"),
    "point without a grid": (entry("points.1.grid", ...), "it lacks points[1].grid"),
    "grid of one": (entry("points.1.grid", [4]), "points[1].grid: must be two whole numbers; got [4]"),
    "point a number": (entry("points.1", 5), "points[1]: must hold names and values; got 5"),
    "images below 0": (entry("data.images", -1), "data.images: must be a whole number from 0 on; got -1"),
    "images true": (entry("data.images", True), "data.images: must be a whole number from 0 on; got True"),
    "size text": (entry("data.input.size", "16"), "data.input.size: must be two whole numbers; got '16'"),
    "versions a list": (entry("versions", [1]), "versions: must hold names and values; got [1]"),
    "times null": (entry("times", None), "times: must hold names and values; got None"),
    "reasons numbers": (entry("not_applicable", [1]), "not_applicable: must be a list of diagnostics and reasons"),
    "format text": (entry("format", "1"), "format: must be a whole number from 0 on; got '1'"),
    "infinite": (text(lambda known: known.replace('"depth": 0.0', '"depth": -Infinity')), "-Infinity is no finite"),
    "not a number": (text(lambda known: known.replace('"depth": 0.0', '"depth": NaN')), "NaN is no finite number"),
    "too large": (text(lambda known: known.replace('"depth": 0.0', '"depth": 1e999')), "1e999 is no finite number"),
    "twice": (text(lambda known: known.replace("{", '{"parts": [], ', 1)), "'parts' stands there twice"),
    "nested": (text(lambda known: "[" * 200_000), "its values are nested too deeply"),
    "nested objects": (text(lambda known: '{"a":' * 100_000 + "1" + "}" * 100_000), "nested too deeply"),
    "a list": (text(lambda known: "[1]"), "it must hold names and values"),
    "empty": (text(lambda known: ""), "not valid JSON: Expecting value"),
    "no text": (instead(lambda path: path.write_bytes(b"\xff\xfe{}")), "not valid JSON: 'utf-8' codec can't decode"),
    "huge": (lambda folder: os.truncate(job(folder) / "job.json", 2**30), "at most 67,108,864 are read"),
    "a pipe": (instead(os.mkfifo), "it is a named pipe, not a file"),
    "a device": (instead(lambda path: path.symlink_to("/dev/zero")), "it is a device, not a file"),
    "a loop": (instead(lambda path: path.symlink_to(path.name)), "Too many levels of symbolic links"),
    "gone": (instead(lambda path: None), "it is missing beside its parts"),
    "a link to nowhere": (instead(lambda path: path.symlink_to("nowhere")), "it is missing beside its parts"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_job_file_is_named_and_mended_and_keeps_its_parts(folder, finished, capsys, name):
    damage, reason = DAMAGES[name]
    digest = job(folder).name
    damage(folder)
    assert main(["status", str(folder)]) == 1
    said = capsys.readouterr().out
    assert f"damaged: fourier/{digest[:12]}: job.json: " in said
    assert reason in said
    assert "run the study again to write it anew" in said
    assert "variance" in said
    assert main(["report", str(folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"fourier/{digest[:12]}: " in line
    assert reason in line
    with pytest.raises(StoreError, match=r"job\.json: "):
        Store(folder).jobs()
    assert Store(folder).table("variance").num_rows > 0
    assert run(small_study(), folder) == []
    assert "computed" not in (folder / "log.txt").read_text()
    assert Store(folder).table("fourier").equals(Store(finished).table("fourier"))
    assert main(["status", str(folder)]) == 0
    assert not (folder.parent / "etc").exists()


def test_a_folder_in_its_place_is_told_with_a_remedy(folder, capsys):
    instead(Path.mkdir)(folder)
    assert main(["status", str(folder)]) == 1
    assert "job.json: a folder stands in its place; move it away" in capsys.readouterr().out
    with pytest.raises(StoreError, match=r"job.json: a folder stands where a file should be; move it away"):
        run(small_study(), folder)


def test_a_newer_version_is_told_and_nothing_of_it_is_overwritten(folder, capsys):
    entry("format", 99)(folder)
    written = (job(folder) / "job.json").read_bytes()
    assert main(["status", str(folder)]) == 1
    told = r"it is of format 99, and this version reads formats up to 1 (visionscope "
    said = capsys.readouterr().out
    assert told in said
    assert "wrote it); update visionscope, or name another folder with --out" in said
    with pytest.raises(StoreError, match=r"format 99, .*; update visionscope, or name another folder with --out"):
        run(small_study(), folder)
    assert (job(folder) / "job.json").read_bytes() == written


def test_a_folder_from_before_formats_is_read(folder, capsys):
    assert json.loads((job(folder) / "job.json").read_text())["format"] == 1
    entry("format", ...)(folder)
    assert main(["report", str(folder)]) == 0
    assert main(["status", str(folder)]) == 0
    assert "everything is done" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["renamed", "f" * 64])
def test_a_renamed_job_is_told_and_does_not_pass_for_another(folder, capsys, name):
    job(folder).rename(job(folder).with_name(name))
    assert main(["status", str(folder)]) == 1
    said = capsys.readouterr().out
    assert f"damaged: fourier/{name[:12]}: job.json: job: must be the name of its folder" in said
    assert "give the folder its name back" in said


def test_a_diagnostic_that_is_not_here_is_told(folder, capsys):
    entry("diagnostic", "wavelet")(folder)
    (folder / "fourier").rename(folder / "wavelet")
    assert main(["status", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "job.json: there is no diagnostic 'wavelet' here (visionscope " in said
    assert "install the package that brings it, or move the folder away" in said


def test_what_is_nobodys_job_is_left_alone(folder, capsys):
    for name in ("mine/notes", "fourier/old", "train/0123456789ab"):
        (folder / name).mkdir(parents=True)
        (folder / name / "job.json").write_text("{}")
    (folder / "fourier" / "notes.txt").touch()
    (folder / "loop").symlink_to("loop")
    assert main(["status", str(folder)]) == 0
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().err == ""


ERRORS = ['{"message": 3', "[[[", '{"message": ""}', "[" * 100_000, '{"message": "\\ud800"}', "3"]


@pytest.mark.parametrize("content", ERRORS)
def test_a_damaged_error_file_costs_nothing(folder, capsys, content):
    (job(folder) / "0000-0256.parquet").unlink()
    (job(folder) / "0000-0256.error.json").write_text(content)
    assert main(["status", str(folder)]) == 0
    assert "failed: fourier of cnn, part 0000-0256: " in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0
    assert run(small_study(), folder) == []
    assert not (job(folder) / "0000-0256.error.json").exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("log.txt")])
def test_a_log_that_cannot_be_written_costs_no_page_and_is_told_by_a_run(folder, capsys, make):
    (folder / "log.txt").unlink()
    make(folder / "log.txt")
    (job(folder) / "0000-0256.parquet").write_bytes(b"")
    assert main(["status", str(folder)]) == 1
    assert main(["report", str(folder)]) == 1
    with pytest.raises(StoreError, match=r"log\.txt: .*(move it away|remove them), then start the same command again"):
        run(small_study(), folder)


@pytest.mark.parametrize("name", ["report.html", "environment.json", "tables/fourier.csv"])
def test_a_folder_in_the_place_of_a_file_of_the_page_is_told_with_a_remedy(folder, capsys, name):
    (folder / name).mkdir(parents=True)
    assert main(["report", str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"visionscope: the report can't write {folder / name}: a folder stands where a file should be; move it away\n"
    )


def test_files_are_for_whom_the_user_says(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        assert run(small_study(), tmp_path) == []
        assert main(["report", str(tmp_path)]) == 0
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o640}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o750}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "run: name a folder; got ''"),
        (" ", "run: name a folder; got ' '"),
        ("a\0b", "run: a path can't hold a NUL character"),
        ("~nobody-at-all/run", "run: there is no home folder '~nobody-at-all'"),
        ("a" * 300, "run: a name in a path has at most 255 bytes"),
        ("a/" * 3000, "run: a path has at most 4095 bytes"),
        ("{folder}/log.txt", "is not a run folder"),
        ("{folder}/log.txt/run", "is not a run folder"),
        ("{folder}/loop", "is not a run folder"),
        ("/dev/null", "is not a run folder"),
    ],
)
@pytest.mark.parametrize("command", ["status", "report"])
def test_what_is_no_run_folder_is_one_line(folder, capsys, command, given, said):
    (folder / "loop").symlink_to("loop")
    assert main([command, given.format(folder=folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_home_folder_is_found(folder, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert main(["status", "~/run"]) == 0
    assert "everything is done" in capsys.readouterr().out


@pytest.mark.parametrize(("place", "said"), [("log.txt", "a file stands where"), ("loop", "a file stands where")])
def test_a_run_that_cannot_be_written_is_one_line(folder, tmp_path, place, said):
    (folder / "loop").symlink_to("loop")
    for run_folder in (folder / place, folder / place / "inside"):
        with pytest.raises(StoreError, match=rf"{place}.*: ({said}|links lead in a circle)") as caught:
            run(small_study(), run_folder)
        assert "\n" not in str(caught.value)
