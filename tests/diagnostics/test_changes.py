"""Sentences on what each kind of block changes: counts, medians with intervals, both sides of a contrast."""

import math
import re
import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from report import samples
from report.telling import answers_of, changed, found_for, of_kind, sentence
from visionscope.core.finding import Finding, interval, number, verdict_of
from visionscope.core.subject import KIND_WORDS
from visionscope.diagnostics.changes.results import COUNTS, typical
from visionscope.report.summary import main_findings

HIGH, VARIANCE = "the relative high-frequency amplitude", "the feature-map variance"


def told(tables: dict[str, pa.Table]) -> list[Finding]:
    return [one for answer in answers_of(tables) for one in answer.findings]


def test_opposite_tables_get_opposite_sentences() -> None:
    usual = found_for(samples.vit())
    opposite = found_for(samples.vit(changes={"msa": 0.1, "mlp": -0.08}))
    for diagnostic, words in (("fourier", HIGH), ("variance", VARIANCE)):
        lowered, raised = (sentence(found, diagnostic) for found in (usual, opposite))
        attention, mlp = "all 12 self-attention points", "all 12 MLP points"
        assert lowered.headline == f"In vit_nano, {words} falls at {attention} and rises at {mlp}."
        assert raised.headline == f"In vit_nano, {words} rises at {attention} and falls at {mlp}."
        assert (lowered.verdict, raised.verdict) == ("mixed", "mixed")
        assert {row["verdict"] for row in of_kind(lowered, "msa")} == {"lowers"}
        assert {row["verdict"] for row in of_kind(raised, "msa")} == {"raises"}


def test_sizes_in_the_sentence_are_medians_of_the_rows() -> None:
    one = sentence(found_for(samples.vit()), "fourier")
    changes = [row["change"] for row in of_kind(one, "msa")]
    reach = stats.t.ppf(1 - 0.025 / 12, 255) * 0.02
    found = re.search(r"\(msa\): median over all 12 points (\S+) % \(95 % interval (\S+) % to (\S+) %\)", one.detail)
    assert found is not None
    said = [float(text.replace("−", "-")) for text in found.groups()]
    middle = statistics.median(changes)
    expected = [100 * math.expm1(log) for log in (middle, middle - reach, middle + reach)]
    assert said == pytest.approx(expected, rel=5e-2)


@pytest.mark.parametrize("diagnostic", ["fourier", "variance"])
def test_one_block_makes_no_median(diagnostic: str) -> None:
    """A mean of these would be that of the one block, sign and interval and all."""
    table = samples.tables([samples.vit(kinds=("stem", *("msa",) * 12), stages=(0, *(1,) * 12))])[diagnostic]
    changes = [-0.02] * 11 + [4.0]
    errors = {"change_error": 1e-3} | ({"variance": 5.0} if diagnostic == "variance" else {})
    one = sentence(told({diagnostic: changed(table, {"msa": changes}, **errors)}), diagnostic)
    median, low, high = (
        float(text.replace("−", "-"))
        for text in re.search(r"points (\S+) % \(95 % interval (\S+) % to (\S+) %\)", one.detail).groups()
    )
    assert statistics.fmean(changes) > 0.3
    assert low < median < high < 0
    assert median == pytest.approx(-2.0 if diagnostic == "fourier" else 100 * -0.02 / 5.02, rel=0.03)
    assert "falls at 11 of 12 self-attention points (rises at 1)" in one.headline


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_the_interval_of_a_median_holds_it_as_often_as_it_says(count: int) -> None:
    """Drawn again and again, with errors that the points share and with errors of their own."""
    generator = np.random.default_rng(count)
    truth = generator.normal(0, 1, count)
    missed = 0
    for draw in range(400):
        errors = generator.normal(0, 1, count) if draw % 2 else np.repeat(generator.normal(0, 1), count)
        seen = truth + 0.3 * errors
        ends = [interval(float(value), 0.3, 10_000, comparisons=count) for value in seen]
        _, found = typical(seen.tolist(), ends)
        assert found is not None
        missed += not found[0] <= float(np.median(truth)) <= found[1]
    assert missed <= 0.05 * 400 + 3 * math.sqrt(400 * 0.05 * 0.95)


