"""What a build-up decides, on accuracies that are known beforehand: control, warm start, latency, sentences, table."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from experiments.buildups import SEEDS, carried_out, late_helps, noise, undecided
from visionscope.errors import ConfigError, VisionscopeError
from visionscope.experiments.buildup import search
from visionscope.experiments.buildup.page import figures_of
from visionscope.experiments.buildup.results import number, sentences_of, table_of
from visionscope.experiments.buildup.search import Search
from visionscope.models.surgery import BlockChange
from visionscope.numerics.sequential import detectable

EVEN = "does not differ reliably from"


def test_the_control_has_as_many_placements_and_trainings_and_its_best_is_compared_on_the_winners_seeds(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, trainer, _ = carried_out(small, late_helps, tmp_path, monkeypatch, control=True)
    assert found.winner is not None
    assert found.confirmed is not None
    assert found.winner.name == "0,0,1"
    spent = [len(trial.gains) for trial in found.trials]
    assert spent == [4, 4]  # both were clear at the first look
    control = found.control
    assert control is not None
    names = [network.name for network in control.drawn]
    assert len(set(names)) == len(spent)
    assert "layer3.1" not in names  # the winner's own
    assert len(control.drawn) * control.seeds == sum(spent)
    assert control.best.name == max(names, key=lambda name: np.mean([late_helps(name, seed) for seed in range(4)]))
    fresh = range(SEEDS, 2 * SEEDS)
    gains = np.array([late_helps("0,0,1", seed) - late_helps(control.best.name, seed) for seed in fresh])
    half = t.ppf(0.975, SEEDS - 1) * gains.std(ddof=1) / math.sqrt(SEEDS)
    assert [control.gain[0], *control.gain[1]] == pytest.approx(
        [gains.mean(), gains.mean() - half, gains.mean() + half]
    )
    table = table_of(found, {}).set_index("network")
    assert list(table["verdict"]) == ["start", "kept", "dropped", "control", "control"]
    assert table["lead"][control.best.name] == pytest.approx(gains.mean())
    assert table["lead_low"][control.best.name] == pytest.approx(gains.mean() - half)
    assert table["lead"]["0,0,0"] == pytest.approx(found.confirmed.gain[0])
    assert math.isnan(table["lead"]["0,0,1"])
    assert [name for name, _, _ in trainer.asked[-2:]] == names


@pytest.mark.parametrize(("lead", "verb"), [(0.2, "beats"), (-0.2, "loses to"), (0.005, EVEN), (-0.005, EVEN)])
def test_the_sentence_says_which_is_better(
    lead: float, verb: str, small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accuracy(name: str, seed: int) -> float:
        random = 0.0 if name.startswith("0") else 0.2 - lead
        return late_helps(name, seed) if name.startswith("0") else 0.5 + random + noise(name, seed + 1)

    sentences = sentences_of(carried_out(small, accuracy, tmp_path, monkeypatch, control=True)[0])
    assert sentences[0].startswith("0,0,1 wins, confirmed on 8 fresh seeds: test accuracy +20.")
    assert sentences[1].startswith(f"0,0,1 {verb} the best of 2 random placements of as many blocks: test accuracy ")
    assert all(len(one.split()) <= 25 for one in sentences)


def test_without_another_place_there_is_no_control(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = tuple(
        tuple(slot if isinstance(slot, BlockChange) and slot.path == "layer3.1" else "no" for slot in stage)
        for stage in small.slots
    )
    asked = dataclasses.replace(small, slots=only, room=(0, 0, 1))
    found, _, _ = carried_out(asked, late_helps, tmp_path, monkeypatch, control=True)
    assert found.winner is not None
    assert found.control is None
    assert sentences_of(found)[1:] == ("There is no control: no other placement of as many blocks can be trained.",)


def test_trainings_that_a_successor_needed_count_for_the_control(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, trainer, _ = carried_out(small, undecided, tmp_path, monkeypatch, control=True)
    assert [len(trial.gains) for trial in found.trials] == [4, 8]
    assert len(trainer.held["0,0,1"].top_1) == 8  # kept by four, and trained on four more for its successor
    assert found.control is not None
    assert (len(found.control.drawn), found.control.seeds) == (2, 8)


def test_where_nothing_helps_random_placements_of_one_block_are_compared_with_the_network_as_it_was(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accuracy(name: str, seed: int) -> float:
        return (0.6 if name == "layer2.0" else 0.5) + noise("", seed)

    found, _, _ = carried_out(small, accuracy, tmp_path, monkeypatch, control=True)
    assert found.winner is None
    assert found.control is not None
    assert [len(network.changes) for network in found.control.drawn] == [1, 1]
    names = [network.name for network in found.control.drawn]
    best = "layer2.0" if "layer2.0" in names else names[0]
    assert found.control.best.name == best
    lead = -0.1 if best == "layer2.0" else 0.0
    assert found.control.gain == (pytest.approx(lead), (pytest.approx(lead), pytest.approx(lead)))
    said = sentences_of(found)
    assert said[0] == "No candidate helps: accuracy does not rise reliably with any of them."
    assert re.match(
        r"0,0,0 (loses to|does not differ reliably from) the best of 2 random placements of one block:", said[1]
    )
    assert table_of(found, {}).set_index("network")["lead"][best] == pytest.approx(lead)


def test_what_the_rule_has_found_stands_where_the_control_fails(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placements = ("layer1.0", "layer2.0", "layer2.1", "layer3.0")
    found, _, _ = carried_out(small, late_helps, tmp_path, monkeypatch, control=True, unscored=placements)
    first, second = sentences_of(found)
    assert first.startswith("0,0,1 wins, confirmed on 8 fresh seeds")
    assert re.fullmatch(r"There is no control: fewer than 2 fresh seeds are left: layer\d\.\d failed\.", second)


def test_where_no_candidate_could_be_compared_that_is_said(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "latency", lambda *_, **__: {"": 4.0})
    question = dataclasses.replace(small.question, at_most_ms=3.0)
    asked = dataclasses.replace(small, question=question, milliseconds={})
    found, _, _ = carried_out(asked, late_helps, tmp_path, monkeypatch, control=True)
    assert sentences_of(found) == (
        "No candidate could be compared: each was too slow, or its training failed.",
        "There is no control: the rule could compare no candidate.",
    )
    table = table_of(found, {}).set_index("network")  # what is known without any training is told
    assert (table["parameters"][["0,0,1", "0,1,0"]] > 1000).all()
    assert (table["gmacs"][["0,0,1", "0,1,0"]] > 0).all()


def test_a_parent_that_fails_on_a_seed_of_its_successor_ends_that_path_alone(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, _ = carried_out(small, undecided, tmp_path, monkeypatch, lasts={"0,0,1": 5})
    assert [trial.verdict for trial in found.trials] == ["kept", "failed"]
    assert found.trials[1].reason == "0,0,1, which it is compared with, failed: seed 5: it broke"
    assert found.confirmed is not None
    assert figures_of(table_of(found, {}))[0].panels[0].x_names == ("0,0,0", "0,0,1")  # what failed is not drawn


def test_the_network_itself_that_fails_on_a_late_seed_drops_the_candidate_that_needed_it(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accuracy(name: str, seed: int) -> float:
        return 0.5 + 0.05 * (-1) ** seed if name == "0,0,1" else late_helps(name, seed)

    found, _, _ = carried_out(small, accuracy, tmp_path, monkeypatch, lasts={"0,0,0": 5})
    assert [trial.verdict for trial in found.trials] == ["failed", "dropped"]
    assert found.trials[0].reason == "0,0,0, which it is compared with, failed: seed 5: it broke"


def test_with_a_warm_start_a_candidate_is_compared_with_its_parent_trained_once_more(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accuracy(name: str, seed: int) -> float:
        return late_helps(name, seed) + 0.5 * name.endswith(" again")  # training on is what helps

    warm = dataclasses.replace(small, question=dataclasses.replace(small.question, warm_start=True))
    found, trainer, _ = carried_out(warm, accuracy, tmp_path, monkeypatch)
    assert found.winner is None
    began = {name: after for name, after, _ in trainer.asked}
    assert began == {"0,0,0": None, "0,0,0 again": "0,0,0", "0,0,1": "0,0,0", "0,1,0": "0,0,0"}
    assert list(table_of(found, {})["verdict"]) == ["start", "again", "dropped", "dropped"]
    kept, trainer, _ = carried_out(warm, late_helps, tmp_path, monkeypatch, control=True)
    began = {name: after for name, after, _ in trainer.asked}
    assert (began["0,1,1"], began["0,0,1 again"]) == ("0,0,1", "0,0,1")
    assert kept.control is not None
    assert {began[network.name] for network in kept.control.drawn} == {"0,0,0"}
    assert kept.control.best.after is None  # what is confirmed begins as the whole build-up does


def test_what_is_slower_than_asked_is_dropped_before_any_training_and_measured_once(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter([4.0, 2.0])
    monkeypatch.setattr(search, "latency", lambda *_, **__: {"": next(taken)})
    question = dataclasses.replace(small.question, at_most_ms=3.0)
    asked = dataclasses.replace(small, question=question, milliseconds={})
    found, trainer, lines = carried_out(asked, late_helps, tmp_path, monkeypatch)
    assert [trial.verdict for trial in found.trials] == ["too slow", "dropped"]
    assert "0,0,1" not in trainer.held
    assert lines[0] == "0,0,1: dropped before any training: an image takes 4 ms, above 3"
    assert json.loads((tmp_path / "buildup.json").read_bytes())["milliseconds"] == {"0,0,1": 4.0, "0,1,0": 2.0}
    assert list(table_of(found, {})["milliseconds"])[1:] == [4.0, 2.0]
    carried_out(asked, late_helps, tmp_path, monkeypatch)  # another measurement would stop the iteration


def test_random_placements_that_are_slow_or_do_not_run_are_not_drawn(
    small: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "latency", lambda *_, **__: {"": next(taken)})
    taken = iter([5.0, 1.0, 5.0, 1.0])
    question = dataclasses.replace(small.question, at_most_ms=3.0)
    asked = dataclasses.replace(small, question=question, milliseconds={})
    drawn = asked.drawn(small.network((0, 0, 1)), 10, lambda: None)
    assert {asked.milliseconds[network.name] for network in drawn} == {1.0}
    assert len(drawn) == 2


def test_a_candidate_whose_training_fails_is_dropped_and_a_parent_stops_the_search(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, lines = carried_out(small, late_helps, tmp_path, monkeypatch, fails="0,0,1")
    assert [trial.verdict for trial in found.trials] == ["failed", "dropped"]
    assert lines[0] == "0,0,1: dropped, since a training failed: seed 0: it broke"
    with pytest.raises(VisionscopeError, match="0,0,0: its training failed: seed 0: it broke"):
        carried_out(small, late_helps, tmp_path, monkeypatch, fails="0,0,0")


def test_of_the_seeds_that_a_budget_allows_those_that_show_the_smallest_gain_are_taken() -> None:
    seconds = {"0,0,0": 1.0, "0,0,1": 1.0}  # a seed takes five of these: three trainings of 1 s and two to confirm
    for hours, most in ((2 * 4 / 3600, 2), (4 * 4 / 3600, 4), (5 * 4 / 3600, 4), (9 * 4 / 3600, 8), (99, 16)):
        assert search._seeds_for(seconds, False, None, hours) == most
    assert search._seeds_for(seconds, False, 5, 1.0) == 5  # what is asked for
    with pytest.raises(ConfigError, match="seeds: the budget is enough for 18; got 20"):
        search._seeds_for(seconds, False, 20, 18.5 * 4 / 3600)


def test_the_gain_that_can_be_shown_is_told_in_points(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, lines = carried_out(small, late_helps, tmp_path, monkeypatch)
    gains = np.array(found.trials[0].gains)
    expected = detectable(SEEDS) * max(gains.std(ddof=1), small.one_image)
    assert f"keep a gain of {100 * expected:.2f} points in four of five cases" in lines[0]
    assert table_of(found, {})["detectable"][1] == pytest.approx(expected)
    assert small.detectable([0.1, 0.1]) == pytest.approx(detectable(SEEDS) * small.one_image)  # no certainty


def test_the_published_path_stands_beside_the_measured_one(
    small: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, _ = carried_out(small, late_helps, tmp_path, monkeypatch, control=True)
    path, costs = figures_of(table_of(found, {"0,0,0": 9.0, "0,0,1": 8.0, "0,1,1": 7.0}))
    ours, published = path.panels
    assert ours.x_names == ("0,0,0", "0,0,1", "0,1,1")
    assert {line.name: line.x for line in ours.lines} == {"kept": (0.0, 1.0), "dropped": (2.0,)}
    # PAPER.md 1.15: four were kept, the last of them is the paper's network.
    kept = next(line for line in published.lines if line.name == "kept")
    assert kept.hover == ("0,0,0,0", "0,0,0,1", "0,0,0,2", "0,0,1,2", "0,1,1,2")
    assert kept.y[-1] == pytest.approx(84.02)
    assert kept.low is None
    assert [line.name for line in costs.panels[0].lines] == ["kept", "dropped", "random placement"]
    assert figures_of(table_of(dataclasses.replace(found, held={}), {})) == ()


def test_numbers_are_told_without_powers_of_ten() -> None:
    told = [number(one) for one in (0.000623, 12.345, 999.4, 999.6, 12345.6, math.nan, None)]
    assert told == ["0.000623", "12.3", "999", "1,000", "12,346", "", ""]
    assert number(1234567, ",.0f") == "1,234,567"
