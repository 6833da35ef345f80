import dataclasses
import math
import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from report import samples
from visionscope.report.finding import interval, verdict_of
from visionscope.report.summary import Finding, caveats, findings, main_findings

ATTENTION = "In vit_nano, self-attention (msa)"
HIGH = "the high-frequency amplitude relative to the map's mean"


def found_for(*models: samples.Invented) -> list[Finding]:
    return findings(samples.tables(models), samples.jobs(models))


def sentence(found: list[Finding], diagnostic: str, kind: str) -> Finding:
    (one,) = [one for one in found if one.diagnostic == diagnostic and one.kind == kind]
    return one


def test_opposite_tables_get_opposite_sentences() -> None:
    usual = found_for(samples.vit())
    opposite = found_for(samples.vit(changes={"msa": 0.1, "mlp": -0.08}))
    for diagnostic, words in (("fourier", "the high-frequency amplitude"), ("variance", "the variance of the feature")):
        lowered, raised = (sentence(found, diagnostic, "msa") for found in (usual, opposite))
        assert lowered.headline.startswith(f"{ATTENTION} lowers {words}")
        assert raised.headline.startswith(f"{ATTENTION} raises {words}")
        assert (lowered.verdict, raised.verdict) == ("lowers", "raises")
        assert sentence(usual, diagnostic, "mlp").verdict == "raises"
        assert sentence(opposite, diagnostic, "mlp").verdict == "lowers"


def test_sizes_in_the_sentence_are_those_of_the_rows() -> None:
    one = sentence(found_for(samples.vit()), "fourier", "msa")
    changes = [row[one.columns.index("change")] for row in one.rows]
    mean = sum(changes) / len(changes)
    reach = stats.t.ppf(0.975, 255) * 0.02
    found = re.search(r"mean change in log amplitude (\S+), 95 % interval (\S+) to (\S+)\)", one.detail)
    assert found is not None
    said = [float(text.replace("−", "-")) for text in found.groups()]
    assert said == pytest.approx([mean, mean - reach, mean + reach], rel=5e-2)
    assert one.detail.startswith(f"Typically −{100 * (1 - math.exp(mean)):.1f} % per point (")


def test_an_interval_that_spans_zero_reads_no_clear_change() -> None:
    found = found_for(samples.vit(error=0.5))
    one = sentence(found, "fourier", "msa")
    assert one.verdict == "no clear change"
    assert one.headline == f"{ATTENTION} makes no clear change to {HIGH} at all 12 points."
    assert "On average: no clear change (" in one.detail
    assert not re.search(r"lowers|raises|less|more", one.text)


def test_without_errors_nothing_is_claimed() -> None:
    one = sentence(found_for(samples.vit(error=None)), "variance", "msa")
    assert one.verdict == "no clear change"
    assert "no interval: too few images" in one.detail


@pytest.mark.parametrize("diagnostic", ["fourier", "variance"])
def test_counts_in_the_sentence_are_counts_of_its_rows(diagnostic: str) -> None:
    table = samples.tables([samples.vit()])[diagnostic]
    rows = table.to_pylist()
    chosen = [row for row in rows if row["kind"] == "msa" and row["change"] is not None]
    wanted = {"lowers": 7, "raises": 3, "no clear change": 2}
    for place, row in enumerate(chosen):
        row["change"] = -0.5 if place < 7 else 0.5 if place < 10 else 0.001
    one = sentence(findings({diagnostic: pa.Table.from_pylist(rows, table.schema)}, []), diagnostic, "msa")
    verdicts = [row[one.columns.index("verdict")] for row in one.rows]
    assert {name: verdicts.count(name) for name in wanted} == wanted
    assert "at 7 of 12 points and raises it at 3; no clear change at 2." in one.headline
    assert len(one.rows) == 12