def test_an_interval_that_spans_zero_reads_no_clear_change() -> None:
    one = sentence(found_for(samples.vit(error=0.5)), "fourier")
    said = f"{HIGH} does not clearly change at all 12 self-attention points and all 12 MLP points"
    assert (one.verdict, one.headline) == ("no clear change", f"In vit_nano, {said}.")
    assert one.detail.count("Median over all 12 points: no clear change (") == 2
    assert not re.search(r"lowers|raises|higher|lower", one.text)


def test_without_errors_nothing_is_claimed() -> None:
    one = sentence(found_for(samples.vit(error=None)), "variance")
    assert one.verdict == "no clear change"
    assert one.detail.count("no interval: too few images") == 2


@pytest.mark.parametrize("diagnostic", ["fourier", "variance"])
def test_counts_in_the_sentence_are_counts_of_its_rows(diagnostic: str) -> None:
    table = samples.tables([samples.vit()])[diagnostic]
    changes = [-0.5] * 7 + [0.5] * 3 + [0.001] * 2
    one = sentence(told({diagnostic: changed(table, {"msa": changes, "mlp": changes[::-1]})}), diagnostic)
    wanted = {"lowers": 7, "raises": 3, "no clear change": 2}
    for kind in ("msa", "mlp"):
        verdicts = [row["verdict"] for row in of_kind(one, kind)]
        assert {name: verdicts.count(name) for name in wanted} == wanted
    assert one.headline.endswith("falls at 7 of 12 self-attention points and 7 of 12 MLP points.")
    assert one.detail.count("ower at 7 of 12 points, higher at 3 and no clear change at 2.") == 2
    assert len(one.rows) == 24


@pytest.mark.parametrize("diagnostic", ["fourier", "variance"])
def test_both_sides_of_a_contrast_are_told_together(diagnostic: str) -> None:
    """Attention raises at as many points as MLPs do: no sentence, main one or gist says one without the other."""
    table = samples.tables([samples.vit()])[diagnostic]
    up = [0.5] * 9 + [-0.5] * 3
    answers = answers_of({diagnostic: changed(table, {"msa": up, "mlp": up})})
    found = [one for answer in answers for one in answer.findings]
    for one in (*found, *main_findings(answers)):
        assert (
            "rises at 9 of 12 self-attention points (falls at 3) and 9 of 12 MLP points (falls at 3)." in one.headline
        )
    assert len(found) == 1


def test_a_side_of_which_nothing_is_known_is_named() -> None:
    table = samples.tables([samples.vit()])["variance"]
    rows = [
        {**row, "change": None, "change_note": "other channels than stem: 9, not 4"} if row["kind"] == "mlp" else row
        for row in table.to_pylist()
    ]
    one = sentence(told({"variance": pa.Table.from_pylist(rows, table.schema)}), "variance")
    assert one.headline.endswith("falls at all 12 self-attention points and is unknown at MLP points.")
    assert one.detail.endswith("MLP (mlp): 12 of its points have no change (other channels).")


