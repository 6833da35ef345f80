"""Sentences on attention, and the tables that they are read from."""

import math

import pyarrow as pa
import pytest
from scipy import stats

from report import outcomes
from report.telling import answer_of, answers_of
from visionscope.core.diagnostic import Answer
from visionscope.core.finding import UNKNOWN, Finding, number
from visionscope.diagnostics.attention.question import AttentionHeads
from visionscope.report.tables import shown_table


def asked(tables: dict[str, pa.Table]) -> Answer:
    (answer,) = answers_of({"attention": tables["attention"]})
    return answer


def told(tables: dict[str, pa.Table]) -> Finding:
    (one,) = asked(tables).findings
    return one


def changed(tables: dict[str, pa.Table], **values: object) -> dict[str, pa.Table]:
    """The rows with some columns of the last point changed."""
    table = tables["attention"]
    rows = table.to_pylist()
    last = rows[-1]["point"]
    return {
        "attention": pa.Table.from_pylist(
            [{**row, **values} if row["point"] == last else row for row in rows], table.schema
        )
    }


def test_attention_that_looks_farther_or_not() -> None:
    one = told(outcomes.attentions(["vit"], distances=[6, 8, 10, 12, 14, 16]))
    assert one.headline == "In vit, the last attention looks farther than the first: 16.0 pixels against 6.00."
    assert "Looking everywhere alike would give 16.0." in one.detail
    assert "Distance grows with depth (rank correlation 1.0, p = 0.0028, over 6 points)." in one.detail
    assert "Of all heads, head 0 of blocks.0+msa (5.00 pixels) looks least far" in one.detail
    assert len(one.rows) == 18
    back = told(outcomes.attentions(["vit"], distances=[16, 14, 12, 10, 8, 6]))
    assert back.headline == "In vit, the last attention looks less far than the first: 6.00 pixels against 16.0."
    assert "Distance falls with depth (rank correlation −1.0, p = 0.0028, over 6 points)." in back.detail
    still = told(outcomes.attentions(["vit"], distances=[10, 10.01], deviation=40_000.0))
    assert "it is unclear whether the last attention looks farther than the first" in still.headline
    assert still.verdict == UNKNOWN
    assert still.strength == 0 < one.strength


def test_the_sentence_has_the_numbers_of_the_table() -> None:
    given = outcomes.attentions(["vit"], distances=[6, 12, 9, 14, 11])
    answer = asked(given)
    (one,) = answer.findings
    rows = {row["number"]: row for row in answer.tables["comparisons"].to_pylist()}
    assert list(rows) == [
        *("distance", "entropy", "diversity", "mutual information", "sink share"),
        "rank correlation of distance with depth",
    ]
    distance = rows["distance"]
    assert (distance["first_point"], distance["last_point"]) == ("blocks.0+msa", "blocks.4+msa")
    assert (distance["first"], distance["last"], distance["difference"], distance["images"]) == (6, 11, 5, 256)
    # Two standard errors of sqrt(40 / 255 / 256) add up, whatever the correlation of the two.
    reach = stats.t.ppf(0.975, 255) * 2 * math.sqrt(40 / 255 / 256)
    assert (distance["low"], distance["high"]) == pytest.approx((5 - reach, 5 + reach))
    ends = f"95 % interval {number(distance['low'])} to {number(distance['high'])}"
    assert one.detail.startswith(f"Difference 5.00 pixels ({ends}).")
    trend = rows["rank correlation of distance with depth"]
    expected = stats.spearmanr([0, 1, 2, 3, 4], [6, 12, 9, 14, 11]).statistic
    assert (trend["difference"], trend["images"]) == (pytest.approx(expected), 5)
    said = f"(rank correlation {number(trend['difference'], 2)}, p = {number(trend['p'], 2)}, over 5 points)"
    assert f"No significant trend of distance with depth {said}." in one.detail


def test_entropy_and_diversity_are_told_where_they_clearly_move() -> None:
    given = outcomes.attentions(["vit"], distances=[6, 8])
    assert "at the end" not in told(given).detail
    more = told(changed(given, entropy=4.0, diversity=0.1))
    assert "It looks more widely at the end (entropy 3.00 nat to 4.00 nat)." in more.detail
    assert "Its heads are more alike at the end (diversity 0.400 to 0.100)." in more.detail
    less = told(changed(given, entropy=2.0, diversity=0.9))
    assert "It looks more narrowly at the end (entropy 3.00 nat to 2.00 nat)." in less.detail
    assert "Its heads are less alike at the end (diversity 0.400 to 0.900)." in less.detail
    one_head = asked(changed(given, diversity=None, diversity_deviation=None))
    assert one_head.tables["comparisons"]["number"].to_pylist() == [
        *("distance", "entropy", "mutual information", "sink share")
    ]
    bound = told(changed(outcomes.attentions(["vit"], distances=[6, 6]), mutual_information=0.1))
    assert "It depends less on the query at the end (mutual information 0.300 to 0.100)." in bound.detail
    sunk = told(changed(outcomes.attentions(["vit"], distances=[6, 6]), sink_share=0.75, sink_value_norm=0.08))
    assert sunk.detail.endswith(
        "A single token gets most at blocks.1+msa: 75 % of all attention, with a value of 0.080 times the mean norm."
    )