def test_places_are_thirds_for_one_stage_and_stages_for_several() -> None:
    plain = sentence(found_for(samples.vit()), "fourier", "msa")
    staged = sentence(found_for(samples.resnet()), "fourier", "conv")
    assert "By third of depth: lower in the first third (4 of 4), the middle third (4 of 4) and the last third" in (
        plain.detail
    )
    assert "By stage: higher in stage 1 (3 of 3), stage 2 (3 of 3), stage 3 (5 of 5) and stage 4 (2 of 2)." in (
        staged.detail
    )


def test_points_after_a_change_of_grid_are_not_counted() -> None:
    found = found_for(samples.resnet())
    assert not [one for one in found if one.kind == "down"]
    assert len(sentence(found, "fourier", "conv").rows) == 13


def test_modules_between_blocks_are_counted_in_no_sentence() -> None:
    kinds = ("stem", "conv", "block", "conv", "block")
    found = found_for(samples.vit(kinds=kinds, stages=(0, 1, 1, 1, 1), changes={"conv": 0.1, "block": -0.3}))
    assert {one.kind for one in found if one.diagnostic in ("fourier", "variance")} == {"conv"}
    assert len(sentence(found, "variance", "conv").rows) == 2


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
    one = sentence(findings({"fourier": pa.Table.from_pylist(rows, table.schema)}, []), "fourier", "mlp")
    assert "The detail itself grew by 50 %; the mean hardly changed" in one.detail


def test_high_frequency_rows_alone_are_counted() -> None:
    table = samples.tables([samples.vit()])["fourier"]
    rows = [{**row, "change": 9.0 if not row["high_frequency"] else row["change"]} for row in table.to_pylist()]
    one = sentence(findings({"fourier": pa.Table.from_pylist(rows, table.schema)}, []), "fourier", "msa")
    assert one.verdict == "lowers"


def test_stages_alike_and_the_opposite() -> None:
    table = samples.tables([samples.resnet()])["similarity"]
    usual = sentence(findings({"similarity": table}, []), "similarity", "")
    swapped = [{**row, "cka": 1.0 - row["cka"]} for row in table.to_pylist()]
    opposite = sentence(findings({"similarity": pa.Table.from_pylist(swapped, table.schema)}, []), "similarity", "")
    vague = [{**row, "standard_error": 0.9} for row in table.to_pylist()]
    unclear = sentence(findings({"similarity": pa.Table.from_pylist(vague, table.schema)}, []), "similarity", "")
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
    one = sentence(findings({"similarity": pa.Table.from_pylist(rows, table.schema)}, []), "similarity", "")
    assert one.verdict == "can't be said"
    assert one.headline.startswith(
        "In resnet_nano, whether points of the same stage are more alike than others can't be said from 3 groups of "
        "32 images (use at least 128): mean CKA 0."
    )
    assert "no clear" not in one.text
    none = [{**row, "standard_error": None} for row in table.to_pylist()]
    one = sentence(findings({"similarity": pa.Table.from_pylist(none, table.schema)}, []), "similarity", "")
    assert "can't be said, because no standard error is known: mean CKA 0." in one.headline


@pytest.mark.parametrize(
    ("growth", "change", "said"),
    [
        (math.log(3.7), -math.log(3.7), "The detail itself hardly changed (less than 0.1 %); the mean grew 3.7-fold."),
        (0.02, math.log(0.7) - 0.02, "The detail itself shrank by 30 %; the mean hardly changed (+2.0 %)."),
        (-0.5, 0.7, "The detail itself grew by 22 %; the mean shrank by 39 %."),
    ],
)
def test_what_moved_is_told_from_the_amplitudes_themselves(growth: float, change: float, said: str) -> None:
    model = samples.vit(changes={"msa": change}, growth=growth, wobble=0.0)
    one = sentence(found_for(model), "fourier", "msa")
    assert "relative to the map's mean" in one.headline
    assert said in one.detail


def test_tables_without_the_amplitudes_themselves_say_nothing_about_them() -> None:
    table = samples.tables([samples.vit()])["fourier"].drop_columns(["log_amplitude"])
    one = sentence(findings({"fourier": table}, []), "fourier", "msa")
    assert "The detail itself" not in one.detail
    assert "Typically" in one.detail


