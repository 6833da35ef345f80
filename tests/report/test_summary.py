import dataclasses

import pyarrow as pa
import pytest

from report import samples
from report.telling import found_for, sentence
from visionscope.report.summary import caveats, findings, main_findings


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


def test_findings_are_frozen() -> None:
    (one, *_) = found_for(samples.vit())
    with pytest.raises(dataclasses.FrozenInstanceError, match="verdict"):
        one.verdict = "raises"  # type: ignore[misc]
