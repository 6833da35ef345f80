"""What was asked of a run folder: every study keeps its file, and goes on where the folder is now."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from running.conftest import NETWORKS
from visionscope.cli import main
from visionscope.errors import StoreError
from visionscope.running.studies import read_studies, run_folder_of, write_study

SMALL = ["--data", "embedded", "--images", "8", "--device", "cpu"]
JOBS = [("fourier", "a" * 64), ("variance", "b" * 64)]
TEXT = "# What was asked.\nmodels:\n- resnet18\ndata: embedded\nout: RUN\nbatch: 8\n"


def asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and stdout."""
    capsys.readouterr()
    code = main([str(one) for one in arguments])
    return code, capsys.readouterr().out


def page_of(ended: tuple[int, str]) -> str:
    """The last line that a command said, which is where the page is."""
    code, said = ended
    assert code == 0
    return said.splitlines()[-1]


def advised(said: str) -> list[list[str]]:
    """The commands that status advises, as a shell would take them apart."""
    return [shlex.split(line.partition("go on with: visionscope ")[2]) for line in said.splitlines() if "go on" in line]


def two_studies(run: Path) -> None:
    assert main(["diagnose", f"cnn={NETWORKS}:convolutions", *SMALL, "--only", "variance", "--out", str(run)]) == 0
    assert main(["diagnose", f"vit={NETWORKS}:tokens", *SMALL, "--only", "variance,fourier", "--out", str(run)]) == 0


def test_a_second_study_keeps_the_file_of_the_first(tmp_path, capsys):
    run = tmp_path / "a run [1]"
    two_studies(run)
    studies = read_studies(run)
    assert [len(study.jobs or ()) for study in studies] == [2, 1]
    assert (run / "study.yaml").read_bytes() == studies[0].path.read_bytes()
    assert {study.path.name for study in studies} == {path.name for path in (run / "studies").iterdir()}
    code, said = asked(capsys, "status", run)
    assert code == 0
    assert "everything is done" in said
    rows = {line.split("│")[1].strip(): line.split("│")[8].strip() for line in said.splitlines() if "│" in line}
    assert rows == {"vit": studies[0].name, "cnn": studies[1].name}


@pytest.mark.parametrize("reverse", [False, True])
def test_the_advice_of_status_does_the_work(tmp_path, capsys, reverse):
    run = tmp_path / "it's"
    two_studies(run)
    for path in run.glob("variance/*/*.parquet"):
        path.unlink()
    said = asked(capsys, "status", run)[1]
    assert "everything is done" not in said
    commands = advised(said)
    assert len(commands) == 2
    for command in reversed(commands) if reverse else commands:
        assert asked(capsys, *command)[0] == 0
    assert "everything is done" in asked(capsys, "status", run)[1]


