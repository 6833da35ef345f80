"""Where commands write, and how they tell what failed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from visionscope.core.failures import Failure

_WIDE = 250


def wide_console() -> Console:
    """A console as wide as the terminal; wide enough for any table where the output is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDE)


def tell_failures(failures: Sequence[Failure]) -> int:
    """Writes a line on each failure to stderr, on parts that failed alike in one.

    Args:
        failures: of a run.

    Returns:
        The exit code: 1 where something failed, else 0.
    """
    alike: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        alone = "" if failure.computing else failure.part
        alike.setdefault((failure.diagnostic, failure.label, failure.message + alone), []).append(failure)
    for first, *others in alike.values():
        more = f" and {len(others)} more" if others else ""
        sys.stderr.write(f"visionscope: failed: {dataclasses.replace(first, part=first.part + more).text}\n")
    return 1 if failures else 0
