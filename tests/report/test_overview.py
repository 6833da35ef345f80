"""The table at the top of a page: measures of every diagnostic, accuracy against chance, what stands out."""

import dataclasses
import functools
import json
import math
from pathlib import Path

import pytest

from report import outcomes, samples
from report.outcomes import Damaged
from report.telling import answers_of
from visionscope.core.diagnostic import Answer
from visionscope.core.failures import Failures
from visionscope.core.finding import MODELS_DIFFER, Finding
from visionscope.core.measure import ACCURACY, Measure
from visionscope.report.overview import accuracies, facts, overview
from visionscope.report.page import build_report
from visionscope.report.summary import main_findings
from visionscope.report.told import told

MODELS = ("vit_nano", "resnet_nano")


@functools.cache
def everything() -> list[Answer]:
    answers, _ = outcomes.everything()
    return answers


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of everything."""
    _, jobs = outcomes.everything()
    return build_report(tmp_path_factory.mktemp("everything"), everything(), jobs)


def answer(*measures: Measure, diagnostic: str = "lesion", findings: tuple[Finding, ...] = ()) -> Answer:
    return Answer(diagnostic=diagnostic, theme="", place=0, tables={}, measures=measures, findings=findings)


def accuracy(model: str, value: float, low: float, high: float, n: int = 100) -> Measure:
    return Measure(model=model, name=ACCURACY, value=value, low=low, high=high, unit="%", n=n, chance=10.0)


def test_every_diagnostic_has_measures_of_the_models_that_it_measured() -> None:
    for one in everything():
        assert one.measures, one.diagnostic
        labels = set(one.tables["rows"].column("model").to_pylist())
        assert {measure.model for measure in one.measures} <= labels
        for measure in one.measures:
            assert len(measure.name.split()) <= 5, measure.name
            if measure.low is not None and measure.high is not None and measure.value is not None:
                assert measure.low <= measure.value <= measure.high, measure


def test_measures_are_the_numbers_of_the_tables() -> None:
    by_name = {one.diagnostic: one for one in everything()}
    (median,) = [
        row["median"]
        for row in by_name["fourier"].tables["summary"].to_pylist()
        if row["model"] == "vit_nano" and row["kind"] == "msa"
    ]
    shown = [one for one in by_name["fourier"].measures if one.name == "high frequencies after msa"]
    assert [(one.model, one.value) for one in shown] == [("vit_nano", median)]
    calibration = by_name["calibration"]
    row = next(row for row in calibration.tables["summary"].to_pylist() if row["scaling"] == "none")
    own = {one.name: one for one in calibration.measures if one.model == row["model"]}
    assert own["ECE"].value == pytest.approx(100 * row["ece"])
    assert own[ACCURACY].value == pytest.approx(100 * row["accuracy"])
    # Of every diagnostic that has an accuracy: guessing among ten classes.
    levels = [one.chance for answered in by_name.values() for one in answered.measures if one.name == ACCURACY]
    assert len(levels) >= 2 * 4
    assert set(levels) == {10.0}
    assert (own["ECE"].low, own["ECE"].unit) == (pytest.approx(100 * row["ece_low"]), "%")


def test_accuracy_comes_first_once_and_from_the_most_images() -> None:
    few, many = accuracy("vit_nano", 80, 70, 88, n=100), accuracy("vit_nano", 78, 76, 80, n=1000)
    answers = [answer(few, diagnostic="lesion"), answer(many, diagnostic="calibration")]
    assert accuracies(answers)["vit_nano"].n == 1000
    lines = overview([answer(diagnostic="fourier"), *answers], MODELS)
    assert [line.name for line in lines] == [ACCURACY]
    assert lines[0].remark == "chance 10\u00a0%"
    assert [cell.value for cell in lines[0].cells] == ["78.0", ""]
    whole = overview(everything(), MODELS)
    assert (whole[0].name, whole[0].remark) == (ACCURACY, "chance 10\u00a0%")
    assert [line.name for line in whole].count(ACCURACY) == 1


def test_an_accuracy_that_nobody_measured_says_so() -> None:
    lines = overview(answers_of(samples.tables([samples.vit()])), ["vit_nano"])
    assert (lines[0].name, lines[0].remark, lines[0].cells[0].value) == (ACCURACY, "not measured", "")


def test_what_differs_from_all_others_stands_out() -> None:
    apart = [accuracy("a", 80, 78, 82), accuracy("b", 60, 58, 62), accuracy("c", 61, 59, 63)]
    (line,) = overview([answer(*apart)], ("a", "b", "c"))
    assert [cell.stands_out for cell in line.cells] == [True, False, False]
    assert line.cells[0].told.endswith("differs significantly from b, c")
    alone = overview([answer(apart[0])], ("a",))
    assert not alone[0].cells[0].stands_out


@pytest.mark.parametrize(("low", "near"), [(9.0, True), (10.0, True), (10.1, False)])
def test_a_network_is_near_chance_where_its_interval_reaches_it(low: float, near: bool) -> None:
    one = accuracy("a", 12.0, low, 15.0)
    assert one.near_chance is near
    assert overview([answer(one)], ("a",))[0].cells[0].near_chance is near


def test_no_main_finding_speaks_of_a_network_that_guesses() -> None:
    def said(headline: str, model: str = "", models: tuple[str, ...] = ()) -> Finding:
        return Finding(
            model=model,
            models=models,
            headline=headline,
            columns=(),
            rows=(),
            strength=1.0,
            verdict=MODELS_DIFFER if models else "lowers",
            diagnostic="noise",
        )

    measures = (accuracy("good", 90, 88, 92), accuracy("fair", 70, 66, 74), accuracy("broken", 11, 8, 14))
    found = (
        said("good differs from broken.", models=("good", "broken")),
        said("In broken, nothing.", model="broken"),
        said("good differs from fair.", models=("good", "fair")),
        said("In good, something.", model="good"),
    )
    told_first = main_findings([answer(*measures, diagnostic="noise", findings=found)])
    assert [one.headline for one in told_first] == ["good differs from fair.", "In good, something."]


def test_intervals_count_where_the_diagnostic_does_not_forbid_it() -> None:
    def lines(**more: object) -> list[bool]:
        both = [
            Measure(model=name, name="CKA", value=value, low=value - 1, high=value + 1, **more)  # type: ignore[arg-type]
            for name, value in {"a": 1.0, "b": 5.0}.items()
        ]
        (_, line) = overview([answer(*both)], ("a", "b"))
        return [cell.stands_out for cell in line.cells]

    assert lines() == [True, True]
    assert lines(by_interval=False) == [False, False]
    mixed = dataclasses.replace(accuracy("b", 60, 58, 62), by_interval=False)
    (line,) = overview([answer(accuracy("a", 80, 78, 82), mixed)], ("a", "b"))
    assert [cell.stands_out for cell in line.cells] == [False, False]
    assert lines(interval="range over directions") == [False, False]


def test_directions_have_marks() -> None:
    lines = {line.name: line for line in overview(everything(), MODELS)}
    assert lines["high frequencies after msa"].cells[0].value[0] in "▼▲◆○"
    assert lines["ECE"].cells[0].value[0].isdigit()


def test_facts_say_how_many_models_and_images() -> None:
    rows = [{"weights": "random, seed 0"}, {"weights": "checkpoint a.pth"}]
    data = [{"data": "embedded:test", "images": "512"}, {"data": "embedded:test", "images": "2000"}]
    assert facts(rows, data) == [
        "2 models",
        "512 to 2\u202f000 images of embedded:test",
        "weights: random, seed 0, checkpoint a.pth",
    ]
    assert facts(rows[:1], data[:1])[:2] == ["1 model", "512 images of embedded:test"]


def test_report_json_has_numbers_beside_every_sentence(page: Path) -> None:
    answers = everything()
    written = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    assert [model["label"] for model in written["models"]] == list(MODELS)
    assert written["models"][0]["accuracy"]["value"] == accuracies(answers)["vit_nano"].value
    assert len(written["measures"]) == sum(len(one.measures) for one in answers)
    assert set(written["main"]) <= {one["anchor"] for one in written["findings"]}
    assert len(written["main"]) <= 5
    for one in written["findings"]:
        assert {"measure", "value", "low", "high", "n", "state", "text", "models"} <= one.keys()
        assert one["text"].startswith(one["headline"])
    assert written["left_out"] == [
        {"diagnostic": "attention", "model": "resnet_nano", "reason": "has no self-attention"}
    ]


def test_what_is_not_finite_is_null() -> None:
    one = dataclasses.replace(accuracy("a", 50, 40, 60), value=math.nan, high=math.inf)
    spoken = told([answer(one)], [], [{"label": "a"}], [], Failures())
    assert spoken["measures"][0]["value"] is None
    assert spoken["measures"][0]["high"] is None
    assert "NaN" not in json.dumps(spoken)


def test_the_page_shows_the_table_and_a_picture_first(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    table, figure = text.index('class="overview"'), text.index('class="panel leading"')
    assert table < figure < text.index('id="figure-')
    assert text.count('data-panel="', 0, text.index('id="figure-')) == 1


def test_the_page_names_a_network_that_guesses(tmp_path: Path) -> None:
    answers, jobs = outcomes.everything()
    broken = accuracy("resnet_nano", 11, 8, 14, n=10_000)
    answers = [dataclasses.replace(one, measures=(*one.measures, broken)) for one in answers]
    text = build_report(tmp_path, answers, jobs).read_text(encoding="utf-8")
    assert text.count("resnet_nano does no better than guessing") == 1
    assert "vit_nano does no better" not in text
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    top = [one for one in told["findings"] if one["anchor"] in told["main"]]
    assert top
    assert not [one for one in top if "resnet_nano" in (one["model"], *one["models"])]


def test_models_without_measures_leave_the_table_out(tmp_path: Path) -> None:
    rows = samples.tables([samples.vit()])
    answers = [dataclasses.replace(one, measures=()) for one in answers_of(rows)]
    text = build_report(tmp_path, answers, samples.jobs([samples.vit()])).read_text(encoding="utf-8")
    assert 'class="overview"' not in text


def test_noise_measures_tell_who_loses_more() -> None:
    rings = (0.1, 0.5, 0.9)
    models = [
        Damaged(label=name, losses=dict(zip(rings, costs, strict=True)))
        for name, costs in {"vit_nano": (30.0, 5.0, 1.0), "resnet_nano": (1.0, 5.0, 30.0)}.items()
    ]
    (one,) = answers_of(outcomes.noise(models))
    highest = [measure for measure in one.measures if measure.name.startswith("noise at 0.9")]
    assert [measure.differs_from for measure in highest] == [("resnet_nano",), ("vit_nano",)]


def test_the_picture_is_of_the_model_that_the_first_finding_speaks_of(tmp_path: Path) -> None:
    models = [samples.resnet(), samples.vit()]
    answers = answers_of(samples.tables(models))
    (first, *_) = main_findings(answers)
    text = build_report(tmp_path, answers, samples.jobs(models)).read_text(encoding="utf-8")
    figure = text[text.index('class="panel leading"') :]
    labels = [one.label for one in models]
    assert figure.startswith(f'class="panel leading" data-models="{labels.index(first.model)}"')


def test_what_tells_of_pixels_stands_first_and_once() -> None:
    def asked(name: str, images: int) -> Answer:
        numbers = {"pixel accuracy": 50.0 + images, "mean IoU": 30.0, f"{name} of it": 1.0}
        measures = (Measure(model="net", name=key, value=value, n=images, unit="%") for key, value in numbers.items())
        return Answer(diagnostic=name, theme="", place=0, tables={}, measures=tuple(measures))

    answers = [asked("lesion", 10), asked("calibration", 20)]
    lines = overview(answers, ["net"])
    assert [line.name for line in lines] == ["pixel accuracy", "mean IoU", "lesion of it", "calibration of it"]
    assert accuracies(answers)["net"].value == 70.0