def test_a_moved_run_goes_on_where_it_is(tmp_path, capsys, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "elsewhere" / "new"
    two_studies(old)
    new.parent.mkdir()
    shutil.move(old, new)
    for path in new.glob("*/*/*.parquet"):
        path.unlink()
    for study in ("study.yaml", *(f"studies/{one.name}.yaml" for one in read_studies(new))):
        assert page_of(asked(capsys, "run", new / study)) == f"{new}/report.html"
    monkeypatch.chdir(new / "studies")
    assert asked(capsys, "run", read_studies(new)[0].path.name)[0] == 0
    assert not old.exists()
    assert not list(tmp_path.glob("visionscope-run*"))
    assert "everything is done" in asked(capsys, "status", new)[1]


def test_a_copy_outside_of_a_run_folder_goes_where_it_says(tmp_path, capsys):
    run = tmp_path / "run"
    two_studies(run)
    shutil.copy(run / "study.yaml", tmp_path / "study.yaml")
    shutil.rmtree(run)
    assert run_folder_of(tmp_path / "study.yaml") is None
    assert page_of(asked(capsys, "run", tmp_path / "study.yaml")) == f"{run}/report.html"
    other = asked(capsys, "run", run / "study.yaml", "--out", tmp_path / "third")
    assert page_of(other) == f"{tmp_path}/third/report.html"


def test_folders_of_ones_own_studies_are_no_run_folders(tmp_path):
    (tmp_path / "studies").mkdir()
    for name in ("vit.yaml", "study.yaml", "0123456789ab.yml"):
        (tmp_path / "studies" / name).write_text("models: [resnet18]\ndata: embedded\n")
        assert run_folder_of(tmp_path / "studies" / name) is None
    assert run_folder_of(tmp_path / "study.yaml") is None


def test_paths_that_are_relative_are_of_the_folder_that_it_was_started_in(tmp_path, capsys, monkeypatch):
    home, run = tmp_path / "my project", tmp_path / "run"
    home.mkdir()
    shutil.copy(NETWORKS, home / "net.py")
    monkeypatch.chdir(home)
    assert main(["diagnose", "net.py:convolutions", *SMALL, "--only", "variance", "--out", str(run)]) == 0
    next(run.glob("variance/*/*.parquet")).unlink()
    assert f"go on with: visionscope run {run}/study.yaml" in asked(capsys, "status", run)[1]
    monkeypatch.chdir(tmp_path)
    line = asked(capsys, "status", "run")[1].splitlines()[-1]
    assert line == f"go on with: cd {shlex.quote(str(home))} && visionscope run {run}/study.yaml"
    monkeypatch.chdir(home)
    assert asked(capsys, *advised(line.replace(f"cd {shlex.quote(str(home))} && ", ""))[0])[0] == 0


def test_jobs_that_are_others_than_before_are_told(tmp_path, capsys):
    net, run = tmp_path / "net.py", tmp_path / "run"
    shutil.copy(NETWORKS, net)
    arguments = ["diagnose", f"{net}:convolutions", *SMALL, "--only", "variance,fourier", "--out", str(run)]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    net.write_text(net.read_text() + "\n# changed\n")
    next(run.glob("variance/*/*.parquet")).unlink()
    assert main(arguments) == 0
    assert "visionscope: note: 2 of the 2 jobs of this study are new: its models," in capsys.readouterr().err
    said = asked(capsys, "status", run)[1]
    assert re.search(r"left over: variance/[0-9a-f]{12}: no study here needs it any more", said)
    assert said.splitlines()[-1] == "everything is done"


def test_the_study_of_a_folder_from_before_studies_is_kept(tmp_path):
    (tmp_path / "study.yaml").write_text("models: [resnet34]\ndata: photos\n")
    (first,) = read_studies(tmp_path)
    assert (first.path.name, first.jobs) == ("study.yaml", None)
    assert write_study(tmp_path, TEXT, JOBS) == ""
    second, kept = read_studies(tmp_path)
    assert (second.jobs, kept.jobs, kept.name) == (tuple(JOBS), None, first.name)
    assert kept.path.read_text() == "models: [resnet34]\ndata: photos\n"


def test_how_and_where_make_no_other_study(tmp_path):
    write_study(tmp_path, TEXT, JOBS)
    write_study(tmp_path, TEXT.replace("batch: 8", "batch: 16").replace("RUN", "MOVED"), JOBS)
    assert len(read_studies(tmp_path)) == 1
    write_study(tmp_path, TEXT.replace("resnet18", "resnet34"), JOBS[:1])
    assert len(read_studies(tmp_path)) == 2


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\0", b"models: [", b"# started in: {\n# job: ../../etc\n", b"# started in: [[[[\n" * 100]
)
def test_a_damaged_study_leaves_the_others(tmp_path, content):
    write_study(tmp_path, TEXT, JOBS)
    path = write_study(tmp_path, TEXT.replace("resnet18", "resnet34"), JOBS) or tmp_path
    latest = read_studies(path)[0]
    latest.path.write_bytes(content)
    (tmp_path / "study.yaml").write_bytes(content)
    (left,) = read_studies(tmp_path)
    assert left.name != latest.name
    write_study(tmp_path, TEXT.replace("resnet18", "resnet34"), JOBS)
    assert latest.name in [study.name for study in read_studies(tmp_path)]


def test_a_folder_in_its_place_is_told_with_a_remedy(tmp_path):
    (tmp_path / "study.yaml").mkdir()
    with pytest.raises(StoreError, match=r"study.yaml: a folder stands where a file should be; move it away"):
        write_study(tmp_path, TEXT, JOBS)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "studies").write_text("")
    with pytest.raises(StoreError, match=r"studies: a file stands where a folder should be; move it away"):
        write_study(tmp_path / "run", TEXT, JOBS)
    os.mkfifo(tmp_path / "run" / "study.yaml")
    assert read_studies(tmp_path / "run") == []


def test_status_before_any_job_says_how_to_go_on(tmp_path, capsys):
    write_study(tmp_path, TEXT, JOBS)
    code, said = asked(capsys, "status", tmp_path)
    assert code == 0
    assert said.splitlines()[-1] == f"go on with: visionscope run {tmp_path}/study.yaml"


def test_status_without_a_study_says_so(finished, tmp_path, capsys):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    assert asked(capsys, "status", run)[1].splitlines()[-1] == "everything is done"
    next(run.glob("variance/*/*.parquet")).unlink()
    assert "no study.yaml here says what was asked for" in asked(capsys, "status", run)[1]


def test_the_folder_is_written_as_a_string_that_any_name_fits_into(tmp_path, monkeypatch):
    odd = tmp_path / "a\nb # job: x"
    odd.mkdir()
    monkeypatch.chdir(odd)
    write_study(tmp_path, TEXT, JOBS)
    (study,) = read_studies(tmp_path)
    assert study.folder == str(odd)
    assert f"# started in: {json.dumps(str(odd))}\n" in (tmp_path / "study.yaml").read_text()
