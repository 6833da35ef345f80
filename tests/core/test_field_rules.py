"""One rule for each value: types, bounds, choices, lists; the same for Python calls and for the texts of flags."""

import dataclasses
import enum
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionscope.config import diagnostic_of
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.rules import check_rules, rule, same_rule, seed_rule, values_of
from visionscope.core.values import Rule, Value, shown
from visionscope.errors import ConfigError
from visionscope.running.study import Study
from visionscope.training.recipe import Recipe
from visionscope.training.terms import Terms

if TYPE_CHECKING:
    from nowhere import Unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """Fields of every kind."""

    name: ClassVar[str] = "asked"
    k: int = rule(5, least=1, most=1000)
    share: float | None = rule(None, above=0, most=1)
    decay: float = rule(0.5, least=0, below=1)
    free: float = 0.0
    mode: Literal["branch", "conv"] = "branch"
    axes: Literal[1, 2] = 2
    strength: str = rule("weak", choices=("strong", "weak"))
    deep: bool = False
    sides: tuple[int, int] = rule((1, 2), least=1, most=9)
    eps: tuple[float, ...] = rule((1.0,), above=0, most=255, count=(1, 3), distinct=True)
    names: tuple[str, ...] = rule((), empty=False, longest=5)
    text: str = ""
    seed: int = seed_rule()

    def __post_init__(self) -> None:
        check_rules(self, self.name)


BAD = [
    ("k", "x", "must be an integer from 1 to 1000; got 'x'"),
    ("k", 0, "from 1 to 1000; got 0"),
    ("k", 1001, "from 1 to 1000; got 1001"),
    ("k", True, "an integer from 1 to 1000; got True"),
    ("k", 2.0, "an integer from 1 to 1000; got 2.0"),
    ("k", None, "an integer from 1 to 1000; got None"),
    ("k", [3], r"an integer from 1 to 1000; got \[3\]"),
    pytest.param("k", 10**5000, "got an integer of about 5001 digits", id="huge"),
    ("k", np.bool_(True), "an integer from 1 to 1000"),
    ("share", 0, "must be a number above 0 and at most 1; got 0"),
    ("share", math.nan, "above 0 and at most 1; got nan"),
    pytest.param("share", 10**400, "got an integer of about", id="beyond floats"),
    ("share", 1j, "a number above 0"),
    ("decay", 1, "a number of at least 0 and below 1; got 1"),
    ("decay", False, "got False"),
    ("free", math.inf, "must be a number that is finite; got inf"),
    ("free", -math.inf, "must be a number that is finite; got -inf"),
    ("mode", "con", "must be one of branch, conv; got 'con'. Did you mean 'conv'?"),
    ("mode", None, "must be one of branch, conv; got None"),
    ("axes", 3, "must be one of 1, 2; got 3. Did you mean 2?"),
    ("axes", True, "must be one of 1, 2; got True"),
    ("axes", "1", "must be one of 1, 2; got '1'"),
    ("strength", "week", "must be one of strong, weak; got 'week'. Did you mean 'weak'?"),
    ("deep", 1, "must be true or false; got 1"),
    ("deep", "true", "must be true or false; got 'true'"),
    ("sides", (1,), r"must be 2 values, each an integer from 1 to 9; got \[1\]"),
    ("sides", (1, 2, 3), r"must be 2 values"),
    ("sides", (0, 1), "each must be an integer from 1 to 9; got 0"),
    ("sides", 3, "must be 2 values, each an integer from 1 to 9; got 3"),
    ("sides", {1: 2, 3: 4}, "must be 2 values"),
    ("sides", b"ab", "must be 2 values"),
    ("eps", (), r"must be a list of one or more, each a number above 0 and at most 255, without repeats; got \[\]"),
    ("eps", (1, 1.0), "must not repeat an item; got 1.0 twice"),
    ("eps", (1, 2, 3, 4), "must be a list of one or more"),
    ("names", ("a", ""), "each must be text that is not empty; got ''"),
    ("names", ("abcdef",), "each must be text of at most 5 characters"),
    ("text", 3, "must be text; got 3"),
    ("text", "a\0", "must be text without NUL characters"),
    ("text", "\udcff", "must be text in UTF-8"),
    ("text", b"a", "must be text; got b'a'"),
    ("text", "x" * 9000, "must be text of at most 8,192 characters; got 'xxx"),
    ("seed", -1, "must be an integer from 0 to 4294967295; got -1"),
    ("seed", 2**32, "from 0 to 4294967295; got 4294967296"),
]


