"""The three facts and their pairs: found again where accuracies were made of them, and left out where nothing tells."""

import dataclasses

import numpy as np
import pytest

from experiments.mixers.tables_of_mixers import mixer_tables
from visionscope.experiments.mixers.choosing import CONTROLS
from visionscope.experiments.mixers.factorial import effects_of
from visionscope.experiments.mixers.networks import networks_of
from visionscope.models.mixers.mixer import mixer_kinds, mixer_of

SCREENED = networks_of(mixer_tables())
USED = [one for one in SCREENED if one.mixer and one.mixer not in CONTROLS]


def made(accuracy, networks=SCREENED):
    """The networks with accuracies that facts and a seed decide."""
    return [
        dataclasses.replace(one, accuracy={seed: accuracy(facts(one.mixer), seed) for seed in (0, 1)})
        for one in networks
    ]


def facts(mixer):
    if not mixer:
        return 0, 0, 0
    kind = mixer_of(mixer)
    return int(kind.low_pass == "always"), int(kind.data_specific), int(kind.reach() is None)


def test_effects_that_accuracies_were_made_of_are_found_again():
    found = effects_of(made(lambda fact, seed: 60 + 2 * fact[0] + 1 * fact[1] - 0.5 * fact[2] + 3 * seed))
    assert [one.term for one in found] == [
        *("always low-pass", "data-specific", "whole map"),
        *("low-pass × data-specific", "low-pass × whole map", "data-specific × whole map"),
    ]
    assert [one.effect for one in found] == pytest.approx([2.0, 1.0, -0.5, 0.0, 0.0, 0.0], abs=1e-8)
    assert {(one.mixers, one.seeds) for one in found} == {(len(mixer_kinds()) - 2, 2)}


def test_a_pair_is_a_difference_of_differences():
    found = {one.term: one.effect for one in effects_of(made(lambda fact, seed: 60 + 3.0 * fact[0] * fact[1]))}
    assert found["low-pass × data-specific"] == pytest.approx(3.0)
    assert found["low-pass × whole map"] == pytest.approx(0.0, abs=1e-8)


def test_it_is_the_fit_of_all_trainings_with_a_column_per_seed():
    """The slow twin: every training is a row, and seeds have columns of their own."""
    rows, values = [], []
    for one in USED:
        for seed, value in one.accuracy.items():
            rows.append([1.0, seed, *(fact - 0.5 for fact in facts(one.mixer))])
            values.append(value)
    expected = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0][2:]
    assert [one.effect for one in effects_of(SCREENED)[:3]] == pytest.approx(list(expected))


def test_intervals_are_those_of_mixers_and_not_narrower_by_more_seeds():
    """Copies of a seed say nothing new: with trainings as units the interval would shrink by the root of four."""
    more = [dataclasses.replace(one, accuracy={seed: one.mean for seed in range(8)}) for one in SCREENED]
    for two, eight in zip(effects_of(SCREENED), effects_of(more), strict=True):
        assert (two.low, two.high) == pytest.approx((eight.low, eight.high))
        assert two.low < two.effect < two.high
        assert eight.seeds == 8


def test_controls_and_networks_without_mixer_do_not_count():
    shifted = [
        dataclasses.replace(one, accuracy={0: 0.0, 1: 0.0}) if not one.mixer or one.mixer in CONTROLS else one
        for one in SCREENED
    ]
    assert effects_of(shifted) == effects_of(SCREENED)


def test_few_mixers_and_facts_that_hold_for_all_are_not_analysed():
    assert effects_of(USED[:9]) == ()
    assert effects_of([one for one in USED if mixer_of(one.mixer).data_specific]) == ()
    assert effects_of([]) == ()


def test_a_pair_that_can_not_be_told_apart_is_left_out():
    """Without the three that are data-free and global, the third pair is a sum of the rest."""
    kept = [one for one in USED if facts(one.mixer)[1:] != (0, 1)]
    assert [one.term for one in effects_of(kept)] == ["always low-pass", "data-specific", "whole map"]


def test_seeds_that_one_mixer_lacks_are_left_out_of_all():
    lacking = [dataclasses.replace(USED[0], accuracy={0: USED[0].accuracy[0]}), *USED[1:]]
    first = [dataclasses.replace(one, accuracy={0: one.accuracy[0]}) for one in USED]
    assert effects_of(lacking) == effects_of(first)


def test_all_three_at_once_can_not_be_told_since_one_cell_is_empty():
    cells = {facts(one.mixer) for one in USED}
    assert (1, 0, 1) not in cells
    assert len(cells) == 7
