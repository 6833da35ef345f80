"""Two runs compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from visionscope.commands.output import folder_of
from visionscope.core.terminal import say
from visionscope.flags import Parser

if TYPE_CHECKING:
    from argparse import Namespace


def compare_flags(parser: Parser) -> None:
    """Adds the flags of compare."""
    parser.add_argument("first", metavar="RUN_A", help="a run folder with its report.json")
    parser.add_argument("second", metavar="RUN_B", help="another; changes are counted from RUN_A to RUN_B")
    parser.add_switch("--json", "print an object with moved, equal, gone and new")


def compare(parsed: Namespace) -> int:
    """Prints what changed from one run to another."""
    from dataclasses import asdict

    from visionscope.report.differences import differences, lines_of, read_told

    first, second = (read_told(name, folder_of(name, getattr(parsed, name))) for name in ("first", "second"))
    found = differences(first, second)
    for line in json.dumps(asdict(found), indent=1).splitlines() if parsed.json else lines_of(found):
        say(line)
    return 0
