import dataclasses
import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from report import samples
from visionscope.report.amounts import typical
from visionscope.report.finding import interval, verdict_of
from visionscope.report.style import KIND_MARKS
from visionscope.report.summary import Finding, caveats, findings, main_findings

HIGH, VARIANCE = "the relative high-frequency amplitude", "the feature-map variance"


def found_for(*models: samples.Invented) -> list[Finding]:
    return findings(samples.tables(models), samples.jobs(models))


def sentence(found: list[Finding], diagnostic: str) -> Finding:
    (one,) = [one for one in found if one.diagnostic == diagnostic]
    return one


def of_kind(one: Finding, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind behind a sentence."""
    rows = [dict(zip(one.columns, row, strict=True)) for row in one.rows]
    return [row for row in rows if row["kind"] == kind]


def changed(table: pa.Table, changes: dict[str, Sequence[float]], **others: object) -> pa.Table:
    """A table whose points of some kinds change by these numbers."""
    left = {kind: iter(values) for kind, values in changes.items()}
    rows = [
        {**row, "change": next(left[row["kind"]]), **others}
        if row["kind"] in left and row["change"] is not None
        else row
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, table.schema)


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
    one = sentence(findings({diagnostic: changed(table, {"msa": changes}, **errors)}, []), diagnostic)
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
        found = typical(seen.tolist(), ends)
        assert found.ends is not None
        missed += not found.ends[0] <= float(np.median(truth)) <= found.ends[1]
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
    one = sentence(findings({diagnostic: changed(table, {"msa": changes, "mlp": changes[::-1]})}, []), diagnostic)
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
    found = findings({diagnostic: changed(table, {"msa": up, "mlp": up})}, [])
    for one in (*found, *main_findings(found)):
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
    one = sentence(findings({"variance": pa.Table.from_pylist(rows, table.schema)}, []), "variance")
    assert one.headline.endswith("falls at all 12 self-attention points and can't be told at MLP points.")
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
            one = sentence(findings({diagnostic: changed(table, changes)}, []), diagnostic)
            assert len(one.headline.split()) <= 25
            assert one.headline.count(".") == 1 + one.headline.count("0.1 %")
            assert all(KIND_MARKS[kind].words in one.headline for kind in kinds)
            assert {row["kind"] for kind in kinds for row in of_kind(one, kind)} == set(kinds)


def test_places_are_thirds_for_one_stage_and_stages_for_several() -> None:
    plain, staged = (samples.tables([model])["fourier"] for model in (samples.vit(), samples.resnet()))
    changes = [-0.5] * 8 + [0.5] * 4
    one = sentence(findings({"fourier": changed(plain, {"msa": changes})}, []), "fourier")
    assert (
        "By third of depth: lower in the first third (4 of 4) and the middle third (4 of 4); higher in the last third "
        "(4 of 4)." in one.detail
    )
    one = sentence(findings({"fourier": changed(staged, {"conv": [0.5] * 6 + [-0.5] * 7})}, []), "fourier")
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
    one = sentence(findings({"fourier": pa.Table.from_pylist(rows, table.schema)}, []), "fourier")
    told = one.detail.partition("MLP (mlp): ")[2]
    assert "The detail itself grew by 50 %; the mean hardly changed" in told


def test_high_frequency_rows_alone_are_counted() -> None:
    table = samples.tables([samples.vit()])["fourier"]
    rows = [{**row, "change": 9.0 if not row["high_frequency"] else row["change"]} for row in table.to_pylist()]
    one = sentence(findings({"fourier": pa.Table.from_pylist(rows, table.schema)}, []), "fourier")
    assert {row["verdict"] for row in of_kind(one, "msa")} == {"lowers"}


def test_stages_alike_and_the_opposite() -> None:
    table = samples.tables([samples.resnet()])["similarity"]
    usual = sentence(findings({"similarity": table}, []), "similarity")
    swapped = [{**row, "cka": 1.0 - row["cka"]} for row in table.to_pylist()]
    opposite = sentence(findings({"similarity": pa.Table.from_pylist(swapped, table.schema)}, []), "similarity")
    vague = [{**row, "standard_error": 0.9} for row in table.to_pylist()]
    unclear = sentence(findings({"similarity": pa.Table.from_pylist(vague, table.schema)}, []), "similarity")
    assert "are more alike than points of different stages" in usual.headline
    assert "are less alike than points of different stages" in opposite.headline
    assert "show no clear difference in likeness" in unclear.headline
    assert len(usual.rows) == 17 * 16 // 2
    within = [row for row in usual.rows if row[2] == row[3]]
    assert f"over {len(within)} pairs against" in usual.headline
    assert usual.headline.endswith(f"over {len(usual.rows) - len(within)}.")


def test_similarity_without_intervals_makes_no_claim() -> None:
    table = samples.tables([samples.resnet()])["similarity"]
    rows = [{**row, "standard_error": None, "groups": 3} for row in table.to_pylist()]
    one = sentence(findings({"similarity": pa.Table.from_pylist(rows, table.schema)}, []), "similarity")
    assert one.verdict == "can't be said"
    assert one.headline.startswith(
        "In resnet_nano, whether points of the same stage are more alike than others can't be said from 3 groups of "
        "32 images (use at least 128): mean CKA 0."
    )
    assert "no clear" not in one.text
    none = [{**row, "standard_error": None} for row in table.to_pylist()]
    one = sentence(findings({"similarity": pa.Table.from_pylist(none, table.schema)}, []), "similarity")
    assert "can't be said, because no standard error is known: mean CKA 0." in one.headline


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


def test_tables_without_the_amplitudes_themselves_say_nothing_about_them() -> None:
    table = samples.tables([samples.vit()])["fourier"].drop_columns(["log_amplitude"])
    one = sentence(findings({"fourier": table}, []), "fourier")
    assert "detail itself" not in one.detail
    assert "median over all 12 points" in one.detail


@pytest.mark.parametrize("diagnostic", ["fourier", "variance"])
def test_blocks_that_do_nothing_pass_their_input_on(diagnostic: str) -> None:
    found = found_for(samples.vit(blocks=3, changes={"msa": -0.1}, error=0.0))
    one = sentence(found, diagnostic)
    assert one.headline.endswith("falls at all 3 self-attention points and stays exactly the same at all 3 MLP points.")
    assert "usual for residual branches whose last layer starts at zero" in one.detail
    assert "clear" not in one.text
    still = found_for(samples.vit(blocks=3, changes={}, error=0.0))
    one = sentence(still, diagnostic)
    assert one.verdict == "unchanged"
    assert one.brief.endswith("stays exactly the same at all 3 self-attention points and all 3 MLP points.")
    assert one not in main_findings(still)
    assert main_findings([one]) == [one]


def test_tiny_changes_are_not_plain_ones() -> None:
    table = samples.tables([samples.vit(blocks=3)])["variance"]
    rows = [row for row in table.to_pylist() if row["kind"] == "msa"]
    changes = (-0.1, -0.1, 0.5 * 0.0009)
    some = [{**row, "variance": 0.5, "change": c, "change_error": 1e-6} for row, c in zip(rows, changes, strict=True)]
    one = sentence(findings({"variance": pa.Table.from_pylist(some, table.schema)}, []), "variance")
    assert one.headline.endswith("falls at 2 of 3 self-attention points (rises at 1 by less than 0.1 %).")
    assert one.rows[2][-1] == "raises slightly"
    small = [{**row, "change": -0.0004} for row in some]
    one = sentence(findings({"variance": pa.Table.from_pylist(small, table.schema)}, []), "variance")
    assert one.headline.endswith(f"{VARIANCE} falls by less than 0.1 % at all 3 self-attention points.")
    assert "Median over all 3 points less than 0.1 % (95 % interval −0.08 % to −0.08 %)." in one.detail


def test_small_numbers_are_told_as_shares() -> None:
    table = samples.tables([samples.vit(blocks=2)])["variance"]
    rows = [row for row in table.to_pylist() if row["kind"] == "msa"]
    tiny = [{**row, "variance": 3e-4, "change": 5e-5, "change_error": 1e-6} for row in rows]
    one = sentence(findings({"variance": pa.Table.from_pylist(tiny, table.schema)}, []), "variance")
    assert one.headline.endswith("rises at both self-attention points.")
    assert one.detail.startswith("Median over both points +20 % (95 % interval +19 % to +21 %).")
    assert not re.search(r"\de.\d", one.text)


def test_one_stage_is_said_to_be_one() -> None:
    one = sentence(found_for(samples.vit()), "similarity")
    assert one.headline.startswith("vit_nano has one stage")
    assert "over 300 pairs of points" in one.headline
    assert len(one.rows) == 300


def test_one_point_in_each_stage_is_not_called_one_stage() -> None:
    one = sentence(found_for(samples.resnet(blocks=(1, 1, 1, 1))), "similarity")
    assert one.headline.startswith("resnet_nano has one point in each stage")
    assert "have CKA" in one.detail


def test_main_findings_claim_something_where_anything_can_be_claimed() -> None:
    found = found_for(samples.vit())
    main = main_findings(found)
    assert [one.diagnostic for one in main] == ["fourier", "variance", "similarity"]
    assert len(main_findings(found, count=99)) == len(found) == 3


def test_points_that_begin_a_stage_are_mentioned() -> None:
    table = samples.tables([samples.resnet()])["variance"]
    rows = [{**row, "kind": "conv" if row["kind"] == "down" else row["kind"]} for row in table.to_pylist()]
    one = sentence(findings({"variance": pa.Table.from_pylist(rows, table.schema)}, []), "variance")
    assert one.detail.endswith("3 more of its points have no change (another grid).")


def test_random_weights_travel_with_every_sentence() -> None:
    found = found_for(samples.resnet(weights="random, seed 0"))
    assert len(found) == 3
    assert all("resnet_nano (random weights)" in one.headline for one in found)
    assert not [one for one in found if "resnet_nano" in one.brief]


def test_two_jobs_of_one_model_are_told_apart() -> None:
    tables = samples.tables([samples.vit()])
    twin = tables["variance"].set_column(1, "data", pa.array(["cifar:test"] * tables["variance"].num_rows))
    twin = twin.set_column(4, "job", pa.array(["f" * 12] * twin.num_rows))
    found = findings({"variance": pa.concat_tables([tables["variance"], twin])}, [])
    assert {one.headline.split(",")[0] for one in found} == {
        "In vit_nano on embedded:test",
        "In vit_nano on cifar:test",
    }


def test_anchors_are_unique_and_main_findings_span_the_diagnostics() -> None:
    models = (samples.vit(), samples.resnet(), samples.vit("deit", error=0.5))
    found = found_for(*models)
    assert len({one.anchor for one in found}) == len(found)
    main = main_findings(found)
    assert [one.diagnostic for one in main] == ["fourier", "variance", "similarity"]
    assert {one.model for one in main} == {"vit_nano", "resnet_nano", "deit"}
    assert [one.strength > 0 for one in main] == [True, True, False]
    assert [one.model for one in found] == sorted((one.model for one in found), key=[m.label for m in models].index)


def test_between_models() -> None:
    first, second = samples.vit(), samples.resnet()
    (one,) = findings({"similarity_between": samples.between_table(first, second)}, [])
    assert one.headline.startswith("Between vit_nano and resnet_nano, the points most alike are stem and stem (CKA 0.8")
    assert len(one.rows) == 25 * 17


def test_caveats_speak_of_this_run() -> None:
    few = (samples.vit(weights="random, seed 0", images=64),)
    said = " ".join(caveats(samples.tables(few), samples.jobs(few)))
    assert "random weights" in said
    assert "64 images are few" in said
    many = (samples.vit(),)
    tables = samples.tables(many)
    quiet = " ".join(caveats(tables, samples.jobs(many)))
    assert "random weights" not in quiet
    assert "are few" not in quiet
    rows = tables["fourier"].to_pylist()
    rows[0]["note"] = "grid 2x2 is too small"
    noted = {"fourier": pa.Table.from_pylist(rows, tables["fourier"].schema)}
    assert "fourier: 1 point has no number (grid 2x2 is too small)." in caveats(noted, samples.jobs(many))


def test_empty_tables_say_nothing() -> None:
    assert findings({}, []) == []
    assert main_findings([]) == []
    empty = {name: table.slice(0, 0) for name, table in samples.tables([samples.vit()]).items()}
    assert findings(empty, []) == []


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


def test_findings_are_frozen() -> None:
    (one, *_) = found_for(samples.vit())
    with pytest.raises(dataclasses.FrozenInstanceError, match="verdict"):
        one.verdict = "raises"  # type: ignore[misc]
