"""What changed between two runs, as `visionscope compare` tells it."""

import json
from pathlib import Path
from typing import Any

import pytest

from report import outcomes
from visionscope.cli import main
from visionscope.errors import ConfigError
from visionscope.report.differences import differences, lines_of, read_told
from visionscope.report.page import build_report


def measured(value: float | None, low: float | None = None, high: float | None = None, **more: Any) -> dict[str, Any]:
    one = {"model": "a", "diagnostic": "noise", "name": "ECE", "unit": "%", "value": value, "low": low, "high": high}
    return {**one, "interval": "95 % interval", "by_interval": True, **more}


def run(*measures: dict[str, Any], labels: tuple[str, ...] = ("a",), headlines: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "models": [{"label": label} for label in labels],
        "measures": list(measures),
        "findings": [{"headline": text} for text in headlines],
    }


def test_intervals_that_lie_apart_are_told_first() -> None:
    before = run(measured(5.0, 4.0, 6.0), measured(1.0, 0.5, 1.5, name="NLL", unit="nat"), measured(3.0, name="same"))
    after = run(measured(5.5, 4.5, 6.5), measured(2.0, 1.6, 2.4, name="NLL", unit="nat"), measured(3.0, name="same"))
    found = differences(before, after)
    assert [(one.name, one.clear, one.change) for one in found.moved] == [
        ("NLL (nat)", True, pytest.approx(1.0)),
        ("ECE (%)", False, pytest.approx(0.5)),
    ]
    assert found.equal == 1
    lines = list(lines_of(found))
    assert lines[0] == "significantly different (intervals apart):"
    assert lines[1] == "  a  NLL (nat): 1.00 [0.500, 1.50] -> 2.00 [1.60, 2.40]  (+1.00)"


def test_other_intervals_make_no_difference_significant() -> None:
    for more in ({"by_interval": False}, {"interval": "range over directions"}):
        found = differences(run(measured(1.0, 0.5, 1.5, **more)), run(measured(2.0, 1.6, 2.4, **more)))
        assert [(one.clear, one.change) for one in found.moved] == [(False, pytest.approx(1.0))]


def test_what_one_run_lacks_is_told() -> None:
    found = differences(run(measured(5.0), headlines=("A.", "B.")), run(headlines=("B.", "C.")))
    assert [(one.before, one.after, one.change) for one in found.moved] == [("5.00", "", None)]
    assert (found.gone, found.new) == (("A.",), ("C.",))
    assert "  a  ECE (%): 5.00 -> not measured" in list(lines_of(found))


def test_single_models_are_compared_whatever_their_labels() -> None:
    found = differences(run(measured(5.0)), run(measured(6.0, model="b"), labels=("b",)))
    assert [one.change for one in found.moved] == [pytest.approx(1.0)]
    with pytest.raises(ConfigError, match="must have a model in common; the first has a, c, the second b"):
        differences(run(labels=("a", "c")), run(labels=("b",)))


def test_a_page_equals_itself_and_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers, jobs = outcomes.everything()
    build_report(tmp_path, answers, jobs)
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 0
    count = len(json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["measures"])
    told = read_told("first", tmp_path)
    names = {(one["model"], one["diagnostic"], one["name"], one["unit"]) for one in told["measures"]}
    assert capsys.readouterr().out == f"{len(names)} measures equal\n"
    assert len(names) == count
    assert main(["compare", str(tmp_path), str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equal"] == count


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "second: must be a run folder with a report.json"),
        ("{", "is not valid JSON; `visionscope report"),
        ("[]", "has format 1, format 2 is needed"),
        ('{"format": 2}', "format 2 is needed"),
    ],
)
def test_folders_without_a_page_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    (first / "report.json").write_text(json.dumps({"format": 2, **run()}))
    if content is not None:
        (second / "report.json").write_text(content)
    assert main(["compare", str(first), str(second)]) == 2
    assert said in capsys.readouterr().err
