"""A build-up in which something fails, is stopped, or is called again: what is told, and what stands."""

import dataclasses
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.buildups import CNN, Losing, carried_out, flags, late_helps, undecided
from experiments.conftest import Inline
from visionscope.cli import main
from visionscope.errors import ConfigError
from visionscope.experiments.buildup import page, running, search
from visionscope.experiments.buildup.card import card_of
from visionscope.experiments.buildup.page import figures_of, write_page
from visionscope.experiments.buildup.results import sentences_of, shown_rows, table_of, write_results
from visionscope.experiments.buildup.running import Buildup
from visionscope.experiments.buildup.search import Question, Search, search_for


def within(small: Search, milliseconds: float, latencies: list[float], monkeypatch: pytest.MonkeyPatch) -> Search:
    """With a limit of latency, and what will be measured; then the measuring is interrupted."""
    taken = iter(latencies)

    def measured(*_: object, **__: object) -> dict[str, float]:
        for one in taken:
            return {"": one}
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "latency", measured)
    question = dataclasses.replace(small.question, at_most_ms=milliseconds)
    return dataclasses.replace(small, question=question, milliseconds={})


def test_placements_that_can_not_be_trained_are_told_and_not_counted(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("0,0,1-8.safetensors").write_bytes(b"")  # the winner's weights
    whole, _, _ = carried_out(small, late_helps, tmp_path, monkeypatch, control=True)
    assert whole.control is not None
    lost, left = (network.name for network in whole.control.drawn)
    found, _, lines = carried_out(small, late_helps, tmp_path, monkeypatch, control=True, fails=lost)
    assert f"{lost}: left out of the control, since a training failed: seed 0: it broke" in lines
    _, second, third = sentences_of(found)
    assert "the best of 1 random placement of as many blocks:" in second
    assert third == "The control is smaller than asked: 1 random placement, where the rule compared 2."
    table = table_of(found, {})
    assert table.set_index("network")["verdict"][[lost, left]].to_list() == ["failed", "control"]
    write_results(found, table, tmp_path)
    told = json.loads((tmp_path / "buildup.json").read_bytes())["result"]["control"]
    assert (told["placements"], told["trainings"]) == ([left], 4)
    assert told["failed"] == {lost: "seed 0: it broke"}


def test_a_control_of_fewer_placements_than_candidates_says_so(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = within(small, 3.0, [1.0, 1.0, 5.0, 5.0, 1.0, 5.0], monkeypatch)
    found, _, lines = carried_out(asked, late_helps, tmp_path, monkeypatch, control=True)
    assert "control: random placements are built and timed until 2 are as fast as asked" in lines
    assert any(line.startswith("control: 1 of 2 random placements were found: there are no more") for line in lines)
    assert sentences_of(found)[2].startswith("The control is smaller than asked: 1 random placement, where")


def test_an_interruption_loses_no_measurement(small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(name: str, seed: int) -> float:
        if name == "0,1,1":
            raise KeyboardInterrupt
        return late_helps(name, seed)

    def kept() -> list[float]:
        return list(json.loads((tmp_path / "buildup.json").read_bytes())["milliseconds"].values())

    with pytest.raises(KeyboardInterrupt):
        carried_out(within(small, 3.0, [1.0, 2.0], monkeypatch), stopped, tmp_path, monkeypatch)
    assert sorted(kept()) == [1.0, 2.0]
    asked = within(small, 3.0, [1.0, 2.0, 2.5], monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        carried_out(asked, late_helps, tmp_path, monkeypatch, control=True)
    assert sorted(kept()) == [1.0, 2.0, 2.5]


def test_what_is_known_as_too_slow_costs_nothing_and_a_slow_start_is_told(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = within(small, 3.0, [5.0, 1.0, 9.0], monkeypatch).question
    lines: list[str] = []
    asked = search_for(question, seeds=8, budget=None, run=tmp_path, note=lines.append)
    assert lines == ["0,0,0, the network itself, is slower than asked: an image takes 5 ms, above 3"]
    assert list(asked.tasks) == ["0,0,0", "0,0,1", "0,1,1"]
    assert list(asked.seconds) == ["0,0,0", "0,0,1"]
    start, candidate = asked.seconds.values()
    assert asked.hours * 3600 == pytest.approx(8 * (2 * start + 2 * candidate))


def test_a_winner_that_can_not_be_confirmed_is_told(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, _ = carried_out(small, late_helps, tmp_path, monkeypatch, unscored=["0,0,1"], control=True)
    assert found.winner is not None
    assert sentences_of(found) == (
        "0,0,1 wins on held-out images, but could not be confirmed: fewer than 2 fresh seeds are left: 0,0,1 failed.",
        "There is no control: it needs a winner that is confirmed.",
    )
    table = table_of(found, {})
    assert list(table["verdict"]) == ["start", "kept", "dropped"]
    assert write_results(found, table, tmp_path) == (tmp_path / "buildup.csv",)
    told = json.loads((tmp_path / "buildup.json").read_bytes())["result"]
    assert told["winner"] == {"name": "0,0,1", "blocks": ["layer3.1"]}

    seen: list[Buildup] = []  # confirmed by the next call: it is there before the control begins
    carried_out(small, late_helps, tmp_path, monkeypatch, control=True, early=seen.append)
    assert [one.confirmed is not None for one in seen] == [True]


def test_a_gain_says_over_how_many_seeds_it_is(small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _, _ = carried_out(small, undecided, tmp_path, monkeypatch)
    table = pd.read_csv(io.StringIO(table_of(found, {}).to_csv(index=False)))  # as the published page reads it
    assert list(table["seeds"]) == [4, 8, 8]  # of the first candidate four more, for the sake of the second
    assert list(table["gain_seeds"]) == [0, 4, 8]
    start, first, _ = (row[5] for row in shown_rows(table))
    assert start == ""
    assert re.fullmatch(r"\+\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\), 4 seeds", first)
    _, older, _ = (row[5] for row in shown_rows(table.drop(columns="gain_seeds")))
    assert f"{older}, 4 seeds" == first


def test_the_page_counts_what_chose_and_draws_no_training_that_failed(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def rendered(run: Path, *_: object, **values: Any) -> Path:
        told.update(values)
        return run

    monkeypatch.setattr(page, "drawn", lambda *_: ([], []))
    monkeypatch.setattr(page, "write_rendered", rendered)
    found, _, _ = carried_out(small, late_helps, tmp_path, monkeypatch, control=True, lasts={"0,1,1": 2})
    table = table_of(found, {})
    write_page(found, table, tmp_path)
    assert told["facts"][:2] == ["2 candidates", "12 trainings to choose"]
    assert list(table["verdict"])[:3] == ["start", "kept", "failed"]
    assert figures_of(table)[0].panels[0].x_names == ("0,0,0", "0,0,1")


def test_a_card_says_what_loading_takes_and_where_training_began(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, _ = carried_out(small, late_helps, tmp_path, monkeypatch)

    def card(source: str, name: str, **asked: Any) -> str:
        base = dataclasses.replace(small.base, spec=dataclasses.replace(small.base.spec, source=source, name=name))
        question = dataclasses.replace(small.question, **asked)
        changed = dataclasses.replace(found.search, base=base, question=question)
        return card_of(dataclasses.replace(found, search=changed), "harmonized.safetensors", [])

    plain = card("timm", "resnet_nano")
    assert "The file and visionscope" in plain
    assert "Training began" not in plain
    own = card("file", "nets/own.py:net", model="nets/own.py:net@trained/five.safetensors")
    assert "The file, `own.py` and visionscope" in own
    assert "Training began with the weights of `five.safetensors`; new blocks were random." in own
    assert "Training began with its library's pretrained weights" in card("timm", "resnet_nano", pretrained=True)


def test_a_training_that_failed_before_test_images_were_read_is_not_tried_again(
    few: str,
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    rulings: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    inline(Losing())
    assert main(flags(few, run, "--seeds", "3")) == 0
    before = json.loads((run / "buildup.json").read_bytes())["result"]
    rulings.clear()
    capsys.readouterr()
    again = inline(Inline())
    assert main(flags(few, run)) == 0
    assert again.submitted == []
    assert json.loads((run / "buildup.json").read_bytes())["result"] == before
    assert "this seed is left out" in capsys.readouterr().err


def test_weights_that_are_gone_cost_no_result(
    few: str,
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    rulings: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    inline(Inline())
    assert main(flags(few, run, "--seeds", "2")) == 0
    before = json.loads((run / "buildup.json").read_bytes())["result"]
    assert before["winner"]["test_accuracy"]
    shutil.rmtree(run / "train")
    rulings.clear()
    inline(Inline())
    assert main(flags(few, run)) != 0
    assert re.search("its weights are gone from .*; put them back", capsys.readouterr().err)
    assert json.loads((run / "buildup.json").read_bytes())["result"] == before


def test_the_winner_is_there_before_its_control_and_no_call_erases_either(
    few: str,
    tmp_path: Path,
    inline: Callable[[Inline], Inline],
    rulings: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"

    def called(*more: str, stops: bool = False) -> tuple[int, dict[str, Any], str]:
        rulings.clear()
        inline(Inline())
        with monkeypatch.context() as cut:
            if stops:

                def stop(*_: object, **__: object) -> None:
                    raise KeyboardInterrupt

                cut.setattr(running, "control_for", stop)
            code = main(flags(few, run, *more))
        capsys.readouterr()
        assert main(["status", str(run)]) == 0
        return code, json.loads((run / "buildup.json").read_bytes()), capsys.readouterr().out

    code, told, said = called("--seeds", "2", "--control", stops=True)
    assert code == 130
    for name in ("harmonized.safetensors", "harmonized.md", "buildup.csv", "experiment.html"):
        assert (run / name).is_file()
    assert f"* {told['result']['sentences'][0]}\n" in said
    assert "* The control is not finished.\n" in said
    assert "everything is done" not in said
    assert "--control" in shlex.split(said.partition("go on with: ")[2])

    code, told, said = called()  # what was asked for once is not taken back
    assert code == 0
    assert told["control"] is True
    assert "--control" in shlex.split(told["command"])
    assert "everything is done" in said
    table = pd.read_csv(run / "buildup.csv")
    assert list(table["verdict"]).count("control") == 2
    result = told["result"]

    code, told, said = called(stops=True)
    assert code == 130
    assert told["result"] == result
    assert "everything is done" in said
    pd.testing.assert_frame_equal(pd.read_csv(run / "buildup.csv"), table)


def test_seeds_of_an_earlier_call_stay_and_that_is_told(few: str, tmp_path: Path) -> None:
    question = Question(model=CNN, data=few, recipe="pico", changes={"epochs": 1.0})
    (tmp_path / "buildup.json").write_text(json.dumps({"asked": dataclasses.asdict(question), "seeds": 3}))

    def told(budget: float, seeds: int | None = None) -> list[str]:
        lines: list[str] = []
        found = search_for(question, seeds=seeds, budget=budget, run=tmp_path, note=lines.append)
        assert found.seeds == 3
        return lines

    small, large = told(1e-9), told(99.0)
    assert len(small) == 1
    begun = "3 seeds that this build-up was begun with"
    assert re.fullmatch(rf"budget: is not enough for the {begun}, which stay; they take about .* on one core", small[0])
    assert large == [f"the {begun} stay; this budget would give 16"]
    assert told(99.0, seeds=3) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "can't be read .it does not say what was asked"),
        ({"asked": []}, r"its asked can't be \[\]"),
        ({"milliseconds": None}, "its milliseconds can't be None"),
        ({"milliseconds": {"0,0,1": None}}, "its milliseconds can't be {'0,0,1': None}"),
        ({"seeds": "3"}, "its seeds can't be '3'"),
        ({"result": {"sentences": 3}}, "its result can't be {'sentences': 3}"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_one_line(
    wrong: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"asked": {"model": "resnet_pico", "data": "images"}, "seeds": 4}
    (tmp_path / "buildup.json").write_text(json.dumps({**told, **wrong} if isinstance(wrong, dict) else wrong))
    assert main(["status", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(said)
