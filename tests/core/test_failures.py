"""What one model, or one pair of models, spoils is told, and costs nothing else."""

from collections.abc import Mapping

import pyarrow as pa
import pytest

from visionscope.core.failures import Failures, of_models

ROWS = pa.table({"model": ["a", "b", "c"], "other": [1, 2, 3]})
PAIRS = pa.table({"model": ["a", "a", "b"], "other": ["b", "c", "c"]})
TABLES = {"rows": ROWS, "comparisons": PAIRS}


def test_what_compares_two_models_goes_with_both() -> None:
    left = of_models(TABLES, ["a", "b"])
    assert left["comparisons"].to_pylist() == [{"model": "a", "other": "b"}]
    assert left["rows"].to_pylist() == [{"model": "a", "other": 1}, {"model": "b", "other": 2}]


def test_one_failing_model_is_left_out() -> None:
    def speak(tables: Mapping[str, pa.Table]) -> list[str]:
        if "b" in tables["rows"]["model"].to_pylist():
            raise KeyError("b")
        return tables["rows"]["model"].to_pylist()

    failures = Failures()
    assert failures.spared("sentences", "one", speak, TABLES) == ["a", "c"]
    assert [(one.label, one.message) for one in failures.all] == [("b", "KeyError: 'b'")]
    assert failures.of("one", ["sentences"]) == {"b"}
    assert failures.of("other", ["sentences"]) == set()


def test_a_failing_pair_costs_no_model_its_sentences() -> None:
    def speak(tables: Mapping[str, pa.Table]) -> list[str]:
        if tables["comparisons"].num_rows:
            raise ValueError("these two don't compare")
        return tables["rows"]["model"].to_pylist()

    failures = Failures()
    assert failures.spared("sentences", "one", speak, TABLES) == ["a", "b", "c"]
    assert [one.text for one in failures.all] == ["sentences of one: ValueError: these two don't compare"]


def test_a_figure_of_pairs_that_fails_is_none() -> None:
    def draw(table: pa.Table) -> str:
        if table.num_rows > 1:
            raise ValueError("too many")
        return "drawn"

    failures = Failures()
    assert failures.spared("figure", "one", draw, ROWS) is None
    assert [one.label for one in failures.all] == [""]


@pytest.mark.parametrize("table", [pa.table({"x": [1]}), pa.table({"model": pa.array([], pa.string())})])
def test_without_models_there_is_nothing_to_spare(table: pa.Table) -> None:
    def fail(given: pa.Table) -> list[str]:
        raise ValueError("no")

    failures = Failures()
    assert failures.spared("figure", "one", fail, table) is None
    assert [one.text for one in failures.all] == ["figure of one: ValueError: no"]
