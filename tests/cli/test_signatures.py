"""What tab completion shows: every parameter by name, with the default that the program has."""

import dataclasses
import inspect
import typing
from typing import Any

import pytest

import visionscope as vs
from visionscope.core.docstrings import meanings
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.running.study import DEFAULT_DIAGNOSTICS, Study
from visionscope.training.recipe import Recipe
from visionscope.training.terms import Terms

OURS = [name for name in diagnostic_names() if diagnostic_class(name).__module__.startswith("visionscope.")]
TRAINING = ("weight_decay", "label_smoothing", "augmentation")


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(vs, name)).parameters)


def fields(described: type, *, but: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    return [(field.name, field.default) for field in dataclasses.fields(described) if field.name not in but]


@pytest.mark.parametrize("name", [name for name in vs.__all__ if inspect.isroutine(getattr(vs, name))])
def test_nothing_hides_behind_stars(name: str) -> None:
    kinds = {parameter.kind for parameter in parameters(name).values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", OURS)
def test_a_diagnostic_s_function_has_its_fields_with_their_defaults_in_their_order(name: str) -> None:
    chosen, found = diagnostic_class(name), parameters(name)
    own = fields(chosen)
    keywords = [parameter for parameter in found.values() if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    assert [(parameter.name, parameter.default) for parameter in keywords][: len(own)] == own
    measured = parameters("measure")
    assert [one.name for one in keywords[len(own) :]] == [
        one for one in measured if one in found and one in keywords_of(measured)
    ]
    assert all(one.default is None for one in keywords[len(own) :])
    is_training = getattr(chosen, "sample", "") == "train"
    assert [one in found for one in TRAINING] == [is_training] * 3
    hints = typing.get_type_hints(chosen)
    for field, _ in own:
        bare = found[field].annotation.replace("Sequence[", "tuple[")
        assert bare.partition("[")[0].partition(" ")[0] in str(hints[field]) or "Literal" in str(hints[field])


def keywords_of(found: dict[str, inspect.Parameter]) -> list[str]:
    return [one.name for one in found.values() if one.kind is inspect.Parameter.KEYWORD_ONLY]


@pytest.mark.parametrize("name", OURS)
def test_a_diagnostic_s_function_says_what_each_parameter_is(name: str) -> None:
    told = inspect.getdoc(getattr(vs, name)) or ""
    for field, meaning in meanings(diagnostic_class(name)).items():
        assert f"{field}: {meaning}" in " ".join(told.split())
    assert [parameter for parameter in parameters(name) if f"\n    {parameter}: " not in told] == []


def test_diagnose_has_a_study_s_fields() -> None:
    keywords = {one: parameters("diagnose")[one].default for one in keywords_of(parameters("diagnose"))}
    assert keywords.pop("only") == DEFAULT_DIAGNOSTICS
    assert keywords.pop("fields") is None
    assert list(keywords.items()) == fields(Study, but=("models", "data", "diagnostics"))
    told = " ".join((inspect.getdoc(vs.diagnose) or "").split())
    assert [name for name, meaning in meanings(Study).items() if name in keywords and meaning not in told] == []


def test_train_has_the_fields_of_terms_and_recipe() -> None:
    keywords = [(one, parameters("train")[one].default) for one in keywords_of(parameters("train"))]
    assert keywords[: len(fields(Terms))] == fields(Terms)
    assert [one for one, _ in keywords[-len(fields(Recipe)) :]] == [name for name, _ in fields(Recipe)]
    assert {default for _, default in keywords[-len(fields(Recipe)) :]} == {None}
    told = " ".join((inspect.getdoc(vs.train) or "").split())
    assert [name for name, meaning in meanings(Recipe).items() if meaning not in told and name != "epochs"] == []
