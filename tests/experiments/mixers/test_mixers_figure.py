"""The figure of a study of mixers, on made-up tables, and the numbers that it shows."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.mixers.tables_of_mixers import mixer_tables
from training.conftest import SMALL
from visionscope.building.measure import costs
from visionscope.core.documents import document_text
from visionscope.experiments.experiment import THREADS
from visionscope.experiments.mixers import speeds
from visionscope.experiments.mixers.factorial import effects_of
from visionscope.experiments.mixers.figure import mixers_figure
from visionscope.experiments.mixers.networks import (
    ATTENTION,
    CONTROL,
    LOW_PASS,
    SORTS,
    networks_of,
    pareto,
    pooled_half_width,
    slot_changes,
)
from visionscope.experiments.mixers.speeds import measure_speeds, speeds_of
from visionscope.experiments.page import write_page
from visionscope.experiments.plan import plan_of
from visionscope.experiments.reading import experiment_from
from visionscope.models.mixers.mixer import mixer_kinds
from visionscope.report.matplotlib import to_matplotlib
from visionscope.training.networks import network_for


def test_the_figure_has_every_network_at_its_costs_and_draws():
    tables = mixer_tables()
    names = list(dict.fromkeys(tables["training"]["variant"]))
    figure = mixers_figure(tables, {name: 1000.0 + place for place, name in enumerate(names)})
    assert [panel.title for panel in figure.panels] == [
        "accuracy against MACs",
        "accuracy against speed",
        "accuracy against smoothing",
        "what a fact adds",
        "how facts interact",
    ]
    trained = tables["training"].set_index(["variant", "seed"])
    for panel in figure.panels[:3]:
        marks = {
            name: (x, y, low, high)
            for line in panel.lines
            if line.role == "points"
            for name, x, y, low, high in zip(line.hover, line.x, line.y, line.low, line.high, strict=True)
        }
        assert set(marks) == set(names)
        for name, (_, y, low, high) in marks.items():
            assert y == pytest.approx(100 * trained.loc[name, "top_1"].mean())
            assert y - low == pytest.approx(high - y)
    macs, speed, *_ = figure.panels
    (alternet,) = (line for line in macs.lines if line.name == ATTENTION)
    assert alternet.x == pytest.approx((1e3 * trained.loc[("alternet", 0), "gmacs"],))
    front = next(line for line in speed.lines if line.name == "Pareto front")
    assert list(front.y) == sorted(front.y, reverse=True)  # who is faster on the front is less accurate
    to_matplotlib(figure)


@pytest.mark.parametrize("count", [12, 13])
def test_on_paper_few_networks_have_their_names_and_of_many_those_that_say_most(count):
    tables = mixer_tables()
    names = ["lambda", *[name for name in tables["training"]["variant"].unique() if name != "lambda"]][:count]
    assert names[1] == "alternet"
    tables = {name: table[table["variant"].isin(names)].copy() for name, table in tables.items()}
    tables["training"].loc[tables["training"]["variant"] == "lambda", "top_1"] -= 0.3
    trained = tables["training"].groupby("variant")
    right, cost = trained["top_1"].mean(), trained["gmacs"].first()
    front = [one for one in names if not any(right[other] > right[one] and cost[other] <= cost[one] for other in names)]
    figure = mixers_figure(tables)
    marks = [line for line in figure.panels[0].lines if line.role == "points"]
    ends = {name: ends for line in marks for name, *ends in zip(line.hover, line.low, line.high, strict=True)}
    low, high = ends["alternet"]
    apart = {name for name, (bottom, top) in ends.items() if top < low or bottom > high}
    assert "lambda" in apart
    assert len(apart | set(front)) < 12
    written = [text.get_text() for text in to_matplotlib(figure).axes[0].texts if text.get_text()]
    assert sorted(written) == sorted(names if count == 12 else {"alternet", *apart, *front})


def test_without_speeds_and_changes_their_panels_are_left_out():
    tables = mixer_tables()
    panels = mixers_figure({"training": tables["training"]}).panels
    titles = ["accuracy against MACs", "what a fact adds", "how facts interact"]
    assert [panel.title for panel in panels] == titles


def test_a_sort_has_the_same_colour_where_no_mixer_is_never_low_pass():
    tables = mixer_tables()
    never = {one.name for one in networks_of(tables) if one.sort == LOW_PASS["never"]}
    assert never
    some = {name: table[~table["variant"].isin(never)] for name, table in tables.items()}
    colours = []
    for those in (tables, some):
        legend = to_matplotlib(mixers_figure(those)).subfigs[0].legends[0]
        colours.append({handle.get_label(): handle.get_color() for handle in legend.legend_handles})
    assert len(colours[1]) == len(SORTS) - 1
    assert colours[1].items() <= colours[0].items()


def test_an_experiment_of_other_networks_has_no_such_figure():
    tables = mixer_tables()
    trained = tables["training"]
    few = trained[trained["variant"].isin(["alternet", "guided", "unet", "preresnet"])]
    assert mixers_figure({"training": few}) is None
    assert mixers_figure({}) is None
    assert networks_of({"training": trained[:0]}) == ()


def test_sorts_are_those_of_the_registry_and_controls_are_told_apart():
    sorts = {one.name: one.sort for one in networks_of(mixer_tables())}
    assert (sorts["alternet"], sorts["preresnet"], sorts["identity"], sorts["random"]) == (ATTENTION, *[CONTROL] * 3)
    for name, kind in mixer_kinds().items():
        if sorts[name] != CONTROL:
            assert sorts[name] == f"{kind.low_pass} low-pass"


def test_the_change_is_that_of_the_slots_alone():
    """Slots are made at low_pass + 0.1 stage; every other block at 5, every other frequency at 9."""
    found = slot_changes(mixer_tables()["fourier"])
    assert found["guided"] == pytest.approx(-0.5 + 0.15, abs=0.03)
    assert found["pooling"] == pytest.approx(0.1 + 0.15, abs=0.03)
    assert slot_changes(None) == {}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_what_no_other_beats(pairs):
    costs, values = zip(*pairs, strict=True)
    front = pareto(costs, values)

    def beats(a, b):
        return costs[a] <= costs[b] and values[a] >= values[b] and pairs[a] != pairs[b]

    slow = {pairs[b] for b in range(len(pairs)) if not any(beats(a, b) for a in range(len(pairs)))}
    assert {pairs[place] for place in front} == slow
    assert len(front) == len(slow)


def test_the_pooled_interval_is_that_of_an_analysis_of_variance():
    from scipy.stats import f_oneway, t

    groups = [[1.0, 2.0], [4.0, 4.5, 5.0], [2.0, 2.2]]
    widths = pooled_half_width(groups)
    # F = between / within mean squares, so that within = between / F.
    everything = np.concatenate(groups)
    between = sum(len(own) * (np.mean(own) - everything.mean()) ** 2 for own in groups) / 2
    within = between / f_oneway(*groups).statistic
    assert widths == pytest.approx([t.ppf(0.975, 4) * math.sqrt(within / len(own)) for own in groups])
    assert all(math.isnan(one) for one in pooled_half_width([[1.0], [2.0]]))


def test_the_page_shows_the_figure_and_the_effects_are_a_table(tmp_path):
    values = {"data": "embedded", "out": str(tmp_path), "train": {"epochs": 1, "variants": {"one": SMALL}}}
    tables = mixer_tables()
    page = write_page(plan_of(experiment_from(values)), tmp_path, tables, (), (), left=0)
    assert "figure-mixers" in page.read_text()
    written = pd.read_csv(tmp_path / "tables" / "mixers_factorial.csv")
    effects = effects_of(networks_of(tables))
    assert list(written["term"]) == [one.term for one in effects]
    assert list(written["low"]) == pytest.approx([one.low for one in effects])
    drawn = mixers_figure(tables).panels[-2:]
    assert sum((panel.x_names for panel in drawn), ()) == tuple(written["term"])
    assert sum((panel.lines[-1].y for panel in drawn), ()) == pytest.approx(tuple(written["effect"]))


def test_speeds_are_measured_into_a_table_of_the_run_folder(tmp_path, monkeypatch):
    def timed(networks, size, channels):  # what it measures is tested beside it
        assert (size, channels, torch.get_num_threads()) == ((32, 32), 3, THREADS)
        return {name: 12.5 * place for place, name in enumerate(networks, 1)}

    monkeypatch.setattr(speeds, "latency", timed)
    study = tmp_path / "study.yaml"
    variants = {"one": SMALL, "two": SMALL.replace("(8,8,8)", "(12,12,12)")}
    study.write_text(document_text({"data": "embedded", "out": "run", "train": {"variants": variants}}))
    table = measure_speeds(study, tmp_path / "run", repeats=1)
    assert list(table["variant"]) == ["one", "two"]
    assert (table["forward"] > 0).all()
    assert list(table["latency"]) == [12.5, 25.0]
    two = network_for(variants["two"], 0, seed=0, note=print).model
    assert table["peak"][0] < table["peak"][1] == 64 * costs(two, (32, 32)).peak
    assert speeds_of(tmp_path / "run") == dict(zip(table["variant"], table["forward"], strict=True))
    assert speeds_of(tmp_path / "elsewhere") == {}