@pytest.mark.parametrize("diagnostic", ["fourier", "variance"])
def test_blocks_that_do_nothing_pass_their_input_on(diagnostic: str) -> None:
    found = found_for(samples.vit(blocks=3, changes={"msa": -0.1}, error=0.0))
    one = sentence(found, diagnostic, "mlp")
    assert one.verdict == "unchanged"
    assert one.headline == "In vit_nano, MLP (mlp) passes its input on unchanged at all three points."
    assert one.brief == "MLP (mlp) passes its input on unchanged at all three points."
    assert "usual for residual branches whose last layer starts at zero" in one.detail
    assert "clear" not in one.text
    assert one not in main_findings(found)
    assert main_findings([one]) == [one]


def test_tiny_changes_are_not_plain_ones() -> None:
    table = samples.tables([samples.vit(blocks=3)])["variance"]
    rows = [row for row in table.to_pylist() if row["kind"] == "msa"]
    changes = (-0.1, -0.1, 0.5 * 0.0009)
    changed = [
        {**row, "variance": 0.5, "change": c, "change_error": 1e-6} for row, c in zip(rows, changes, strict=True)
    ]
    one = sentence(findings({"variance": pa.Table.from_pylist(changed, table.schema)}, []), "variance", "msa")
    assert one.headline.endswith("at 2 of 3 points and raises it at 1 (by less than 0.1 %).")
    assert one.rows[2][-1] == "raises slightly"
    small = [{**row, "change": -0.0004} for row in changed]
    one = sentence(findings({"variance": pa.Table.from_pylist(small, table.schema)}, []), "variance", "msa")
    assert one.headline.endswith("lowers the variance of the feature maps at all three points (by less than 0.1 %).")
    assert one.detail.startswith("Typically less than 0.1 % per point (mean change −0.00040, 95 % interval ")


def test_small_numbers_are_told_as_shares() -> None:
    table = samples.tables([samples.vit(blocks=2)])["variance"]
    rows = [row for row in table.to_pylist() if row["kind"] == "msa"]
    tiny = [{**row, "variance": 3e-4, "change": 5e-5, "change_error": 1e-6} for row in rows]
    one = sentence(findings({"variance": pa.Table.from_pylist(tiny, table.schema)}, []), "variance", "msa")
    assert one.headline.endswith("at both points.")
    assert one.detail.startswith("Typically +20 % per point (95 % interval +19 % to +21 % of the mean level).")
    assert not re.search(r"\de.\d", one.text)


def test_one_stage_is_said_to_be_one() -> None:
    one = sentence(found_for(samples.vit()), "similarity", "")
    assert one.headline.startswith("vit_nano has one stage")
    assert "over 300 pairs of points" in one.headline
    assert len(one.rows) == 300


def test_one_point_in_each_stage_is_not_called_one_stage() -> None:
    one = sentence(found_for(samples.resnet(blocks=(1, 1, 1, 1))), "similarity", "")
    assert one.headline.startswith("resnet_nano has one point in each stage")
    assert "have CKA" in one.detail


def test_main_findings_claim_something_where_anything_can_be_claimed() -> None:
    found = found_for(samples.vit())
    main = main_findings(found)
    assert [one.diagnostic for one in main] == ["fourier", "variance", "fourier"]
    assert {one.kind for one in main} == {"msa", "mlp"}
    assert len(main_findings(found, count=99)) == len(found) == 5


def test_points_that_begin_a_stage_are_mentioned() -> None:
    table = samples.tables([samples.resnet()])["variance"]
    rows = [{**row, "kind": "conv" if row["kind"] == "down" else row["kind"]} for row in table.to_pylist()]
    one = sentence(findings({"variance": pa.Table.from_pylist(rows, table.schema)}, []), "variance", "conv")
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
    assert len({one.kind for one in main}) == 3
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
