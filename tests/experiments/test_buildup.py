"""`visionscope buildup` from the plan to the winner's weights, at toy size: cut, gone on with, and refused."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from experiments.conftest import Inline
from training.conftest import data  # noqa: F401  # the fixture
from visionscope.building.blocks import find_stages
from visionscope.cli import main
from visionscope.errors import ConfigError
from visionscope.experiments.buildup import running
from visionscope.experiments.buildup.search import Question, search_for
from visionscope.models.load import load_model
from visionscope.models.surgery import changes_of

CNN = "resnet_nano?channels=(8,8,8)&stem_width=4&layers=(1,2,2)"


def flags(data: str, run: Path, *more: str, model: str = CNN, budget: str = "1h") -> list[str]:  # noqa: F811
    toy = ["--recipe", "pico", "--epochs", "1", "--budget", budget, "--out", str(run)]
    return ["buildup", model, "--data", data, *toy, *more]


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Callable[[Inline], Inline]:
    """Trains in this process."""

    def chosen(made: Inline) -> Inline:
        monkeypatch.setattr(running, "executor_for", lambda *_, **__: contextlib.nullcontext(made))
        return made

    return chosen


@pytest.fixture
def rulings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first candidate is dropped, the next one kept: what a test of a few steps can't bring about."""
    asked: list[int] = []

    def ruled(gains: tuple[float, ...], most: int, least: float) -> str:
        asked.append(len(gains))
        return "drop" if len(asked) == 1 else "keep"

    monkeypatch.setattr(running, "ruling", ruled)
    return asked


def test_a_dry_run_shows_candidates_hours_and_the_effect_and_trains_nothing(
    data: str,  # noqa: F811
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    capsys: pytest.CaptureFixture[str],
) -> None:
    executor = inline(Inline())
    assert main(flags(data, tmp_path / "run", "--seeds", "4", "--dry-run")) == 0
    said = " ".join(capsys.readouterr().out.split())
    for told in ("0,0,0", "0,0,1", "0,1,1", "Up to 4 seeds of each", "standard deviations of paired seeds"):
        assert told in said
    assert "1,1,1" not in said  # a stage of one block has no room
    assert executor.submitted == []
    assert not (tmp_path / "run").exists()


def test_a_search_that_was_cut_goes_on_and_its_winner_loads(
    data: str,  # noqa: F811
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    rulings: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    first = inline(Inline())
    with monkeypatch.context() as cut:

        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        cut.setattr(running, "ruling", stop)
        assert main(flags(data, run, "--seeds", "2")) == 130
    assert len(first.submitted) == 4  # two seeds of the network and of the first candidate
    capsys.readouterr()

    second = inline(Inline())
    assert main(flags(data, run)) == 0  # the seeds are those that it was begun with
    # Two seeds of the second candidate, then two fresh ones of the winner and of the network.
    asked = [work.asked for work in (*first.submitted, *second.submitted)]
    seeds = [(one["seed"], "block_changes" in one["model"]) for one in asked]
    assert sorted(seeds[:6]) == [(0, False), (0, True), (0, True), (1, False), (1, True), (1, True)]
    assert sorted(seeds[6:]) == [(2, False), (2, True), (3, False), (3, True)]
    assert {one["validation"] for one in asked} == {0.1}
    said = capsys.readouterr().out
    assert "* 0,1,0 wins," in said
    table = pd.read_csv(run / "buildup.csv")
    assert list(table["places"]) == ["0,0,0", "0,0,1", "0,1,0"]
    assert list(table["verdict"]) == ["start", "dropped", "kept"]
    assert list(table["seeds"]) == [2, 2, 2]
    assert table["accuracy"].between(0, 1).all()
    assert (table["images_per_second"] > 0).all()
    expected = table["accuracy"] - table["accuracy"][0]
    assert list(table["gain"])[1:] == pytest.approx(list(expected)[1:])
    for name in ("buildup_path", "buildup_cost"):
        assert (run / "figures" / f"{name}.png").stat().st_size > 1000

    winner = load_model(f"{CNN}@{run / 'harmonized.safetensors'}")
    assert [change.path for change in changes_of(winner.model)] == [find_stages(winner.model, (32, 32))[1][-1].path]
    assert winner.num_classes == 3
    assert torch.isfinite(winner.model(torch.zeros(1, 3, 32, 32))).all()

    rulings.clear()
    third = inline(Inline())
    assert main(flags(data, run)) == 0
    assert third.submitted == []  # everything is there


def test_where_nothing_helps_nothing_is_written(
    data: str,  # noqa: F811
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inline(Inline())
    monkeypatch.setattr(running, "ruling", lambda *_, **__: "drop")
    assert main(flags(data, tmp_path / "run", "--seeds", "2")) == 0
    assert "* No candidate helps" in capsys.readouterr().out
    assert not (tmp_path / "run" / "harmonized.safetensors").exists()


@pytest.mark.parametrize(
    ("model", "more", "budget", "message"),
    [
        ("vit_nano", (), "1h", "each stage|no stage has room|can't be harmonized"),
        ("resnet_nano?layers=(1,1,1)", (), "1h", "no stage has room for another block: .*one block each"),
        (CNN, (), "0.001min", "budget: must be enough for 2 seeds"),
        (CNN, (), "soon", "budget: must be a time such as 2h, 1.5h or 45min"),
        (CNN, (), "0h", "budget: must be a time such as 2h.*above zero"),
        (CNN, ("--seeds", "1"), "1h", "seeds: must be an integer from 2 to 1000; got 1"),
        (CNN, ("--mixer", "nonsense"), "1h", "mixer.*nonsense"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(
    data: str,  # noqa: F811
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    capsys: pytest.CaptureFixture[str],
    model: str,
    more: tuple[str, ...],
    budget: str,
    message: str,
) -> None:
    executor = inline(Inline())
    assert main(flags(data, tmp_path / "run", *more, model=model, budget=budget)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(said)
    assert executor.submitted == []


def test_a_run_folder_keeps_to_its_question_and_its_seeds(data: str, tmp_path: Path) -> None:  # noqa: F811
    question = Question(model=CNN, data=data, recipe="pico", changes={"epochs": 1.0})
    told = {"asked": dataclasses.asdict(question), "seeds": 3}
    (tmp_path / "buildup.json").write_text(json.dumps(told))

    def asked(question: Question, seeds: int | None = None) -> int:
        return search_for(question, seeds=seeds, budget=None, run=tmp_path, note=lambda line: None).seeds

    assert asked(question) == 3
    with pytest.raises(ConfigError, match=r"out: .*holds another build-up; name another folder"):
        asked(dataclasses.replace(question, mixer="identity"))
    with pytest.raises(ConfigError, match=r"seeds: must be 3 as the build-up .* was begun with.*got 5"):
        asked(question, 5)
