"""Which sentences stand at the top of a page, and what the numbers of a whole page can't tell."""

import dataclasses

import pyarrow as pa
import pytest

from report import samples
from report.telling import answers_of, found_for
from visionscope.core.diagnostic import Answer
from visionscope.report.limits import limits_of
from visionscope.report.summary import main_findings


def answers_for(*models: samples.Invented) -> list[Answer]:
    return answers_of(samples.tables(models))


def test_main_findings_claim_something_where_anything_can_be_claimed() -> None:
    answers = answers_for(samples.vit())
    main = main_findings(answers)
    assert [one.diagnostic for one in main] == ["fourier", "variance", "similarity"]
    assert len(main_findings(answers, count=99)) == sum(len(answer.findings) for answer in answers) == 3


def test_random_weights_travel_with_every_sentence() -> None:
    found = found_for(samples.resnet(weights="random, seed 0"))
    assert len(found) == 3
    assert all("resnet_nano (random weights)" in one.headline for one in found)
    assert not [one for one in found if "resnet_nano" in one.brief]


def test_anchors_are_unique_and_main_findings_span_the_diagnostics() -> None:
    models = (samples.vit(), samples.resnet(), samples.vit("deit", error=0.5))
    answers = answers_for(*models)
    found = [one for answer in answers for one in answer.findings]
    assert len({one.anchor for one in found}) == len(found)
    main = main_findings(answers)
    assert [one.diagnostic for one in main] == ["fourier", "variance", "similarity"]
    assert {one.model for one in main} == {"vit_nano", "resnet_nano", "deit"}
    assert [one.strength > 0 for one in main] == [True, True, False]
    for answer in answers:
        assert [one.model for one in answer.findings] == [model.label for model in models]


def test_limits_speak_of_this_run() -> None:
    few = (samples.vit(weights="random, seed 0", images=64),)
    said = " ".join(limits_of(answers_for(*few), samples.jobs(few)))
    assert "random weights" in said
    assert "64 images are few" in said
    many = (samples.vit(),)
    quiet = " ".join(limits_of(answers_for(*many), samples.jobs(many)))
    assert "random weights" not in quiet
    assert "are few" not in quiet
    table = samples.tables(many)["fourier"]
    rows = table.to_pylist()
    rows[0]["note"] = "grid 2x2 is too small"
    noted = answers_of({"fourier": pa.Table.from_pylist(rows, table.schema)})
    assert "fourier: 1 point has no number (grid 2x2 is too small)." in limits_of(noted, samples.jobs(many))


def test_limits_of_feature_maps_stand_with_their_diagnostics() -> None:
    of = {answer.diagnostic: " ".join(answer.limits) for answer in answers_for(samples.vit())}
    assert all("Compare changes inside one network." in said for said in of.values())
    assert ["A median over points" in of[name] for name in ("fourier", "variance", "similarity")] == [True, True, False]
    assert "A block that only shifts that mean moves the number as well." in of["fourier"]


def test_empty_tables_say_nothing() -> None:
    assert main_findings([]) == []
    empty = {name: table.slice(0, 0) for name, table in samples.tables([samples.vit()]).items()}
    answers = answers_of(empty)
    assert [answer.findings for answer in answers] == [()] * 3
    assert main_findings(answers) == []


def test_findings_are_frozen() -> None:
    (one, *_) = found_for(samples.vit())
    with pytest.raises(dataclasses.FrozenInstanceError, match="verdict"):
        one.verdict = "raises"  # type: ignore[misc]
