"""The three facts and their pairs: found again where accuracies were made of them, and left out where nothing tells."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch

from experiments.mixers.tables_of_mixers import mixer_tables
from visionscope.experiments.mixers.choosing import CONTROLS
from visionscope.experiments.mixers.factorial import SLOTS, effects_of, share_of_map
from visionscope.experiments.mixers.networks import networks_of
from visionscope.models.load import load_model
from visionscope.models.mixers.mixer import mixer_kinds, mixer_of
from visionscope.models.windows import MsaBlock

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
    return int(kind.low_pass == "always"), int(kind.data_specific), heard(kind.reach())


@functools.cache
def heard(reach):
    """The slow twin: every pair of pixels of both maps."""
    shares = []
    for side in (8, 4):
        pixels = list(itertools.product(range(side), repeat=2))
        near = [max(abs(a - c), abs(b - d)) <= (side if reach is None else reach) for a, b in pixels for c, d in pixels]
        shares.append(sum(near) / len(near))
    return sum(shares) / 2


def test_the_slots_are_as_large_as_the_shares_take_them_to_be():
    network, sides = load_model("alternet_pico", random_weights=0).model, []
    for module in network.modules():
        if isinstance(module, MsaBlock):
            module.register_forward_hook(lambda module, inputs, output: sides.append(tuple(inputs[0].shape[-2:])))
    network(torch.zeros(1, 3, 32, 32))
    assert sides == [(side, side) for side in SLOTS]


@pytest.mark.parametrize("reach", [0, 1, 3, 4, 6, 17, None])
def test_a_share_is_that_of_pixels_within_reach(reach):
    assert share_of_map(reach) == pytest.approx(heard(reach))


def test_effects_that_accuracies_were_made_of_are_found_again():
    found = effects_of(made(lambda fact, seed: 60 + 2 * fact[0] + 1 * fact[1] - 0.5 * fact[2] + 3 * seed))
    assert [one.term for one in found] == [
        *("always low-pass", "data-specific", "share of the map"),
        *("low-pass × data-specific", "low-pass × share of the map", "data-specific × share of the map"),
    ]
    assert [one.effect for one in found] == pytest.approx([2.0, 1.0, -0.5, 0.0, 0.0, 0.0], abs=1e-8)
    assert {(one.mixers, one.seeds) for one in found} == {(len(mixer_kinds()) - 2, 2)}


def test_a_pair_is_a_difference_of_differences():
    found = {one.term: one.effect for one in effects_of(made(lambda fact, seed: 60 + 3.0 * fact[0] * fact[1]))}
    assert found["low-pass × data-specific"] == pytest.approx(3.0)
    assert found["low-pass × share of the map"] == pytest.approx(0.0, abs=1e-8)


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
    """With one share for all that are data-free, the third pair is a sum of the rest."""
    kept = [one for one in USED if facts(one.mixer)[1:] in ((0, 1), (1, facts(one.mixer)[2]))]
    assert [one.term for one in effects_of(kept)] == ["always low-pass", "data-specific", "share of the map"]


def test_seeds_that_one_mixer_lacks_are_left_out_of_all():
    lacking = [dataclasses.replace(USED[0], accuracy={0: USED[0].accuracy[0]}), *USED[1:]]
    first = [dataclasses.replace(one, accuracy={0: one.accuracy[0]}) for one in USED]
    assert effects_of(lacking) == effects_of(first)


def test_all_three_at_once_can_not_be_told_since_one_cell_is_empty():
    assert (1, 0, 1) not in {facts(one.mixer) for one in USED}
