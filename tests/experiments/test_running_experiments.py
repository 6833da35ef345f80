"""`visionscope run` and `status` of a study that trains: the plan, the verdicts, and one line for whatever is wrong."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.conftest import Inline, changed
from training.conftest import SMALL
from visionscope.cli import main
from visionscope.core.documents import document_text

CLAIM = {
    "text": "The wide network is right more often",
    "compare": ["wide", "small"],
    "measure": "lesion: accuracy",
    "direction": "higher",
    "smallest": 1,
}


@pytest.fixture
def claiming(values: dict[str, Any]) -> dict[str, Any]:
    return changed({**values, "claims": {"wide_wins": CLAIM}}, "train/variants/wide/seeds", 2)


def run(values: dict[str, Any], *flags: str) -> int:
    path = Path(values["out"]).parent / "study.yaml"
    path.write_text(document_text(values))
    return main(["run", str(path), *flags])


def test_a_dry_run_shows_what_is_left_and_what_claims_could_show_and_trains_nothing(
    claiming: dict[str, Any], executor: Inline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(claiming, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "Narrow or wide" in said
    assert "4 trainings and 8 diagnoses are left" in said
    assert "wide_wins: 2 seeds, 5 are needed" in said
    assert executor.submitted == []
    assert not Path(claiming["out"]).exists()


def test_the_plan_names_the_family_of_a_claim(
    values: dict[str, Any], executor: Inline, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {name: {**CLAIM, "family": "widths"} for name in ("one", "two")}
    asked = changed(changed({**values, "claims": pair}, "train/variants/wide/seeds", 8), "train/seeds", 8)
    assert run(asked, "--dry-run") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "one: 8 seeds can show an effect of 1.16 standard deviations between seeds; " in said
    assert "(Holm's rule over the family widths: 2)" in said


def test_verdicts_come_at_the_end_and_status_tells_what_is_left(
    claiming: dict[str, Any], executor: Inline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(claiming, "--seeds", "1") == 0
    said = capsys.readouterr().out
    assert "* The wide network is right more often: not assessable, 1 seed." in said
    assert run(claiming, "--only-training") == 0
    assert "tasks are left; go on with: visionscope run" in capsys.readouterr().out
    assert main(["status", claiming["out"]]) == 0
    said = capsys.readouterr().out
    assert "2 of 2" in said
    assert "go on with: visionscope run" in said
    assert run(claiming) == 0
    assert main(["status", claiming["out"]]) == 0
    assert "everything is done" in capsys.readouterr().out


def test_what_is_stopped_leaves_the_tables_of_what_is_finished(
    values: dict[str, Any], executor: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = executor.submit

    def submit(*args: Any, **more: Any) -> Any:
        if len(executor.submitted) == 2:
            raise KeyboardInterrupt
        return whole(*args, **more)

    monkeypatch.setattr(executor, "submit", submit)
    assert run(values) == 130
    results = pd.read_parquet(Path(values["out"]) / "tables" / "results.parquet")
    assert len(set(results["training"])) >= 1


def test_a_training_that_fails_is_named_and_the_verdict_says_which_seeds_are_missing(
    claiming: dict[str, Any], executor: Inline, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = changed(claiming, "train/variants/wide/learning_rate", 1e3)
    wild = changed(changed(wild, "train/variants/wide/clip_norm", 0), "train/variants/wide/optimizer", "sgd")
    assert run(wild) == 1
    told = capsys.readouterr()
    assert "failed: wide, seed 0: " in told.err
    assert "* The wide network is right more often: not assessable, 0 seeds." in told.out
    assert "without seed 0: " in told.out
    assert "seed 1: " in told.out


def test_data_replaces_the_studys_and_the_command_that_goes_on_says_so(
    claiming: dict[str, Any], executor: Inline, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {**claiming, "data": str(Path(claiming["out"]) / "nowhere")}
    assert run(other, "--data", claiming["data"], "--only-training", "--seeds", "1") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"study.yaml --data {claiming['data']}" in said
    assert len(executor.submitted) == 2
    assert run(claiming, "--only-training", "--seeds", "1") == 0
    assert len(executor.submitted) == 2  # the same images: nothing is trained again


def test_data_replaces_those_of_a_study_that_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"models": ["resnet_nano"], "data": "nowhere", "only": ["fourier"], "images": 8, "out": str(tmp_path)}
    (tmp_path / "study.yaml").write_text(document_text(values))
    assert main(["run", str(tmp_path / "study.yaml"), "--data", "embedded", "--dry-run"]) == 0
    assert "embedded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value", "flags", "message"),
    [
        (
            "claims",
            {"a": {**CLAIM, "compare": ["wide", "smal"]}},
            (),
            "there is no variant 'smal'. Did you mean 'small'",
        ),
        (
            "claims",
            {"a": {**CLAIM, "family": "widths"}},
            (),
            "claims.a.family: must be shared by two claims or more; no other claim has 'widths'.",
        ),
        ("claims", ["vit_negative"], (), "claims: vit_negative needs the variant "),
        (
            "claims",
            {"a": {**CLAIM, "measure": "variance: variance"}},
            (),
            "claims: a needs variance of wide at last; add it to",
        ),
        ("claims", ["vit_negativ"], (), "there is no claim 'vit_negativ'. Did you mean 'vit_negative'"),
        ("title", "", ("--until", "0.00000001"), "until: the shortest training that is left takes about "),
        ("title", "", ("--until", "0"), "until: must be a number above 0"),
        (
            "title",
            "",
            ("--on", "rya"),
            "on: must be local, ray, ray://HOST:PORT or slurm; got 'rya'. Did you mean 'ray'",
        ),
        ("title", "", ("--workers", "0"), "workers: must be an integer from 1 to 10000; got 0"),
        ("title", "", ("--batch", "3"), "--batch: is for studies that train nothing; leave it out"),
        ("train/variants/small", "no_such_network", (), "no_such_network"),
        ("title", "", ("--data", "embeded"), "Did you mean 'embedded'"),
        ("title", "", ("--data", ""), "data: must be text that is not empty"),
        (
            "train/variants/small/data",
            "embedded",
            ("--data", "embedded"),
            "data: train.variants.small names images of its own, 'embedded'; change them in the file",
        ),
        (
            "train/data",
            "embedded",
            ("--data", "embedded"),
            "data: train names images of its own, 'embedded'; change them in the file",
        ),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_starts(
    key: str,
    value: Any,
    flags: tuple[str, ...],
    message: str,
    claiming: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(changed(claiming, key, value), *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (Path(claiming["out"]) / "train").exists()


def test_flags_of_experiments_are_refused_where_nothing_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.yaml").write_text(document_text({"models": ["resnet_nano"], "data": "embedded"}))
    assert main(["run", str(tmp_path / "study.yaml"), "--seeds", "2"]) == 2
    assert "--seeds: is for studies that train, which have the key train; leave it out" in capsys.readouterr().err


def test_status_of_an_experiment_imports_no_torch(claiming: dict[str, Any], executor: Inline) -> None:
    assert run(claiming, "--seeds", "1", "--only-training") == 0
    asked = f"main(['status', {claiming['out']!r}])"
    code = f"import sys; from visionscope.cli import main; {asked}; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_a_page_of_another_kind_does_not_write_over_an_experiment(
    claiming: dict[str, Any], executor: Inline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(claiming, "--seeds", "1") == 0
    out = Path(claiming["out"])
    before = {path: path.read_bytes() for path in (out / "tables").iterdir()}
    capsys.readouterr()
    asked = [
        "diagnose",
        SMALL,
        "--data",
        claiming["data"],
        "--random-weights",
        "0",
        "--images",
        "8",
        "--only",
        "fourier",
    ]
    for words in (["report", str(out)], [*asked, "--out", str(out)]):
        assert main(words) == 2
        assert f"out: {out} holds an experiment, whose page is {out / 'experiment.html'}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (out / "tables").iterdir()} == before