def test_one_image_has_no_interval_and_no_claim() -> None:
    table = outcomes.attentions(["vit"], distances=[6, 16])["attention"]
    alone = pa.Table.from_pylist([{**row, "images": 1} for row in table.to_pylist()], table.schema)
    one = told({"attention": alone})
    said = "it is unclear whether the last attention looks farther than the first: 16.0 pixels against 6.00."
    assert said in one.headline
    assert "Difference 10.0 pixels (no interval: too few images)." in one.detail


def test_a_single_attention_is_compared_with_nothing() -> None:
    answer = asked(outcomes.attentions(["vit"], distances=[7]))
    (one,) = answer.findings
    said = "its only self-attention, blocks.0+msa, looks 7.00 pixels far (everywhere alike would be 16.0)"
    assert one.headline == f"In vit, {said}."
    assert "comparisons" not in answer.tables


def test_points_without_a_distance_are_passed_over() -> None:
    lost = {"distance": None, "distance_deviation": None, "uniform_distance": None, "note": "no distance"}
    answer = asked(changed(outcomes.attentions(["vit"], distances=[6, 8, 10]), **lost))
    (row, *_) = answer.tables["comparisons"].to_pylist()
    assert row["last_point"] == "blocks.1+msa"
    assert asked(changed(outcomes.attentions(["vit"], distances=[6]), **lost)).findings == ()


def test_maps_of_the_one_image_are_a_row_per_place() -> None:
    table = outcomes.attentions(["vit"], distances=[6, 8])["attention"]
    of_image = {"part": "image-0003", "images": 1, "image": 3, "map_of": "class token", "map_width": 3}
    head, other, mean = ({**row, **of_image} for row in table.to_pylist()[:3])
    maps = [{**head, "map": [1.0, 2, 3, 4, 5, 6]}, {**other, "map": [6.0, 5, 4, 3, 2, 1]}, {**mean, "map_width": 0}]
    rows = pa.concat_tables([table, pa.Table.from_pylist(maps, table.schema)])
    answer = answer_of(AttentionHeads(image=3), rows)
    places = answer.tables["outcomes"].to_pylist()
    assert [(row["head"], row["map_row"], row["map_column"], row["attention"]) for row in places] == [
        (0, 0, 0, 1), (0, 0, 1, 2), (0, 0, 2, 3), (0, 1, 0, 4), (0, 1, 1, 5), (0, 1, 2, 6),
        (1, 0, 0, 6), (1, 0, 1, 5), (1, 0, 2, 4), (1, 1, 0, 3), (1, 1, 1, 2), (1, 1, 2, 1),
    ]  # fmt: skip
    assert {(row["model"], row["point"], row["image"]) for row in places} == {("vit", "blocks.0+msa", 3)}
    assert "outcomes" not in asked({"attention": table}).tables
    alone = answer_of(AttentionHeads(image=3), pa.Table.from_pylist(maps, table.schema))
    assert (alone.findings, list(alone.tables)) == ((), ["rows", "outcomes"])


def test_the_page_s_table_has_standard_errors_beside_the_means() -> None:
    shown = shown_table(asked(outcomes.attentions(["vit"], distances=[6, 8])).tables)
    assert shown is not None
    headers = [title for title, _, _ in shown.columns]
    assert [title for title in headers if "±" in title] == [
        "distance ± standard error (pixels of the input)",
        "entropy ± standard error (nat)",
        "diversity ± standard error",
        "mutual information ± standard error",
        "sink value norm ± standard error",
    ]
    assert "5 ± 0.025" in shown.rows[0][1]


@pytest.mark.parametrize("distances", [[6], [6, 16], [16, 6], [10, 10]])
def test_a_headline_has_25_words(distances: list[float]) -> None:
    table = outcomes.attentions(["vit"], distances=distances)["attention"]
    weights = pa.array(["random, seed 0"] * table.num_rows)
    one = told({"attention": table.set_column(table.column_names.index("weights"), "weights", weights)})
    assert one.headline.startswith("In vit (random weights), ")
    assert len(one.headline.split()) <= 25
    assert "vit" not in one.brief