@pytest.mark.parametrize(("field", "value", "message"), BAD)
def test_what_breaks_a_rule_is_one_line(field: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^asked\.{field}: .*{message}") as caught:
        Asked(**{field: value})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_values_become_what_they_are_declared_as() -> None:
    asked = Asked(k=np.int64(3), decay=0, share=-0.0 + 1, free=-0.0, eps=[1, np.float32(2)], sides=[3, 4], names="a,b")
    assert asked == Asked(k=3, decay=0.0, share=1.0, free=0.0, eps=(1.0, 2.0), sides=(3, 4), names=("a", "b"))
    assert [type(one) for one in (asked.k, asked.decay, *asked.eps)] == [int, float, float, float]
    assert math.copysign(1, asked.free) == 1
    assert json.dumps(dataclasses.asdict(asked))


def test_bounds_belong_to_what_is_allowed() -> None:
    for field, value in (("k", 1), ("k", 1000), ("share", 1), ("decay", 0), ("sides", (1, 9)), ("seed", 2**32 - 1)):
        assert getattr(Asked(**{field: value}), field) == value


TEXTS = [
    ("k", "7", 7),
    ("k", " +7 ", 7),
    ("share", "1e-3", 0.001),
    ("share", ".5", 0.5),
    ("free", "-1E2", -100.0),
    ("deep", "True", True),
    ("axes", "1", 1),
    ("sides", "3,4", (3, 4)),
    ("sides", "[3, 4]", (3, 4)),
    ("eps", "(1, 2.5)", (1.0, 2.5)),
    ("names", "'a', \"b\"", ("a", "b")),
    ("names", "", ()),
    ("text", " a,b ", " a,b "),
    ("mode", "conv", "conv"),
]


@pytest.mark.parametrize(("field", "text", "value"), TEXTS)
def test_flags_are_read_by_the_annotation(field: str, text: str, value: Any) -> None:
    assert values_of(Asked)[field].read(field, text) == value


@pytest.mark.parametrize(
    "text", ["1_000", "0x10", "٣", "1e3", "7.0", "nan", "", " ", "- 7", "9" * 5000, "[", "null", "7j"]
)
def test_texts_that_are_no_integer(text: str) -> None:
    with pytest.raises(ConfigError, match=r"k: must be an integer from 1 to 1000; got"):
        values_of(Asked)["k"].read("k", text)


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "Infinity", "1e999", "0x1p3", "1_0.0", "1,5", "٣.5", "1/3", "e5"]
)
def test_texts_that_are_no_finite_number(text: str) -> None:
    with pytest.raises(ConfigError, match=r"free: must be a number that is finite; got"):
        values_of(Asked)["free"].read("free", text)


def test_a_ratio_where_it_is_allowed() -> None:
    value = values_of(Terms)["fraction"]
    assert value.read("fraction", "1/16") == 1 / 16
    for text in ("1/0", "2/1", "-1/2", "1/", "1/2/3"):
        with pytest.raises(ConfigError, match="fraction: must be a number above 0 and at most 1; got"):
            value.read("fraction", text)


def complaint(make: Callable[[], Any]) -> str:
    """What is said against a value, or that it is taken."""
    try:
        return f"taken as {shown(make())}"
    except ConfigError as error:
        return str(error)


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers()))
def test_a_value_is_taken_or_refused_in_one_line_and_never_fails(value: Any) -> None:
    for name in values_of(Asked):
        assert complaint(lambda name=name: Asked(**{name: value})).isprintable()


@given(st.text())
def test_a_text_is_taken_or_refused_in_one_line_and_never_fails(text: str) -> None:
    for name, value in values_of(Asked).items():
        assert complaint(lambda name=name, value=value: Asked(**{name: value.read(name, text)})).isprintable()


def everything() -> list[Any]:
    return [Study, Recipe, Terms, *map(diagnostic_class, diagnostic_names())]


@pytest.mark.parametrize("described", everything(), ids=lambda described: described.__name__)
def test_every_number_has_both_bounds_and_every_list_an_end(described: Any) -> None:
    """Beyond some number torch and numpy fail, or no computer finishes."""
    for name, value in values_of(described).items():
        bounded = (
            (value.rule.least, value.rule.above) != (None, None),
            (value.rule.most, value.rule.below) != (None, None),
        )
        assert value.kind not in (int, float) or value.choices or bounded == (True, True), name
        assert value.count[1] <= 100_000, name


@pytest.mark.parametrize("name", diagnostic_names())
def test_every_field_of_every_diagnostic_refuses_what_is_of_no_type(name: str) -> None:
    chosen = diagnostic_class(name)
    for field in values_of(chosen):
        with pytest.raises(ConfigError, match=rf"^{name}\.{field}: (each )?must be "):
            chosen(**{field: object()})
        with pytest.raises(ConfigError, match=rf"^{name}\.{field}: (each )?must be "):
            diagnostic_of(name, {field: object()})


def test_a_rule_is_said_once() -> None:
    @dataclasses.dataclass(frozen=True)
    class Other:
        k: int = same_rule(Asked, "k", 9)

    assert values_of(Other)["k"] == Value(int, Rule(least=1, most=1000), 9)


class Colour(enum.Enum):
    """A type that no rule knows."""

    RED = "red"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foreign:
    """A diagnostic of another package, which knows nothing of rules."""

    name: ClassVar[str] = "foreign"
    k: int = 3
    colour: Colour = Colour.RED
    level: str

    def __post_init__(self) -> None:
        if self.k == 13:
            raise ValueError("13 brings bad luck")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hidden:
    """Its annotations name what only a type checker imports."""

    name: ClassVar[str] = "hidden"
    k: "Unknown" = 3


def test_diagnostics_of_other_packages_need_no_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionscope.config.diagnostic_class", {"foreign": Foreign, "hidden": Hidden}.__getitem__)
    assert diagnostic_of("foreign", {"k": "4", "level": "a"}, from_flags=True) == Foreign(k=4, level="a")
    assert diagnostic_of("foreign", {"colour": Colour.RED, "level": "a"}) == Foreign(level="a")
    assert diagnostic_of("hidden", {"k": object}).k is object
    for fields, message in (
        ({"k": "x", "level": "a"}, "foreign.k: must be an integer; got 'x'"),
        ({"k": 13, "level": "a"}, "foreign: 13 brings bad luck"),
        ({}, "foreign: .*missing 1 required keyword-only argument: 'level'"),
        ({"leval": "a"}, r"foreign.leval: foreign has no such field. Did you mean 'level'\?"),
    ):
        with pytest.raises(ConfigError, match=message):
            diagnostic_of("foreign", fields)


def test_values_are_shown_on_one_line_and_not_too_long() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (loop, deep, "x\n" * 500, 10**9000, list(range(500)), {"a": deep}, b"\0" * 500, object()):
        assert shown(value).isprintable()
        assert len(shown(value)) < 200
