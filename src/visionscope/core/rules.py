"""One rule for each value: said where a field is declared, and obeyed by library calls, flags and YAML alike."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any

from visionscope.core.values import Rule, Value

SEEDS = 2**32  # numpy's legacy generator takes no seed from here on; torch and the rest take more
MOST_IMAGES = 10**9
MOST_PIXELS = 16384  # a side


def rule(default: Any = dataclasses.MISSING, **limits: Any) -> Any:
    """A dataclass field with a rule, which `check_rules` holds it to.

    Args:
        default: of the field; without it the field must be given.
        **limits: the attributes of `Rule`.
    """
    return dataclasses.field(default=default, metadata={"rule": Rule(**limits)})


def seed_rule(default: Any = 0) -> Any:
    """A field that seeds random numbers: 0 to 2^32 - 1, which all libraries take.

    Args:
        default: of the field.
    """
    return rule(default, least=0, most=SEEDS - 1)


def same_rule(described: Any, name: str, default: Any) -> Any:
    """A field with the rule of another dataclass's field, which it stands for.

    Args:
        described: the dataclass that declares the rule.
        name: of its field.
        default: of the new one.
    """
    return dataclasses.field(default=default, metadata={"rule": values_of(described)[name].rule})


def check_rules(instance: Any, owner: str = "") -> None:
    """Holds every field of a dataclass to its type and its rule; call it in `__post_init__`.

    Values become what they are declared as: an integer for a number a float, a list a tuple, -0.0 becomes 0.0; so equal
    questions have equal digests.

    Args:
        instance: of a dataclass, frozen or not.
        owner: stands in front of a field's name in messages, as in `hessian.k`.

    Raises:
        ConfigError: for a value that breaks its rule, naming the parameter, the rule, the value and the nearest choice.
    """
    for name, value in values_of(instance.__class__).items():
        parameter = f"{owner}.{name}" if owner else name
        object.__setattr__(instance, name, value.checked(parameter, getattr(instance, name)))


@functools.cache
def values_of(described: Any) -> Mapping[str, Value]:
    """What each field of a dataclass takes; a field without a rule is held to its annotation alone.

    Args:
        described: the dataclass.
    """
    try:
        hints = typing.get_type_hints(described)
    except (NameError, TypeError):  # another package's annotations may name what only its type checker imports
        hints = {}
    return {
        field.name: Value(
            hints.get(field.name, Any),
            field.metadata.get("rule") or Rule(),
            None if field.default is dataclasses.MISSING else field.default,
        )
        for field in dataclasses.fields(described)
    }
