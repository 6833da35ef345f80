"""`visionscope buildup` from the plan to the winner's weights, at toy size: cut, gone on with, and refused."""

import contextlib
import dataclasses
import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from torch import nn

from experiments.buildups import CNN, Losing, Pretending, flags
from experiments.conftest import Inline
from visionscope.building.blocks import find_stages
from visionscope.cli import main
from visionscope.errors import ConfigError
from visionscope.experiments.buildup import running
from visionscope.experiments.buildup.search import Question, search_for
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.load import load_model, state_digest
from visionscope.models.mixers.mixer import Mixer, mixer_kinds
from visionscope.models.surgery import changes_of
from visionscope.training.networks import network_for

PLAIN = """
from torch import nn


def net():
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    made.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3, "num_classes": 3}
    return made
"""


def test_a_dry_run_shows_candidates_hours_and_the_effect_and_trains_nothing(
    few: str,
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    capsys: pytest.CaptureFixture[str],
) -> None:
    executor = inline(Inline())
    asked = ("--seeds", "4", "--dry-run", "--control", "--at-most-ms", "1000")
    assert main(flags(few, tmp_path / "run", *asked)) == 0
    said = " ".join(capsys.readouterr().out.split())
    for told in ("0,0,0", "0,0,1", "0,1,1", "Up to 4 seeds of each", "standard deviations of paired seeds"):
        assert told in said
    assert "The control comes on top: about" in said
    assert "ms of an image" in said
    assert "1,1,1" not in said  # a stage of one block has no room
    assert executor.submitted == []
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("drawn")
def test_a_search_that_was_cut_goes_on_and_its_winner_loads(
    few: str,
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
        assert main(flags(few, run, "--seeds", "2")) == 130
    assert len(first.submitted) == 4  # two seeds of the network and of the first candidate
    capsys.readouterr()

    second = inline(Inline())
    assert main(flags(few, run)) == 0  # the seeds are those that it was begun with
    # Two seeds of the second candidate, then two fresh ones of the winner and of the network.
    asked = [work.asked for work in (*first.submitted, *second.submitted)]
    seeds = [(one["seed"], "block_changes" in one["model"]) for one in asked]
    assert sorted(seeds[:6]) == [(0, False), (0, True), (0, True), (1, False), (1, True), (1, True)]
    assert sorted(seeds[6:]) == [(2, False), (2, True), (3, False), (3, True)]
    assert {(one["validation"], one["scored"]) for one in asked} == {(0.1, "end")}
    said = capsys.readouterr().out
    assert "* 0,1,0 wins," in said
    table = pd.read_csv(run / "buildup.csv")
    assert list(table["network"]) == ["0,0,0", "0,0,1", "0,1,0"]
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
    assert winner.num_classes == 2
    assert torch.isfinite(winner.model(torch.zeros(1, 3, 32, 32))).all()

    card = (run / "harmonized.md").read_text()
    for told in ("took the places of these blocks: `layer2.1`", "test accuracy of 2 trainings", "--epochs 1.0"):
        assert told in card
    spec = card.partition('vs.load_model("')[2].partition('")')[0]
    with contextlib.chdir(run):  # the file and the card are enough
        loaded = load_model(spec)
    assert state_digest(loaded.model, "") == state_digest(winner.model, "")

    rulings.clear()
    third = inline(Inline())
    assert main(flags(few, run, "--control")) == 0
    # Two random placements of one block, two seeds of each, and the best on the fresh seeds: all else is there.
    assert [(one.asked["seed"], one.asked["model"].count('"msa": {')) for one in third.submitted] == [
        *((0, 1), (0, 1), (1, 1), (1, 1), (2, 1), (3, 1))
    ]
    result = json.loads((run / "buildup.json").read_bytes())["result"]
    table = pd.read_csv(run / "buildup.csv").set_index("network")
    assert list(table["verdict"]) == ["start", "dropped", "kept", "control", "control"]
    control = result["control"]
    assert (control["placements"], control["trainings"]) == (list(table.index[3:]), 4)
    assert table["lead"][control["name"]] == pytest.approx(control["lead"])
    difference = np.mean(result["winner"]["test_accuracy"]) - np.mean(control["test_accuracy"])
    assert control["lead"] == pytest.approx(difference)
    said = capsys.readouterr().out
    assert f"* {result['sentences'][1]}\n" in said
    page = html.unescape((run / "experiment.html").read_text()).replace("\xa0", " ")
    assert all(one in page for one in (*result["sentences"], *control["placements"], "published: ResNet-50"))

    assert main(["status", str(run)]) == 0
    said = capsys.readouterr().out
    assert "a build-up of timm:resnet_nano" in said
    assert "trainings that are finished: 16" in said
    assert f"* {result['sentences'][0]}\n" in said
    assert "everything is done" in said


def beginnings_of(executor: Inline) -> list[tuple[int, int, str]]:
    """Of each training its seed, how many blocks are others, and the folder of the weights that it began with."""
    found = []
    for work in executor.submitted:
        spec, _, path = work.asked["model"].partition("@")
        blocks = spec.count('"msa": {')
        if path:
            with safe_open(path, "pt") as file:
                blocks = len(json.loads(file.metadata().get("visionscope.blocks", "[]")))
        found.append((work.asked["seed"], blocks, Path(path).parent.name))
    return found


def test_a_warm_start_goes_from_the_plan_to_a_winner_that_was_trained_without_it(
    few: str,
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    rulings: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, executor = tmp_path / "run", inline(Inline())
    assert main(flags(few, run, "--seeds", "2", "--warm-start")) == 0
    first, second, *_ = (work.training for work in executor.submitted)
    assert beginnings_of(executor) == [
        *((0, 0, ""), (1, 0, "")),  # the network itself, from random weights
        *((0, 0, first), (0, 1, "beginnings"), (1, 0, second), (1, 1, "beginnings")),  # once more, and a candidate
        *((0, 1, "beginnings"), (1, 1, "beginnings")),  # the next one
        *((2, 0, ""), (2, 1, ""), (3, 0, ""), (3, 1, "")),  # fresh seeds know no other training
    ]
    captured = capsys.readouterr()
    assert re.search(r"0,0,1: dropped, [+-]\d+\.\d\d points to 0,0,0, trained once more, over 2 seeds", captured.err)
    assert "* 0,1,0 wins," in captured.out
    table = pd.read_csv(run / "buildup.csv", keep_default_na=False)
    assert list(table["network"]) == ["0,0,0", "0,0,0 again", "0,0,1", "0,1,0"]
    assert list(table["verdict"]) == ["start", "again", "dropped", "kept"]
    assert list(table["parent"]) == ["", "", "0,0,0 again", "0,0,0 again"]
    gains = table["accuracy"].astype(float) - float(table["accuracy"][1])
    assert list(table["gain"][2:].astype(float)) == pytest.approx(list(gains[2:]))
    page = html.unescape((run / "experiment.html").read_text())
    assert "compared with that one trained once more" in page
    assert "--warm-start" in page
    assert "ms of an image" not in page  # nothing was measured


def test_a_start_from_a_file_goes_from_the_plan_to_a_winner_that_loads(
    few: str,
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    rulings: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, run, executor = tmp_path / "five.safetensors", tmp_path / "run", inline(Inline())
    other = network_for(CNN, 5, seed=7, note=lambda line: None)
    arguments, config = other.spec.arguments, other.input
    save_checkpoint(file, other.model, num_classes=5, arguments=arguments, config=config)
    assert main(flags(few, run, "--seeds", "2", model=f"resnet_nano@{file}")) == 0
    began = beginnings_of(executor)
    assert [(seed, blocks) for seed, blocks, _ in began] == [
        *((0, 0), (0, 1), (1, 0), (1, 1)),
        *((0, 1), (1, 1)),
        *((2, 0), (2, 1), (3, 0), (3, 1)),
    ]
    assert {folder for *_, folder in began} == {"beginnings"}
    captured = capsys.readouterr()
    assert captured.err.count("its head of 5 classes is replaced by a fresh one of 2") == 1
    assert "* 0,1,0 wins," in captured.out
    spec = captured.out.partition("Load the winner as ")[2].strip()
    winner = load_model(spec)
    assert (winner.num_classes, len(changes_of(winner.model))) == (2, 1)
    assert spec in (run / "harmonized.md").read_text().replace(
        "harmonized.safetensors", str(run / "harmonized.safetensors")
    )


def test_where_nothing_helps_nothing_is_written(
    few: str,
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inline(Inline())
    monkeypatch.setattr(running, "Trainer", Pretending(lambda name, seed: 0.5))
    run = tmp_path / "run"
    assert main(flags(few, run, "--seeds", "2", "--control")) == 0
    said = capsys.readouterr().out
    assert "* No candidate helps" in said
    assert "* 0,0,0 does not differ reliably from the best of 2 random placements of one block" in said
    assert not (run / "harmonized.safetensors").exists()
    assert json.loads((run / "buildup.json").read_bytes())["result"]["winner"] is None


def test_a_fresh_seed_that_is_lost_is_told_and_left_out(
    few: str,
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    rulings: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    inline(Losing())
    assert main(flags(few, run, "--seeds", "3")) == 0
    captured = capsys.readouterr()
    assert re.search(r"0,1,0 failed on fresh seed 4: .*it broke.*; this seed is left out", captured.err)
    assert re.search(r"0,1,0 wins, (not )?confirmed on 2 fresh seeds", captured.out)
    assert json.loads((run / "buildup.json").read_bytes())["result"]["winner"]["seeds"] == [3, 5]
    assert (run / "harmonized.safetensors").is_file()


def test_status_of_a_search_that_was_stopped_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"asked": {"model": "resnet_pico", "data": "images"}, "seeds": 4, "command": "visionscope buildup x"}
    (tmp_path / "buildup.json").write_text(json.dumps(told))
    assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "a build-up of resnet_pico on images, up to 4 seeds" in said
    assert "go on with: visionscope buildup x" in said


class Picky(nn.Module):
    """Takes maps of 64 positions or more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] * x.shape[-2] < 64:
            raise RuntimeError("wants maps of 64 positions")
        return x


@dataclasses.dataclass(frozen=True, kw_only=True)
class PickyMixer(Mixer):
    """A mixer as a later one may be: ours take any map."""

    name = "picky"
    does = "y = x"
    source = "a control"
    low_pass = "never"
    data_specific = False

    def reach(self) -> int:
        return 0

    def build(self, dim: int) -> nn.Module:
        return Picky()


@pytest.mark.parametrize(
    ("model", "more", "budget", "message"),
    [
        ("vit_nano", (), "1h", "each stage|no stage has room|can't be harmonized"),
        ("resnet_nano?layers=(1,1,1)", (), "1h", "no stage has room for another block: .*one block each"),
        (CNN, (), "0.001min", "budget: must be enough for 2 seeds"),
        (CNN, (), "soon", "budget: must be a time such as 2h, 1.5h or 45min"),
        (CNN, (), "0h", "budget: must be a time such as 2h.*above zero"),
        (CNN, (), f"{'9' * 400}h", "budget: must be a time such as 2h.*of at most 9 digits"),
        (CNN, ("--seeds", "1"), "1h", "seeds: must be an integer from 2 to 1000; got 1"),
        (CNN, ("--at-most-ms", "0"), "1h", "at_most_ms: must be a number above 0"),
        ("plain.py:net", (), "1h", "can't be harmonized: no module of it runs a residual sum"),
        (CNN, ("--mixer", "picky"), "1h", "with other blocks in their places, .*wants maps of 64 positions"),
        (CNN, ("--mixer", "nonsense"), "1h", "mixer.*nonsense"),
        ("resnet_pico", ("--from-pretrained",), "1h", "or leave out --from-pretrained, for random ones"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(
    few: str,
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    more: tuple[str, ...],
    budget: str,
    message: str,
) -> None:
    executor = inline(Inline())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(mixer_kinds(), "picky", PickyMixer)
    Path("plain.py").write_text(PLAIN)
    assert main(flags(few, tmp_path / "run", *more, model=model, budget=budget)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(said)
    assert executor.submitted == []


def test_a_run_folder_keeps_to_its_question_and_its_seeds(few: str, tmp_path: Path) -> None:
    question = Question(model=CNN, data=few, recipe="pico", changes={"epochs": 1.0})
    told = {"asked": dataclasses.asdict(question), "seeds": 3}
    (tmp_path / "buildup.json").write_text(json.dumps(told))

    def asked(question: Question, seeds: int | None = None) -> int:
        return search_for(question, seeds=seeds, budget=None, run=tmp_path, note=lambda line: None).seeds

    assert asked(question) == 3
    with pytest.raises(ConfigError, match=r"out: .*holds another build-up; name another folder"):
        asked(dataclasses.replace(question, mixer="identity"))
    with pytest.raises(ConfigError, match=r"seeds: must be 3 as the build-up .* was begun with.*got 5"):
        asked(question, 5)
