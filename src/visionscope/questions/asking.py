"""What the functions of the diagnostics share: how they ask, and what their documentation says of parameters."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from visionscope.api import measure
from visionscope.core.docstrings import meanings
from visionscope.core.registry import diagnostic_class
from visionscope.core.rules import values_of
from visionscope.result import Result

Function = TypeVar("Function", bound=Callable[..., Any])
_ARGUMENT = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def asked(name: str, given: Mapping[str, Any]) -> Result:
    """Asks a diagnostic with what its function was given.

    Args:
        name: of the diagnostic.
        given: all arguments of the function: those that are fields of the diagnostic, and those of `measure`.
    """
    fields = values_of(diagnostic_class(name))
    common = {key: value for key, value in given.items() if key not in fields}
    return measure(name, **common, fields={key: value for key, value in given.items() if key in fields})


def asks(function: Function) -> Function:
    """Writes the parameters of a diagnostic's function into its documentation: its fields', and those of `measure`.

    Args:
        function: named like the diagnostic.
    """
    chosen = diagnostic_class(function.__name__)
    own, common = meanings(chosen), dict(_ARGUMENT.findall(inspect.getdoc(measure) or ""))
    lines = [inspect.cleandoc(function.__doc__ or ""), "", "Args:"]
    for name in inspect.signature(function).parameters:
        text = f"{name}: {' '.join((own.get(name) or common[name]).split())}"
        lines += textwrap.wrap(text, 110, initial_indent=" " * 4, subsequent_indent=" " * 8)
    lines += ["", "Raises:", "    VisionscopeError: as `measure`."]
    function.__doc__ = "\n".join(lines)
    return function