@pytest.mark.parametrize("kinds", [("msa", "mlp"), ("conv", "msa", "mlp"), ("pool", "mlp"), ("token_mlp", "mlp")])
@pytest.mark.parametrize("error", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_sentence_has_25_words_and_every_kind(kinds: tuple[str, ...], error: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    model = samples.vit(
        kinds=("stem", *kinds * 7), stages=(0, *(1,) * 7 * len(kinds)), weights="random, seed 0", error=error
    )
    changes = {kind: (generator.choice([-0.5, 0.5, 0.0004, 0.1], 7)).tolist() for kind in kinds}
    for diagnostic, table in samples.tables([model]).items():
        if diagnostic != "similarity":
            one = sentence(told({diagnostic: changed(table, changes)}), diagnostic)
            assert len(one.headline.split()) <= 25
            assert one.headline.count(".") == 1 + one.headline.count("0.1 %")
            assert all(KIND_WORDS[kind] in one.headline for kind in kinds)
            assert {row["kind"] for kind in kinds for row in of_kind(one, kind)} == set(kinds)


def test_places_are_thirds_for_one_stage_and_stages_for_several() -> None:
    plain, staged = (samples.tables([model])["fourier"] for model in (samples.vit(), samples.resnet()))
    changes = [-0.5] * 8 + [0.5] * 4
    one = sentence(told({"fourier": changed(plain, {"msa": changes})}), "fourier")
    assert (
        "By third of depth: lower in the first third (4 of 4) and the middle third (4 of 4); higher in the last third "
        "(4 of 4)." in one.detail
    )
    one = sentence(told({"fourier": changed(staged, {"conv": [0.5] * 6 + [-0.5] * 7})}), "fourier")
    assert (
        "By stage: lower in stage 3 (5 of 5) and stage 4 (2 of 2); higher in stage 1 (3 of 3) and stage 2 (3 of 3)."
        in one.detail
    )
    assert "By " not in sentence(found_for(samples.vit()), "fourier").detail  # all points do the same


def test_points_after_a_change_of_grid_are_not_counted() -> None:
    found = found_for(samples.resnet())
    assert not [one for one in found if one.kind == "down"]
    assert len(sentence(found, "fourier").rows) == 13


def test_modules_between_blocks_are_counted_in_no_sentence() -> None:
    kinds = ("stem", "conv", "block", "conv", "block")
    found = found_for(samples.vit(kinds=kinds, stages=(0, 1, 1, 1, 1), changes={"conv": 0.1, "block": -0.3}))
    assert {one.kind for one in found if one.diagnostic in ("fourier", "variance")} == {"conv"}
    assert len(sentence(found, "variance").rows) == 2


def test_what_moved_is_measured_from_the_point_that_is_followed() -> None:
    """Two branches of one stream: the second one's detail is not compared with the first one's."""
    model = samples.vit(blocks=1, changes={"msa": 2.0, "mlp": math.log(1.5)}, wobble=0.0)
    table = samples.tables([model])["fourier"]
    stem = table.to_pylist()[0]["point"]
    level = {row["point"]: row["log_amplitude"] for row in table.to_pylist() if row["high_frequency"]}[stem]
    rows = [
        {**row, "follows": stem, "log_amplitude": level + math.log(1.5) if row["high_frequency"] else 1.5}
        if row["kind"] == "mlp"
        else row
        for row in table.to_pylist()
    ]
    one = sentence(told({"fourier": pa.Table.from_pylist(rows, table.schema)}), "fourier")
    assert "The detail itself grew by 50 %; the mean hardly changed" in one.detail.partition("MLP (mlp): ")[2]


def test_high_frequency_rows_alone_are_counted() -> None:
    table = samples.tables([samples.vit()])["fourier"]
    rows = [{**row, "change": 9.0 if not row["high_frequency"] else row["change"]} for row in table.to_pylist()]
    one = sentence(told({"fourier": pa.Table.from_pylist(rows, table.schema)}), "fourier")
    assert {row["verdict"] for row in of_kind(one, "msa")} == {"lowers"}


@pytest.mark.parametrize(
    ("growth", "change", "said"),
    [
        (math.log(3.7), -math.log(3.7), "the detail itself hardly changed (less than 0.1 %); the mean grew 3.7-fold."),
        (0.02, math.log(0.7) - 0.02, "the detail itself shrank by 30 %; the mean hardly changed (+2.0 %)."),
        (-0.5, 0.7, "the detail itself grew by 22 %; the mean shrank by 39 %."),
    ],
)
def test_what_moved_is_told_from_the_amplitudes_themselves(growth: float, change: float, said: str) -> None:
    model = samples.vit(changes={"msa": change}, growth=growth, wobble=0.0)
    one = sentence(found_for(model), "fourier")
    assert one.detail.startswith("It is relative to the map's mean. ")
    assert f"Medians: {said}" in one.detail


@pytest.mark.parametrize("lost", [None, math.nan, math.inf])
def test_tables_without_the_amplitudes_themselves_say_nothing_about_them(lost: float | None) -> None:
    table = samples.tables([samples.vit()])["fourier"]
    rows = [{**row, "log_amplitude": lost} for row in table.to_pylist()]
    one = sentence(told({"fourier": pa.Table.from_pylist(rows, table.schema)}), "fourier")
    assert "detail itself" not in one.detail
    assert "median over all 12 points" in one.detail


@pytest.mark.parametrize("diagnostic", ["fourier", "variance"])
def test_blocks_that_do_nothing_pass_their_input_on(diagnostic: str) -> None:
    found = found_for(samples.vit(blocks=3, changes={"msa": -0.1}, error=0.0))
    one = sentence(found, diagnostic)
    assert one.headline.endswith("falls at all 3 self-attention points and stays exactly the same at all 3 MLP points.")
    assert "usual for residual branches whose last layer starts at zero" in one.detail
    assert "clear" not in one.text
    still = answers_of(samples.tables([samples.vit(blocks=3, changes={}, error=0.0)]))
    (one,) = [one for answer in still for one in answer.findings if one.diagnostic == diagnostic]
    assert one.verdict == "unchanged"
    assert one.brief.endswith("stays exactly the same at all 3 self-attention points and all 3 MLP points.")
    assert one not in main_findings(still)
    assert main_findings([answer for answer in still if answer.diagnostic == diagnostic]) == [one]


def test_tiny_changes_are_not_plain_ones() -> None:
    table = samples.tables([samples.vit(blocks=3)])["variance"]
    rows = [row for row in table.to_pylist() if row["kind"] == "msa"]
    changes = (-0.1, -0.1, 0.5 * 0.0009)
    some = [{**row, "variance": 0.5, "change": c, "change_error": 1e-6} for row, c in zip(rows, changes, strict=True)]
    one = sentence(told({"variance": pa.Table.from_pylist(some, table.schema)}), "variance")
    assert one.headline.endswith("falls at 2 of 3 self-attention points (rises at 1 by less than 0.1 %).")
    assert one.rows[2][-1] == "raises slightly"
    small = [{**row, "change": -0.0004} for row in some]
    one = sentence(told({"variance": pa.Table.from_pylist(small, table.schema)}), "variance")
    assert one.headline.endswith(f"{VARIANCE} falls by less than 0.1 % at all 3 self-attention points.")
    assert "Median over all 3 points less than 0.1 % (95 % interval −0.08 % to −0.08 %)." in one.detail


@pytest.mark.parametrize("diagnostic", ["fourier", "variance"])
def test_the_sentence_has_the_numbers_of_the_tables(diagnostic: str) -> None:
    table = samples.tables([samples.vit()])[diagnostic]
    changes = {"msa": [-0.5] * 7 + [0.5] * 3 + [0.001] * 2, "mlp": [0.4] * 12}
    level = {"variance": 5.0} if diagnostic == "variance" else {}
    (answer,) = answers_of({diagnostic: changed(table, changes, **level)})
    (one,) = answer.findings
    for kind in answer.tables["summary"].to_pylist():
        points = [row for row in answer.tables["comparisons"].to_pylist() if row["kind"] == kind["kind"]]
        verdicts = [row["verdict"] for row in points if row["change"] is not None]
        assert {name: kind[column] for name, column in COUNTS.items()} == {
            name: verdicts.count(name) for name in COUNTS
        }
        assert (kind["points"], kind["without"]) == (12, 0)
        assert kind["median"] == pytest.approx(statistics.median(row["percent"] for row in points))
        ends = " to ".join(f"{'+' * (end > 0)}{number(end, 2)} %" for end in (kind["low"], kind["high"]))
        assert f"edian over all 12 points {'+' * (kind['median'] > 0)}{number(kind['median'], 2)} %" in one.detail
        assert f"(95 % interval {ends})" in one.detail
    shown = [dict(zip(one.columns, row, strict=True)) for row in one.rows]
    known = [row for row in answer.tables["comparisons"].to_pylist() if row["change"] is not None]
    assert sorted(shown, key=lambda row: row["depth"]) == [{key: row[key] for key in one.columns} for row in known]


def test_a_median_of_some_points_says_of_how_many() -> None:
    """A map that varied nowhere before: its change is no share of anything."""
    table = samples.tables([samples.vit(blocks=3)])["variance"]
    rows = [row for row in table.to_pylist() if row["kind"] == "msa"]
    from_nothing = [{**row, "variance": 0.5, "change": 0.5 if place else 0.1} for place, row in enumerate(rows)]
    one = sentence(told({"variance": pa.Table.from_pylist(from_nothing, table.schema)}), "variance")
    assert "rises at all 3 self-attention points" in one.headline
    assert one.detail.startswith("Median over 1 of 3 points +25 %")


def test_kinds_that_are_no_branch_stand_in_the_summary_where_they_have_a_change() -> None:
    kinds = ("stem", "conv", "block", "conv", "block", "down")
    model = samples.vit(kinds=kinds, stages=(0, 1, 1, 1, 1, 1), changes={"conv": 0.1, "block": -0.3, "down": 0.2})
    (answer,) = answers_of({"variance": samples.tables([model])["variance"]})
    assert answer.tables["summary"]["kind"].to_pylist() == ["down", "conv", "block"]
    assert answer.tables["comparisons"]["note"].to_pylist() == ["no point holds what it received", *[""] * 5]
    assert [one.kind for one in answer.findings] == ["conv", "down"]


def test_small_numbers_are_told_as_shares() -> None:
    table = samples.tables([samples.vit(blocks=2)])["variance"]
    rows = [row for row in table.to_pylist() if row["kind"] == "msa"]
    tiny = [{**row, "variance": 3e-4, "change": 5e-5, "change_error": 1e-6} for row in rows]
    one = sentence(told({"variance": pa.Table.from_pylist(tiny, table.schema)}), "variance")
    assert one.headline.endswith("rises at both self-attention points.")
    assert one.detail.startswith("Median over both points +20 % (95 % interval +19 % to +21 %).")
    assert not re.search(r"\de.\d", one.text)


def test_points_that_begin_a_stage_are_mentioned() -> None:
    table = samples.tables([samples.resnet()])["variance"]
    rows = [{**row, "kind": "conv" if row["kind"] == "down" else row["kind"]} for row in table.to_pylist()]
    one = sentence(told({"variance": pa.Table.from_pylist(rows, table.schema)}), "variance")
    assert one.detail.endswith("3 more of its points have no change (another grid).")


@given(st.floats(-5, 5), st.floats(1e-6, 5), st.integers(1, 400))
def test_interval_is_students_and_mirrors(value: float, error: float, degrees: int) -> None:
    ends = interval(value, error, degrees)
    assert ends == pytest.approx(stats.t.interval(0.95, degrees, loc=value, scale=error), rel=1e-9, abs=1e-12)
    mirrored = {"lowers": "raises", "raises": "lowers"}
    verdict = verdict_of(ends)
    assert verdict_of(interval(-value, error, degrees)) == mirrored.get(verdict, verdict)


def test_no_interval_from_one_image() -> None:
    assert interval(1.0, 0.1, 0) is None
    assert interval(None, 0.1, 5) is None
    assert interval(1.0, math.nan, 5) is None
